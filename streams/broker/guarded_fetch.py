"""What a fetch brought, read so that no batch can end or hold up its reader: what cannot be read is set aside by place.

Written against aiokafka 0.14, whose private parts it replaces in one consumer at a time. aiokafka unpacks whatever a
batch unpacks to, and raises where one cannot be read; whoever asks again gets the same batch. Here such a batch, or
what is left of it, becomes one `UnreadBatch` among the records, and the position moves past it. Where only a record's
contents are wrong, and not its length, that record alone does.
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final, Literal

import cramjam
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from streams.broker import single_records, unpacked_size
from streams.broker.fetch_room import Rooms
from streams.broker.fetched_batch import RECORD_OVERHEAD_BYTES
from streams.events.event import UnreadBatch

Reason = Literal["batch_too_large", "batch_unreadable", "record_unreadable"]


class _Unread(Exception):
    """Why a batch is set aside, in words of ours: those of aiokafka may quote what it holds."""

    def __init__(self, why: str, reason: Reason = "batch_unreadable") -> None:
        super().__init__(why)
        self.reason: Reason = reason


#: What reading a batch raises where its bytes are not what they should be.
UNREADABLE: Final = (
    _Unread, KafkaError, cramjam.DecompressionError, zlib.error, struct.error,
    ValueError, IndexError, EOFError, OSError, OverflowError, AssertionError, RuntimeError,
)  # fmt: skip

# Offset and length are the same in every version of a batch, and so is the place of the version.
_FRAME: Final = struct.Struct(">qi")
_VERSION_AT: Final = 16
_SHORTEST: Final = 14  # of what follows the length: epoch or checksum, version, and a little more
# Of version 2: attributes and the last offset's delta.
_ABOUT: Final = struct.Struct(">hi")
_ABOUT_AT: Final = 21
_RECORDS_AT: Final = 61
_HEAD_BYTES: Final = {0: 26, 1: 34}  # of older versions; of later ones up to where the records begin
_CODEC: Final = 0b111
_PAST: Final = "a record lies past its batch"

MAX_HEADERS: Final = 1_000
_HEADERS: Final = f"a record has more than {MAX_HEADERS} headers"
_HEADERS_COUNTED_ABOVE: Final = 1 << 20  # bytes of a batch, unpacked: those of a smaller one have room


def guard(consumer: AIOKafkaConsumer, max_unpacked_bytes: int) -> Rooms:
    """Have a started consumer set aside what it cannot read, or what unpacks to more than `max_unpacked_bytes`.

    Where it would have raised, its records hold an `UnreadBatch` instead. Batches of one answer that unpack to more
    than that together are read in several: the rest is fetched again. A call gives as much of all partitions, or what
    the rooms say that come back. Call it once, before the first fetch.
    """
    return _Guard(consumer, max_unpacked_bytes).rooms


class _Guard:
    """Keeps the bytes of each answer until aiokafka has made its result of them, and puts a reader of its own in."""

    def __init__(self, consumer: AIOKafkaConsumer, limit: int) -> None:
        self.limit = limit
        self._bytes: dict[TopicPartition, bytes] = {}
        client, fetcher = consumer._client, consumer._fetcher
        self.rooms = Rooms(fetcher, limit)
        self._send = client.send
        client.send = self._noting
        fetcher._records = _Results(self, fetcher._records)

    async def _noting(self, node_id: Any, request: Any, **options: Any) -> Any:
        response = await self._send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            for topic, partitions in response.topics:
                for number, *_, fetched in partitions:
                    self._bytes[TopicPartition(topic, number)] = fetched
        return response

    def read(self, result: FetchResult) -> None:
        """Replace what reads a result."""
        given: PartitionRecords = result._partition_records
        fetched = self._bytes.pop(result._topic_partition, None)
        if fetched is not None and not isinstance(given, ReadableRecords):
            state = result._assignment.state_value(result._topic_partition)
            result._partition_records = ReadableRecords(given, fetched, self.limit, state.highwater)
            self.rooms.bound(result)


class _Results(OrderedDict[TopicPartition, Any]):
    """aiokafka's results by partition; each is given its reader as it comes in."""

    def __init__(self, guard: _Guard, present: OrderedDict[TopicPartition, Any]) -> None:
        self._guard = guard
        super().__init__(present)

    def __setitem__(self, source: TopicPartition, result: Any) -> None:
        if isinstance(result, FetchResult):
            self._guard.read(result)
        super().__setitem__(source, result)


