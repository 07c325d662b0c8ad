"""What a language model is tuned on: pairs of texts that belong together, and batches in which no pair is its own foe.

Two kinds: a person's recent items and the new one they took next, and an item's title and the words it is filed under.
All of it are rows of one list of texts.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

Rows = npt.NDArray[np.int32]
NOBODY = -1


class Fold(NamedTuple):
    """People who are left out: those whose id's CRC-32 leaves `part` when divided by `parts`."""

    part: int
    parts: int

    def has(self, user_id: str) -> bool:
        """Whether a person belongs to it."""
        return zlib.crc32(user_id.encode()) % self.parts == self.part


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """n pairs: `anchors` int32 (n, h) rows of texts, −1 where there are fewer; `positives` int32 (n,) a row each.

    `people` int32 (n,) is whose history the anchors are, `NOBODY` where they are nobody's; `times_ms` int64 (n,).
    """

    anchors: Rows
    positives: Rows
    people: Rows
    times_ms: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positives)

    def at(self, chosen: npt.NDArray[np.intp]) -> Pairs:
        """Some of the pairs, in the order of `chosen`."""
        return Pairs(self.anchors[chosen], self.positives[chosen], self.people[chosen], self.times_ms[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class TuningSet:
    """Texts, of which the first `items` are items, and pairs of them: `history` in order of time, and `labels`.

    `met` has by person the rows of all items they took, in order.
    """

    texts: Sequence[str]
    items: int
    history: Pairs
    labels: Pairs
    met: Sequence[Rows]

    @property
    def digest(self) -> str:
        """16 hex digits over texts and pairs: a training goes on with the set it began with."""
        digest = xxhash.xxh3_64("\0".join(self.texts).encode())
        for pairs in (self.history, self.labels):
            digest.update(pairs.anchors.tobytes() + pairs.positives.tobytes() + pairs.people.tobytes())
        return digest.hexdigest()


class Batch(NamedTuple):
    """b pairs of one kind: `rows` (u,) are the texts that take part, `anchors` (b, u) weights of each pair's anchor.

    `positives` (b,) are places in `rows`. `excluded` bool (b, b) says which other positives are no foes of a pair: the
    same text, or an item that the same person took some time.
    """

    rows: npt.NDArray[np.intp]
    anchors: npt.NDArray[np.float32]
    positives: npt.NDArray[np.intp]
    excluded: npt.NDArray[np.bool_]


def batch_of(pairs: Pairs, met: Sequence[Rows]) -> Batch:
    """One batch of pairs, each text in it once. An anchor is the mean of its texts."""
    rows, places = np.unique(np.concatenate([pairs.anchors.reshape(-1), pairs.positives]), return_inverse=True)
    missing = int(rows[0] < 0)
    places = places.reshape(-1) - missing
    b, h = pairs.anchors.shape
    anchors = np.zeros((b, len(rows) - missing), np.float32)
    there = pairs.anchors.reshape(-1) >= 0
    owners = np.repeat(np.arange(b), h)[there]
    np.add.at(anchors, (owners, places[: b * h][there]), 1.0)
    anchors /= anchors.sum(1, keepdims=True)
    excluded = pairs.positives[:, None] == pairs.positives[None, :]
    for at, person in enumerate(pairs.people):
        if person != NOBODY:
            excluded[at] |= np.isin(pairs.positives, met[person])
    np.fill_diagonal(excluded, val=False)
    return Batch(rows[missing:].astype(np.intp), anchors, places[b * h :], excluded)


def batches_of(data: TuningSet, size: int, seed: int, epoch: int, reads: int) -> Iterator[Batch]:
    """An epoch's batches, in an order that follows from `seed` and `epoch` alone; one kind a batch, both mixed.

    Of a history `reads` texts are drawn, others each epoch: a text costs as much as another pair.
    """
    draw = np.random.default_rng([seed, epoch])
    parts: list[tuple[Pairs, npt.NDArray[np.intp]]] = []
    for pairs in (data.history, data.labels):
        order = draw.permutation(len(pairs))
        parts += [(pairs, chosen) for at in range(0, len(order), size) if len(chosen := order[at : at + size]) > 1]
    for at in draw.permutation(len(parts)):
        pairs, chosen = parts[at]
        some = pairs.at(chosen)
        if some.anchors.shape[1] > reads:
            order = np.argsort(np.where(some.anchors < 0, 2.0, draw.random(some.anchors.shape)), axis=1)[:, :reads]
            some = Pairs(np.take_along_axis(some.anchors, order, 1), some.positives, some.people, some.times_ms)
        yield batch_of(some, data.met)


def steps_of(data: TuningSet, size: int) -> int:
    """How many batches an epoch has."""
    return sum(len(pairs) // size + (len(pairs) % size > 1) for pairs in (data.history, data.labels))


def split(data: TuningSet, held_out: float) -> tuple[TuningSet, Pairs]:
    """The set without the last share of its histories in time, and those; without histories, of its labels."""
    pairs = data.history if len(data.history) else data.labels
    at = min(len(pairs) - 1, int(len(pairs) * (1 - held_out)))
    early, late = pairs.at(np.arange(at)), pairs.at(np.arange(at, len(pairs)))
    if not len(data.history):
        return TuningSet(data.texts, data.items, data.history, early, data.met), late
    met: list[set[int]] = [set() for _ in data.met]
    for person, anchor, positive in zip(early.people, early.anchors, early.positives, strict=True):
        met[person].update(anchor[anchor >= 0].tolist(), [int(positive)])
    known = [np.array(sorted(rows), np.int32) for rows in met]
    return TuningSet(data.texts, data.items, early, data.labels, known), late


def reciprocal_ranks(vectors: npt.NDArray[np.float32], pairs: Pairs, data: TuningSet) -> npt.NDArray[np.float64]:
    """1 / the place of each pair's positive among all items (or all labels) but its anchor's, shape (n,).

    `vectors` float32 (texts, dim) are of length 1. Ties share the mean of their places.
    """
    of_items = bool(len(pairs)) and bool(pairs.people[0] != NOBODY)
    candidates = np.arange(data.items) if of_items else np.unique(data.labels.positives)
    found = np.empty(len(pairs))
    for at, (anchor, positive) in enumerate(zip(pairs.anchors, pairs.positives, strict=True)):
        own = anchor[anchor >= 0]
        others = candidates[~np.isin(candidates, [*own, positive])]
        mean = vectors[own].mean(0)
        scores = vectors[others] @ mean
        score = vectors[positive] @ mean
        found[at] = 1 / (1 + (scores > score).sum() + (scores == score).sum() / 2)
    return found
