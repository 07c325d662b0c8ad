"""From resolved events and encoded texts to weighed events: a vector, a path, a signed weight. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streams.base.errors import PoisonError
from streams.concepts.tree import ConceptTree
from streams.encoder.base import Encoded
from streams.events.event import Event, Source
from streams.interests.item_vectors import StoredItem
from streams.interests.nodes import Vector
from streams.interests.plan import Weighed
from streams.interests.signed_weight import UNDOES, WeightTable, signed_weight

_ITEM_ONLY = frozenset(UNDOES) | frozenset(UNDOES.values())


@dataclass(slots=True)
class WeighedBatch:
    """Weighed events, which refer to rows of `vectors` (n, dim); `poison` are events with unreadable text."""

    vectors: Vector
    events: list[Weighed] = field(default_factory=list)
    poison: dict[Source, PoisonError] = field(default_factory=dict)


def own_text(event: Event) -> str | None:
    """The text of an event that goes into its vector and its sentiment."""
    return event.text if event.type not in _ITEM_ONLY else None


def texts_of(events: Sequence[Event]) -> list[str]:
    """The texts to encode, in the order `weigh` expects them."""
    return [text for event in events if (text := own_text(event))]


class _Rows:
    """Unit rows as they are made: an item's once, an event's blend of item and own text as it comes."""

    def __init__(self, dim: int) -> None:
        self._rows: list[Vector] = []
        self._items: dict[str, int] = {}
        self._dim = dim

    def add(self, row: Vector) -> int:
        self._rows.append(row)
        return len(self._rows) - 1

    def item(self, item: StoredItem) -> int:
        row = self._items.get(item.item_id)
        if row is None:
            row = self._items[item.item_id] = self.add(item.vector)
        return row

    def stacked(self) -> Vector:
        return np.stack(self._rows) if self._rows else np.zeros((0, self._dim), dtype=np.float32)


def blend(item: Vector, text: Vector, share: float) -> Vector:
    """The unit vector between an item's and its event's own text's; `share` is the text's part."""
    mixed = (1 - share) * item + share * text
    length = float(np.linalg.norm(mixed))
    return (mixed / length).astype(np.float32) if length > 1e-6 else item


def weigh(
    events: Sequence[Event], items: Mapping[str, StoredItem], encoded: Encoded, tree: ConceptTree, table: WeightTable
) -> WeighedBatch:
    """Weigh every event of a batch; `encoded` holds what `texts_of(events)` asked for."""
    rows = _Rows(encoded.vectors.shape[1])
    made = WeighedBatch(rows.stacked())
    without_item: list[tuple[int, Event, float, int]] = []
    at = -1
    for event in events:
        text_row, sentiment = None, None
        if own_text(event):
            at += 1
            if (error := encoded.poison.get(at)) is not None:
                made.poison[event.source] = error
                continue
            text_row, sentiment = encoded.vectors[at], float(encoded.sentiment[at])
        if event.type == "impression":
            made.events += _impression(event, items, rows, table)
            continue
        weight = signed_weight(event, sentiment, table)
        item = items.get(event.item_id) if event.item_id else None
        if item is not None:
            row = rows.item(item)
            if text_row is not None:
                row = rows.add(blend(item.vector, text_row, table.own_text_share))
            made.events.append(Weighed(event, row, item.path, weight, item.item_id))
        elif text_row is not None:
            without_item.append((len(made.events), event, weight, rows.add(text_row)))
            made.events.append(Weighed(event, without_item[-1][3], "", weight, ""))
    made.vectors = rows.stacked()
    if without_item:
        paths = tree.assign(made.vectors[[row for *_, row in without_item]])
        for (index, *_), path in zip(without_item, paths, strict=True):
            made.events[index] = made.events[index]._replace(path=path)
    return made


def _impression(event: Event, items: Mapping[str, StoredItem], rows: _Rows, table: WeightTable) -> list[Weighed]:
    """What was shown and clicked counts for the item, what was shown and left a little against it."""
    base, taken = table.base["impression"], frozenset(event.clicked)
    return [
        Weighed(
            event,
            rows.item(items[item_id]),
            items[item_id].path,
            base * (table.impression_clicked if item_id in taken else table.impression_skipped),
            item_id,
        )
        for item_id in dict.fromkeys(event.items)
        if item_id in items
    ]
