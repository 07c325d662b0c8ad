"""Sending drafts: each to the partition of its key, in order, acknowledged before anything is said of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from streams.base.errors import ConfigurationError
from streams.commands.connections import admin_of, producer_of
from streams.events.drafts import Draft
from streams.events.event import Source

if TYPE_CHECKING:
    from streams.broker.producer import Outgoing, Producer
    from streams.settings.service import Settings


class Sender:
    """Sends to topics that exist; `partitions` is how many each topic has."""

    def __init__(self, producer: Producer, partitions: Mapping[str, int]) -> None:
        self._producer, self._partitions = producer, partitions

    def check(self, topics: Sequence[str]) -> None:
        """ConfigurationError where a topic does not exist."""
        missing = sorted(set(topics) - self._partitions.keys())
        if missing:
            raise ConfigurationError(
                f"the broker has no topic {', '.join(missing)}: run `interests topics create`, or name one that exists"
            )

    async def send(self, drafts: Sequence[Draft]) -> list[Source]:
        """Send records, each topic's in order, and give where each lies, in the drafts' order.

        Raises ConfigurationError where a topic is missing and BrokerUnavailable where not all were acknowledged.
        """
        self.check([draft.topic for draft in drafts])
        by_topic: dict[str, list[int]] = {}
        for number, draft in enumerate(drafts):
            by_topic.setdefault(draft.topic, []).append(number)
        places: dict[int, Source] = {}

        async def send(topic: str, numbers: Sequence[int]) -> None:
            records = [self._outgoing(drafts[number]) for number in numbers]
            offsets = await self._producer.send_many(topic, records)
            for number, record, offset in zip(numbers, records, offsets, strict=True):
                places[number] = Source(topic, record.partition or 0, offset)

        await asyncio.gather(*(send(topic, numbers) for topic, numbers in by_topic.items()))
        return [places[number] for number in range(len(drafts))]

    def _outgoing(self, draft: Draft) -> Outgoing:
        from streams.broker.partitions import partition_of
        from streams.broker.producer import Outgoing

        # Named here and not left to the client, which does not say what it chose.
        count = self._partitions[draft.topic]
        partition = partition_of(draft.key.decode(), count) if draft.key else 0
        return Outgoing(draft.key, draft.value, partition=partition)


@asynccontextmanager
async def sender_of(settings: Settings) -> AsyncIterator[Sender]:
    """A connected sender; a batch has the settings' deadline of one request."""
    async with admin_of(settings) as admin:
        topics = await admin.topics()
    async with producer_of(settings) as producer:
        yield Sender(producer, {name: topic.partitions for name, topic in topics.items()})
