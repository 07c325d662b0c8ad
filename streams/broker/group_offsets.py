"""Where a group begins to read: offsets committed for one that has no members yet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from streams.base.errors import ConfigurationError
from streams.broker.admin import Admin, Lag
from streams.broker.clients import kafka_errors
from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import Partition

Start = Literal["beginning", "end"] | int
"""Where to begin in a topic: its first record, after its last one, or the first since a time in ms."""

_BEGINNING: Final = "beginning"


async def starts_of(config: KafkaConfig, at: Mapping[str, Start]) -> dict[Partition, tuple[int, int]]:
    """For every partition of some topics the offset at which to begin and the end, as the log is now.

    ConfigurationError for a time on the embedded broker, which looks no times up.
    """
    if config.implementation == "tansu" and any(isinstance(start, int) for start in at.values()):
        raise ConfigurationError("the embedded broker looks no times up: begin at the beginning")
    async with Admin(config) as admin:
        ends = {TopicPartition(row.topic, row.partition): row.end for row in await admin.lag(config.group_id, at)}
    consumer = AIOKafkaConsumer(**config.connection(), enable_auto_commit=False)
    consumer.assign(list(ends))
    try:
        with kafka_errors("looking up where to begin"):
            async with asyncio.timeout(config.request_timeout_s):
                await consumer.start()
                begins = await consumer.beginning_offsets(list(ends))
                times = {source: start for source in ends if isinstance(start := at[source.topic], int)}
                found = await consumer.offsets_for_times(times) if times else {}
    finally:
        await consumer.stop()

    def start_of(source: TopicPartition) -> int:
        start = at[source.topic]
        if start == _BEGINNING:
            return int(begins[source])
        if start == "end":
            return ends[source]
        return int(first.offset) if (first := found[source]) is not None else ends[source]

    return {Partition(*source): (start_of(source), end) for source, end in ends.items()}


async def begin_group(config: KafkaConfig, starts: Mapping[Partition, int]) -> None:
    """Commit where a group begins, all partitions in one request; it must have no members."""
    consumer = AIOKafkaConsumer(**config.connection(), group_id=config.group_id, enable_auto_commit=False)
    offsets = {TopicPartition(*source): OffsetAndMetadata(at, "") for source, at in starts.items()}
    consumer.assign(list(offsets))
    try:
        with kafka_errors("committing where the group begins"):
            async with asyncio.timeout(config.request_timeout_s):
                await consumer.start()
                await consumer.commit(offsets)
    finally:
        await consumer.stop()


def has_begun(lags: list[Lag]) -> bool:
    """Whether a group has committed anything in these partitions."""
    return any(row.committed is not None for row in lags)
