"""Workers are killed in the middle of a real log: what is left equals what an undisturbed run leaves."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from streams.nodes import Node, NodeKey
from tests.fixtures.brokers import Broker
from tests.fixtures.logs import rows
from tests.fixtures.path import Rig, same_nodes

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

#: Events of the log that are played; 0 is all of it.
EVENTS = int(os.environ.get("INTERESTS_TEST_EVENTS", "300"))


def log_of(prefix: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Items and events of the log, with users of this run's own."""
    events = rows("cardano", "events", EVENTS or None)
    wanted = {event["item_id"] for event in events}
    items = [item for item in rows("cardano", "items") if item["item_id"] in wanted]
    return items, [{**event, "user_id": f"{prefix}-{event['user_id']}"} for event in events]


async def play(path: Rig, events: list[dict[str, Any]]) -> None:
    kinds = {"comment": path.comments, "post": path.comments}
    for topic in (path.clicks, path.comments, path.events):
        await path.produce(topic, [event for event in events if kinds.get(event["type"], path.events) == topic])


async def trees(path: Rig, events: list[dict[str, Any]]) -> dict[str, dict[NodeKey, Node]]:
    """Every user's tree, by the user's name in the log; keys without the run's prefix."""
    store = path.store()
    found: dict[str, dict[NodeKey, Node]] = {}
    try:
        for user in sorted({event["user_id"] for event in events}):
            plain = user.partition("-")[2]
            found[plain] = {node.key._replace(user_id=plain): node for node in await store.tree(user)}
    finally:
        await store.close()
    return found


async def undisturbed(path: Rig, run: str) -> dict[str, dict[NodeKey, Node]]:
    items, events = log_of(run)
    worker = path.worker()
    await path.items(items)
    await path.items_known(len(items), 200)
    await play(path, events)
    await path.until(lambda o: o.get("applied", 0) + o.get("duplicate", 0) == len(events), 200)
    assert worker.stop() == 0
    return await trees(path, events)


async def test_a_killed_worker_leaves_what_an_undisturbed_one_leaves(
    broker: Broker, make_rig: Callable[..., Rig]
) -> None:
    calm, stormy = (make_rig(broker, worker={"batch_records": 30}) for _ in range(2))
    await calm.prepare()
    await stormy.prepare()
    expected = await undisturbed(calm, Rig.unique_run())
    items, events = log_of(run := Rig.unique_run())
    worker = stormy.worker()
    await stormy.items(items)
    await stormy.items_known(len(items), 200)
    # The log comes in parts, each killed in the middle: however fast a machine is, every kill meets work.
    chance, signals = random.Random(7), (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)
    part = -(-len(events) // (len(signals) + 1))
    for turn, number in enumerate(signals):
        await play(stormy, events[turn * part : (turn + 1) * part])
        await stormy.until(lambda o: o.get("applied", 0) + o.get("redelivered", 0) > 0, 200)
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        worker.signal(number)
        assert worker.wait() == (0 if number == signal.SIGTERM else -number)
        worker.start()
    await play(stormy, events[len(signals) * part :])
    await stormy.settled(200)
    assert worker.stop() == 0
    found = await trees(stormy, events)
    assert found.keys() == expected.keys()
    for user in expected:
        same_nodes(expected[user], found[user], stormy.settings.nodes.policy())
    counts = Counter(event["user_id"] for event in events)
    for user, tree in found.items():
        assert tree[NodeKey(user, "profile", "/")].count <= counts[f"{run}-{user}"]


async def test_the_second_lot_lands_on_the_trees_of_the_first_after_the_broker_forgot_everything(
    tansu: Broker, make_rig: Callable[..., Rig]
) -> None:
    path = make_rig(tansu)
    await path.prepare()
    run = Rig.unique_run()
    lot = [{"event_id": f"{run}-{n}", "user_id": run, "type": "search", "text": f"search number {n}"} for n in range(6)]
    worker = path.worker()
    await path.produce(path.events, lot[:3])
    await path.until(lambda o: o.get("applied", 0) == 3)
    assert worker.stop() == 0
    tansu.stop()
    tansu.start()
    await path.prepare()
    await path.produce(path.events, lot[3:])
    worker.start()
    await path.until(lambda o: o.get("applied", 0) == 3)
    profile = (await path.tree(run))[NodeKey(run, "profile", "/")]
    assert profile.count == 6
    assert {e.event_id for e in profile.evidence} == {e["event_id"] for e in lot}
    assert profile.applied.log == 2
