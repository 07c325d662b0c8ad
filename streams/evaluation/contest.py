"""The contest: every scorer ranks every case; means and standard errors by group of cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from streams.evaluation.groups import Head, members
from streams.evaluation.prequential import ListCase
from streams.evaluation.world import Floats
from streams.ranking import measures
from streams.ranking.parts import KINDS, Kind

CaseT = TypeVar("CaseT", bound=ListCase)
#: The measures of a kind, the one that is compared first.
MEASURES: Final[Mapping[Kind, tuple[str, ...]]] = {
    "next": ("recall@10", "mrr", "ndcg@10"), "impression": ("auc", "ndcg@10"),
}  # fmt: skip
_DRAWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Mean:
    """A measure's mean over the cases of a group, and its standard error."""

    mean: float
    error: float


@dataclass(frozen=True, slots=True)
class Margin:
    """By how much one scorer is ahead of another, and between which bounds with 95% confidence, over users."""

    mean: float
    low: float
    high: float


@dataclass
class Contest(Generic[CaseT]):
    """Scorers by name, and how each has ranked the cases so far."""

    scorers: Mapping[str, Callable[[CaseT], Floats]]
    _heads: dict[Kind, list[Head]] = field(default_factory=dict)
    _values: dict[tuple[Kind, str, str], list[float]] = field(default_factory=dict)

    def add(self, case: CaseT) -> None:
        """Let every scorer rank a case; cases come in order of time."""
        kind = case.kind
        self._heads.setdefault(kind, []).append(Head(kind, case.user_id, case.events, case.own, case.weight))
        for name, scorer in self.scorers.items():
            scores = scorer(case)
            if kind == "next":
                values = measures.next_item(scores, int(np.argmax(case.relevant)))
            else:
                values = measures.impression(scores, case.relevant)
            for measure, value in values.items():
                self._values.setdefault((kind, name, measure), []).append(value)

    def cases(self) -> dict[str, int]:
        """How many cases each group has; groups without any are left out."""
        return {group: len(rows) for kind in self._kinds() for group, rows in self._groups(kind).items()}

    def results(self) -> dict[str, dict[str, dict[str, Mean]]]:
        """Means by group, scorer and measure."""
        return {
            group: {
                name: {m: _mean(np.array(self._values[kind, name, m])[rows]) for m in MEASURES[kind]}
                for name in self.scorers
            }
            for kind in self._kinds()
            for group, rows in self._groups(kind).items()
        }

    def margins(self, scorer: str, other: str) -> dict[str, dict[str, Margin]]:
        """By how much a scorer is ahead of another, by group and measure; users are drawn with replacement."""
        found: dict[str, dict[str, Margin]] = {}
        for kind in self._kinds():
            users = np.unique([head.user_id for head in self._heads[kind]], return_inverse=True)[1]
            for group, rows in self._groups(kind).items():
                found[group] = {}
                for measure in MEASURES[kind]:
                    ours, theirs = (np.array(self._values[kind, name, measure]) for name in (scorer, other))
                    found[group][measure] = margin((ours - theirs)[rows], users[rows])
        return found

    def as_json(self) -> dict[str, Any]:
        """The results as plain numbers, rounded to what the errors allow."""
        cases = self.cases()
        return {
            group: {
                "cases": cases[group],
                "scorers": {
                    name: {m: {"mean": round(v.mean, 5), "error": round(v.error, 5)} for m, v in by_measure.items()}
                    for name, by_measure in scorers.items()
                },
            }
            for group, scorers in self.results().items()
        }

    def _kinds(self) -> list[Kind]:
        return [kind for kind in KINDS if kind in self._heads]

    def _groups(self, kind: Kind) -> dict[str, NDArray[np.int64]]:
        return {f"{kind}, {name}" if name else kind: rows for name, rows in members(self._heads[kind]).items()}


def _mean(values: Floats) -> Mean:
    return Mean(float(values.mean()), float(values.std() / np.sqrt(len(values))))


def margin(ahead: Floats, users: NDArray[np.int64]) -> Margin:
    """The mean of `ahead` (n,), with bounds by the bootstrap over the `users` (n,) it belongs to (Efron, 1979)."""
    _, place = np.unique(users, return_inverse=True)
    sums, counts = np.bincount(place, ahead), np.bincount(place).astype(float)
    drawn = np.random.default_rng(7).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), _DRAWS)
    low, high = np.percentile((drawn @ sums) / (drawn @ counts), [2.5, 97.5])
    return Margin(float(ahead.mean()), float(low), float(high))
