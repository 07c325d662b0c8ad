"""Where records go that do not become nodes: dead letters, and events that wait for their item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streams.base.errors import PoisonError
from streams.broker.producer import Outgoing, Producer, sane_ms
from streams.events import dead_letters, unresolved
from streams.events.dead_letters import DeadLetter, topic_of
from streams.events.privacy import DeadLetterPolicy
from streams.events.side_outputs import Waiting

_ROOM_BYTES = 262_144  # as much as the parser reads of a value: every broker takes that


class KafkaOutbox:
    """Dead letters to `<topic>.dead`, waiting events to the unresolved topic, each acknowledged before it returns."""

    def __init__(self, producer: Producer, unresolved_topic: str, policy: DeadLetterPolicy) -> None:
        self._producer, self._unresolved_topic, self._policy = producer, unresolved_topic, policy

    async def dead_letter(self, dead: Sequence[DeadLetter]) -> None:
        """Send dead letters as the policy has them, with headers for where they lay and what was wrong."""
        by_topic: dict[str, list[Outgoing]] = {}
        for letter in dead:
            sent, record = self._policy.of(letter), letter.record
            out = Outgoing(sent.key, sent.value, headers=sent.headers, timestamp_ms=sane_ms(record.timestamp))
            by_topic.setdefault(topic_of(record.topic), []).append(out)
        for topic, records in by_topic.items():
            await self._send(topic, records)

    async def defer(self, waiting: Sequence[Waiting]) -> None:
        """Send records to the unresolved topic, where their key brings them to the worker that has their user."""
        records = [
            Outgoing(record.key, record.value, headers=tuple(headers), timestamp_ms=sane_ms(record.timestamp))
            for record, headers in waiting
        ]
        if records:
            await self._send(self._unresolved_topic, records)

    async def _send(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Send records; one that the broker or we have no room for, or whose time it refuses, goes without that."""
        try:
            await self._producer.send_many(topic, records)
        except PoisonError:
            for record in records:
                await self._send_one(topic, record)

    async def _send_one(self, topic: str, record: Outgoing) -> None:
        timeless = replace(record, timestamp_ms=None)
        for attempt in (record, timeless):
            try:
                await self._producer.send_many(topic, [attempt])
            except PoisonError:
                continue
            return
        await self._producer.send_many(topic, [_smaller(timeless)])


def _smaller(record: Outgoing) -> Outgoing:
    """The same record with our own headers only, and without a key or body that has no room."""
    ours = tuple(header for header in record.headers if header[0] in dead_letters.OURS | unresolved.OURS)
    key = record.key if len(record.key or b"") <= _ROOM_BYTES else None
    if len(record.value or b"") <= _ROOM_BYTES:
        return Outgoing(key, record.value, headers=ours, timestamp_ms=record.timestamp_ms)
    headers = (*ours, (dead_letters.BODY, b"left out: too large"))
    return Outgoing(key, None, headers=headers, timestamp_ms=record.timestamp_ms)
