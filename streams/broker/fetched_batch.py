"""Fetched batches and the book of what was handed out and acknowledged. Pure: no client, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from streams.events.event import Header, RecordLike

RECORD_OVERHEAD_BYTES = 64
HEADER_OVERHEAD_BYTES = 8


def header_bytes(headers: Iterable[Header]) -> int:
    """Bytes headers are counted as: names, values and a fixed overhead each."""
    return sum(len(name.encode()) + len(value or b"") + HEADER_OVERHEAD_BYTES for name, value in headers)


class Record(RecordLike, Protocol):
    """A fetched record with its sizes, as aiokafka's ConsumerRecord has them."""

    @property
    def timestamp(self) -> int: ...
    @property
    def serialized_key_size(self) -> int: ...
    @property
    def serialized_value_size(self) -> int: ...


class Partition(NamedTuple):
    """A topic's partition."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GroupIdentity:
    """One assignment of partitions to this worker; compared by identity, so no two assignments are equal.

    `generation` counts the group's rebalances since the broker made the group, `leader_id` and `member_id` are
    the member ids of this generation, `cluster_id` is None where the broker names none.
    """

    generation: int
    leader_id: str
    member_id: str
    cluster_id: str | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FetchedBatch:
    """Consecutive fetched records of one partition.

    `records` are in offset order, gaps are allowed (compaction, transactions). `next_offset` is what to commit
    once all are applied: past the last record and past markers that follow it. `highwater` is the offset the
    broker will give the partition's next record, as of this fetch. `size_bytes` counts keys, values, headers and
    overhead.
    """

    topic: str
    partition: int
    records: Sequence[Record]
    next_offset: int
    highwater: int
    size_bytes: int
    identity: GroupIdentity

    @property
    def source(self) -> Partition:
        return Partition(self.topic, self.partition)

    @property
    def generation(self) -> int:
        return self.identity.generation

    @property
    def first_offset(self) -> int:
        return self.records[0].offset

    @property
    def last_offset(self) -> int:
        return self.records[-1].offset

    def __len__(self) -> int:
        return len(self.records)

    def since(self, offset: int) -> FetchedBatch | None:
        """The batch without records below `offset`; None where nothing is left."""
        if self.first_offset >= offset:
            return self
        kept = [record for record in self.records if record.offset >= offset]
        if not kept:
            return None
        return replace(self, records=kept, size_bytes=total_bytes(kept))


class Fetched(NamedTuple):
    """What one fetch brought: batches by partition, and where it left off in every partition it asked for.

    A position may move without a record: past markers of transactions, aborted or compacted records, or to the log's
    start after its records were deleted. `identity` is the assignment of the positions.
    """

    batches: Mapping[Any, list[FetchedBatch]]
    positions: Mapping[Partition, int]
    identity: GroupIdentity | None


NOTHING_FETCHED = Fetched({}, {}, None)


def total_bytes(records: Sequence[Record]) -> int:
    """Bytes records are counted as: keys, values, headers and a fixed overhead; an absent key or value as -1."""
    payload = sum([record.serialized_key_size + record.serialized_value_size for record in records])
    headers = sum([header_bytes(record.headers) for record in records if record.headers])
    return payload + headers + RECORD_OVERHEAD_BYTES * len(records)


def split(
    records: Sequence[Record],
    *,
    next_offset: int,
    highwater: int,
    identity: GroupIdentity,
    max_records: int,
    max_bytes: int,
) -> Iterator[FetchedBatch]:
    """Cut one partition's fetched records into batches of at most `max_records` and `max_bytes`.

    A single record above `max_bytes` makes a batch of its own. The last batch carries `next_offset`, the others
    the offset after their own last record.
    """
    topic, partition = records[0].topic, records[0].partition
    for start in range(0, len(records), max_records):
        for piece, size_bytes in _within_bytes(records[start : start + max_records], max_bytes):
            last = piece[-1].offset
            after = max(next_offset, last + 1) if last == records[-1].offset else last + 1
            yield FetchedBatch(
                topic=topic,
                partition=partition,
                records=piece,
                next_offset=after,
                highwater=highwater,
                size_bytes=size_bytes,
                identity=identity,
            )


def _within_bytes(records: Sequence[Record], max_bytes: int) -> Iterator[tuple[Sequence[Record], int]]:
    size_bytes = total_bytes(records)
    if len(records) == 1 or size_bytes <= max_bytes:
        yield records, size_bytes
        return
    middle = len(records) // 2
    yield from _within_bytes(records[:middle], max_bytes)
    yield from _within_bytes(records[middle:], max_bytes)


def interleave(groups: Iterable[Sequence[FetchedBatch]]) -> Iterator[FetchedBatch]:
    """Batches of several partitions in turn, so that none waits behind another's whole fetch."""
    queues = [deque(group) for group in groups]
    while queues:
        for queue in queues:
            yield queue.popleft()
        queues = [queue for queue in queues if queue]


