"""Sweeping for what has expired: a store that fails holds up neither the others nor the next round."""

from __future__ import annotations

import asyncio

import numpy as np
from prometheus_client import CollectorRegistry, Counter

from streams.base.errors import StoreUnavailable
from streams.interests.nodes import Node, NodeKey
from streams.settings.policies import NodeSettings
from streams.store.base import Fence
from streams.store.memory import MemoryStore
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
    sweeps = Counter("sweeps", "Sweeps.", ("outcome",), registry=CollectorRegistry())
    sweeping = asyncio.create_task(sweep([failing, other], 0.001, sweeps))
    try:
        await asyncio.wait_for(until_empty(other), 10)
        assert await failing.tree("ana")
        failing.away = False
        await asyncio.wait_for(until_empty(failing), 10)
    finally:
        sweeping.cancel()
    assert sweeps.labels("failed")._value.get() >= 1
    assert sweeps.labels("done")._value.get() >= 2
