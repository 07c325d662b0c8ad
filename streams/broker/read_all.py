"""Reading a topic once, from its beginning to the end it had then; no group, nothing committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.base.errors import ConfigurationError
from streams.broker.admin import Admin
from streams.broker.clients import kafka_errors
from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import Record

_FETCH_WAIT_MS = 250


async def read_topic(config: KafkaConfig, topic: str) -> AsyncIterator[Sequence[Record]]:
    """Yield the records of a topic, partition by partition in offset order, up to the ends met on the way.

    ConfigurationError where there is no such topic, BrokerUnavailable where nothing comes for `request_timeout_s`.
    """
    async with Admin(config) as admin:
        topics = await admin.topics([topic])
    if topic not in topics:
        raise ConfigurationError(f"the broker has no topic {topic}")
    consumer = AIOKafkaConsumer(
        **config.connection(), enable_auto_commit=False, auto_offset_reset="earliest",
        isolation_level="read_committed" if config.read_committed else "read_uncommitted",
    )  # fmt: skip
    sources = [TopicPartition(topic, number) for number in range(topics[topic].partitions)]
    consumer.assign(sources)
    with kafka_errors(f"reading {topic}"):
        try:
            await consumer.start()
            while True:
                async with asyncio.timeout(config.request_timeout_s):
                    fetched = await consumer.getmany(timeout_ms=_FETCH_WAIT_MS)
                    behind = [source for source in sources if await _behind(consumer, source)]
                for records in fetched.values():
                    yield records
                if not behind:
                    return
        finally:
            await consumer.stop()


async def _behind(consumer: AIOKafkaConsumer, source: TopicPartition) -> bool:
    """Whether records of a partition are still to come; its end is known from the first fetch on, whatever broker."""
    end = consumer.highwater(source)
    return end is None or await consumer.position(source) < end
