"""Learned nodes on a real Qdrant engine: read back as written, fenced, and gone again where their person was erased."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from streams.base.clock import now_ms
from streams.base.errors import StoreUnavailable
from streams.broker.fetched_batch import GroupIdentity, Partition
from streams.events.items import Item
from streams.interests.applied import Applied
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import LearnedPart, Node, NodeKey, profile_key
from streams.interests.recents import Recent, pack_recents
from streams.settings.policies import NodeSettings
from streams.store.base import Control, Fence
from streams.store.collections import Collections
from streams.store.qdrant import QdrantStore
from streams.store.reader import StoreReader
from streams.worker import learned_sweep
from streams.worker.learned_level import LearnedLevel, LearnedLimits, LearnedSources
from streams.worker.learned_queue import LearnedQueue
from streams.worker.learned_sweep import LearnedSweep, SweepSources
from tests.contract.test_store import config_of
from tests.fixtures.interest_model import Heard, MeanModel
from tests.fixtures.qdrant import QdrantServer

DIM, T0 = 4, 1_780_000_000_000
POLICY = NodeSettings().policy()
OLD, NEW = Fence(1, 1), Fence(1, 2)
ROWS = np.eye(DIM, dtype=np.float32)


class Kept:
    """A store with four items, and a level on it whose model is in this process."""

    def __init__(self, server: QdrantServer) -> None:
        self.names = Collections(uuid.uuid4().hex, DIM)
        self.store = QdrantStore(config_of(server), POLICY, self.names)
        self.reader = StoreReader(config_of(server), collections=self.names)
        self.model, self.heard = MeanModel(DIM), Heard()
        self.sources = LearnedSources(
            model=self.model, items=self.store.items, write=self.store.write_late, observer=self.heard
        )

    async def prepare(self) -> None:
        await self.store.prepare()
        await self.store.put_items([ItemPoint(Item(f"i{at}", title="t"), row, "/") for at, row in enumerate(ROWS)])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While a level runs; at the end it has worked off what waits."""
        self.queue = LearnedQueue(100, self.heard.learned_dropped)
        self.level = LearnedLevel(self.sources, self.queue, LearnedLimits(linger_s=0.0))
        task = asyncio.create_task(self.level.run())
        try:
            yield
        finally:
            self.level.stop()
            async with asyncio.timeout(10):
                await task

    async def changed(self, item: str, fence: Fence, at_ms: int = T0) -> None:
        """Somebody's profile is written, and the level is told."""
        made = profile("ana", item, at_ms)
        await self.store.write([made], fence)
        self.level.changed([made], fence)

    async def behind(self, *slots: str, model: str = "", at_ms: int = T0) -> list[tuple[str, Fence]]:
        """Who is behind, and under which fence."""
        pages = self.store.learned_behind(frozenset(slots or ["clicks/0"]), model or self.model.model_id, at_ms)
        return sorted([(one.profile.key.user_id, one.fence) async for page in pages for one in page])

    async def learned(self) -> dict[str, Node]:
        """Every learned node there is, those put back after an erasure among them."""
        nodes = await self.reader.stored("ana")
        return {node.key.path: node for node in nodes if node.key.level == "learned"}


def profile(user: str, item: str, at_ms: int = T0, *, count: int = 1, partition: int = 0) -> Node:
    """Somebody who has dealt with one item, by events of a partition of `clicks`."""
    return Node(
        key=profile_key(user), direction=ROWS[0], norm=2.0, mass=2.0, net=2.0, t0_ms=at_ms, first_ms=at_ms,
        last_ms=at_ms, count=count, recents=pack_recents([Recent(item, at_ms, 2.0, "like")]),
        applied=Applied(1, {f"clicks/{partition}": count}),
    )  # fmt: skip


@pytest.fixture
async def kept(qdrant: QdrantServer) -> AsyncIterator[Kept]:
    made = Kept(qdrant)
    await made.prepare()
    yield made
    await made.reader.close()
    await made.store.close()


def tombstone(at_ms: int) -> Node:
    return Node(key=profile_key("ana"), direction=np.zeros(DIM, np.float32), t0_ms=at_ms, erased_at_ms=at_ms)


async def test_who_changed_has_nodes_that_say_which_model_made_them(kept: Kept) -> None:
    async with kept.running():
        await kept.changed("i2", OLD)
    tree = {node.key: node for node in await kept.reader.tree("ana")}
    node = tree[NodeKey("ana", "learned", "/exposure")]
    assert node.learned is not None
    assert 0 <= now_ms() - node.learned.made_ms < 60_000
    made = node.learned._replace(made_ms=0)
    assert made == LearnedPart("interest-mean-00000001", 2.0, -1.0)
    assert node.direction.tolist() == ROWS[2].tolist()
    assert [(one.item_id, one.weight, one.type) for one in node.evidence] == [("i2", 1.0, "like")]
    clicked = tree[NodeKey("ana", "learned", "/click")].learned
    assert clicked is not None
    assert clicked[1:5] == (1.0, -1.0, 0.0625, 0.25)


async def test_a_worker_that_lost_its_partitions_does_not_write_over_the_next_owner(kept: Kept) -> None:
    async with kept.running():
        await kept.changed("i1", NEW)
    async with kept.running():
        await kept.changed("i2", OLD)
    assert kept.heard.written == [(1, 4), (1, 4)]  # a conditional write does not say what it refused
    assert {node.direction.argmax() for node in (await kept.learned()).values()} == {1}


async def test_an_erasure_while_the_model_is_asked_leaves_nothing_behind(kept: Kept) -> None:
    """Another process erases: here nothing is heard of it, and the answers are written after the deletion."""
    kept.model.gate = asyncio.Event()
    async with kept.running():
        await kept.changed("i1", OLD)
        while not kept.model.asked:
            await asyncio.sleep(0.001)
        await kept.store.erase([tombstone(T0 + 1)], OLD)
        kept.model.gate.set()
    assert kept.heard.written == [(1, 4)]
    assert await kept.learned() == {}


