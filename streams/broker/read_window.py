"""Reading topics between two times, up to the ends they had when reading began; no group, nothing committed.

A broker finds by time only where to begin: records need not lie in the order of their times, so reading goes on to the
end, and what lies outside is passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.base.errors import ConfigurationError
from streams.broker import tansu
from streams.broker.admin import Admin
from streams.broker.clients import kafka_errors
from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import Record
from streams.broker.guarded_fetch import guard
from streams.events.event import UnreadBatch
from streams.events.spans import Slot

_FETCH_WAIT_MS: Final = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBounds:
    """Offsets by partition: the first that the log still has, the first that is read, and the one after the last."""

    begins: Mapping[Slot, int]
    starts: Mapping[Slot, int]
    ends: Mapping[Slot, int]

    @property
    def offsets(self) -> int:
        """How many offsets are read: no fewer than there are records."""
        return sum(max(0, end - self.starts[slot]) for slot, end in self.ends.items())


class LogWindow:
    """An open reading of some topics; see `log_window`."""

    def __init__(
        self, consumer: AIOKafkaConsumer, bounds: LogBounds, since_ms: int | None, until_ms: int | None, idle_s: float
    ) -> None:
        self.bounds = bounds
        self._consumer, self._since_ms, self._until_ms, self._idle_s = consumer, since_ms, until_ms, idle_s

    async def batches(self) -> AsyncIterator[tuple[Sequence[Record], int]]:
        """Records of one partition within the times, in the order of their offsets, and how many offsets are read.

        BrokerUnavailable where nothing comes for the time one request may take. What cannot be read is passed over.
        """
        at = dict(self.bounds.starts)
        left = {slot for slot, end in self.bounds.ends.items() if at[slot] < end}
        moved_s = monotonic()
        while left:
            with kafka_errors("reading the log"):
                fetched = await self._consumer.getmany(timeout_ms=_FETCH_WAIT_MS)
                moved = await self._positions(left, at)
                read = sum(at[slot] - start for slot, start in self.bounds.starts.items())
                for source, records in fetched.items():
                    end = self.bounds.ends[source.topic, source.partition]
                    yield [one for one in records if one.offset < end and self._is_within(one)], read
                if moved:
                    moved_s = monotonic()
                elif monotonic() - moved_s > self._idle_s:
                    raise TimeoutError
                done = {slot for slot in left if at[slot] >= self.bounds.ends[slot]}
                if done:
                    self._consumer.pause(*(TopicPartition(*slot) for slot in done))
                    left -= done

    async def _positions(self, left: Iterable[Slot], at: dict[Slot, int]) -> bool:
        """Note how far each partition is; gives whether any moved."""
        moved = False
        for slot in left:
            position = await self._consumer.position(TopicPartition(*slot))
            moved |= position > at[slot]
            at[slot] = position
        return moved

    def _is_within(self, record: Record) -> bool:
        if isinstance(record, UnreadBatch):
            return False
        after = self._since_ms is None or record.timestamp >= self._since_ms
        return after and (self._until_ms is None or record.timestamp < self._until_ms)


@asynccontextmanager
async def log_window(
    config: KafkaConfig, topics: Sequence[str], *, since_ms: int | None = None, until_ms: int | None = None
) -> AsyncIterator[LogWindow]:
    """Open topics for reading what was written from `since_ms` until before `until_ms`, by the records' timestamps.

    ConfigurationError where a topic does not exist; BrokerUnavailable.
    """
    async with Admin(config) as admin:
        found = await admin.topics(topics)
    if missing := sorted(set(topics) - found.keys()):
        raise ConfigurationError(f"the broker has no topic {', '.join(missing)}: name one that exists")
    sources = [TopicPartition(name, number) for name in topics for number in range(found[name].partitions)]
    consumer = AIOKafkaConsumer(
        **config.connection(), enable_auto_commit=False, auto_offset_reset="earliest",
        max_partition_fetch_bytes=config.partition_fetch_bytes, isolation_level=config.isolation_level,
    )  # fmt: skip
    consumer.assign(sources)
    try:
        with kafka_errors("opening the log"):
            async with asyncio.timeout(config.request_timeout_s):
                await consumer.start()
                guard(consumer, config.max_unpacked_bytes)
                bounds = await _bounds(consumer, sources, config, since_ms)
        for source in sources:
            consumer.seek(source, bounds.starts[source.topic, source.partition])
        yield LogWindow(consumer, bounds, since_ms, until_ms, config.request_timeout_s)
    finally:
        await consumer.stop()


async def _bounds(
    consumer: AIOKafkaConsumer, sources: Sequence[TopicPartition], config: KafkaConfig, since_ms: int | None
) -> LogBounds:
    """Where to begin and end. Tansu looks no times up; there everything is read."""
    begins = await consumer.beginning_offsets(sources)
    if config.implementation == "tansu":
        ends = await tansu.log_ends(consumer, sources)
    else:
        ends = await consumer.end_offsets(sources)
    starts = dict(begins)
    if since_ms is not None and config.implementation == "kafka":
        found = await consumer.offsets_for_times(dict.fromkeys(sources, max(0, since_ms)))
        starts = {source: at.offset if (at := found[source]) else ends[source] for source in sources}
    return LogBounds(begins=_by_slot(begins), starts=_by_slot(starts), ends=_by_slot(ends))


def _by_slot(offsets: Mapping[TopicPartition, int]) -> dict[Slot, int]:
    return {(source.topic, source.partition): int(offset) for source, offset in offsets.items()}
