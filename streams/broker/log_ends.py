"""Where logs end now, asked again and again by one who reads none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.broker import tansu
from streams.broker.clients import kafka_errors
from streams.broker.config import KafkaConfig
from streams.broker.guarded_fetch import guard
from streams.events.spans import Slot


class LogEnds:
    """The ends of what can be read of partitions, by a connection of its own that is made anew after an error."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._consumer: AIOKafkaConsumer | None = None
        self._asked: frozenset[TopicPartition] = frozenset()
        self._asking = asyncio.Lock()

    async def __call__(self, slots: Sequence[Slot]) -> Mapping[Slot, int]:
        """The offset after each partition's last record. Raises BrokerUnavailable."""
        sources = [TopicPartition(*slot) for slot in slots]
        async with self._asking:
            ends = None
            try:
                with kafka_errors("reading the ends of logs"):
                    async with asyncio.timeout(self._config.request_timeout_s):
                        ends = await self._read(sources)
            finally:
                # Tansu's answers lie in fetches, and a consumer is told of an end once.
                if ends is None or self._config.implementation == "tansu":
                    await self.close()
        return {(source.topic, source.partition): end for source, end in ends.items()}

    async def _read(self, sources: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        if self._consumer is None:
            self._asked = frozenset()
            self._consumer = AIOKafkaConsumer(
                **self._config.connection(), enable_auto_commit=False, fetch_max_wait_ms=100,
                isolation_level=self._config.isolation_level,
            )  # fmt: skip
        consumer, started = self._consumer, bool(self._asked)
        if not self._asked.issuperset(sources):
            self._asked |= frozenset(sources)
            consumer.assign(list(self._asked))
        if self._config.implementation == "tansu":
            await consumer.start()
            guard(consumer, self._config.max_unpacked_bytes)
            return await tansu.log_ends(consumer, sources)
        consumer.pause(*self._asked)  # nothing is fetched
        if not started:
            await consumer.start()
        ends: Mapping[TopicPartition, int] = await consumer.end_offsets(sources)
        return ends

    async def close(self) -> None:
        """Let go of the connection."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()
