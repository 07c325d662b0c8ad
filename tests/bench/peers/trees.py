"""Nodes in memory, folded a batch at a time with numpy: what the peers that hold their state themselves use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tests.bench.peers.job import HALF_LIFE_MS, Catalogue, Key, payload, places, point_id


class Changed(NamedTuple):
    """A node to write: `vector` is of unit length, float32 of shape (dim,)."""

    id: str
    vector: NDArray[np.float32]
    payload: dict[str, str | float | int]


Clicks = Sequence[tuple[str, str, int]]  # user, item, time in ms


class Trees:
    """Every node as a row of columns and of one matrix of sums; a node's sums are kept at its latest event's time.

    What is folded for the first time is first to be read back: an earlier process may have written it.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._slots: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._ids: list[str] = []
        self._sums = np.zeros((1_024, catalogue.vectors.shape[1]), np.float32)
        self._mass, self._half_life = np.zeros(1_024), np.ones(1_024)
        self._t0, self._last, self._count = (np.zeros(1_024, np.int64) for _ in range(3))
        self._first = np.full(1_024, np.iinfo(np.int64).max)

    def unknown(self, clicks: Clicks) -> dict[str, Key]:
        """The nodes that clicks go to and that are not here yet, by the ids of their points."""
        keys = {key for user, item, _ in clicks for key in self._keys_of(user, item)}
        return {point_id(key): key for key in keys if key not in self._slots}

    def restore(self, key: Key, vector: ArrayLike, numbers: Mapping[str, Any]) -> None:
        """Take a node as it stands in Qdrant."""
        slot = self._slot(key)
        self._sums[slot] = np.asarray(vector, np.float32) * np.float32(numbers["norm"])
        self._mass[slot], self._t0[slot], self._count[slot] = numbers["mass"], numbers["t0"], numbers["count"]
        self._first[slot], self._last[slot] = numbers["first"], numbers["last"]

    def fold(self, clicks: Clicks) -> list[Changed]:
        """Fold clicks, each of weight 1, and return the nodes that have changed."""
        slots, items, times = [], [], []
        for user, item, time in clicks:
            for key in self._keys_of(user, item):
                slots.append(self._slot(key))
                items.append(self._catalogue.rows[item])
                times.append(time)
        if not slots:
            return []
        return list(self._changed(*self._add(np.array(slots), np.array(items), np.array(times, np.int64))))

    def _keys_of(self, user: str, item: str) -> list[Key]:
        path = self._catalogue.paths[self._catalogue.rows[item]]
        return [(user, level, path) for level, path in places(path)]

    def _add(
        self, slots: NDArray[np.int64], items: NDArray[np.int64], times: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
        touched, group = np.unique(slots, return_inverse=True)
        t0 = self._t0[touched]
        np.maximum.at(self._t0, slots, times)
        carried = np.exp2((t0 - self._t0[touched]) / self._half_life[touched])
        shares = np.exp2((times - self._t0[slots]) / self._half_life[slots])
        counts, order = np.bincount(group), np.argsort(group, kind="stable")
        starts = np.cumsum(counts) - counts
        sums = self._sums[touched] * carried[:, None].astype(np.float32)
        for nth in range(counts.max()):  # the nth click of every node that has as many: reduceat takes twice as long
            of = np.flatnonzero(counts > nth)
            at = order[starts[of] + nth]
            sums[of] += self._catalogue.vectors[items[at]] * shares[at, None].astype(np.float32)
        self._sums[touched] = sums
        self._mass[touched] = self._mass[touched] * carried + np.bincount(group, shares)
        self._count[touched] += counts
        np.minimum.at(self._first, slots, times)
        np.maximum.at(self._last, slots, times)
        norms = np.linalg.norm(sums, axis=1)
        return touched, sums / np.maximum(norms, 1e-30)[:, None], norms

    def _changed(
        self, touched: NDArray[np.int64], units: NDArray[np.float32], norms: NDArray[np.float64]
    ) -> Iterator[Changed]:
        columns = (self._mass, self._t0, self._first, self._last, self._count)
        numbers = (column[touched].tolist() for column in columns)
        for slot, vector, norm, mass, t0, first, last, count in zip(
            touched.tolist(), units, norms.tolist(), *numbers, strict=True
        ):
            yield Changed(self._ids[slot], vector, payload(self._keys[slot], norm, mass, mass, t0, first, last, count))

    def _slot(self, key: Key) -> int:
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = len(self._keys)
            self._keys.append(key)
            self._ids.append(point_id(key))
            if slot == len(self._mass):
                self._grow()
            self._half_life[slot] = HALF_LIFE_MS[key[1]]
        return slot

    def _grow(self) -> None:
        more = len(self._mass)
        self._sums = np.vstack((self._sums, np.zeros_like(self._sums)))
        self._mass, self._half_life = np.append(self._mass, np.zeros(more)), np.append(self._half_life, np.ones(more))
        self._t0, self._last, self._count = (
            np.append(column, np.zeros(more, np.int64)) for column in (self._t0, self._last, self._count)
        )
        self._first = np.append(self._first, np.full(more, np.iinfo(np.int64).max))