class AckLedger:
    """What was handed out and what may be committed: one number a partition, never past an unacknowledged batch.

    Batches are entered in the order they are handed out. Acknowledging one that is not on the books (its
    assignment ended) changes nothing.
    """

    def __init__(self) -> None:
        self._pending: dict[Partition, deque[FetchedBatch]] = {}
        self._acked: dict[Partition, set[int]] = {}
        self._safe: dict[Partition, int] = {}
        self._begun: dict[Partition, int] = {}
        self._entered: set[Partition] = set()
        self._held: dict[Partition, int] = {}

    def enter(self, batch: FetchedBatch) -> None:
        """Put a batch on the books: nothing at or past it may be committed until it is acknowledged."""
        self._pending.setdefault(batch.source, deque()).append(batch)
        self._begun.setdefault(batch.source, batch.first_offset)
        self._entered.add(batch.source)
        self._held[batch.source] = self._held.get(batch.source, 0) + batch.size_bytes

    def passed(self, source: Partition, position: int) -> bool:
        """The fetcher is at `position` and everything before it was handed out; True where that is progress.

        While a batch is out it decides nothing. Else whatever lies before the position is no record of ours to come.
        """
        self._begun.setdefault(source, position)
        if self._pending.get(source) or position <= self._safe.get(source, 0):
            return False
        self._safe[source] = position
        return True

    def began_anew(self, source: Partition, position: int) -> bool:
        """The log of a partition ends before where it was read to: it is read from `position`, as a new one.

        False where batches of it were handed out in this assignment: they would be taken for those of the new log.
        """
        if source in self._entered:
            return False
        self._safe.pop(source, None)
        self._begun[source] = position
        return True

    def begun(self, source: Partition) -> int:
        """The first offset met in this assignment: nothing before it is to be read; 0 while none was."""
        return self._begun.get(source, 0)

    def ack(self, batch: FetchedBatch) -> bool:
        """Acknowledge a batch; False where it is not on the books or already acknowledged."""
        source = batch.source
        pending = self._pending.get(source)
        acked = self._acked.setdefault(source, set())
        if not pending or id(batch) in acked or not any(batch is entry for entry in pending):
            return False
        acked.add(id(batch))
        while pending and id(pending[0]) in acked:
            done = pending.popleft()
            acked.discard(id(done))
            self._held[source] -= done.size_bytes
            self._safe[source] = max(self._safe.get(source, 0), done.next_offset)
        return True

    def committable(self, source: Partition) -> int | None:
        """The next offset to read after everything acknowledged without a hole; None before the first ack."""
        return self._safe.get(source)

    def sources(self) -> list[Partition]:
        """Partitions with something to commit."""
        return list(self._safe)

    def held_bytes(self) -> Mapping[Partition, int]:
        """Bytes of what was handed out and is not yet safe to commit past, by partition."""
        return self._held

    def outstanding(self) -> int:
        """Batches handed out and not yet safe to commit past."""
        return sum(map(len, self._pending.values()))

    def clear(self) -> None:
        """Forget everything: the assignment ended."""
        self._pending.clear()
        self._acked.clear()
        self._safe.clear()
        self._begun.clear()
        self._entered.clear()
        self._held.clear()