async def test_an_erasure_between_the_deletion_and_its_mark_is_hidden_and_swept(kept: Kept) -> None:
    async with kept.running():
        await kept.changed("i1", OLD)
    await kept.store.write([tombstone(T0)], OLD)
    assert len(await kept.learned()) == 4
    assert [node.key.level for node in await kept.reader.tree("ana")] == ["profile"]
    await kept.store.sweep(T0)
    assert await kept.learned() == {}


async def test_who_comes_back_after_an_erasure_keeps_the_nodes_of_then(kept: Kept) -> None:
    await kept.store.erase([tombstone(T0)], OLD)
    async with kept.running():
        await kept.changed("i3", OLD, T0 + 9)
    await kept.store.write([tombstone(T0)], OLD)
    await kept.store.write_late([], OLD)
    assert len(await kept.learned()) == 4
    assert all(node.first_ms == T0 + 9 for node in (await kept.learned()).values())


async def test_who_is_behind_is_who_has_no_node_or_one_of_another_state_or_model(kept: Kept) -> None:
    async with kept.running():
        await kept.changed("i1", OLD)
    await kept.store.write([profile("ben", "i2")], NEW)
    assert await kept.behind() == [("ben", NEW)]
    assert await kept.behind(model="interest-mean-00000002") == [("ana", OLD), ("ben", NEW)]
    await kept.store.write([profile("ana", "i2", count=2)], NEW)
    assert await kept.behind() == [("ana", NEW), ("ben", NEW)]


async def test_nobody_is_behind_of_whom_nothing_is_to_be_made(kept: Kept) -> None:
    """Of another's partition; erased; who has dealt with no item; whose nodes would be deleted at once."""
    await kept.store.write([profile("ana", "i1"), replace(profile("ben", "i1"), recents=""), profile("cyd", "i1")], OLD)
    await kept.store.erase([replace(tombstone(T0), key=profile_key("cyd"))], OLD)
    assert await kept.behind() == [("ana", OLD)]
    assert await kept.behind("clicks/1", "events/0") == []
    assert await kept.behind(at_ms=T0 + 400 * 86_400_000) == []


def _identity(generation: int) -> GroupIdentity:
    return GroupIdentity(generation=generation, leader_id="", member_id="", cluster_id=None)


class Group:
    """A consumer group with one worker: its assignment, its control point, and a sweep for it."""

    def __init__(self, kept: Kept) -> None:
        self.kept, self.identity = kept, _identity(2)
        self.control = Control(epoch=1, generation=2)
        self.swept: list[str] = []
        self.found = 0
        self.sweep = LearnedSweep(
            SweepSources(
                model=kept.model, behind=kept.store.learned_behind, control=self.stored, queue=kept.queue,
                filled=kept.level.filled, observer=self,
            ), LearnedLimits(people_a_call=2),
        )  # fmt: skip

    async def stored(self) -> Control | None:
        return self.control

    def held(self) -> tuple[GroupIdentity, frozenset[Partition]]:
        return self.identity, frozenset([Partition("clicks", 0)])

    def learned_found(self, people: int) -> None:
        self.found += people

    def learned_swept(self, outcome: str) -> None:
        self.swept.append(outcome)

    async def until_swept(self, times: int) -> None:
        async with asyncio.timeout(10):
            while len(self.swept) < times:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def sweeping(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Group]:
    """While a level runs and a sweep beside it, which looks all the time."""
    monkeypatch.setattr(learned_sweep, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(learned_sweep, "_REST_AFTER", 0.0)
    async with kept.running():
        group = Group(kept)
        task = asyncio.create_task(group.sweep.run(group.held))
        try:
            yield group
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_sweep_has_everybody_asked_about_who_is_behind_and_nobody_twice(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.store.write([profile(f"u{at}", "i1") for at in range(7)], OLD)
    async with sweeping(kept, monkeypatch) as group:
        await group.until_swept(1)
        await asyncio.sleep(0.1)
        assert (group.swept, group.found) == (["done"], 7)
        async with asyncio.timeout(10):
            while await kept.behind():
                await asyncio.sleep(0.01)
        group.sweep.again()
        await group.until_swept(2)
        assert group.found == 7
        kept.model.model_id = "interest-mean-00000002"
        await group.until_swept(3)
        group.identity = _identity(3)
        await group.until_swept(4)
    assert group.found == 14
    assert await kept.behind() == []


async def test_what_a_newer_owner_has_written_is_for_that_one(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    await kept.store.write([profile("ana", "i1")], Fence(1, 3))
    await kept.store.write([profile("ben", "i1")], NEW)
    async with sweeping(kept, monkeypatch) as group:
        await group.until_swept(1)
        assert group.found == 1
        group.control, group.identity = Control(epoch=1, generation=4), _identity(3)
        await asyncio.sleep(0.1)
        assert group.swept == ["done"], "a worker of an ended generation looks at nobody"
    assert await kept.behind() == [("ana", Fence(1, 3))]


async def test_a_sweep_that_fails_is_made_again(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    await kept.store.write([profile("ana", "i1")], OLD)
    async with sweeping(kept, monkeypatch) as group:
        stored, failures = group.stored, [StoreUnavailable("away")]

        async def broken() -> Control | None:
            if failures:
                raise failures.pop()
            return await stored()

        monkeypatch.setattr(group.sweep, "_from", replace(group.sweep._from, control=broken))
        await group.until_swept(2)
    assert group.swept == ["failed", "done"]
    assert await kept.behind() == []
