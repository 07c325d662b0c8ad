"""Deletes what has expired from the store, every so many seconds, beside the agents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Protocol

import structlog
from prometheus_client import Counter, Gauge

from streams.base.clock import now_ms
from streams.base.errors import InterestsError

log = structlog.get_logger()


class Sweepable(Protocol):
    """A store whose nodes expire."""

    async def sweep(self, now_ms: int) -> None:
        """Delete what has expired by a moment in milliseconds of the Unix epoch; raises `StoreUnavailable`."""


async def sweep(
    stores: Sequence[Sweepable], every_s: float, sweeps: Counter,
    oldest_put_back: Callable[[], Awaitable[int]], overdue: Gauge,
) -> None:  # fmt: skip
    """Sweep the stores every `every_s` seconds (0: never) until cancelled.

    A store that fails keeps none of the others from being swept, and is swept again in the next round. `sweeps` counts
    the sweeps of a store by outcome: `done` or `failed`. After a round `overdue` says how old in seconds the oldest
    erasure is of which nodes are there even so; `oldest_put_back` gives its time in ms, 0 for none.
    """
    while every_s > 0:
        await asyncio.sleep(every_s)
        for store in stores:
            started = monotonic()
            try:
                await store.sweep(now_ms())
            except InterestsError as error:
                sweeps.labels("failed").inc()
                log.warning("sweep_failed", error=str(error), again_in_s=every_s)
            else:
                sweeps.labels("done").inc()
                log.info("swept", seconds=round(monotonic() - started, 3))
        try:
            at_ms = await oldest_put_back()
        except InterestsError as error:
            log.warning("sweep_failed", error=str(error), again_in_s=every_s)
            continue
        overdue.set((now_ms() - at_ms) / 1000 if at_ms else 0)
        if at_ms:
            log.error("erasure_overdue", erased_at_ms=at_ms)
