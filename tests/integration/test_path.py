"""Events on a real broker become nodes in a real Qdrant engine by way of a real Triton server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from streams.broker.read_all import read_topic
from streams.interests.nodes import NodeKey
from tests.fixtures.brokers import Broker
from tests.fixtures.path import ITEMS, Rig, WorkerProcess
from tests.fixtures.qdrant import QdrantServer
from tests.fixtures.triton import TritonServer
from tests.oracle.alike import alike

pytestmark = pytest.mark.integration


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
    me = path.user()
    await path.produce(path.clicks, [event(1, me, "click", "football"), event(2, me, "click", "jazz")])
    await path.produce(path.comments, [event(3, me, "comment", "茶", text="这茶太难喝了，再也不买了")])
    await path.produce(path.events, [event(4, me, "search", text="football results of the weekend")])
    await path.until(lambda o: o.get("applied", 0) == 4)
    tree = await path.tree(me)
    profile = tree[NodeKey(me, "profile", "/")]
    assert profile.count == 4
    assert {e.event_id for e in profile.evidence} == {"e1", "e2", "e3", "e4"}
    assert NodeKey(me, "interest", "/sports/football") in tree
    assert NodeKey(me, "aversion", "/") in tree
    assert tree[NodeKey(me, "aversion", "/")].evidence[0].item_id == "茶"
    assert NodeKey(me, "session", "/") in tree


async def test_bad_records_are_dead_lettered_and_the_stream_goes_on(path: Rig) -> None:
    me = path.user()
    key, good = me.encode(), json.dumps(event(1, me, "click", "football")).encode()
    fields = [
        b'"type": "click", "item_id": "\xff\xfe"',
        b'"type": "dance", "item_id": "jazz"',
        b'"type": "click", "item_id": 7',
        b'"type": "rating", "item_id": "jazz", "rating": NaN',
        b'"type": "click", "item_id": "jazz", "ts": 12',
        b'"type": "click", "item_id": "jazz", "ts": "yesterday"',
    ]
    bad: list[tuple[bytes | None, bytes | None]] = [(key, b'{"user_id": "%s", %s}' % (key, rest)) for rest in fields]
    bad += [(key, b"{not json"), (key, b"x" * 300_000), (key, b"[" * 5_000), (key, None)]
    bad += [(b"", good), (None, good), (b"somebody-else", good)]
    await path.produce_raw(path.clicks, [*bad, (key, good)])
    outcomes = await path.until(lambda o: o.get("applied", 0) == 1 and o.get("dead", 0) == len(bad))
    assert outcomes["dead"] + outcomes["applied"] == len(bad) + 1
    letters = await path.read(f"{path.clicks}.dead", len(bad), of=me)
    assert sorted((r.key or b"", r.value or b"") for r in letters) == sorted((k or b"", v or b"") for k, v in bad)
    reasons = {dict(r.headers)["dead-letter-error"].decode() for r in letters}
    assert {"bad_json", "not_utf8", "too_large", "empty_key", "key_mismatch", "unknown_type", "wrong_type"} <= reasons
    assert all(dict(r.headers)["dead-letter-topic"].decode() == path.clicks for r in letters)
    assert (await path.tree(me))[NodeKey(me, "profile", "/")].count == 1


async def test_an_event_waits_for_its_item_and_then_counts_once(path: Rig) -> None:
    me = path.user()
    late = f"late-{me}"
    await path.produce(path.clicks, [event(1, me, "click", late), event(2, me, "click", f"{late}-never")])
    await path.until(lambda o: o.get("unresolved", 0) >= 2)
    await path.items([{"item_id": late, "title": "A lighthouse keeper writes his diary"}])
    await path.until(lambda o: o.get("applied", 0) >= 1 and o.get("dead", 0) >= 1)
    await path.settled()
    dead = read_topic(path.config, f"{path.settings.kafka.unresolved_topic}.dead")
    [letter] = [record async for records in dead for record in records if record.key == me.encode()]
    headers = dict(letter.headers)
    assert headers["dead-letter-error"] == b"unresolved"
    assert headers["unresolved-origin"].decode().startswith(path.clicks)
    profile = (await path.tree(me))[NodeKey(me, "profile", "/")]
    assert [e.event_id for e in profile.evidence] == ["e1"]
    assert profile.count == 1


async def test_an_event_may_bring_its_item_along(path: Rig) -> None:
    me = path.user()
    inline: dict[str, Any] = {"item_id": f"own-{me}", "title": "Sourdough bread with rye flour", "tags": ["baking"]}
    await path.produce(
        path.clicks,
        [event(1, me, "click", inline["item_id"]) | {"item": inline}, event(2, me, "click", inline["item_id"])],
    )
    await path.until(lambda o: o.get("applied", 0) == 2)
    assert (await path.tree(me))[NodeKey(me, "topic", "/food")].count == 2


async def test_a_batch_holds_no_more_records_than_the_setting_allows(
    make_rig: Callable[..., Rig], broker: Broker
) -> None:
    rig = make_rig(broker, worker={"batch_records": 20})
    me = rig.user()
    await rig.prepare()
    await rig.produce(rig.events, [event(1, me, "search", text="football results of the weekend")] * 300)
    worker = rig.worker()
    await rig.until(lambda o: o.get("applied", 0) == 1 and o.get("duplicate", 0) == 299)
    seen = await worker.metrics()
    assert seen["interests_batch_records_sum"] == 300
    assert seen['interests_batch_records_bucket{le="20.0"}'] == seen["interests_batch_records_count"]


async def test_duplicates_and_taking_back_change_nothing(path: Rig) -> None:
    me = path.user()
    once = [event(n, me, "click", item) for n, item in enumerate(["football", "jazz"])]
    await path.produce(path.clicks, once)
    await path.produce(path.clicks, once)
    await path.until(lambda o: o.get("applied", 0) == 2 and o.get("duplicate", 0) == 2)
    before = await path.tree(me)
    await path.produce(path.events, [event(10, me, "like", "football"), event(11, me, "unlike", "football")])
    await path.until(lambda o: o.get("applied", 0) == 4)
    after = await path.tree(me)
    assert alike(before, after, path.settings.nodes.policy()).differ == []


async def test_erasing_leaves_a_tombstone_that_holds(path: Rig) -> None:
    me = path.user()
    old = [event(1, me, "click", "football"), event(2, me, "click", "jazz")]
    await path.produce(path.clicks, old)
    await path.until(lambda o: o.get("applied", 0) == 2)
    await path.produce(path.events, [event(9, me, "erase")])
    await path.until(lambda o: o.get("applied", 0) == 3)
    tree = await path.tree(me)
    assert [key.level for key in tree] == ["profile"]
    assert tree[NodeKey(me, "profile", "/")].mass == 0
    assert not tree[NodeKey(me, "profile", "/")].evidence
    await path.produce(path.clicks, old)
    await path.until(lambda o: o.get("erased", 0) == 2)
    assert len(await path.tree(me)) == 1
    await path.produce(path.clicks, [event(20, me, "click", "jazz")])
    await path.until(lambda o: o.get("applied", 0) == 4)
    assert (await path.tree(me))[NodeKey(me, "profile", "/")].count == 1


async def test_a_record_in_another_partitioners_place_is_sent_on(path: Rig) -> None:
    me = path.user()
    where = {0: path.comments, 1: path.comments, 2: path.clicks, 3: path.events}
    for partition, topic in where.items():
        record = json.dumps(event(partition, me, "click", "jazz")).encode()
        await path.produce_raw(topic, [(me.encode(), record)], partition=partition)
    outcomes = await path.until(lambda o: o.get("applied", 0) == 4)
    assert outcomes["rerouted"] == 3
    assert (await path.tree(me))[NodeKey(me, "profile", "/")].count == 4


async def test_triton_and_qdrant_may_be_away(
    tansu: Broker, triton: TritonServer, own_qdrant: Callable[..., QdrantServer], make_rig: Callable[..., Rig]
) -> None:
    qdrant = own_qdrant()
    path = make_rig(tansu, qdrant)
    await path.prepare()
    worker = path.worker()
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


async def until_retrying(worker: WorkerProcess, server: str) -> None:
    for _ in range(300):
        if (await worker.metrics()).get(f'interests_retries_total{{server="{server}"}}', 0) > 0:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"never waited for {server}:\n{worker.log()}")
