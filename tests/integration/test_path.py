"""Events on a real broker become nodes in a real Qdrant engine by way of a real Triton server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.nodes import NodeKey
from tests.fixtures.brokers import Broker
from tests.fixtures.path import Rig, WorkerProcess, same_nodes
from tests.fixtures.qdrant import QdrantServer
from tests.fixtures.triton import TritonServer

pytestmark = pytest.mark.integration

ITEMS = [
    {"item_id": "football", "title": "The striker scored twice in the cup final", "categories": ["Sports", "Football"]},
    {"item_id": "jazz", "title": "A quartet records an evening of slow jazz", "description": "Saxophone, bass, drums."},
    {"item_id": "茶", "title": "如何泡一杯好的乌龙茶", "description": "水温与时间"},
]


def event(n: int, user: str, kind: str, item: str | None = None, **more: object) -> dict[str, object]:
    made: dict[str, object] = {
        "event_id": f"e{n}",
        "user_id": user,
        "type": kind,
        "ts": int(time.time() * 1000) - 1000 + n,
    }
    if item:
        made["item_id"] = item
    return made | more


async def test_clicks_and_comments_become_a_tree(path: Rig) -> None:
    path.worker()
    await path.items(ITEMS)
    await path.items_known(3)
    await path.produce(path.clicks, [event(1, "ana", "click", "football"), event(2, "ana", "click", "jazz")])
    await path.produce(path.comments, [event(3, "ana", "comment", "茶", text="这茶太难喝了，再也不买了")])
    await path.produce(path.events, [event(4, "ana", "search", text="football results of the weekend")])
    await path.until(lambda o: o.get("applied", 0) == 4)
    tree = await path.tree("ana")
    profile = tree[NodeKey("ana", "profile", "/")]
    assert profile.count == 4
    assert {e.event_id for e in profile.evidence} == {"e1", "e2", "e3", "e4"}
    assert NodeKey("ana", "interest", "/sports/football") in tree
    assert NodeKey("ana", "aversion", "/") in tree
    assert tree[NodeKey("ana", "aversion", "/")].evidence[0].item_id == "茶"
    assert NodeKey("ana", "session", "/") in tree
    assert path.workers[0].stop() == 0
    await path.settled()


async def test_bad_records_are_dead_lettered_and_the_stream_goes_on(path: Rig) -> None:
    path.worker()
    await path.items(ITEMS)
    await path.items_known(3)
    good = json.dumps(event(1, "bad", "click", "football")).encode()
    bad: list[tuple[bytes | None, bytes | None]] = [
        (b"bad", b"{not json"),
        (b"bad", b'{"user_id": "bad", "type": "click", "item_id": "\xff\xfe"}'),
        (b"bad", b"x" * 300_000),
        (b"", good),
        (None, good),
        (b"somebody-else", good),
        (b"bad", b'{"user_id": "bad", "type": "dance", "item_id": "jazz"}'),
        (b"bad", b'{"user_id": "bad", "type": "click", "item_id": 7}'),
        (b"bad", b'{"user_id": "bad", "type": "rating", "item_id": "jazz", "rating": NaN}'),
        (b"bad", b'{"user_id": "bad", "type": "click", "item_id": "jazz", "ts": 12}'),
        (b"bad", b'{"user_id": "bad", "type": "click", "item_id": "jazz", "ts": "yesterday"}'),
        (b"bad", b"[" * 5_000),
        (b"bad", None),
    ]
    await path.produce_raw(path.clicks, [*bad, (b"bad", good)])
    outcomes = await path.until(lambda o: o.get("applied", 0) == 1 and o.get("dead", 0) == len(bad))
    assert outcomes["dead"] + outcomes["applied"] == path.sent
    letters = await path.read(f"{path.clicks}.dead", len(bad))
    assert sorted((r.key or b"", r.value or b"") for r in letters) == sorted((k or b"", v or b"") for k, v in bad)
    reasons = {dict(r.headers)["dead-letter-error"].decode() for r in letters}
    assert {"bad_json", "not_utf8", "too_large", "empty_key", "key_mismatch", "unknown_type", "wrong_type"} <= reasons
    assert all(dict(r.headers)["dead-letter-topic"].decode() == path.clicks for r in letters)
    assert (await path.tree("bad"))[NodeKey("bad", "profile", "/")].count == 1


async def test_an_event_waits_for_its_item_and_then_counts_once(path: Rig) -> None:
    path.worker()
    await path.produce(path.clicks, [event(1, "early", "click", "jazz"), event(2, "early", "click", "never")])
    await path.until(lambda o: o.get("unresolved", 0) >= 2)
    await path.items(ITEMS)
    outcomes = await path.until(lambda o: o.get("applied", 0) == 1 and o.get("dead", 0) == 1)
    assert outcomes["applied"] == 1
    [letter] = await path.read(f"{path.settings.kafka.unresolved_topic}.dead", 1)
    headers = dict(letter.headers)
    assert headers["dead-letter-error"] == b"unresolved"
    assert headers["unresolved-origin"].decode().startswith(path.clicks)
    profile = (await path.tree("early"))[NodeKey("early", "profile", "/")]
    assert [e.event_id for e in profile.evidence] == ["e1"]
    await path.settled()


async def test_an_event_may_bring_its_item_along(path: Rig) -> None:
    path.worker()
    inline = {"item_id": "own", "title": "Sourdough bread with rye flour", "tags": ["baking"]}
    await path.produce(
        path.clicks, [event(1, "inline", "click", "own") | {"item": inline}, event(2, "inline", "click", "own")]
    )
    await path.until(lambda o: o.get("applied", 0) == 2)
    assert (await path.tree("inline"))[NodeKey("inline", "topic", "/food")].count == 2


async def test_duplicates_and_taking_back_change_nothing(path: Rig) -> None:
    path.worker()
    await path.items(ITEMS)
    await path.items_known(3)
    once = [event(n, "twice", "click", item) for n, item in enumerate(["football", "jazz"])]
    await path.produce(path.clicks, once)
    await path.produce(path.clicks, once)
    await path.until(lambda o: o.get("applied", 0) == 2 and o.get("duplicate", 0) == 2)
    before = await path.tree("twice")
    await path.produce(path.events, [event(10, "twice", "like", "football"), event(11, "twice", "unlike", "football")])
    await path.until(lambda o: o.get("applied", 0) == 4)
    after = await path.tree("twice")
    same_nodes(before, after, path.settings.nodes.policy())


async def test_erasing_leaves_a_tombstone_that_holds(path: Rig) -> None:
    path.worker()
    await path.items(ITEMS)
    await path.items_known(3)
    old = [event(1, "gone", "click", "football"), event(2, "gone", "click", "jazz")]
    await path.produce(path.clicks, old)
    await path.until(lambda o: o.get("applied", 0) == 2)
    await path.produce(path.events, [event(9, "gone", "erase")])
    await path.until(lambda o: o.get("applied", 0) == 3)
    tree = await path.tree("gone")
    assert [key.level for key in tree] == ["profile"]
    assert tree[NodeKey("gone", "profile", "/")].mass == 0
    assert not tree[NodeKey("gone", "profile", "/")].evidence
    await path.produce(path.clicks, old)
    await path.until(lambda o: o.get("erased", 0) == 2)
    assert len(await path.tree("gone")) == 1
    await path.produce(path.clicks, [event(20, "gone", "click", "jazz")])
    await path.until(lambda o: o.get("applied", 0) == 4)
    assert (await path.tree("gone"))[NodeKey("gone", "profile", "/")].count == 1


async def test_a_record_in_another_partitioners_place_is_sent_on(path: Rig) -> None:
    path.worker()
    await path.items(ITEMS)
    await path.items_known(3)
    lost = [json.dumps(event(n, "stray", "click", "jazz")).encode() for n in range(4)]
    await path.produce_raw(path.clicks, [(b"stray", value) for value in lost], partition=None)
    await path.produce_raw(
        path.comments, [(b"stray", json.dumps(event(9, "stray", "click", "football")).encode())], partition=0
    )
    await path.produce_raw(
        path.comments, [(b"stray", json.dumps(event(8, "stray", "click", "football")).encode())], partition=1
    )
    outcomes = await path.until(lambda o: o.get("applied", 0) == 6)
    assert outcomes["rerouted"] >= 1
    assert (await path.tree("stray"))[NodeKey("stray", "profile", "/")].count == 6


async def test_triton_and_qdrant_may_be_away(
    broker: Broker, triton: TritonServer, own_qdrant: Callable[..., QdrantServer], tmp_path: Path
) -> None:
    qdrant = own_qdrant()
    path = Rig(broker, triton, qdrant, tmp_path)
    await path.prepare()
    worker = path.worker()
    try:
        await path.items(ITEMS)
        await path.items_known(3)
        triton.kill()
        await path.produce(path.events, [event(1, "away", "search", text="a text that nobody has encoded yet")])
        await until_retrying(worker, "triton")
        triton.start()
        await path.until(lambda o: o.get("applied", 0) == 1)
        qdrant.kill()
        await path.produce(path.clicks, [event(2, "away", "click", "jazz")])
        await until_retrying(worker, "qdrant")
        qdrant.start()
        await path.until(lambda o: o.get("applied", 0) == 2)
        assert worker.running
        assert (await path.tree("away"))[NodeKey("away", "profile", "/")].count == 2
        assert "waiting" in worker.log()
    finally:
        worker.kill()


async def until_retrying(worker: WorkerProcess, server: str) -> None:
    for _ in range(300):
        if (await worker.metrics()).get(f'interests_retries_total{{server="{server}"}}', 0) > 0:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"never waited for {server}:\n{worker.log()}")
