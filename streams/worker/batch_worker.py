"""What a worker does with a batch: apply it, retry while a server is away, acknowledge, never past a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic

import structlog

from streams.base.clock import now_ms
from streams.base.errors import RetryableError
from streams.broker.batches import Batch
from streams.broker.fetched_batch import Record
from streams.events.dead_letters import DeadLetter
from streams.events.event import RecordLike
from streams.events.unresolved import due_ms
from streams.pipeline.apply import PipelineDependencies, apply, apply_items
from streams.pipeline.derive import Derived
from streams.pipeline.faultpoints import meet, reach
from streams.pipeline.report import Report
from streams.pipeline.tracing import Followed, follow, stage, traced_batch
from streams.worker.crashes import Crashes, Work
from streams.worker.metrics import Metrics
from streams.worker.outputs import UpdatesProducer
from streams.worker.ownership import Owner, Ownership
from streams.worker.pace import Pace
from streams.worker.retrying import forever

log = structlog.get_logger(__name__)

Derive = Callable[[Sequence[RecordLike], Owner], Awaitable[Derived]]
"""Folds records of a derived topic as the owner of their partitions."""


class BatchWorker:
    """Batches in, nodes out. One lock holds all folding, so that a user's nodes are read and written by one batch.

    `through` is called with the records of a batch that will not be tried again here.
    """

    def __init__(
        self,
        *,
        deps: PipelineDependencies,
        ownership: Ownership,
        crashes: Crashes,
        metrics: Metrics,
        progress: Callable[[], None],
        updates: UpdatesProducer,
        through: Callable[[Sequence[RecordLike]], None],
        pace: Pace,
    ) -> None:
        self._deps, self._ownership, self._metrics, self._progress = deps, ownership, metrics, progress
        self._updates, self._crashes, self._is_through = updates, crashes, through
        self.pace = pace
        self._folding = asyncio.Lock()

    async def fold(self, batch: Batch) -> None:
        """Apply a batch of events and acknowledge it."""
        began_s = monotonic()
        with traced_batch(batch.records) as followed:
            if await self._through(batch, batch.records, partial(self._fold, batch, followed)):
                self.pace.took(len(batch), monotonic() - began_s)
                await reach("before_ack")
                with stage("ack"):
                    await self._acknowledge(batch, monotonic() - began_s)
                await reach("after_ack")

    async def fold_when_due(self, batch: Batch) -> None:
        """Apply a batch of events that waited for their items, each when it is due, in offset order."""
        records, worked_s, began_ms = batch.records, 0.0, now_ms()
        dues = [due_ms(record, now_ms=began_ms, policy=self._deps.retries) for record in records]
        while records and not batch.stale():
            pause_s = (dues[0] - now_ms()) / 1000
            if pause_s > 0:
                self._progress()
                await asyncio.sleep(min(pause_s, 1.0))
                continue
            until = now_ms()
            count = next((n for n, at_ms in enumerate(dues) if at_ms > until), len(records))
            due, records, dues = records[:count], records[count:], dues[count:]
            began_s = monotonic()
            with traced_batch(due) as followed:
                if not await self._through(batch, due, partial(self._fold, batch, followed)):
                    return
            worked_s += monotonic() - began_s
        await self._acknowledge(batch, worked_s)

    async def describe(self, batch: Batch) -> None:
        """Encode a batch of items and acknowledge it."""

        async def work(records: Sequence[Record]) -> bool:
            self._count(records, await apply_items(records, self._deps, now_ms=now_ms()))
            return True

        began_s = monotonic()
        with traced_batch(batch.records):
            if await self._through(batch, batch.records, work):
                await self._acknowledge(batch, monotonic() - began_s)

    async def derive(self, batch: Batch, fold: Derive) -> None:
        """Fold a batch of what the path sent on, fenced as nodes are but beside their folding, and acknowledge it."""

        async def work(records: Sequence[Record]) -> bool:
            async with self._folding:
                owner = await self._ownership.enter(batch)
                # Verified before too, so that no record can be of a later log than ours.
                if owner is None or not await self._ownership.verify(batch):
                    return False
            derived = await fold(records, owner)
            async with self._folding:
                if not await self._ownership.verify(batch):
                    return False
            for outcome, events in (("counted", derived.counted), ("repeated", derived.repeated)):
                self._metrics.derived.labels(derived.kind, outcome).inc(events)
            self._metrics.dead_lettered(derived.dead)
            self._progress()
            _log_dead_letters(derived.dead)
            return True

        if await self._through(batch, batch.records, work):
            await batch.ack()

    async def _fold(self, batch: Batch, followed: Followed, records: Sequence[Record]) -> bool:
        async with self._folding:
            owner = await self._ownership.enter(batch)
            if owner is None:
                return False
            report = await apply(records, self._deps, owner.fence, owner.log, now_ms=now_ms())
            if not await self._ownership.verify(batch):
                return False
            self._metrics.updates.inc(await self._updates.announce(report, now_ms()))
        self._metrics.aged(records, now_ms())
        self._count(records, report)
        follow(followed, records, report)
        return True

    async def _acknowledge(self, batch: Batch, worked_s: float) -> None:
        """Acknowledge a batch that was worked on for so long, and observe how long both took."""
        began_s = monotonic()
        if await batch.ack():
            self._metrics.batch_seconds.observe(worked_s + monotonic() - began_s)

    async def _through(self, batch: Batch, records: Sequence[Record], work: Work) -> bool:
        """Do the work on records of a batch but for those that crash it; False where a rebalance took it from us."""

        async def begin() -> bool:
            async with self._folding:
                owner = await self._ownership.enter(batch)
            if owner is not None:
                await self._crashes.begin(batch, owner.log)
            return owner is not None

        async def met(some: Sequence[Record]) -> bool:
            meet(some)
            return await work(some)

        retry = partial(self._until_done, batch)
        try:
            begun = self._crashes.knows(batch) or await retry(begin)
            done = begun and await self._crashes.through(batch, records, met, retry)
        finally:
            self._is_through(records)
        if not done:
            self._metrics.stale.inc()
            log.info("batch_dropped", reason="rebalance", generation=batch.generation, records=len(batch))
        return done

    async def _until_done(self, batch: Batch, work: Callable[[], Awaitable[bool]]) -> bool:
        """Do something, waiting out servers that are away; False where a rebalance took the batch from us."""

        def waiting(server: str) -> None:
            self._metrics.retries.labels(server).inc()
            self._progress()

        done = False
        try:
            async for attempt in forever(waiting, given_up=batch.stale):
                with attempt:
                    done = not batch.stale() and await work()
        except RetryableError:
            done = False
        return done

    def _count(self, records: Sequence[RecordLike], report: Report) -> None:
        self._metrics.batch_records.observe(len(records))
        self._metrics.count(report)
        if report.reread_incomplete:
            log.warning("reread_incomplete", users=report.reread_incomplete)
        self._progress()
        _log_dead_letters(report.dead)


def _log_dead_letters(dead_letters: Sequence[DeadLetter]) -> None:
    for dead in dead_letters:
        log.warning(
                "dead_letter", topic=dead.record.topic, partition=dead.record.partition, offset=dead.record.offset,
                stage=dead.stage, reason=dead.reason, message=dead.message,
            )  # fmt: skip
