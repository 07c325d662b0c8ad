"""Learned nodes on a real Qdrant engine: read back as written, fenced, and gone again where their person was erased."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from streams.base.clock import now_ms
from streams.events.items import Item
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import LearnedPart, Node, NodeKey, profile_key
from streams.interests.recents import Recent, pack_recents
from streams.settings.policies import NodeSettings
from streams.store.base import Fence
from streams.store.collections import Collections
from streams.store.qdrant import QdrantStore
from streams.store.reader import StoreReader
from streams.worker.learned_level import LearnedLevel, LearnedLimits, LearnedSources
from streams.worker.learned_queue import LearnedQueue
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
        self._sources = LearnedSources(
            model=self.model, items=self.store.items, write=self.store.write_late, observer=self.heard
        )

    async def prepare(self) -> None:
        await self.store.prepare()
        await self.store.put_items([ItemPoint(Item(f"i{at}", title="t"), row, "/") for at, row in enumerate(ROWS)])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While a level runs; at the end it has worked off what waits."""
        queue = LearnedQueue(100, self.heard.learned_dropped)
        self.level = LearnedLevel(self._sources, queue, LearnedLimits(linger_s=0.0))
        task = asyncio.create_task(self.level.run())
        try:
            yield
        finally:
            self.level.stop()
            async with asyncio.timeout(10):
                await task

    async def changed(self, item: str, fence: Fence, at_ms: int = T0) -> None:
        """Somebody's profile is written, and the level is told."""
        profile = Node(
            key=profile_key("ana"), direction=ROWS[0], norm=2.0, mass=2.0, net=2.0, t0_ms=at_ms, first_ms=at_ms,
            last_ms=at_ms, count=1, recents=pack_recents([Recent(item, at_ms, 2.0, "like")]),
        )  # fmt: skip
        await self.store.write([profile], fence)
        self.level.changed([profile], fence)

    async def learned(self) -> dict[str, Node]:
        """Every learned node there is, those put back after an erasure among them."""
        nodes = await self.reader.stored("ana")
        return {node.key.path: node for node in nodes if node.key.level == "learned"}


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
