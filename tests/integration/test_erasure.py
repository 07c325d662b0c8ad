"""What an erasure takes away: nodes, what waits, what is announced; and what comes after it."""

from __future__ import annotations

import asyncio
import time

import pytest

from streams.broker.read_all import read_topic
from streams.interests.nodes import NodeKey
from tests.fixtures.path import Rig

pytestmark = pytest.mark.integration


def event(number: int, user: str, kind: str, item: str | None = None, **more: object) -> dict[str, object]:
    made: dict[str, object] = {"event_id": f"er{number}", "user_id": user, "type": kind, "ts": int(time.time() * 1000)}
    return made | ({"item_id": item} if item else {}) | more


async def test_events_that_wait_for_their_item_do_not_come_back(path: Rig) -> None:
    me, late = path.user(), Rig.unique_run()
    await path.produce(path.clicks, [event(1, me, "click", "jazz"), event(2, me, "like", late, text="waits")])
    await path.until(lambda o: o.get("applied", 0) == 1 and o.get("unresolved", 0) >= 1)
    await asyncio.sleep(0.01)  # the erasure is younger by its clock
    await path.produce(path.events, [event(3, me, "erase")])
    await path.until(lambda o: o.get("applied", 0) == 2)
    await path.items([{"item_id": late, "title": "An item that came too late"}])
    await path.until(lambda o: o.get("erased", 0) == 1)
    tree = await path.tree(me)
    assert tree.keys() == {NodeKey(me, "profile", "/")}
    profile = tree[NodeKey(me, "profile", "/")]
    assert (profile.mass, profile.count, profile.evidence, profile.marks) == (0.0, 0, (), ())
    await path.settled()
    assert (await path.tree(me)).keys() == tree.keys()
    await path.produce(path.clicks, [event(4, me, "click", "football")])
    await path.until(lambda o: o.get("applied", 0) == 3)
    assert (await path.tree(me))[NodeKey(me, "profile", "/")].count == 1


async def test_the_topic_of_updates_forgets_the_user(path: Rig) -> None:
    me = path.user()
    await path.produce(path.clicks, [event(1, me, "click", "jazz")])
    await path.until(lambda o: o.get("applied", 0) == 1)
    await path.produce(path.events, [event(2, me, "erase")])
    await path.until(lambda o: o.get("applied", 0) == 2)
    topic = path.settings.kafka.updated_topic
    values = [r.value async for some in read_topic(path.config, topic) for r in some if r.key == me.encode()]
    assert len(values) >= 3
    assert b'"erased":true' in values[-2]
    assert values[-1] is None


async def test_what_is_younger_than_an_erasure_stays_though_it_was_folded_before(path: Rig) -> None:
    """[click at 1, click at 3, erase at 2] leaves what [click at 1, erase at 2, click at 3] does."""
    me, now = path.user(), int(time.time() * 1000)
    await path.produce(path.clicks, [event(1, me, "click", "jazz", ts=now - 3 * 3_600_000)])
    await path.produce(path.clicks, [event(2, me, "click", "football", ts=now - 3_600_000)])
    await path.until(lambda o: o.get("applied", 0) == 2)
    await path.produce(path.events, [event(3, me, "erase", ts=now - 2 * 3_600_000)])
    await path.until(lambda o: o.get("applied", 0) == 3)
    tree = await path.tree(me)
    profile = tree[NodeKey(me, "profile", "/")]
    assert [entry.item_id for entry in profile.evidence] == ["football"]
    assert (profile.count, profile.reread, profile.erased_at_ms) == (1, False, now - 2 * 3_600_000)
    assert all(node.first_ms == now - 3_600_000 for node in tree.values())
    await path.until(lambda o: o.get("reread", 0) == 1)
