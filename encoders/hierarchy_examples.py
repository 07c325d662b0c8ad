"""A log as examples: who did what after which history, what they were shown, and what each could have chosen instead.

An *anchor* is an event with the history before it; its item is the *target*. A *list* is what was shown, with the
history before. Nothing here draws a number by itself: draws come from the generator that is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from encoders.histories import TYPES, Events, Floats, Ints, Shown, TrainingSet, cuts, end_to_end, id_ranks

Bools = npt.NDArray[np.bool_]
Longs = npt.NDArray[np.int64]

AHEAD = 8
"""Of so many of a person's next events the positive share is foretold where a log has no lists."""
FEWEST = 20
"""A type counts as the strongest only with so many positive events."""


class Anchors(NamedTuple):
    """Events as targets, a of them: place among all events, person (a,); `histories` (a, length) places before it."""

    places: Longs
    people: Longs
    histories: Ints

    def some(self, at: Any) -> Anchors:
        """Those at some places or of a mask."""
        return Anchors(self.places[at], self.people[at], self.histories[at])


class Lists(NamedTuple):
    """Shown lists, s of them: `times_ms`, person (s,), `histories` (s, length), and what was shown."""

    times_ms: Longs
    people: Longs
    histories: Ints
    shown: Sequence[Shown]

    def some(self, at: Any) -> Lists:
        """Those at some places or of a mask."""
        kept = np.arange(len(self.people))[at]
        return Lists(self.times_ms[at], self.people[at], self.histories[at], [self.shown[one] for one in kept])


class Log(NamedTuple):
    """A log made ready: item vectors, all events, anchors and lists in time order.

    `known_ms` (m,) from when on an item can be met: its own time or when it was first met, −inf where it has none.
    `new` (e,) whether an event's item is new to the person; `strongest` the code of the strongest positive type;
    `first` by person at which place each item was first met.
    """

    items: Floats
    events: Events
    anchors: Anchors
    lists: Lists
    known_ms: npt.NDArray[np.float64]
    new: Bools
    strongest: int
    first: Sequence[dict[int, int]]

    def positive(self, anchors: Anchors) -> Bools:
        """Which anchors are a positive event, shape (a,)."""
        return self.events.weights[anchors.places] > 0

    def purchases(self, anchors: Anchors) -> Bools:
        """Which anchors are a positive event of the strongest type, shape (a,)."""
        return np.asarray(self.positive(anchors) & (self.events.types[anchors.places] == self.strongest))


def read_log(data: TrainingSet, length: int) -> Log:
    """Anchors and lists of all people with their histories of `length`."""
    events, ranks = end_to_end(data.people), id_ranks(data.item_ids)
    met_ms = np.full(len(data.items), np.inf)
    np.minimum.at(met_ms, events.rows, events.times_ms.astype(np.float64))
    first: list[dict[int, int]] = []
    histories = np.full((len(events.rows), length), -1, np.int32)
    of_lists: list[tuple[int, int, Ints, Shown]] = []
    for at, person in enumerate(data.people):
        start, end = int(events.starts[at]), int(events.starts[at + 1])
        places = cuts(person, ranks, length)
        places[places >= 0] += start
        histories[start:end] = places[:-1]
        rows = person.rows.tolist()
        first.append({row: start + place for place, row in reversed(list(enumerate(rows)))})
        of_lists.extend(
            (one.time_ms, at, places[int(np.searchsorted(person.times_ms, one.time_ms))], one) for one in person.shown
        )
    people = np.repeat(np.arange(len(data.people), dtype=np.int64), np.diff(events.starts))
    order = np.argsort(events.times_ms, kind="stable")
    anchors = Anchors(order, people[order], histories[order])
    of_lists.sort(key=lambda one: one[:2])
    lists = Lists(
        np.array([one[0] for one in of_lists], np.int64),
        np.array([one[1] for one in of_lists], np.int64),
        np.array([one[2] for one in of_lists], np.int32).reshape(-1, length),
        [one[3] for one in of_lists],
    )
    new = np.zeros(len(events.rows), bool)
    new[[place for places_of in first for place in places_of.values()]] = True
    dated = data.dated_ms
    known = np.where(np.isnan(dated), -np.inf, np.minimum(dated, met_ms))
    return Log(data.items, events, anchors, lists, known, new, strongest_type(events), first)


