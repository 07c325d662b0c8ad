"""What a worker sends on: changes of trees, item popularity, priors, on a real broker and by way of a real worker."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from streams.api.models import LiveUpdate
from streams.broker.partitions import partition_of
from streams.interests.decay import decayed
from streams.interests.nodes import mass_at
from streams.interests.pair_records import ItemPairs, Pair, Pairs, pack_pairs
from streams.interests.popularity import ItemPopularity, Vote, Votes, pack_votes
from streams.interests.priors import prior_nodes
from streams.interests.together import partners_at
from streams.settings.wiring import qdrant_config
from streams.store.cohort_store import CohortStore
from streams.store.collections import Collections
from tests.fixtures.brokers import Broker
from tests.fixtures.path import ITEMS, Rig
from tests.fixtures.qdrant import cohort_nodes

pytestmark = pytest.mark.integration


def event(n: int, user: str, kind: str, item: str | None = None, **more: object) -> dict[str, object]:
    made: dict[str, object] = {
        "event_id": f"e{n}",
        "user_id": user,
        "type": kind,
        "ts": int(time.time() * 1000) - 1000 + n,
    }
    return made | ({"item_id": item} if item else {}) | more


async def updates(path: Rig, user: str, count: int) -> list[Any]:
    """The first `count` records of a user on the topic of updates."""
    topic = path.settings.kafka.updated_topic
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=path.broker.bootstrap, auto_offset_reset="earliest")
    mine: list[Any] = []
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            while len(mine) < count:
                for fetched in (await consumer.getmany(timeout_ms=200)).values():
                    mine += [record for record in fetched if record.key == user.encode()]
    finally:
        await consumer.stop()
    return mine


async def test_a_change_is_announced_with_the_nodes_as_they_are_stored(path: Rig) -> None:
    me, kafka = path.user(), path.settings.kafka
    await path.produce(path.comments, [event(1, me, "comment", "football", text="What a match, and what a goal!")])
    [record] = await updates(path, me, 1)
    assert record.partition == partition_of(me, kafka.partitions)
    assert dict(record.headers)["group"].decode() == kafka.group
    assert b"What a match" not in record.value
    update = LiveUpdate.model_validate_json(record.value)
    tree = {node.id: node for node in (await path.tree(me)).values()}
    assert {node.id for node in update.nodes} == tree.keys()
    for node in update.nodes:
        stored = tree[node.id]
        assert (node.level, node.path, node.count) == (stored.key.level, stored.key.path, stored.count)
        assert node.mass == pytest.approx(mass_at(stored, update.at_ms, path.settings.nodes.policy()))
    [happened] = update.events
    assert (happened.event_id, happened.item_id) == ("e1", "football")
    assert happened.weight == pytest.approx(next(iter(tree.values())).evidence[0].weight)


async def test_an_erasure_is_announced(path: Rig) -> None:
    me = path.user()
    await path.produce(path.clicks, [event(1, me, "click", "jazz")])
    await path.until(lambda o: o.get("applied", 0) == 1)
    await path.produce(path.events, [event(2, me, "erase")])
    *told, last = await updates(path, me, 3)
    assert last.value is None  # what compaction keeps: nothing of the user
    first, second = [LiveUpdate.model_validate_json(record.value) for record in told]
    assert not first.erased
    assert second.erased
    assert [node.level for node in second.nodes] == ["profile"]
    assert second.nodes[0].mass == 0


@asynccontextmanager
async def shared(path: Rig) -> AsyncIterator[CohortStore]:
    settings = path.settings
    store = CohortStore(
        qdrant_config(settings), settings.population.policy(), Collections(path._encoder_id(), 384),
        group=settings.kafka.group, half_life_s=settings.population.popularity_half_life_s,
    )  # fmt: skip
    try:
        yield store
    finally:
        await store.close()


async def popularity(path: Rig, items: list[str]) -> dict[str, ItemPopularity]:
    async with shared(path) as store:
        return await store.popularity(items)


async def people_who_touched_both(path: Rig, items: list[str]) -> dict[tuple[str, str], int]:
    """By item and partner, how many people: no half-life is over meanwhile."""
    now, half_life_s = int(time.time() * 1000), path.settings.population.together_half_life_s
    async with shared(path) as store:
        found = await store.partners(items)
    at_now = {name: partners_at(one, now, half_life_s)[0] for name, one in found.items()}
    return {(name, other): round(count) for name, counts in at_now.items() for other, count in counts.items()}


async def test_an_items_popularity_is_what_everybody_said_for_it(path: Rig) -> None:
    one, two = path.user(), path.user()
    items = [f"song-{one}", f"game-{one}"]
    await path.items([{"item_id": item, "title": f"Something new: {item}"} for item in items])
    now, half_life_s = int(time.time() * 1000), path.settings.population.popularity_half_life_s
    then = now - int(half_life_s * 1000)
    await path.produce(
        path.clicks,
        [
            event(1, one, "click", items[0], ts=now),
            event(2, two, "click", items[0], ts=then),
            event(3, two, "hide", items[1]),
        ],
    )
    await path.produce(path.events, [event(4, one, "like", items[1]), event(5, one, "unlike", items[1])])
    await path.until(lambda o: o.get("applied", 0) == 5)
    found = await eventually(path, items, lambda found: found.keys() == set(items) and found[items[0]].count == 2)
    assert found[items[0]].mass == pytest.approx(1.5, rel=1e-6)
    assert found[items[0]].t0_ms == now
    assert decayed(found[items[0]].mass, then, now, half_life_s * 1000) == pytest.approx(0.75)
    assert (found[items[1]].mass, found[items[1]].count) == (0.0, 0)


async def test_what_others_than_workers_write_to_the_derived_topics_hides_no_later_vote(path: Rig) -> None:
    one, kafka = path.user(), path.settings.kafka
    item = f"tune-{one}"
    await path.items([{"item_id": item, "title": "A tune to count"}])
    now = int(time.time() * 1000)
    source = (path.clicks, partition_of(one, kafka.partitions))
    forged = [
        *(Votes(item, kafka.group, 1, [Vote(*source, offset, now, 1.0)]) for offset in (10**6, 2**62)),
        Votes(item, kafka.group, 10**6, [Vote(*source, 0, now, 1.0)]),
        Votes(item, kafka.group, 1, [Vote("nowhere", 0, 0, now, 1.0)]),
        Votes(item, kafka.group, 1, [Vote(*source, 0, now, 1e9)]),
    ]
    pairs = [
        Pairs(kafka.group, 1, [ItemPairs(item, [Pair(*source, 10**6, now, 1.0, "b")])]),
        Pairs(kafka.group, 1, [ItemPairs(item, [Pair(*source, 0, now, 1.0, item)])]),
    ]
    await path.mark()
    await path.produce_raw(kafka.popularity_topic, [(item.encode(), pack_votes(votes)) for votes in forged])
    await path.produce_raw(kafka.together_topic, [(item.encode(), pack_pairs(one)) for one in pairs])
    await path.until(lambda o: o.get("dead", 0) == len(forged) + len(pairs))
    assert await people_who_touched_both(path, [item]) == {}
    await path.produce(path.clicks, [event(1, one, "click", item, ts=now)])
    found = await eventually(path, [item], lambda found: item in found)
    assert (found[item].count, found[item].mass) == (1, pytest.approx(1.0, rel=1e-6))
    dead = await path.read(f"{kafka.popularity_topic}.dead", len(forged))
    reasons = [dict(record.headers)["dead-letter-error"] for record in dead if record.key == item.encode()]
    assert sorted(reasons) == [*[b"bad_source"] * 4, b"out_of_range"]


async def test_what_counted_for_everybody_is_taken_back_by_an_erasure(path: Rig) -> None:
    one, two = path.user(), path.user()
    item = f"film-{one}"
    await path.items([{"item_id": item, "title": f"Something new: {item}"}])
    await path.items_known(1)  # else all events wait for it, and come by one topic
    rows = [event(n, one, "click", item) for n in range(30)]
    await path.produce(path.clicks, [*rows, event(30, two, "click", item)])
    await path.produce(path.events, [event(31, one, "purchase", item)])
    await path.until(lambda o: o.get("applied", 0) == 32)
    found = await eventually(path, [item], lambda found: item in found and found[item].count == 3)
    assert found[item].mass == pytest.approx(1 + 4 + 1, rel=1e-4)  # people and topics, not clicks
    await asyncio.sleep(0.05)  # the erasure is younger by its clock
    await path.produce(path.events, [event(32, one, "erase", ts=int(time.time() * 1000))])
    found = await eventually(path, [item], lambda found: found[item].count == 1)
    assert found[item].mass == pytest.approx(1, rel=1e-4)


async def test_items_are_partners_while_their_votes_stand(path: Rig) -> None:
    one, two = path.user(), path.user()
    items = [f"{name}-{one}" for name in ("sun", "moon", "star")]
    await path.items([{"item_id": item, "title": f"Something new: {item}"} for item in items])
    await path.items_known(len(items))
    sun, moon, star = items
    clicks = [event(n, user, "click", item) for user in (one, two) for n, item in enumerate((sun, moon))]
    await path.produce(path.clicks, clicks)
    likes = [event(n, one, "like", item) for n, item in ((4, sun), (5, star))]
    await path.produce(path.events, likes)
    both = {(sun, moon): 2, (moon, sun): 2}
    await until_touched(path, items, {**both, (sun, star): 1, (star, sun): 1})  # topics do not mix
    await path.produce(path.events, [event(6, one, "unlike", star)])
    await until_touched(path, items, both)
    await asyncio.sleep(0.05)  # the erasure is younger by its clock
    await path.produce(path.events, [event(7, one, "erase", ts=int(time.time() * 1000))])
    await until_touched(path, items, dict.fromkeys(both, 1))


async def until_touched(path: Rig, items: list[str], wanted: dict[tuple[str, str], int]) -> None:
    for _ in range(100):
        found = await people_who_touched_both(path, items)
        if found == wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{found}, expected {wanted}\n{path.workers[0].log()}")


async def eventually(
    path: Rig, items: list[str], met: Callable[[dict[str, ItemPopularity]], bool]
) -> dict[str, ItemPopularity]:
    found: dict[str, ItemPopularity] = {}
    for _ in range(100):
        found = await popularity(path, items)
        if met(found):
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"never met: {found}\n{path.workers[0].log()}")


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_deaths_before_and_after_the_write_count_every_event_once_and_announce_it(
    tansu: Broker, make_rig: Callable[..., Rig]
) -> None:
    path = make_rig(tansu, population={"least_events": 4}, kafka={"session_timeout_s": 2.0, "heartbeat_s": 0.5})
    await path.prepare()
    worker = path.worker(INTERESTS_FAULTPOINTS="before_upsert:kill")
    await path.items(ITEMS)
    await path.items_known(len(ITEMS))
    users = [path.user() for _ in range(4)]
    clicks = [event(n, user, "click", item) for user in users for n, item in enumerate(("football", "jazz"))]
    await path.produce(path.clicks, clicks)
    for faults in ("before_upsert:kill", "after_upsert:kill", ""):
        assert worker.wait() == -signal.SIGKILL
        worker._env["INTERESTS_FAULTPOINTS"] = faults
        worker.start()
    again = event(9, users[0], "click", "football")
    await path.produce(path.clicks, [again])
    await path.settled()
    found = await eventually(
        path, ["football", "jazz"], lambda found: "football" in found and found["football"].t0_ms == again["ts"]
    )
    assert {name: item.count for name, item in found.items()} == {"football": 4, "jazz": 4}  # people, not clicks
    assert found["football"].mass == pytest.approx(4, rel=1e-4)
    await until_touched(path, ["football", "jazz"], {("football", "jazz"): 4, ("jazz", "football"): 4})
    for kind in ("popularity", "together"):
        assert (await worker.metrics())[f'interests_derived_events_total{{kind="{kind}",outcome="repeated"}}'] > 0

    # All hear of it: at once those whose nodes the last death left written, others may have come in a batch after it.
    first = [LiveUpdate.model_validate_json((await updates(path, user, 1))[0].value) for user in users]
    assert any(update.resync for update in first)

    config, names, group = qdrant_config(path.settings), Collections(path._encoder_id(), 384), path.settings.kafka.group
    cohorts = {name: await cohort_nodes(config, names, group, name) for name in ("*", "first=/sports", "device=mobile")}
    everybody = {node.key.level: node for node in cohorts["*"] if node.key.path in ("/", "/sports")}
    assert everybody["profile"].count == 9
    assert everybody["topic"].count == 5
    assert not cohorts["device=mobile"]
    population = path.settings.population
    lent = prior_nodes("newcomer", cohorts, [], population.priors(), population.policy(), int(time.time() * 1000))
    assert {("topic", "/sports"), ("interest", "/sports/football")} <= {(n.key.level, n.key.path) for n in lent}
    assert sum(n.mass for n in lent if n.key.level == "profile") == pytest.approx(population.prior_mass)
