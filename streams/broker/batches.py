"""Batches: what was fetched, gathered for an agent and acknowledged only when it asks for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from streams.broker.app import BrokerApp
from streams.broker.fetched_batch import FetchedBatch, GroupIdentity, Record


class Batch:
    """Records of one assignment, fetched batch by fetched batch as they came; none is acknowledged until `ack`."""

    __slots__ = ("_app", "_events", "fetched", "identity", "size_bytes")

    def __init__(self, app: BrokerApp, identity: GroupIdentity) -> None:
        self._app = app
        self._events: list[Any] = []
        self.fetched: list[FetchedBatch] = []
        self.identity = identity
        self.size_bytes = 0

    def add(self, event: Any) -> None:
        """Put a further fetched batch at the end."""
        self._events.append(event)
        self.fetched.append(event.value)
        self.size_bytes += event.value.size_bytes

    @property
    def records(self) -> list[Record]:
        """All records, partition by partition in offset order."""
        return [record for part in self.fetched for record in part.records]

    @property
    def generation(self) -> int:
        return self.identity.generation

    def __len__(self) -> int:
        return sum(map(len, self.fetched))

    def stale(self) -> bool:
        """True once the assignment these batches came under has ended: write nothing, acknowledge nothing."""
        return self._app.identity is not self.identity

    def stopping(self) -> bool:
        """True once the worker stops: what has not been begun is left to the next one."""
        return self._app.draining

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While somebody is at work on it: a worker that stops waits until that is done."""
        self._app.enter_batch()
        try:
            yield
        finally:
            self._app.leave_batch()

    async def ack(self) -> bool:
        """Acknowledge all records in offset order; False where the batch is stale, which acknowledges nothing.

        The offsets are committed within the commit interval, and at once when the worker stops.
        """
        if self.stale():
            return False
        for event in self._events:
            event.ack()
        return True


async def gather_batches(
    app: BrokerApp,
    stream: Any,
    *,
    max_records: int | Callable[[], int] = 4_000,
    max_bytes: int = 16 << 20,
    within_s: float = 0.0,
) -> AsyncGenerator[Batch]:
    """Gather what is there, up to `max_records` and `max_bytes`, and hand it out.

    Where `max_records` is to be asked, that is done before each batch.
    What waits already is handed out at once. `within_s` waits that many seconds more while the batch is not full. A
    fetched batch is never cut, so a batch exceeds a bound only where it is a single fetched one. Those of an ended
    assignment are dropped unacknowledged: their partition is read again from its committed offset.
    The stream itself must not be iterated besides: Faust's iteration acknowledges what it skips.
    """
    intake = _Intake(app, stream.channel.queue)
    while True:
        try:
            limit = max_records if isinstance(max_records, int) else max_records()
            batch = await intake.gather(limit, max_bytes, within_s)
        except StopAsyncIteration:  # Faust throws it into the queue of an agent it stops
            return
        with batch.at_work():
            yield batch


class _Intake:
    """The agent's queue, with one place for a fetched batch that did not fit the last batch."""

    def __init__(self, app: BrokerApp, queue: asyncio.Queue[Any]) -> None:
        self._app = app
        self._queue = queue
        self._left: Any = None

    async def gather(self, max_records: int, max_bytes: int, within_s: float) -> Batch:
        first = await self._next(None)
        batch = Batch(self._app, first.value.identity)
        batch.add(first)
        deadline_s = monotonic() + within_s
        count = len(first.value)
        while count < max_records and batch.size_bytes < max_bytes:
            event = await self._next(deadline_s)
            if event is None:
                break
            count += len(event.value)
            full = count > max_records or batch.size_bytes + event.value.size_bytes > max_bytes
            if full or event.value.identity is not batch.identity:
                self._left = event
                break
            batch.add(event)
        return batch

    async def _next(self, deadline_s: float | None) -> Any:
        while True:
            if self._left is not None:
                event, self._left = self._left, None
            elif not self._queue.empty():
                event = self._queue.get_nowait()
            elif deadline_s is None:
                event = await self._queue.get()
            else:
                event = await self._wait(deadline_s - monotonic())
                if event is None:
                    return None
            self._app.consumer.room.set()
            if self._app.draining:
                # The worker stops: leave this agent waiting here until it is cancelled.
                await asyncio.Event().wait()
            if event.value.identity is self._app.identity:
                return event

    async def _wait(self, timeout_s: float) -> Any:
        if timeout_s <= 0:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                return await self._queue.get()
        except TimeoutError:
            return None
