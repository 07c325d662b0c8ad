"""No record ends a worker twice: the one that does is found, dead-lettered by its place and passed over.

Two ways to die, two ways to find the record.

An error that nobody expected is caught: the batch is halved until one record alone raises, twice. That is safe since a
batch equals its records one by one, and one that comes again changes nothing.

A death that nobody can catch (killed for memory, a fault in native code, work that stands still until the process is
ended) leaves a mark in the store. It is written once an assignment, with the first batch of a partition, and not
looked at again. Where a worker finds that the one before began at the same offset and is no member any more, that is a
death; after two of them it goes through the partition record by record, noting each before it begins, until that offset
is committed past. A record that was in hand alone at two deaths is set aside. So a record can end workers five times:
twice, or three times where it lay behind the first commit, and then twice alone.

What is no record's fault stays a failure: where a plain event fails as well, or more than `budget` records were set
aside within ten minutes, the process ends as for any other error. It goes on behind those next time.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

import msgspec
import structlog

from streams.base.clock import now_ms
from streams.base.errors import FatalError, InterestsError, PoisonError, RetryableError, StoreUnavailable
from streams.broker.batches import Batch
from streams.broker.fetched_batch import Partition, Record
from streams.events.dead_letters import DeadLetter, DeadLetterReason
from streams.events.spans import Found, ReadSpans, Slot, Span
from streams.store.crash_marks import NONE_IN_HAND, CrashMark, CrashMarks, SetAside
from streams.worker.turns import Turns

log = structlog.get_logger(__name__)

Work = Callable[[Sequence[Record]], Awaitable[bool]]
"""Applies some records of a batch; False where the batch is no longer ours."""
Retry = Callable[[Callable[[], Awaitable[bool]]], Awaitable[bool]]
"""Does something until its server answers; False where the batch is no longer ours."""

STAGE: Final = "crash"
_DEATHS_TO_DOUBT: Final = 2
_TRIES_ALONE: Final = 2
_WINDOW_S: Final = 600.0
KEPT_PLACES: Final = 50
"""Of a partition; `worker.crash_budget` is no more, so none is forgotten while it may come again."""


class CrashBudgetSpent(FatalError):
    """So many records fail that it looks like a defect of the service rather than of the records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashSurroundings:
    """What finding a record needs: marks, who is in the group, what is committed, where dead letters go.

    `healthy` does a plain event's work beside the real stores, and raises what that raises. `budget` is how many
    records may be set aside within ten minutes.
    """

    marks: CrashMarks
    members: Callable[[], Awaitable[frozenset[str]]]
    committed: Callable[[Partition], int | None]
    dead_letter: Callable[[Sequence[DeadLetter]], Awaitable[None]]
    healthy: Callable[[], Awaitable[None]]
    count: Callable[[Sequence[DeadLetter]], None]
    budget: int


