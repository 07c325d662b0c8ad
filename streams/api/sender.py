"""Producing for callers: one connection, made when it is first needed, and a deadline a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from streams.api.receipts import Placed
from streams.base.errors import BrokerUnavailable
from streams.broker.config import KafkaConfig
from streams.broker.producer import Outgoing, Producer


class RecordSender:
    """Sends records and returns where the broker put them. BrokerUnavailable while it is away; each call tries."""

    def __init__(self, config: KafkaConfig, deadline_s: float) -> None:
        # Shorter than a request's deadline: "the broker has not acknowledged" is a better answer than "too late".
        self._deadline_s = min(config.producer_timeout_s, deadline_s * 0.8)
        self._config = replace(config, producer_timeout_s=self._deadline_s)
        self._producer: Producer | None = None
        self._starting = asyncio.Lock()

    async def send(self, topic: str, records: Sequence[Outgoing]) -> list[Placed]:
        """Where each record lies, once the broker has acknowledged them all."""
        producer = await self._started()
        placed = await producer.place_many(topic, records)
        return [Placed(topic=topic, partition=one.partition, offset=one.offset) for one in placed]

    async def close(self) -> None:
        """Disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(BrokerUnavailable):  # what was acknowledged is kept; a broker that is away needs no goodbye
                await producer.stop()

    async def _started(self) -> Producer:
        if self._producer is None:
            async with self._starting:
                if self._producer is None:
                    producer = Producer(self._config)
                    await producer.start()
                    self._producer = producer
        return self._producer
