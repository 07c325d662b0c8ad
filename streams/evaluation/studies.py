"""What is asked of lists that were ranked already: other people, a later time, another log, frozen weights."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from streams.evaluation.contest import Contest
from streams.evaluation.online import OnlineRanking, scored
from streams.evaluation.prequential import ListCase
from streams.evaluation.scorers import FIXED, SERVICE
from streams.evaluation.world import Floats

ListScorer = Callable[[ListCase], Floats]
FOLDS: Final = 5


def contest_of(cases: Sequence[ListCase], scorers: Mapping[str, ListScorer]) -> Contest[ListCase]:
    """Rank cases, which are in order of time."""
    contest: Contest[ListCase] = Contest(scorers)
    with threadpool_limits(1, user_api="blas"):
        for case in cases:
            contest.add(case)
    return contest


def frozen(weights: Floats) -> ListScorer:
    """A ranking by weights (F,) that learn no more."""
    return lambda case: scored(case.values, weights)


def temporal_split(cases: Sequence[ListCase], fixed: Floats) -> Contest[ListCase]:
    """The last fifth of the cases in time, by weights learned before and frozen, beside those that go on learning."""
    at = int(len(cases) * 0.8)
    ranking = OnlineRanking(fixed=fixed)
    for case in cases[:at]:
        ranking(case)
    kept = {kind: ranking.weights(kind) for kind in {case.kind for case in cases}}
    scorers: dict[str, ListScorer] = {
        "learned before, frozen": lambda case: scored(case.values, kept[case.kind]), SERVICE: ranking,
        FIXED: frozen(fixed),
    }  # fmt: skip
    return contest_of(cases[at:], scorers)


def by_other_people(cases: Sequence[ListCase], fixed: Floats) -> Contest[ListCase]:
    """Every case by weights that were learned from four fifths of the people, its own not among them."""

    def of_others(fold: int) -> Callable[[ListCase], bool]:
        return lambda case: case.teaches and fold_of(case.user_id) != fold

    rankings = [OnlineRanking(fixed=fixed, teaches=of_others(fold)) for fold in range(FOLDS)]

    def ranked(case: ListCase) -> Floats:
        return [ranking(case) for ranking in rankings][fold_of(case.user_id)]

    return contest_of(cases, {"learned from others": ranked, SERVICE: OnlineRanking(fixed=fixed), FIXED: frozen(fixed)})


def fold_of(user_id: str) -> int:
    """One of five fifths of the users, by the user id's CRC-32."""
    return zlib.crc32(user_id.encode()) % FOLDS


def transferred(cases: Sequence[ListCase], fixed: Floats, elsewhere: Floats) -> Contest[ListCase]:
    """A log's cases by weights (F,) that were learned on another log and learn no more."""
    return contest_of(
        cases,
        {"learned elsewhere, frozen": frozen(elsewhere), SERVICE: OnlineRanking(fixed=fixed), FIXED: frozen(fixed)},
    )
