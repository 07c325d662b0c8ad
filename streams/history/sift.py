"""What of a log counts up to a moment: events of before it, of the people who are looked at, and of nobody erased."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from streams.events.event import Event, RecordLike, Source
from streams.events.parse import ParseLimits, parse_events
from streams.events.privacy import Pseudonyms, pseudonymous
from streams.events.spans import Slot
from streams.history.spool import Spool

By = Literal["happened", "arrived"]
"""Which time decides what belongs to a moment: the event's own, or its record's."""


def everybody(user_id: str) -> bool:
    """Leave nobody out."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Up to when (ms, None: to the end) and by which time; whose events, by the ids that trees have."""

    at_ms: int | None = None
    by: By = "happened"
    chosen: Callable[[str], bool] = everybody

    def has(self, ts_ms: int, arrived_ms: int | None) -> bool:
        """Whether an event belongs to it."""
        return self.at_ms is None or (ts_ms if self.by == "happened" else arrived_ms or 0) <= self.at_ms


@dataclass(slots=True)
class Sifted:
    """What became of a log's records.

    `erased_at` has by user the latest erasure, in ms; `erasures` where the log's own lie: the last offset by slot.
    """

    read: int = 0
    kept: int = 0
    later: int = 0
    dead: int = 0
    erased_at: dict[str, int] = field(default_factory=dict)
    erasures: dict[str, dict[Slot, int]] = field(default_factory=dict)

    def note_erasures(self, erased_at: Mapping[str, int]) -> None:
        """Erasures that are known from elsewhere: the log may no longer hold their records."""
        for user, at_ms in erased_at.items():
            self.erased_at[user] = max(at_ms, self.erased_at.get(user, 0))

    def outlives(self, event: Event) -> bool:
        """Whether an event is younger than every erasure of its user."""
        return self.outlives_at(event.user_id, event.ts_ms)

    def outlives_at(self, user_id: str, at_ms: int) -> bool:
        """Whether a moment is younger than every erasure of a user."""
        return at_ms > self.erased_at.get(user_id, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How records are read: until when times are believed (`now_ms`), under which names people are kept."""

    now_ms: int
    unresolved_topic: str
    pseudonyms: Pseudonyms | None = None

    def events(self, records: Sequence[RecordLike]) -> list[tuple[Event, RecordLike]]:
        """The events of records that the worker would take, each with its record."""
        limits = ParseLimits(unresolved_topic=self.unresolved_topic)
        by_source = {Source(one.topic, one.partition, one.offset): one for one in records}
        parsed = parse_events(records, now_ms=self.now_ms, limits=limits)
        events, _ = pseudonymous(parsed.events, self.pseudonyms)
        return [(event, by_source[event.source]) for event in events]


def sift(records: Sequence[RecordLike], reading: Reading, cut: Cut, spool: Spool, sifted: Sifted) -> None:
    """Keep what belongs to a cut; erasures are noted whenever they were, since they hold for the past too."""
    sifted.read += len(records)
    found = reading.events(records)
    sifted.dead += len(records) - len(found)
    for event, record in found:
        if not cut.chosen(event.user_id):
            continue
        if event.type == "erase":
            sifted.note_erasures({event.user_id: event.ts_ms})
            places, (topic, partition, offset) = sifted.erasures.setdefault(event.user_id, {}), event.source
            places[topic, partition] = max(offset, places.get((topic, partition), 0))
        elif cut.has(event.ts_ms, record.timestamp):
            spool.add(event.user_id, record)
            sifted.kept += 1
        else:
            sifted.later += 1
