"""Sweeping for what has expired: a store that fails holds up neither the others nor the next round."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from streams.base.clock import now_ms
from streams.base.errors import StoreUnavailable
from streams.interests.nodes import Node, NodeKey, profile_key
from streams.settings.policies import NodeSettings
from streams.store.base import Fence
from streams.store.memory import MemoryStore
from streams.worker.metrics import Metrics
from streams.worker.sweep import sweep

POLICY = NodeSettings().policy()
LONG_GONE = Node(
    key=NodeKey("ana", "interest", "/food/tea"), direction=np.array([1], np.float32), mass=1.0, t0_ms=0, count=1
)


class SometimesAway(MemoryStore):
    """Refuses to sweep while it is away."""

    away = True

    async def sweep(self, now_ms: int) -> None:
        if self.away:
            raise StoreUnavailable("away")
        await super().sweep(now_ms)


async def until_empty(store: MemoryStore) -> None:
    while await store.tree("ana"):
        await asyncio.sleep(0.001)


async def test_a_store_that_fails_holds_up_neither_the_others_nor_the_next_round() -> None:
    failing, other = SometimesAway(POLICY), MemoryStore(POLICY)
    for store in (failing, other):
        await store.write([LONG_GONE], Fence(1, 1))
    metrics = Metrics()
    sweeping = asyncio.create_task(
        sweep([failing, other], 0.001, metrics.sweeps, other.oldest_put_back, metrics.erasure_overdue)
    )
    try:
        await asyncio.wait_for(until_empty(other), 10)
        assert await failing.tree("ana")
        failing.away = False
        await asyncio.wait_for(until_empty(failing), 10)
    finally:
        sweeping.cancel()
    assert metrics.sweeps.labels("failed")._value.get() >= 1
    assert metrics.sweeps.labels("done")._value.get() >= 2


class Stubborn(MemoryStore):
    """Keeps what it is told to delete, and may be away when it is asked for that."""

    away = False

    async def sweep(self, now_ms: int) -> None:
        """Delete nothing."""

    async def oldest_put_back(self) -> int:
        if self.away:
            raise StoreUnavailable("away")
        return await super().oldest_put_back()


async def test_an_erasure_whose_nodes_a_sweep_leaves_is_overdue_until_they_are_gone() -> None:
    store, metrics, at_ms = Stubborn(POLICY), Metrics(), now_ms() - 60_000
    tombstone = replace(LONG_GONE, key=profile_key("ana"), mass=0.0, count=0, erased_at_ms=at_ms)
    await store.write([replace(LONG_GONE, first_ms=at_ms), tombstone], Fence(1, 1))
    overdue = metrics.erasure_overdue._value
    sweeping = asyncio.create_task(
        sweep([store], 0.001, metrics.sweeps, store.oldest_put_back, metrics.erasure_overdue)
    )

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    try:
        await until(lambda: overdue.get() > 0)
        assert overdue.get() == pytest.approx(60, abs=10)
        store.away = True
        rounds = metrics.sweeps.labels("done")._value.get()
        await until(lambda: metrics.sweeps.labels("done")._value.get() > rounds + 2)
        assert overdue.get() > 0, "nobody knows better yet"
        await MemoryStore.sweep(store, 0)
        store.away = False
        await until(lambda: overdue.get() == 0)
    finally:
        sweeping.cancel()