def strongest_type(events: Events) -> int:
    """The code of the type whose positive events weigh most on average; `other` where nothing is positive."""
    best, most = len(TYPES), 0.0
    for code in range(1, len(TYPES) + 1):
        weights = events.weights[(events.types == code) & (events.weights > 0)]
        if len(weights) >= min(FEWEST, max(1, int((events.weights > 0).sum()) // 10)) and weights.mean() > most:
            best, most = code, float(weights.mean())
    return best


class Candidates(NamedTuple):
    """What the targets of a batch are contrasted with, c items: `rows`, ln of how often each is drawn (c,).

    `allowed` (a, c) is false where an item was not known then or the person had met it; the target itself is allowed.
    `targets` (a,) are the targets' columns.
    """

    rows: Longs
    log_drawn: Floats
    allowed: Bools
    targets: Longs


def candidates(log: Log, anchors: Anchors, shares: Floats, negatives: int, rng: np.random.Generator) -> Candidates:
    """The batch's own targets and `negatives` items drawn at random, or all items where there are no more than that.

    `shares` (m,) are how often an item is a target, as a share: with it the correction for the popularity of in-batch
    negatives is ln(batch · share + negatives / m) (Yi et al. 2019). Raw, popular items would be pushed down.
    """
    total = len(log.items)
    target_rows = log.events.rows[anchors.places]
    if total <= negatives:
        rows, log_drawn = np.arange(total), np.zeros(total, np.float32)
    else:
        rows = np.union1d(target_rows, rng.choice(total, negatives, replace=False))
        log_drawn = np.log(len(anchors.places) * shares[rows] + negatives / total).astype(np.float32)
    columns = np.full(total, -1, np.int64)
    columns[rows] = np.arange(len(rows))
    times = log.events.times_ms[anchors.places]
    allowed = log.known_ms[rows][None, :] <= times[:, None]
    for at, (place, person) in enumerate(zip(anchors.places.tolist(), anchors.people.tolist(), strict=True)):
        met = columns[log.events.rows[log.events.starts[person] : place]]
        allowed[at, met[met >= 0]] = False
    targets = columns[target_rows]
    allowed[np.arange(len(targets)), targets] = True
    return Candidates(rows.astype(np.int64), log_drawn, allowed, targets)


def not_met(
    log: Log, people: Longs, places: Longs, times_ms: Longs, count: int, rng: np.random.Generator
) -> tuple[Longs, Bools]:
    """`count` items for each person, known at the time and not met up to their places; and which are there.

    Shapes (a, count). Where few are left some are missing. Drawn with equal chances.
    """
    drawn = rng.integers(0, len(log.items), (len(people), 3 * count + 8))
    rows, there = np.zeros((len(people), count), np.int64), np.zeros((len(people), count), bool)
    known = log.known_ms[drawn] <= times_ms[:, None]
    for at, (person, place) in enumerate(zip(people.tolist(), places.tolist(), strict=True)):
        first = log.first[person]
        found = [
            row
            for row in dict.fromkeys(drawn[at][known[at]].tolist())
            if row not in first or first[row] > place
        ][:count]  # fmt: skip
        rows[at, : len(found)], there[at, : len(found)] = found, True
    return rows, there


def shown_together(lists: Lists, most: int, rng: np.random.Generator) -> tuple[Longs, Bools, Bools]:
    """Lists as rows, clicked and there, each (s, most). Of long ones `most` are drawn, so that rates stay the same."""
    shape = (len(lists.shown), most)
    rows, clicked, there = np.zeros(shape, np.int64), np.zeros(shape, bool), np.zeros(shape, bool)
    for at, one in enumerate(lists.shown):
        order = rng.permutation(len(one.rows))[:most]
        rows[at, : len(order)], clicked[at, : len(order)] = one.rows[order], one.clicked[order]
        there[at, : len(order)] = True
    return rows, clicked, there


def clicks_of(lists: Lists) -> Floats:
    """How many of a list were clicked, and how many there were, shape (s, 2)."""
    counts = [(one.clicked.sum(), len(one.clicked)) for one in lists.shown]
    return np.array(counts, np.float32).reshape(-1, 2)


def positives_ahead(log: Log, anchors: Anchors) -> Floats:
    """How many of the person's next events, the target's among them, are positive, and how many they are, (a, 2)."""
    sums = np.concatenate([[0], np.cumsum(log.events.weights > 0)])
    end = np.minimum(anchors.places + AHEAD, log.events.starts[anchors.people + 1])
    ahead = np.stack([sums[end] - sums[anchors.places], end - anchors.places], 1)
    return np.asarray(ahead, np.float32)
