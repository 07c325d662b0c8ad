"""What a person did, as arrays: recent items for a model to read, and a whole log to train one on.

A history holds what a profile's `recents` keep: of each item the person's latest event, of these the `length` latest.
It holds no texts, and it is cut from a log when it is needed, so a log is in memory once.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

TYPES: tuple[str, ...] = (
    "click", "view", "post", "comment", "like", "dislike", "bookmark", "share", "follow", "purchase", "rating",
    "search", "hide", "impression", "other",
)  # fmt: skip
"""Event types a model tells apart. A type's code is its place + 1, and 0 is padding."""
HISTORY = 32
"""How many recent items a model reads, where nothing else is said."""
MOST_HISTORY = 50
"""The longest history a model may be made for."""
_CODES = {name: code for code, name in enumerate(TYPES, 1)}


def type_code(name: str) -> int:
    """The code of an event type; one that is not in `TYPES` is `other`."""
    return _CODES.get(name, _CODES["other"])


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """Recent items of n people: oldest first, an item once, padding (type 0) at the end.

    `vectors` (n, length, dim) are unit vectors of the text encoder, `types` (n, length) codes of `TYPES`, `weights`
    (n, length) signed weights (0 was taken back), `ages_s` (n, length) seconds from an event to the person's latest
    one. What stands in padding is never read.
    """

    vectors: Floats
    types: Ints
    weights: Floats
    ages_s: Floats

    def __post_init__(self) -> None:
        """Raise ValueError where the shapes do not belong together."""
        if self.vectors.ndim != 3 or not (
            self.vectors.shape[:2] == self.types.shape == self.weights.shape == self.ages_s.shape
        ):
            got = [part.shape for part in (self.vectors, self.types, self.weights, self.ages_s)]
            raise ValueError(f"histories are (n, length, dim) and three of (n, length); got {got}")

    def __len__(self) -> int:
        """How many people."""
        return len(self.types)

    def __getitem__(self, part: slice) -> Histories:
        """Some of the people, in their order."""
        return Histories(self.vectors[part], self.types[part], self.weights[part], self.ages_s[part])

    @classmethod
    def empty(cls, people: int, length: int, dim: int) -> Histories:
        """Histories of people who did nothing yet: to be filled, or to ask for a newcomer's answer."""
        shape = (people, length)
        return cls(
            np.zeros((*shape, dim), np.float32), np.zeros(shape, np.int32), np.zeros(shape, np.float32),
            np.zeros(shape, np.float32),
        )  # fmt: skip


class Shown(NamedTuple):
    """A list that was shown at `time_ms`: rows of its items (c,), and whether each was clicked (c,)."""

    time_ms: int
    rows: Ints
    clicked: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class PersonLog:
    """All events of a person with items, in time order, k of them; and what they were shown, in time order.

    `times_ms` (k,) since the epoch, `rows` (k,) into `TrainingSet.items`, `types` (k,) codes of `TYPES`, `weights`
    (k,) signed weights.
    """

    user_id: str
    times_ms: npt.NDArray[np.int64]
    rows: Ints
    types: npt.NDArray[np.int8]
    weights: Floats
    shown: Sequence[Shown] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        """Raise ValueError where the parts differ in length or times run backwards."""
        if not len(self.times_ms) == len(self.rows) == len(self.types) == len(self.weights):
            raise ValueError(f"events of {self.user_id}: times, rows, types and weights differ in length")
        if np.any(np.diff(self.times_ms) < 0):
            raise ValueError(f"events of {self.user_id} are not in time order")


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """A log: item vectors (m, dim), unit length, their ids, people; `dated_ms` (m,) when an item was made, or nan."""

    items: Floats
    item_ids: Sequence[str]
    people: Sequence[PersonLog]
    dated_ms: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        """Raise ValueError where items, ids and times differ in length."""
        if self.items.ndim != 2 or not len(self.items) == len(self.item_ids) == len(self.dated_ms):
            raise ValueError("items are (m, dim), with m ids and m times")

    @property
    def dim(self) -> int:
        """The length of an item's vector."""
        return self.items.shape[1]


