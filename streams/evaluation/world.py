"""What is known at a moment of a replayed log: the items there are, who has seen what, what is popular."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streams.events.event import Event
from streams.interests.ballot import Ballot
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import NodePolicy, Vector
from streams.interests.score import Targets

Floats = NDArray[np.float64]
Undated = Literal["known", "met"]


class KnownItems:
    """The items that a log can be about, a row each: `vectors` float32 (n, dim), `ts_ms` float64 (n,), nan unknown."""

    def __init__(self, points: Sequence[ItemPoint], dim: int) -> None:
        self.ids = [point.item.item_id for point in points]
        self.rows = {item_id: row for row, item_id in enumerate(self.ids)}
        self.paths = [point.path for point in points]
        self.ts_ms: Floats = np.array([np.nan if p.item.ts_ms is None else p.item.ts_ms for p in points], np.float64)
        self.vectors: Vector = np.stack([p.vector for p in points]) if points else np.zeros((0, dim), np.float32)

    def targets(self, rows: NDArray[np.int64], popularity: Floats) -> Targets:
        """The items at `rows` (n,) as targets, with their popularity (n,)."""
        return Targets(
            ids=tuple(self.ids[row] for row in rows), vectors=self.vectors[rows],
            paths=tuple(self.paths[row] for row in rows), ts_ms=self.ts_ms[rows], popularity=popularity,
        )  # fmt: skip


class Popularity:
    """A decayed count an item, as the service keeps it: everybody's votes that stand, halved every `half_life_s`."""

    def __init__(self, n: int, half_life_s: float) -> None:
        self._mass = np.zeros(n)
        self._t0_ms = np.zeros(n)
        self._half_life_ms = half_life_s * 1000.0

    def add(self, row: int, ts_ms: int, weight: float) -> None:
        """Count evidence of `weight` at `ts_ms`; late evidence counts as much as it would have left."""
        at = max(float(ts_ms), self._t0_ms[row])
        self._mass[row] = self._at(self._mass[row], at - self._t0_ms[row]) + self._at(weight, at - ts_ms)
        self._t0_ms[row] = at

    def at(self, rows: NDArray[np.int64], at_ms: int) -> Floats:
        """The masses (n,) of the items at `rows` at `at_ms`."""
        left: Floats = np.exp2(-np.maximum(at_ms - self._t0_ms[rows], 0.0) / self._half_life_ms)
        return self._mass[rows] * left

    def _at(self, mass: float, elapsed_ms: float) -> float:
        return float(mass * np.exp2(-elapsed_ms / self._half_life_ms))


@dataclass(slots=True)
class ReplayedUser:
    """What a user did before: their votes, the rows of their items with times, in order, and how many events."""

    ballot: Ballot
    events: int = 0
    rows: list[int] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)


class World:
    """The state of a log between two events.

    An item is known from its own time on, or once somebody has met it; one without a time from the start, as a
    catalogue's items are, or with `undated` as "met" only once somebody has met it.
    """

    def __init__(
        self, catalogue: KnownItems, popularity_half_life_s: float, undated: Undated, nodes: NodePolicy
    ) -> None:
        self.catalogue, self._nodes = catalogue, nodes
        self.popularity = Popularity(len(catalogue.ids), popularity_half_life_s)
        self.users: dict[str, ReplayedUser] = {}
        self._met: NDArray[np.bool_] = np.isnan(catalogue.ts_ms) & (undated == "known")

    def user(self, user_id: str) -> ReplayedUser:
        """The user's past."""
        user = self.users.get(user_id)
        if user is None:
            ballot = Ballot((), self._nodes.votes_length, self._nodes.half_life_ms("profile"))
            user = self.users[user_id] = ReplayedUser(ballot)
        return user

    def unseen(self, user_id: str, at_ms: int) -> NDArray[np.int64]:
        """The rows of items that are known at `at_ms` and that the user has not met, in order."""
        with np.errstate(invalid="ignore"):
            known = self._met | (self.catalogue.ts_ms <= at_ms)
        known[self.user(user_id).rows] = False
        return np.flatnonzero(known)

    def apply(self, event: Event, weights: Sequence[tuple[str, float]]) -> None:
        """Add an event; `weights` are the items it is about, each with its signed weight."""
        user = self.user(event.user_id)
        user.events += 1
        for item_id in event.items:
            if (row := self.catalogue.rows.get(item_id)) is not None:
                self._met[row] = True
        for item_id, weight in weights:
            row = self.catalogue.rows.get(item_id)
            if row is None:
                continue
            self._met[row] = True
            user.rows.append(row)
            user.times_ms.append(event.ts_ms)
            if weight > 0:
                for vote in user.ballot.give(event.source, item_id, event.ts_ms, weight, undoable=False):
                    self.popularity.add(self.catalogue.rows[vote.item_id], vote.ts_ms, vote.weight)
