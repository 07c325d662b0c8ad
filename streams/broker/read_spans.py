"""Reading stretches of the log a second time: no group, nothing committed; bounded by records, bytes and time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from time import monotonic
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.broker.clients import kafka_errors
from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import Record
from streams.broker.guarded_fetch import guard
from streams.broker.lag import readable_end
from streams.events.spans import Found, Slot, Span

#: Offsets that one call reads, over all partitions: some seconds of work. Of a longer span the newest are read.
MOST_RECORDS: Final = 500_000
_FETCH_WAIT_MS = 250


async def read_spans(
    config: KafkaConfig, spans: Mapping[Slot, Span], wanted: Callable[[bytes | None], bool]
) -> Found:  # fmt: skip
    """Read the spans and keep the records whose key is wanted, at most `config.max_unpacked_bytes` of them, the newest.

    Where retention has removed a span's first records, or a bound kept them out, its partition is in `Found.short`.
    BrokerUnavailable where nothing comes for `config.request_timeout_s`.
    """
    sources = {TopicPartition(*slot): span for slot, span in spans.items()}
    consumer = AIOKafkaConsumer(
        **config.connection(), enable_auto_commit=False, auto_offset_reset="none",
        max_partition_fetch_bytes=config.partition_fetch_bytes, isolation_level=config.isolation_level,
    )  # fmt: skip
    consumer.assign(list(sources))
    with kafka_errors("reading the log again"):
        try:
            async with asyncio.timeout(config.request_timeout_s):
                await consumer.start()
                guard(consumer, config.max_unpacked_bytes)
                starts, short = await _starts(consumer, sources, config)
            for source, start in starts.items():
                consumer.seek(source, start)
            kept = _Kept(config.max_unpacked_bytes)
            async for record in _records(consumer, sources, config):
                if wanted(record.key):
                    kept.add(record)
        finally:
            await consumer.stop()
    return Found(list(kept.records), frozenset((source.topic, source.partition) for source in short) | kept.dropped)


class _Kept:
    """Records within a number of bytes; the oldest fall out."""

    def __init__(self, most_bytes: int) -> None:
        self.records: deque[Record] = deque()
        self.dropped: frozenset[Slot] = frozenset()
        self._left = most_bytes

    def add(self, record: Record) -> None:
        self.records.append(record)
        self._left -= _bytes_of(record)
        while self._left < 0:
            oldest = self.records.popleft()
            self._left += _bytes_of(oldest)
            self.dropped |= {(oldest.topic, oldest.partition)}


def _bytes_of(record: Record) -> int:
    return len(record.key or b"") + len(record.value or b"")


async def _starts(
    consumer: AIOKafkaConsumer, sources: Mapping[TopicPartition, Span], config: KafkaConfig
) -> tuple[dict[TopicPartition, int], set[TopicPartition]]:
    """Where to begin in each partition, and those where a span has lost its beginning.

    Tansu looks no times up; it keeps all it has in memory, from offset 0 on.
    """
    begins = await consumer.beginning_offsets(list(sources))
    first = dict(begins)
    if config.implementation == "kafka":
        found = await consumer.offsets_for_times({source: max(0, span.since_ms) for source, span in sources.items()})
        first = {source: at.offset if (at := found[source]) else span.last + 1 for source, span in sources.items()}
    share = MOST_RECORDS // len(sources)
    starts = {
        source: max(first[source], begins[source], span.last + 1 - share) for source, span in sources.items()
    }  # fmt: skip
    short = {source for source, at in starts.items() if at > first[source] or at == begins[source] > 0}
    return starts, short


async def _records(
    consumer: AIOKafkaConsumer, sources: Mapping[TopicPartition, Span], config: KafkaConfig
) -> AsyncIterator[Record]:
    """Each span's records. TimeoutError where the positions stand still for `config.request_timeout_s`."""
    read, moved_s = -1, monotonic()
    while True:
        at = {source: await consumer.position(source) for source in sources}
        done = [source for source in sources if at[source] >= _end(consumer, source, sources[source], config)]
        if len(done) == len(sources):
            return
        consumer.pause(*done)
        if sum(at.values()) > read:
            read, moved_s = sum(at.values()), monotonic()
        elif monotonic() - moved_s > config.request_timeout_s:
            raise TimeoutError
        for source, records in (await consumer.getmany(timeout_ms=_FETCH_WAIT_MS)).items():
            for record in records:
                if record.offset <= sources[source].last:
                    yield record


def _end(consumer: AIOKafkaConsumer, source: TopicPartition, span: Span, config: KafkaConfig) -> int:
    """The offset to read up to: the span's, or that of the log where it ends before; known from the first fetch on."""
    end = readable_end(consumer.highwater(source), consumer.last_stable_offset(source), config)
    return span.last + 1 if end is None else min(end, span.last + 1)


async def read_latest(config: KafkaConfig, topic: str, spans: Mapping[int, tuple[int, int]], most: int) -> list[bytes]:
    """The values of about the latest `most` records of a topic, between the offsets given by partition."""
    share = max(1, most // max(1, len(spans)))
    sources = {
        TopicPartition(topic, partition): (max(start, end - share), end)
        for partition, (start, end) in spans.items()
        if end > start
    }
    if not sources:
        return []
    consumer = AIOKafkaConsumer(
        **config.connection(), enable_auto_commit=False, auto_offset_reset="earliest",
        isolation_level=config.isolation_level,
    )  # fmt: skip
    consumer.assign(list(sources))
    values: list[bytes] = []
    with kafka_errors("reading the log's end"):
        try:
            async with asyncio.timeout(config.request_timeout_s):
                await consumer.start()
                guard(consumer, config.max_unpacked_bytes)
                for source, (start, _) in sources.items():
                    consumer.seek(source, start)
                while any([await consumer.position(source) < end for source, (_, end) in sources.items()]):
                    for records in (await consumer.getmany(timeout_ms=_FETCH_WAIT_MS)).values():
                        values += [record.value for record in records if record.value]
        finally:
            await consumer.stop()
    return values
