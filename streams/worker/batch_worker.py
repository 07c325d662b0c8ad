"""What a worker does with a batch: apply it, retry while a server is away, acknowledge, never past a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic

import structlog

from streams.base.clock import now_ms
from streams.base.errors import RetryableError
from streams.base.retrying import forever
from streams.broker.batches import Batch
from streams.broker.fetched_batch import GroupIdentity, Record
from streams.broker.in_order import Before
from streams.concepts.tree import ConceptTree
from streams.events.dead_letters import DeadLetter
from streams.events.event import RecordLike
from streams.events.unresolved import due_ms, of_another_group
from streams.interests.signed_weight import WeightTable
from streams.pipeline.apply import PipelineDependencies, apply, apply_items
from streams.pipeline.derive import Derived
from streams.pipeline.faultpoints import meet, reach
from streams.pipeline.in_flight import InFlight, Superseded
from streams.pipeline.report import Report
from streams.pipeline.tracing import Followed, follow, stage, traced_batch
from streams.store.base import Fence
from streams.worker.crashes import Crashes, Work
from streams.worker.metrics import Metrics
from streams.worker.outputs import UpdatesProducer
from streams.worker.overlap import Overlap
from streams.worker.ownership import Owner, Ownership
from streams.worker.pace import Pace

log = structlog.get_logger(__name__)

Derive = Callable[[Sequence[RecordLike], Owner], Awaitable[Derived]]
"""Folds records of a derived topic as the owner of their partitions."""


def _nothing() -> None:
    """Nobody waits."""


def unheeded(report: Report, fence: Fence) -> None:
    """Nobody asks what a batch has changed."""


async def _at_once() -> None:
    """No batch is before."""


@dataclass(slots=True)
class _Turn:
    """How far a batch is for the next: the flight in which all of it is folded, or that it is done."""

    flight: InFlight | None = None
    is_done: bool = False

    @property
    def is_to_come(self) -> bool:
        """Whether it is still to be folded, perhaps again: nothing may be folded past it."""
        return not self.is_done and (self.flight is None or self.flight.has_failed)


@dataclass(frozen=True, slots=True)
class _Place:
    """A batch among those of its agent: what it is folded `on`, whom it tells when it is folded, and whom it awaits."""

    on: _Turn | None = None
    folded: Callable[[InFlight], None] = lambda _: None
    before: Before = _at_once


class BatchWorker:
    """Batches in, nodes out. One folds at a time, so that a user's nodes are read and changed by one batch.

    `through` is called with the records of a batch that will not be tried again here, `changed` with the report of one
    whose nodes are durable, and the fence that they were written under.
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
        changed: Callable[[Report, Fence], None] = unheeded,
    ) -> None:
        self._deps, self._ownership, self._metrics, self._progress = deps, ownership, metrics, progress
        self._updates, self._crashes, self._is_through, self._changed = updates, crashes, through, changed
        self.pace = pace
        self._overlap = Overlap()
        self._latest = _Turn(is_done=True)
        self._over: GroupIdentity | None = None
        self._done_s = 0.0

    def take_up(self, tree: ConceptTree, weights: WeightTable) -> None:
        """Place and weigh by these from the next batch on. A batch that is tried again keeps those it began with."""
        self._deps = replace(self._deps, tree=tree, weights=weights)

    async def fold(self, batch: Batch, folded: Callable[[], None] = _nothing, before: Before = _at_once) -> None:
        """Apply a batch of events and acknowledge it after the one `before`; `folded`: the next may begin.

        It is folded on what the one before leaves, while that is on its way to the store. Where that does not come
        about, or this one is to be tried again or in parts, it waits for the one before.
        """
        began_s, tries, on, mine = monotonic(), 0, self._latest, _Turn()
        self._latest, deps = mine, self._deps

        def tell(flight: InFlight) -> None:
            mine.flight = flight
            folded()

        async def work(records: Sequence[Record]) -> bool:
            nonlocal tries
            tries += 1
            if tries == 1 and len(records) == len(batch):
                return await self._fold(batch, followed, _Place(on, tell, before), deps, records)
            await before()
            return await self._fold(batch, followed, _Place(), deps, records)

        with traced_batch(batch.records) as followed:
            if await self._through(batch, batch.records, work, before):
                await before()
                self.pace.took(len(batch), monotonic() - max(began_s, self._done_s))
                self._done_s = monotonic()
                await reach("before_ack")
                with stage("ack"):
                    await self._acknowledge(batch, monotonic() - began_s)
                await reach("after_ack")
        mine.is_done = True

    async def fold_when_due(self, batch: Batch) -> None:
        """Apply a batch of events that waited for their items, each when it is due, in offset order.

        A worker that stops does not wait for those still to come: they are left unacknowledged, for the next one.
        """
        worked_s, began_ms = 0.0, now_ms()
        records = [record for record in batch.records if not of_another_group(record, self._deps.retries)]
        dues = [due_ms(record, now_ms=began_ms, policy=self._deps.retries) for record in records]
        while records and not batch.stale():
            if batch.stopping():
                return
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
                if not await self._through(batch, due, partial(self._fold, batch, followed, _Place(), self._deps)):
                    return
            worked_s += monotonic() - began_s
        await self._acknowledge(batch, worked_s)

    async def describe(self, batch: Batch) -> None:
        """Encode a batch of items and acknowledge it."""
        deps = self._deps

        async def work(records: Sequence[Record]) -> bool:
            self._count(records, await apply_items(records, deps, now_ms=now_ms()))
            return True

        began_s = monotonic()
        with traced_batch(batch.records):
            if await self._through(batch, batch.records, work):
                await self._acknowledge(batch, monotonic() - began_s)

    async def derive(self, batch: Batch, fold: Derive) -> None:
        """Fold a batch of what the path sent on, fenced as nodes are but beside their folding, and acknowledge it."""

        async def work(records: Sequence[Record]) -> bool:
            async with self._overlap.beside(batch.identity):
                owner = await self._ownership.enter(batch)
            # Verified before too, so that no record can be of a later log than ours.
            if owner is None or not await self._ownership.verify(batch, owner):
                return False
            derived = await fold(records, owner)
            if not await self._ownership.verify(batch, owner):
                return False
            for outcome, events in (("counted", derived.counted), ("repeated", derived.repeated)):
                self._metrics.derived.labels(derived.kind, outcome).inc(events)
            self._metrics.dead_lettered(derived.dead)
            self._progress()
            _log_dead_letters(derived.dead)
            return True

        if await self._through(batch, batch.records, work):
            await batch.ack()

    async def _fold(
        self, batch: Batch, followed: Followed, place: _Place, deps: PipelineDependencies, records: Sequence[Record]
    ) -> bool:
        while not self._is_over(batch):
            try:
                return await self._folded_and_announced(batch, followed, place, deps, records)
            except Superseded:
                self._metrics.superseded.inc()
                await place.before()
                place = replace(place, on=None)
        return False

    async def _folded_and_announced(
        self, batch: Batch, followed: Followed, place: _Place, deps: PipelineDependencies, records: Sequence[Record]
    ) -> bool:
        async with self._overlap.flight(batch.identity, place.folded) as flight:
            if place.on is not None and place.on.is_to_come:
                raise Superseded("the batch before is to be folded again")
            owner = await self._ownership.enter(batch)
            if owner is None:
                return False
            report = await apply(records, deps, owner.fence, owner.log, now_ms=now_ms(), flight=flight)
            flight.end(written=True)
            await place.before()
            with stage("verify"):
                if not await self._ownership.verify(batch, owner):
                    return False
            self._changed(report, owner.fence)
            with stage("announce"):
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

    async def _through(self, batch: Batch, records: Sequence[Record], work: Work, before: Before = _at_once) -> bool:
        """Do the work on records of a batch but for those that crash it; False where a rebalance took it from us.

        New partitions may begin a new epoch or log: that waits for the batch before, tried again under its own.
        """

        async def begin() -> bool:
            async with self._overlap.beside(batch.identity):
                owner = await self._ownership.enter(batch)
            if owner is not None:
                await self._crashes.begin(batch, owner.log)
            return owner is not None

        async def begin_at_once() -> bool:
            return await self._ownership.joins(batch) and await begin()

        async def met(some: Sequence[Record]) -> bool:
            meet(some)
            return await work(some)

        retry = partial(self._until_done, batch)
        try:
            begun = self._crashes.knows(batch) or await retry(begin_at_once)
            if not begun:
                await before()
                begun = await retry(begin)
            done = begun and await self._crashes.through(batch, records, met, retry)
        finally:
            self._is_through(records)
        if not done:
            self._over = self._over if batch.stale() else batch.identity
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
            async for attempt in forever(waiting, given_up=partial(self._is_over, batch)):
                with attempt:
                    done = not self._is_over(batch) and await work()
        except RetryableError:
            done = False
        return done

    def _is_over(self, batch: Batch) -> bool:
        """Whether its assignment ended, or a batch of that was dropped: what is folded past it would hide it."""
        return batch.stale() or batch.identity is self._over

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
