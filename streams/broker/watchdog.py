"""Seeing that a worker is stuck, so that the process ends and whatever runs it starts a new one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from aiokafka.errors import KafkaError

from streams.broker.app import BrokerApp
from streams.broker.transport import BatchConsumer

ASK_WITHIN_S = 10.0


class Watchdog:
    """Says why a worker is stuck, or None. `stall_s` is how long a standstill lasts before it counts.

    Three things count: aiokafka gave up for good (at once), batches are out and none was acknowledged, and the log
    has records that nobody fetches. The last is asked of the broker four times a `stall_s`; a broker that is away
    does not count, the client comes back to it by itself.
    """

    def __init__(self, app: BrokerApp, stall_s: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._app = app
        self._stall_s = stall_s
        self._clock = clock
        self._asked_at_s = clock()
        self._behind: dict[object, tuple[int, float]] = {}

    async def complaint(self) -> str | None:
        """Look once."""
        consumer = self._app._consumer
        if not isinstance(consumer, BatchConsumer):
            return None
        failure = consumer.failure()
        if failure is not None:
            return f"the Kafka client gave up: {failure!r}"
        if consumer.ledger.outstanding() and self._clock() - consumer.last_progress_s > self._stall_s:
            return f"batches are out and none was acknowledged for {self._stall_s:.0f} s"
        return await self._unfetched(consumer)

    async def _unfetched(self, consumer: BatchConsumer) -> str | None:
        now_s = self._clock()
        if self._app.identity is None or consumer.ledger.outstanding():
            self._behind.clear()
            return None
        if now_s - self._asked_at_s < self._stall_s / 4:
            return None
        self._asked_at_s = now_s
        try:
            behind = await asyncio.wait_for(consumer.behind(), ASK_WITHIN_S)
        except (KafkaError, TimeoutError):
            return None
        still = {}
        for source, position in behind.items():
            before, since_s = self._behind.get(source, (position, now_s))
            still[source] = (position, since_s if before == position else now_s)
        self._behind = dict(still)
        if any(now_s - since_s > self._stall_s for _, since_s in still.values()):
            return f"records wait and none was fetched for {self._stall_s:.0f} s"
        return None