class ReadableRecords(PartitionRecords):  # type: ignore[misc]  # aiokafka is untyped
    """A partition's fetched records in offset order, with an `UnreadBatch` in place of what cannot be read.

    Always comes to an end, and past where it began: a position that stood still would be fetched for ever. It ends
    early behind a batch with which more than `limit` bytes were read. `read_bytes` counts them: what records hold once
    they are unpacked, of a batch that is not packed its length.
    """

    def __init__(self, given: PartitionRecords, fetched: bytes, limit: int, highwater: int | None) -> None:
        self.__dict__.update(given.__dict__)
        self._limit, self._highwater = limit, highwater
        self.read_bytes = 0
        self._records_iterator = self._read(fetched)

    def _read(self, fetched: bytes) -> Iterator[Any]:
        began = self.next_fetch_offset
        at, whole = 0, False
        while at + _FRAME.size <= len(fetched):
            base, length = _FRAME.unpack_from(fetched, at)
            end = at + _FRAME.size + length
            if length < _SHORTEST:
                break
            if end > len(fetched):  # the broker cuts what no longer fits
                break
            yield from self._batch(fetched[at:end], base)
            at, whole = end, True
            if self.read_bytes > self._limit and self.next_fetch_offset > began:
                return
        if self.next_fetch_offset <= began and (whole or at + _FRAME.size <= len(fetched)):
            yield self._set_aside(began, began, _Unread("its offsets lead nowhere"))

    def _batch(self, batch: bytes, base: int) -> Iterator[Any]:
        last, began = base, self.next_fetch_offset
        try:
            version = batch[_VERSION_AT]
            if len(batch) < _HEAD_BYTES.get(version, _RECORDS_AT):
                raise _Unread("it is shorter than its head")
            if version >= 2:
                _, delta = _ABOUT.unpack_from(batch, _ABOUT_AT)
                last = self._within_log(base, base + delta)
            yield from self._records_of(batch, base, last)
        except UNREADABLE as error:
            if last >= self.next_fetch_offset:
                first = base if self.next_fetch_offset == began else self.next_fetch_offset
                yield self._set_aside(first, last, error)

    def _within_log(self, base: int, last: int) -> int:
        """A batch's last offset, or the log's where it claims a later one: nothing is fetched past a log's end."""
        if last < base:
            raise _Unread("its last offset is before its first")
        return last if not self._highwater or self._highwater <= base else min(last, self._highwater - 1)

    def _records_of(self, batch: bytes, base: int, last: int) -> Iterator[Any]:
        version = batch[_VERSION_AT]
        records = DefaultRecordBatch(batch) if version >= 2 else LegacyRecordBatch(batch, version)
        if self._check_crcs and not records.validate_crc():
            raise _Unread("its checksum does not fit")
        if self._passed_over(records):
            self.next_fetch_offset = last + 1
            return
        codec, packed = _packed(batch, version)
        if codec and unpacked_size.exceeds(codec, packed, self._limit):
            raise _Unread(f"it unpacks to more than {self._limit} bytes", "batch_too_large")
        position, source, as_consumed, read = self.next_fetch_offset, self._tp, self._consumer_record, 0
        made = unpacked = iter(records)  # unpacks: what fails here is no record's fault
        if not codec:
            self.read_bytes += len(batch)
        elif version >= 2:
            made = self._few_headers(unpacked, codec, packed)
        try:
            for record in made:
                read += 1
                offset = record.offset
                if offset < position:
                    continue
                if offset > last:
                    raise _Unread(_PAST)
                self.next_fetch_offset = position = offset + 1
                if codec:
                    self.read_bytes += _bytes_of(record)
                yield as_consumed(source, record)
        except UNREADABLE as error:
            if isinstance(error, _Unread) or version < 2 or read >= single_records.count(batch):
                raise
            yield from self._alone(batch, codec, read, last)
        # Compaction may have taken a batch's last records; and a batch that is empty is to be passed over.
        self.next_fetch_offset = max(self.next_fetch_offset, last + 1)

    def _alone(self, batch: bytes, codec: int, read: int, last: int) -> Iterator[Any]:
        """What is left of a batch after `read` records, one by one: only those that cannot be read are set aside."""
        for offset, headers, alone in single_records.of(batch, codec, read):
            if offset < self.next_fetch_offset:
                continue
            if offset > last:
                raise _Unread(_PAST)
            try:
                if headers > MAX_HEADERS:
                    raise _Unread(_HEADERS, "batch_too_large")
                (record,) = DefaultRecordBatch(alone)
            except UNREADABLE as error:
                yield self._set_aside(offset, offset, error, "record_unreadable")
            else:
                self.next_fetch_offset = offset + 1
                self.read_bytes += _bytes_of(record)
                yield self._consumer_record(self._tp, record)

    def _few_headers(self, made: Iterator[Any], codec: int, packed: bytes) -> Iterator[Any]:
        """The records of a compressed batch, each looked at before aiokafka makes it."""
        if not unpacked_size.exceeds(codec, packed, _HEADERS_COUNTED_ABOVE):
            yield from made
            return
        for count in unpacked_size.header_counts(codec, packed):
            if count > MAX_HEADERS:
                raise _Unread(_HEADERS, "batch_too_large")
            record = next(made, None)
            if record is None:
                return
            yield record

    def _passed_over(self, records: DefaultRecordBatch | LegacyRecordBatch) -> bool:
        """Whether a batch holds a transaction's end, or belongs to one that was aborted."""
        if self._isolation_level == READ_COMMITTED and records.producer_id is not None:
            self._consume_aborted_up_to(records.base_offset)
            if records.is_control_batch and self._contains_abort_marker(records):
                self._aborted_producers.discard(records.producer_id)
            if records.is_transactional and records.producer_id in self._aborted_producers:
                return True
        return bool(records.is_control_batch)

    def _set_aside(self, first: int, last: int, error: Exception, reason: Reason = "batch_unreadable") -> UnreadBatch:
        self.next_fetch_offset = last + 1
        reason = error.reason if isinstance(error, _Unread) else reason
        what = (
            f"the record at offset {last}"
            if reason == "record_unreadable"
            else f"the batch at offsets {first} to {last}"
        )
        why = str(error) if isinstance(error, _Unread) else type(error).__name__
        return UnreadBatch(
            topic=self._tp.topic,
            partition=self._tp.partition,
            offset=last,
            first_offset=first,
            reason=reason,
            message=f"{what}: {why}",
        )


def _bytes_of(record: Any) -> int:
    """About what a record holds of memory."""
    size = RECORD_OVERHEAD_BYTES + len(record.key or b"") + len(record.value or b"")
    return size + sum(len(value or b"") for _, value in record.headers) if record.headers else size


def _packed(batch: bytes, version: int) -> tuple[int, bytes]:
    """A batch's codec and its compressed bytes."""
    if version >= 2:
        return _ABOUT.unpack_from(batch, _ABOUT_AT)[0] & _CODEC, batch[_RECORDS_AT:]
    codec = batch[_VERSION_AT + 1] & _CODEC
    if not codec:
        return 0, b""
    at = _VERSION_AT + 2 + (8 if version else 0)  # past the timestamp, which version 0 lacks
    (key_bytes,) = struct.unpack_from(">i", batch, at)
    return codec, batch[at + 4 + max(0, key_bytes) + 4 :]