class Crashes:
    """Takes the batches of all agents through their work, and records that crash it out of their way."""

    def __init__(self, around: CrashSurroundings) -> None:
        self._around, self._turns = around, Turns()
        self._identity: object | None = None
        self._marks: dict[str, CrashMark] = {}
        self._skipped: dict[str, frozenset[int]] = {}
        self._doubted: dict[str, int] = {}
        self._spent: deque[float] = deque()

    def knows(self, batch: Batch) -> bool:
        """Whether all partitions of a batch have been begun in this assignment."""
        return batch.identity is self._identity and all(_slot(part.source) in self._marks for part in batch.fetched)

    async def begin(self, batch: Batch, log_number: int) -> None:
        """Note that the partitions of a batch are begun, and find out how it went the last time.

        Raises StoreUnavailable or BrokerUnavailable: call again.
        """
        if batch.identity is not self._identity:
            self._identity = batch.identity
            self._marks, self._skipped, self._doubted = {}, {}, {}
        fresh = {_slot(part.source): part for part in reversed(batch.fetched)}
        fresh = {slot: part for slot, part in fresh.items() if slot not in self._marks}
        stored = await self._around.marks.read(fresh)
        members: frozenset[str] | None = None
        begun: list[CrashMark] = []
        for slot, part in fresh.items():
            before = stored.get(slot) or CrashMark(part.topic, part.partition)
            again = before.log == log_number and before.first == part.first_offset
            if again and before.writer and members is None:
                members = await self._around.members()
            died = again and bool(before.writer) and before.writer not in (members or ())
            mark = before.begun(again=again, died=died)
            begun.append(
                msgspec.structs.replace(
                    mark, log=log_number, first=part.first_offset, writer=batch.identity.member_id, hand=NONE_IN_HAND
                )
            )
            goes_on = before.first <= part.first_offset  # not a log made anew
            self._skipped[slot] = frozenset(one.offset for one in mark.aside if goes_on and one.log == log_number)
        await self._around.marks.write(begun)
        for mark in begun:
            self._marks[mark.slot] = mark
            if mark.deaths >= _DEATHS_TO_DOUBT:
                self._doubted[mark.slot] = mark.first
                log.warning(
                    "record_by_record", topic=mark.topic, partition=mark.partition, offset=mark.first,
                    reason=f"{mark.deaths} workers died over what begins here", suspect=mark.suspect,
                )  # fmt: skip

    async def through(self, batch: Batch, records: Sequence[Record], work: Work, retry: Retry) -> bool:
        """Do the work on records of a batch, all but those that crash it; False where the batch is no longer ours.

        FatalError passes, and so does any error that a plain event meets as well.
        """
        if any(self._skipped.values()):
            records = [one for one in records if one.offset not in self._skipped.get(_slot_of(one), ())]
        if not records:
            return not batch.stale()
        if not self._doubtful(batch):
            async with self._turns.together():
                return await self._halved(records, work, retry)
        for record in records:
            async with self._turns.alone():
                if not await self._alone(record, work, retry):
                    return False
        return True

    async def stop(self) -> None:
        """The worker ends in order: no death, and nothing is in hand. Raises StoreUnavailable.

        A partition that another worker has begun since is that one's.
        """
        stored = await self._around.marks.read(self._marks) if self._marks else {}
        ours = [mark for mark in self._marks.values() if stored.get(mark.slot, mark).writer == mark.writer]
        if ours:
            ended = [msgspec.structs.replace(mark, writer="", hand=NONE_IN_HAND) for mark in ours]
            await self._around.marks.write(ended)

    # -- errors -------------------------------------------------------------------------------------------------------

    async def _halved(self, records: Sequence[Record], work: Work, retry: Retry) -> bool:
        """Do the work; where it raises, on halves of it, down to the records that raise alone."""
        for _ in range(2 if len(records) == 1 else 1):
            try:
                return await retry(lambda: work(records))
            except PoisonError as error:
                raised: Exception = error
            except InterestsError:
                raise
            except Exception as error:  # whatever it is, a record that raises it must not end a worker
                raised = error
            log.error("batch_failed", records=len(records), error=type(raised).__name__, where=_where(raised))
        if len(records) == 1:
            name, said = type(raised).__name__, "raised twice over this record alone"
            healthy = await retry(lambda: self._still_healthy(raised))
            return healthy and await retry(lambda: self._set_aside(records[0], "raised", name, said))
        half = len(records) // 2
        return await self._halved(records[:half], work, retry) and await self._halved(records[half:], work, retry)

    async def _still_healthy(self, raised: Exception) -> bool:
        try:
            await self._around.healthy()
        except RetryableError:
            raise
        except Exception:
            log.exception("plain_event_fails_too")
            raise raised from None
        return True

    # -- deaths -------------------------------------------------------------------------------------------------------

    def _doubtful(self, batch: Batch) -> bool:
        """Whether a batch holds a partition to be gone through record by record, as nothing was committed of it yet."""
        for part in batch.fetched:
            first = self._doubted.get(_slot(part.source))
            if first is not None and (self._around.committed(part.source) or 0) > first:
                del self._doubted[_slot(part.source)]
        return any(_slot(part.source) in self._doubted for part in batch.fetched)

    async def _alone(self, record: Record, work: Work, retry: Retry) -> bool:
        slot = _slot_of(record)
        mark = self._marks.get(slot)
        if mark is None:
            return False
        if mark.suspect == record.offset and mark.tries >= _TRIES_ALONE:
            said = f"the worker died {mark.tries} times with this record alone in hand"
            return await retry(lambda: self._set_aside(record, "killed", "died", said))

        async def noted(records: Sequence[Record]) -> bool:
            if not await self._note(slot, hand=record.offset):
                return False
            try:
                return await work(records)
            except RetryableError:
                with suppress(StoreUnavailable):  # it waits: whoever ends it now does not die of the record
                    await self._note(slot, hand=NONE_IN_HAND)
                raise

        done = await self._halved([record], noted, retry)
        cleared = {"suspect": NONE_IN_HAND, "tries": 0} if mark.suspect == record.offset else {}
        return await retry(lambda: self._note(slot, hand=NONE_IN_HAND, **cleared)) and done

    async def _note(self, slot: str, **fields: int) -> bool:
        """Write a partition's mark; False where another assignment has begun, which has marks of its own."""
        if slot not in self._marks:
            return False
        marks, mark = self._marks, msgspec.structs.replace(self._marks[slot], **fields)
        await self._around.marks.write([mark])
        marks[slot] = mark
        return marks is self._marks

    # -- setting aside ------------------------------------------------------------------------------------------------

    async def _set_aside(self, record: Record, reason: DeadLetterReason, error: str, said: str) -> bool:
        """Dead-letter a record by its place and remember it, so that it is passed over if it comes again.

        False where another assignment has begun: it meets the record for itself.
        """
        slot, marks, skipped = _slot_of(record), self._marks, self._skipped
        if slot not in marks:
            return False
        self._pay()
        letter = DeadLetter(record=record, stage=STAGE, reason=reason, message=f"{error}: {said}")
        failed: Exception | None = None
        try:
            await self._around.dead_letter([letter])
        except InterestsError:
            raise
        except Exception as one:  # what the record does to its dead letter must not end a worker either
            failed = one
        if failed is not None:
            log.error("dead_letter_failed", error=type(failed).__name__, where=_where(failed))
            await self._around.dead_letter([replace(letter, record=_Place.of(record))])
        mark = marks[slot]
        place = SetAside(mark.log, record.offset, now_ms(), error)
        mark = msgspec.structs.replace(
            mark, aside=(*mark.aside, place)[-KEPT_PLACES:], total=mark.total + 1, hand=NONE_IN_HAND,
            suspect=NONE_IN_HAND, tries=0,
        )  # fmt: skip
        await self._around.marks.write([mark])
        marks[slot] = mark
        skipped[slot] = skipped.get(slot, frozenset()) | {record.offset}
        self._spent.append(monotonic())
        self._around.count([letter])
        log.error(
            "set_aside", topic=record.topic, partition=record.partition, offset=record.offset, reason=reason,
            error=error, message=said,
        )  # fmt: skip
        return True

    def _pay(self) -> None:
        while self._spent and monotonic() - self._spent[0] > _WINDOW_S:
            self._spent.popleft()
        if len(self._spent) >= self._around.budget:
            raise CrashBudgetSpent(
                f"{len(self._spent)} records were set aside within {_WINDOW_S / 60:g} minutes, as many as "
                "worker.crash_budget allows: this looks like a defect of the service; see `set_aside` in the log"
            )


def without_set_aside(read: ReadSpans, marks: CrashMarks) -> ReadSpans:
    """Read the log again but for the records that were set aside: they would crash whoever asks, over another record.

    Raises StoreUnavailable besides.
    """

    async def reading(spans: Mapping[Slot, Span], wanted: Callable[[bytes | None], bool]) -> Found:
        found = await read(spans, wanted)
        stored = await marks.read([_slot(Partition(*slot)) for slot in spans])
        aside = {(mark.topic, mark.partition, one.offset) for mark in stored.values() for one in mark.aside}
        return found._replace(
            records=[one for one in found.records if (one.topic, one.partition, one.offset) not in aside]
        )

    return reading


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a record lies, in its stead: without key, value, time and headers."""

    topic: str
    partition: int
    offset: int
    timestamp: int = -1
    key: None = None
    value: None = None
    headers: tuple[()] = ()

    @classmethod
    def of(cls, record: Record) -> _Place:
        return cls(record.topic, record.partition, record.offset)


def _slot(source: Partition) -> str:
    return f"{source.topic}/{source.partition}"


def _slot_of(record: Record) -> str:
    return f"{record.topic}/{record.partition}"


def _where(error: Exception) -> str:
    """The place in the code that raised, which holds no values."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