def id_ranks(item_ids: Sequence[str]) -> Ints:
    """Each item's place, shape (m,), in the order in which events of one and the same time follow each other."""
    ranks = np.empty(len(item_ids), np.int32)
    ranks[sorted(range(len(item_ids)), key=item_ids.__getitem__, reverse=True)] = np.arange(len(item_ids))
    return ranks


def cuts(person: PersonLog, ranks: Ints, length: int) -> Ints:
    """The person's history before each event and after the last, shape (k + 1, length): places of events, −1 none.

    `ranks` is `id_ranks` of the log. Events of one time are taken in the order of the log; in a history they stand in
    that of the profile's recent items.
    """
    out = np.full((len(person.rows) + 1, length), -1, np.int32)
    kept: list[tuple[int, int, int]] = []  # time, rank of the item, place of the event
    latest: dict[int, tuple[int, int, int]] = {}
    for place, (time_ms, row, weight) in enumerate(
        zip(person.times_ms.tolist(), person.rows.tolist(), person.weights.tolist(), strict=True)
    ):
        entry = (time_ms, int(ranks[row]), place)
        had = latest.get(row)
        if had is None or (time_ms, weight == 0.0, weight) > _rank_of(person, had):
            if had is not None and had in kept:
                kept.remove(had)
            latest[row] = entry
            insort(kept, entry)
            del kept[:-length]
        out[place + 1, : len(kept)] = [one[2] for one in kept]
    return out


class Events(NamedTuple):
    """Events of many people end to end, e in all; person p's are `starts[p]` to `starts[p + 1]`. See `PersonLog`."""

    times_ms: npt.NDArray[np.int64]
    rows: Ints
    types: npt.NDArray[np.int8]
    weights: Floats
    starts: npt.NDArray[np.int64]


def end_to_end(people: Sequence[PersonLog]) -> Events:
    """The events of all people in one piece."""
    return Events(
        np.concatenate([np.zeros(0, np.int64), *(one.times_ms for one in people)]),
        np.concatenate([np.zeros(0, np.int32), *(one.rows for one in people)]),
        np.concatenate([np.zeros(0, np.int8), *(one.types for one in people)]),
        np.concatenate([np.zeros(0, np.float32), *(one.weights for one in people)]),
        np.cumsum([0, *(len(one.rows) for one in people)]).astype(np.int64),
    )


def gather(items: Floats, events: Events, places: Ints) -> Histories:
    """Histories from places among `events`, shape (n, length), −1 at the end where there are no more."""
    used = places >= 0
    if not len(events.rows):
        return Histories.empty(len(places), places.shape[1], items.shape[1])
    at = np.where(used, places, 0)
    times = np.where(used, events.times_ms[at], np.iinfo(np.int64).min)
    return Histories(
        items[events.rows[at]] * used[..., None],
        np.where(used, events.types[at], 0).astype(np.int32),
        np.where(used, events.weights[at], 0).astype(np.float32),
        np.where(used, (times.max(1, keepdims=True) - times) / 1000.0, 0).astype(np.float32),
    )


def histories_at(data: TrainingSet, before_ms: float, length: int = HISTORY) -> Histories:
    """Every person's history of events before a moment (inf: of all), in the order of `data.people`."""
    ranks, events = id_ranks(data.item_ids), end_to_end(data.people)
    places = np.full((len(data.people), length), -1, np.int32)
    for at, person in enumerate(data.people):
        found = cuts(person, ranks, length)[bisect_left(person.times_ms, before_ms)]
        places[at] = np.where(found >= 0, found + events.starts[at], -1)
    return gather(data.items, events, places)


def _rank_of(person: PersonLog, entry: tuple[int, int, int]) -> tuple[int, bool, float]:
    weight = float(person.weights[entry[2]])
    return entry[0], weight == 0.0, weight
