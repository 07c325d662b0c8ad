"""The service's ranking on a log: weights that learn from each list after it was ranked, and the judge beside them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from streams.evaluation.prequential import ListCase
from streams.evaluation.world import Floats
from streams.ranking.judge import Judge, JudgePolicy
from streams.ranking.learner import Learner, LearnerPolicy
from streams.ranking.measures import places
from streams.ranking.parts import Kind
from streams.ranking.rows import COLUMN, NAMES

_DIGITS: Final = 9


@dataclass(slots=True)
class _OfKind:
    learner: Learner
    judge: Judge


def as_the_worker(case: ListCase) -> bool:
    """Whether a list teaches in the service: the worker sends an example of it (`pipeline.example_rule`)."""
    return case.teaches


def every_touch(case: ListCase) -> bool:
    """Any list of a user with a past teaches, also of an item they made themselves or are against."""
    return case.events > 0


def scored(values: Floats, weights: Floats) -> Floats:
    """Scores (n,) of rows (n, F). Equal rows tie, in whatever order their products were summed up."""
    scores: Floats = np.round(values @ weights, _DIGITS)
    return scores


@dataclass(kw_only=True)
class OnlineRanking:
    """Ranks lists in their order, each by what was learned from those before it; a learner and a judge a kind.

    `without` are features that are left out, of what is learned as of the fixed weights. `teaches` says which lists
    are learned from. What ranked each list is kept in `served`, by its place in the log.
    """

    fixed: Floats
    without: Collection[str] = ()
    teaches: Callable[[ListCase], bool] = as_the_worker
    learner: LearnerPolicy = field(default_factory=LearnerPolicy)
    judge: JudgePolicy = field(default_factory=JudgePolicy)
    served: dict[int, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._kinds: dict[Kind, _OfKind] = {}
        self._kept = np.ones(len(NAMES))
        self._kept[[COLUMN[name] for name in self.without]] = 0.0

    def __call__(self, case: ListCase) -> Floats:
        """The scores (n,) of a list, which is learned from then."""
        of_kind = self._of_kind(case.kind)
        values = case.values * self._kept
        weights = self.weights(case.kind)
        self.served[case.index] = weights
        if self.teaches(case):
            ranks = [places(scored(values, one), case.relevant)[1] for one in (of_kind.learner.weights(), self.fixed)]
            of_kind.judge.observe(*ranks)
            of_kind.learner.learn(values, case.relevant)
        return scored(values, weights)

    def weights(self, kind: Kind) -> Floats:
        """The weights (F,) that would be served now."""
        of_kind = self._of_kind(kind)
        return of_kind.learner.weights() if of_kind.judge.serve else self.fixed

    def shares(self, kind: Kind) -> dict[str, float]:
        """How much each expert of a kind is believed."""
        return self._of_kind(kind).learner.shares()

    def _of_kind(self, kind: Kind) -> _OfKind:
        if kind not in self._kinds:
            self._kinds[kind] = _OfKind(Learner.start(self.fixed * self._kept, self.learner), Judge(self.judge))
        return self._kinds[kind]
