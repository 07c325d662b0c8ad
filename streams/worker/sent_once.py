"""Dead letters and waiting events of one record are sent once, however often its batch is tried.

A batch is tried again when a server was away in the middle of it, and in halves when it raised. What it had sent by
then is sent: it is remembered by place until the batch is through. A process that dies forgets, so its successor sends
such records again: at least once, as everything that is sent before an acknowledgement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streams.events.dead_letters import DeadLetter
from streams.events.event import RecordLike, Source
from streams.events.side_outputs import Waiting
from streams.pipeline.apply import Outbox


class SentOnce:
    """Passes on to an outbox what it has not sent yet."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._dead: set[Source] = set()
        self._waiting: set[Source] = set()

    async def dead_letter(self, dead: Sequence[DeadLetter]) -> None:
        """Send dead letters but those of records that have one, whatever is wrong with them now."""
        fresh = [letter for letter in dead if _place(letter.record) not in self._dead]
        for topic in dict.fromkeys(letter.record.topic for letter in fresh):  # one may fail when another has been sent
            theirs = [letter for letter in fresh if letter.record.topic == topic]
            await self._outbox.dead_letter(theirs)
            self._dead.update(_place(letter.record) for letter in theirs)

    async def defer(self, waiting: Sequence[Waiting]) -> None:
        """Send records to the unresolved topic but those that were sent there."""
        fresh = [one for one in waiting if _place(one.record) not in self._waiting]
        await self._outbox.defer(fresh)
        self._waiting.update(_place(one.record) for one in fresh)

    def forget(self, records: Iterable[RecordLike]) -> None:
        """The batch of these records is through, or no longer ours."""
        if self._dead or self._waiting:
            places = {_place(record) for record in records}
            self._dead -= places
            self._waiting -= places


def _place(record: RecordLike) -> Source:
    return Source(record.topic, record.partition, record.offset)
