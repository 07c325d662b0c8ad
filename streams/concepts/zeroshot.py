"""Nearest topic and interest of a vector: centred cosines that answer alike on every machine and in every batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_BLOCK_ROWS: Final = 4096
_BEST_INTEREST: Final = 0.5  # share of a topic's score that its best interest adds (figures in docs/concepts.md)
_DECIMALS: Final = 6  # scores closer than this are a tie: the last bits differ between machines and batch sizes


class Nearest(NamedTuple):
    """The best rows and their centred cosines, each of shape (n,). A score of −inf says there was no candidate."""

    rows: Integers
    scores: Doubles


class ZeroShot:
    """Scores vectors against topics and, below a topic, against its interests.

    Encoders of the e5 kind put every text into a narrow cone, so both sides are centred by the concepts' own mean
    before the cosine. A topic is the sum of its own direction and that of its interests' mean: what a name leaves
    open its interests fill in (figures in docs/concepts.md).
    """

    def __init__(self, vectors: Floats, parents: Integers) -> None:
        """`vectors` of shape (n, dim), one a concept; `parents` of shape (n,): the row of its topic, −1 for a topic."""
        doubles = vectors.astype(np.float64)
        self._mean = doubles.mean(axis=0)
        centred = unit(doubles - self._mean)
        self.topic_rows: Integers = np.flatnonzero(parents < 0)
        self.interest_rows: Integers = np.flatnonzero(parents >= 0)
        self._parents = parents[self.interest_rows]
        self._interests = centred[self.interest_rows]
        self._below = [np.flatnonzero(self._parents == row) for row in self.topic_rows]
        self._topics = unit(np.stack([self._blend(centred[row], row) for row in self.topic_rows]))

    def _blend(self, own: Doubles, row: int) -> Doubles:
        below = self._interests[self._parents == row]
        return own + unit(below.mean(axis=0)) if len(below) else own

    def topics(self, vectors: Floats, favour: Doubles | None = None) -> Nearest:
        """The nearest topic of each vector; a tie goes to the lowest row. Shape of vectors: (n, dim).

        `favour` is added to the cosines: one number for each vector and concept, shape (n, concepts).
        """
        found: list[Nearest] = []
        for rows, block in self._blocks(vectors):
            scores = self._scores(block)
            if favour is not None:
                scores += favour[rows][:, self.topic_rows]
            found.append(_best(self.topic_rows, scores))
        return _joined(found)

    def topic_scores(self, vectors: Floats) -> Doubles:
        """The centred cosine of each vector, (n, dim), with each topic, shape (n, topics)."""
        return np.concatenate([self._scores(block) for _, block in self._blocks(vectors)])

    def _scores(self, block: Doubles) -> Doubles:
        cosines = block @ self._topics.T
        deepest = self._best_below(block @ self._interests.T, cosines)
        return _rounded((cosines + _BEST_INTEREST * deepest) / (1 + _BEST_INTEREST))

    def _best_below(self, interests: Doubles, topics: Doubles) -> Doubles:
        """The cosine of each topic's best interest, the topic's own where it has none, shape (n, topics)."""
        best = topics.copy()
        for column, below in enumerate(self._below):
            if len(below):
                best[:, column] = interests[:, below].max(axis=1)
        return best

    def interests(self, vectors: Floats, topics: Integers, favour: Doubles | None = None) -> Nearest:
        """The nearest interest of each vector among those of its topic; `topics` holds rows, shape (n,).

        `favour` as in `topics`.
        """
        if not len(self.interest_rows):
            return Nearest(np.full(len(vectors), -1), np.full(len(vectors), -np.inf))
        found: list[Nearest] = []
        for rows, block in self._blocks(vectors):
            scores = _rounded(block @ self._interests.T)
            if favour is not None:
                scores += favour[rows][:, self.interest_rows]
            scores[self._parents[None, :] != topics[rows, None]] = -np.inf
            found.append(_best(self.interest_rows, scores))
        return _joined(found)

    def _blocks(self, vectors: Floats) -> Iterator[tuple[slice, Doubles]]:
        for start in range(0, len(vectors), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            yield rows, unit(vectors[rows].astype(np.float64) - self._mean)


def unit(vectors: Doubles) -> Doubles:
    """Vectors of length one; a zero vector stays zero."""
    length: Doubles = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Doubles = vectors / np.where(length > 0, length, 1.0)
    return scaled


def _rounded(scores: Doubles) -> Doubles:
    rounded: Doubles = scores.round(_DECIMALS)
    return rounded


def _best(rows: Integers, scores: Doubles) -> Nearest:
    best = scores.argmax(axis=1)
    return Nearest(rows[best], scores[np.arange(len(scores)), best])


def _joined(found: Sequence[Nearest]) -> Nearest:
    if not found:
        return Nearest(np.empty(0, np.int64), np.empty(0, np.float64))
    return Nearest(np.concatenate([f.rows for f in found]), np.concatenate([f.scores for f in found]))
