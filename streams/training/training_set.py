"""From a log of records to arrays to train on: what each person did with which items, weighed as the service does.

An item is the vector of the text that the service encodes of it. An event is the row of its item, its type and its
signed weight, with the sentiment of what the person wrote. No text is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from encoders.histories import PersonLog, Shown, TrainingSet, type_code
from streams.base.errors import ConfigurationError
from streams.encoder.base import Encoder
from streams.events.event import Event, RecordLike, Source
from streams.interests.nodes import Vector
from streams.interests.signed_weight import UNDOES, WeightTable, signed_weight
from streams.pipeline.weigh import own_text
from streams.training.parsed_log import LogCounts, parse_log

Progress = Callable[[int, int], None]
"""Told how many texts are encoded, of how many."""

#: Texts encoded at a time: Ctrl-C waits for no more.
_CHUNK: Final = 128


class LogSet(NamedTuple):
    """A log to train on, and what became of its records."""

    data: TrainingSet
    counts: LogCounts


class _Touch(NamedTuple):
    """One event with one item."""

    time_ms: int
    row: int
    code: int
    weight: float


@dataclass(slots=True)
class _Person:
    touches: list[_Touch] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)

    def log(self, user_id: str) -> PersonLog:
        times, rows, codes, weights = zip(*self.touches, strict=True) if self.touches else ((), (), (), ())
        return PersonLog(
            user_id, np.array(times, np.int64), np.array(rows, np.int32), np.array(codes, np.int8),
            np.array(weights, np.float32), tuple(self.shown),
        )  # fmt: skip


async def training_set(
    items: Sequence[RecordLike], events: Sequence[RecordLike], encoder: Encoder, table: WeightTable, *, now_ms: int,
    progress: Progress = lambda done, total: None,
) -> LogSet:  # fmt: skip
    """A log as arrays; times up to `now_ms` are believed. What takes a like back is an event of its type of weight 0.

    Raises ConfigurationError where `parse_log` does and where no event is left, and what the encoder raises.
    """
    happened, described, counts = parse_log(items, events, now_ms=now_ms)
    rows = {item.item_id: row for row, (item, _) in enumerate(described)}
    written = [event for event in happened if event.item_id in rows and own_text(event)]
    total = len(described) + len(written)
    vectors = await _encoded([text for _, text in described], encoder, lambda done: progress(done, total))
    sentiments = await _sentiments(written, encoder, lambda done: progress(len(described) + done, total))
    people = _people(happened, rows, sentiments, table, counts)
    if not people:
        raise ConfigurationError(
            f"got {len(events):,} records of events, of which none is left: {counts.dead:,} are no valid events or "
            f"have a text that cannot be encoded, {counts.unknown_items:,} name an item that nobody described"
        )
    dated = [np.nan if item.ts_ms is None else item.ts_ms for item, _ in described]
    data = TrainingSet(vectors, list(rows), people, np.array(dated, np.float64))
    return LogSet(data, counts)


async def _encoded(texts: Sequence[str], encoder: Encoder, progress: Callable[[int], None]) -> Vector:
    """Vectors float32 (n, dim) of texts; a text that cannot be encoded ends it with the encoder's reason."""
    parts: list[Vector] = []
    for start in range(0, len(texts), _CHUNK):
        encoded = await encoder.encode(texts[start : start + _CHUNK])
        if encoded.poison:
            raise next(iter(encoded.poison.values()))
        parts.append(encoded.vectors)
        progress(min(start + _CHUNK, len(texts)))
    return np.concatenate(parts)


def _people(
    events: Sequence[Event], rows: dict[str, int], sentiments: Mapping[Source, float], table: WeightTable,
    counts: LogCounts,
) -> list[PersonLog]:  # fmt: skip
    """What each person did, people in the order of their first event."""
    people: dict[str, _Person] = {}
    for event in events:
        person = people.setdefault(event.user_id, _Person())
        if event.type == "impression":
            known = _show(event, rows, table, person)
        elif event.item_id is None:
            counts.without_item += 1
            continue
        elif known := event.item_id in rows:
            if own_text(event) and event.source not in sentiments:
                counts.dead += 1  # its text cannot be encoded
                continue
            weight = signed_weight(event, sentiments.get(event.source), table)
            code = type_code(UNDOES.get(event.type, event.type))
            person.touches.append(_Touch(event.ts_ms, rows[event.item_id], code, weight))
        if known:
            counts.types[event.type] += 1
        else:
            counts.unknown_items += 1
    return [person.log(user_id) for user_id, person in people.items() if person.touches or person.shown]


def _show(event: Event, rows: dict[str, int], table: WeightTable, person: _Person) -> bool:
    """Note what a person was shown, and what they took of it as their recent items keep it; False: nothing known.

    A list of which all or nothing was taken says nothing of what is preferred, but it says how often one clicks: it
    is kept too.
    """
    shown = [item_id for item_id in dict.fromkeys(event.items) if item_id in rows]
    if not shown:
        return False
    clicked = np.array([item_id in event.clicked for item_id in shown], bool)
    person.shown.append(Shown(event.ts_ms, np.array([rows[item_id] for item_id in shown], np.int32), clicked))
    weight, code = table.base["impression"] * table.impression_clicked, type_code("impression")
    taken = [item_id for item_id, was in zip(shown, clicked, strict=True) if was]
    person.touches += [_Touch(event.ts_ms, rows[item_id], code, weight) for item_id in taken]
    return True


async def _sentiments(
    events: Sequence[Event], encoder: Encoder, progress: Callable[[int], None]
) -> dict[Source, float]:  # fmt: skip
    """The sentiment of what events with a text say, by where the event lies; not of those that cannot be encoded."""
    written = [(event.source, own_text(event) or "") for event in events]
    found: dict[Source, float] = {}
    for start in range(0, len(written), _CHUNK):
        chunk = written[start : start + _CHUNK]
        encoded = await encoder.encode([text for _, text in chunk])
        for at, (source, _) in enumerate(chunk):
            if at not in encoded.poison:
                found[source] = float(encoded.sentiment[at])
        progress(min(start + _CHUNK, len(written)))
    return found
