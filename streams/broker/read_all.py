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
from streams.broker.guarded_fetch import guard
from streams.broker.lag import readable_end

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
        isolation_level=config.isolation_level,
    )  # fmt: skip
    sources = [TopicPartition(topic, number) for number in range(topics[topic].partitions)]
    consumer.assign(sources)
    with kafka_errors(f"reading {topic}"):
        try:
            await consumer.start()
            guard(consumer, config.max_unpacked_bytes)
            while True:
                async with asyncio.timeout(config.request_timeout_s):
                    fetched = await consumer.getmany(timeout_ms=_FETCH_WAIT_MS)
                    behind = [source for source in sources if await _behind(consumer, source, config)]
                for records in fetched.values():
                    yield records
                if not behind:
                    return
        finally:
            await consumer.stop()


async def _behind(consumer: AIOKafkaConsumer, source: TopicPartition, config: KafkaConfig) -> bool:
    """Whether records of a partition are still to come; its end is known from the first fetch on, whatever broker."""
    end = readable_end(consumer.highwater(source), consumer.last_stable_offset(source), config)
    return end is None or await consumer.position(source) < end
