"""Where records go that do not become nodes: dead letters, and events that wait for their item.

No record ends or holds up a worker because a topic refuses it: it goes with less and less of itself. A waiting event
for which there is no room becomes a dead letter; a dead letter that is refused with nothing but its place in it stays
at that place. Both have a line in the log and a count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import structlog

from streams.base.errors import PoisonError
from streams.broker.producer import Outgoing, Producer, sane_ms
from streams.events import dead_letters, unresolved
from streams.events.dead_letters import DeadLetter, topic_of
from streams.events.event import RecordLike
from streams.events.privacy import DeadLetterPolicy
from streams.events.side_outputs import Waiting

log = structlog.get_logger(__name__)

STAGE = "defer"
_ROOM_BYTES = 262_144  # as much as the parser reads of a value: every broker takes that


class KafkaOutbox:
    """Dead letters to `<topic>.dead`, waiting events to the unresolved topic, each acknowledged before it returns.

    `refused` is told the topic of each record that a topic takes in no form. `holds_back` says of so many dead letters
    whether they stay unsent: those of a group that fills another encoder's collections beside the one that serves.
    """

    def __init__(
        self, producer: Producer, unresolved_topic: str, policy: DeadLetterPolicy, refused: Callable[[str], None],
        holds_back: Callable[[int], bool] = lambda _: False,
    ) -> None:  # fmt: skip
        self._producer, self._unresolved_topic, self._policy = producer, unresolved_topic, policy
        self._refused, self._holds_back = refused, holds_back

    async def dead_letter(self, dead: Sequence[DeadLetter]) -> None:
        """Send dead letters as the policy has them, with headers for where they lay and what was wrong."""
        if dead and self._holds_back(len(dead)):
            return
        by_topic: dict[str, list[tuple[DeadLetter, Outgoing]]] = {}
        for letter in dead:
            sent, record = self._policy.of(letter), letter.record
            out = Outgoing(sent.key, sent.value, headers=sent.headers, timestamp_ms=sane_ms(record.timestamp))
            by_topic.setdefault(topic_of(record.topic), []).append((letter, out))
        for topic, letters in by_topic.items():
            for at in await self._send(topic, [out for _, out in letters]):
                self._note_refused(topic, letters[at][0].record)

    async def defer(self, waiting: Sequence[Waiting]) -> None:
        """Send records to the unresolved topic, where their key brings them to the worker that has their user."""
        records = [
            Outgoing(record.key, record.value, headers=tuple(headers), timestamp_ms=sane_ms(record.timestamp))
            for record, headers in waiting
        ]
        if not records:
            return
        without_room = await self._send(self._unresolved_topic, records, whole=True)
        dead: list[DeadLetter] = []
        for record in (waiting[at][0] for at in without_room):
            self._note_refused(self._unresolved_topic, record)
            message = f"{self._unresolved_topic} has no room for it"
            dead.append(DeadLetter(record=record, stage=STAGE, reason="too_large", message=message))
        await self.dead_letter(dead)

    async def _send(self, topic: str, records: Sequence[Outgoing], *, whole: bool = False) -> list[int]:
        """Send records, those that are refused with less of them; gives the places of those refused in every form.

        `whole`: their keys and bodies stay.
        """
        try:
            await self._producer.send_many(topic, records)
        except PoisonError:
            return [at for at, record in enumerate(records) if not await self._send_one(topic, record, whole)]
        return []

    async def _send_one(self, topic: str, record: Outgoing, whole: bool) -> bool:
        for attempt in _less_and_less(record, whole):
            try:
                await self._producer.send_many(topic, [attempt])
            except PoisonError:
                continue
            return True
        return False

    def _note_refused(self, topic: str, record: RecordLike) -> None:
        self._refused(topic)
        log.error(
            "record_refused", refused_by=topic, topic=record.topic, partition=record.partition, offset=record.offset,
            message=f"{topic} takes it in no form: raise its max.message.bytes",
        )  # fmt: skip


def _less_and_less(record: Outgoing, whole: bool) -> Iterator[Outgoing]:
    """A record; without its time; with our own headers only; without a body or key that has no room; without both.

    A dead letter without a key is also tried with its place for one: a compacted topic takes none without.
    """
    yield record
    place = b"" if whole else _place(record)
    if record.key is None and not whole:
        yield replace(record, key=place)
    record = replace(record, timestamp_ms=None)
    yield record
    ours = tuple(header for header in record.headers if header[0] in dead_letters.OURS | unresolved.OURS)
    record = replace(record, headers=ours)
    if whole:
        yield record
        return
    headers = (*ours, (dead_letters.BODY, b"left out: too large"))
    bare = replace(record, value=None, headers=headers)
    key = record.key if len(record.key or b"") <= _ROOM_BYTES else None
    if len(record.value or b"") <= _ROOM_BYTES:
        yield replace(record, key=key)
    yield replace(bare, key=key)
    yield replace(bare, key=None)
    yield replace(bare, key=place)


def _place(letter: Outgoing) -> bytes:
    """Where a dead letter's record lay, as its headers have it: `topic-partition-offset`."""
    about = dict(letter.headers)
    return b"-".join(about.get(dead_letters.PREFIX + name) or b"" for name in ("topic", "partition", "offset"))
