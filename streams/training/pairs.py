"""From a log to pairs of texts that a language model is tuned on: recent items and the next, titles and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from encoders.tuning_pairs import NOBODY, Fold, Pairs, TuningSet
from streams.base.errors import ConfigurationError
from streams.events.event import Event, RecordLike
from streams.events.items import Item, item_text
from streams.events.parse import parse_events, parse_items
from streams.interests.signed_weight import WeightTable, signed_weight
from streams.pipeline.describe import ITEM_CHARS


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPlan:
    """What is paired: the `history` latest items of a person with the next; of the first `share` of the events in time.

    People of the fold `without` are left out. With `labels` an item's title is paired with its categories and tags.
    """

    history: int = 5
    share: float = 1.0
    without: Fold | None = None
    labels: bool = True


_FEWEST: Final = 2


def tuning_set(
    items: Sequence[RecordLike], events: Sequence[RecordLike], table: WeightTable, plan: PairPlan, *, now_ms: int
) -> TuningSet:
    """The pairs of a log, its events in time order; times up to `now_ms` are believed.

    A person's next item is one that they had no event with before, and that the event speaks for. What a comment says
    is not read: it speaks for its item. Only items that an event of the first `share` is about have labels, and items
    published later are no candidates. Raises ConfigurationError where nothing can be paired.
    """
    parsed = sorted(parse_events(events, now_ms=now_ms).events, key=lambda event: event.ts_ms)
    kept = parsed[: int(len(parsed) * plan.share)]
    until_ms = kept[-1].ts_ms if kept else 0
    described = _described(items, kept, until_ms, now_ms)
    rows = {item.item_id: row for row, (item, _) in enumerate(described)}
    history, met = _histories(kept, rows, table, plan)
    texts = [text for _, text in described]
    labels = _labels([item for item, _ in described], texts) if plan.labels else _none(1)
    if len(history) + len(labels) < _FEWEST:
        raise ConfigurationError(
            f"got {len(kept):,} events and {len(described):,} items, of which nothing can be paired"
        )
    return TuningSet(texts, len(described), history, labels, met)


def _described(
    records: Sequence[RecordLike], events: Sequence[Event], until_ms: int, now_ms: int
) -> list[tuple[Item, str]]:
    """The items that were known by then, with the text that the service encodes."""
    touched = {event.item_id for event in events} | {item_id for event in events for item_id in event.items}
    found = {event.item.item_id: event.item for event in events if event.item is not None}
    found |= {
        item_id: item for item_id, (item, _) in parse_items(records, now_ms=now_ms).latest().items() if item is not None
    }
    known = [i for i in found.values() if i.item_id in touched or i.ts_ms is None or i.ts_ms <= until_ms]
    return [(item, text) for item in known if (text := item_text(item, ITEM_CHARS))]


def _histories(
    events: Sequence[Event], rows: dict[str, int], table: WeightTable, plan: PairPlan
) -> tuple[Pairs, list[NDArray[np.int32]]]:
    """Recent items and next ones, in order of time; and by person all items they took."""
    taken: dict[str, list[int]] = {}
    seen: dict[str, set[int]] = {}
    anchors, positives, people, times = [], [], [], []
    numbers: dict[str, int] = {}
    for event in events:
        if plan.without is not None and plan.without.has(event.user_id):
            continue
        touched = list(event.clicked) if event.type == "impression" else [event.item_id] if event.item_id else []
        speaks = event.type == "impression" or signed_weight(event, None, table) > 0
        spoken_for = touched if speaks else []
        mine, met = taken.setdefault(event.user_id, []), seen.setdefault(event.user_id, set())
        person = numbers.setdefault(event.user_id, len(numbers))
        for item_id in spoken_for:
            row = rows.get(item_id)
            if row is None or row in met:
                continue
            if mine:
                latest = mine[-plan.history :]
                anchors.append([*latest, *[-1] * (plan.history - len(latest))])
                positives.append(row)
                people.append(person)
                times.append(event.ts_ms)
            mine.append(row)
        met.update(rows[item_id] for item_id in touched if item_id in rows)
    pairs = Pairs(
        np.array(anchors, np.int32).reshape(-1, plan.history), np.array(positives, np.int32),
        np.array(people, np.int32), np.array(times, np.int64),
    )  # fmt: skip
    return pairs, [np.array(sorted(seen[user_id]), np.int32) for user_id in numbers]


def _labels(items: Sequence[Item], texts: list[str]) -> Pairs:
    """Titles (without one, the description) and the words an item is filed under; `texts` gets both at its end."""
    places: dict[str, int] = {}

    def place(text: str) -> int:
        if text not in places:
            places[text] = len(texts)
            texts.append(text)
        return places[text]

    anchors, positives = [], []
    for item in items:
        said = item.title or item.description
        words = ", ".join(dict.fromkeys((*item.categories, *item.tags)))
        if said and words:
            anchors.append([place(said)])
            positives.append(place(words))
    n = len(positives)
    return Pairs(
        np.array(anchors, np.int32).reshape(-1, 1), np.array(positives, np.int32), np.full(n, NOBODY, np.int32),
        np.zeros(n, np.int64),
    )  # fmt: skip


def _none(width: int) -> Pairs:
    empty = np.zeros(0, np.int32)
    return Pairs(np.zeros((0, width), np.int32), empty, empty, np.zeros(0, np.int64))
