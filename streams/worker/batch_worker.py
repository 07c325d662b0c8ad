"""What a worker does with a take: apply it, retry while a server is away, acknowledge, never past a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from streams.base.clock import now_ms
from streams.base.errors import RetryableError
from streams.broker.batches import Batch
from streams.events.dead_letters import DeadLetter
from streams.events.event import RecordLike
from streams.events.unresolved import due_ms
from streams.pipeline.apply import PipelineDependencies, Report, apply, apply_items
from streams.pipeline.derive import Derived
from streams.pipeline.faultpoints import reach
from streams.pipeline.tracing import Followed, batch, follow, stage
from streams.store.base import Fence
from streams.worker.metrics import Metrics
from streams.worker.outputs import UpdatesProducer
from streams.worker.ownership import Ownership
from streams.worker.retrying import forever

log = structlog.get_logger(__name__)

Derive = Callable[[Sequence[RecordLike], Fence], Awaitable[Derived]]


class BatchWorker:
    """Takes in, nodes out. One lock holds all folding, so that a user's nodes are read and written by one batch."""

    def __init__(
        self,
        parts: PipelineDependencies,
        ownership: Ownership,
        metrics: Metrics,
        progress: Callable[[], None],
        announcer: UpdatesProducer,
    ) -> None:
        self._parts, self._ownership, self._metrics, self._progress = parts, ownership, metrics, progress
        self._announcer = announcer
        self._folding = asyncio.Lock()

    async def fold(self, take: Batch) -> None:
        """Apply a take of events and acknowledge it."""
        with batch(take.records) as followed:
            if await self._until_done(take, lambda: self._fold(take, take.records, followed)):
                await reach("before_ack")
                with stage("ack"):
                    await take.ack()
                await reach("after_ack")

    async def fold_when_due(self, take: Batch) -> None:
        """Apply a take of events that waited for their items, each when it is due, in offset order."""
        records = take.records
        while records and not take.stale():
            pause_s = (due_ms(records[0]) - now_ms()) / 1000
            if pause_s > 0:
                self._progress()
                await asyncio.sleep(min(pause_s, 1.0))
                continue
            until = now_ms()
            count = next((n for n, record in enumerate(records) if due_ms(record) > until), len(records))
            due, records = records[:count], records[count:]
            with batch(due) as followed:
                if not await self._until_done(take, partial(self._fold, take, due, followed)):
                    return
        await take.ack()

    async def describe(self, take: Batch) -> None:
        """Encode a take of items and acknowledge it."""

        async def work() -> bool:
            with self._metrics.batch_seconds.time():
                self._count(take.records, await apply_items(take.records, self._parts, now_ms=now_ms()))
            return True

        with batch(take.records):
            if await self._until_done(take, work):
                await take.ack()

    async def derive(self, take: Batch, fold: Derive) -> None:
        """Fold a take of what the path sent on, fenced as nodes are but beside their folding, and acknowledge it."""

        async def work() -> bool:
            async with self._folding:
                owner = await self._ownership.enter(take)
            if owner is None:
                return False
            made = await fold(take.records, owner.fence)
            async with self._folding:
                await self._ownership.verify(take)
            for outcome, events in (("counted", made.counted), ("repeated", made.repeated)):
                self._metrics.derived.labels(made.kind, outcome).inc(events)
            self._metrics.buried(made.dead)
            self._say(made.dead)
            return True

        if await self._until_done(take, work):
            await take.ack()

    async def _fold(self, take: Batch, records: Sequence[RecordLike], followed: Followed) -> bool:
        async with self._folding:
            owner = await self._ownership.enter(take)
            if owner is None:
                return False
            with self._metrics.batch_seconds.time():
                report = await apply(records, self._parts, owner.fence, owner.log, now_ms=now_ms())
            await self._ownership.verify(take)
            self._metrics.updates.inc(await self._announcer.announce(report, now_ms()))
        self._metrics.aged(records, now_ms())
        self._count(records, report)
        follow(followed, records, report)
        return True

    async def _until_done(self, take: Batch, work: Callable[[], Awaitable[bool]]) -> bool:
        """Do the work, waiting out servers that are away; False where a rebalance took the batch from us."""

        def waiting(server: str) -> None:
            self._metrics.retries.labels(server).inc()
            self._progress()

        done = False
        try:
            async for attempt in forever(waiting, given_up=take.stale):
                with attempt:
                    done = not take.stale() and await work()
        except RetryableError:
            done = False
        if not done:
            self._metrics.stale.inc()
            log.info("batch_dropped", reason="rebalance", generation=take.generation, records=len(take))
        return done

    def _count(self, records: Sequence[RecordLike], report: Report) -> None:
        self._metrics.batch_records.observe(len(records))
        self._metrics.count(report)
        self._say(report.dead)

    def _say(self, letters: Sequence[DeadLetter]) -> None:
        self._progress()
        for dead in letters:
            log.warning(
                "dead_letter", topic=dead.record.topic, partition=dead.record.partition, offset=dead.record.offset,
                stage=dead.stage, reason=dead.reason, message=dead.message,
            )  # fmt: skip
