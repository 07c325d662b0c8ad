"""Measures of many rankings over the same cases: means with bounds by drawing people, and who is ahead by how much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from streams.evaluation.contest import MEASURES, margin
from streams.evaluation.prequential import ListCase
from streams.evaluation.studies import ListScorer
from streams.evaluation.world import Floats
from streams.ranking import measures

_DIGITS = 5

Values = Mapping[str, Floats]
"""By measure its value in each case, float64 (n,)."""


def values_of(cases: Sequence[ListCase], scorer: ListScorer) -> Values:
    """The measures of one ranking of cases, which are all of one kind and in order of time."""
    found: dict[str, list[float]] = {name: [] for name in MEASURES[cases[0].kind]}
    with threadpool_limits(1, user_api="blas"):
        for case in cases:
            for name, value in _measured(case, scorer(case)).items():
                found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


def _measured(case: ListCase, scores: Floats) -> Mapping[str, float]:
    if case.kind == "next":
        return measures.next_item(scores, int(np.argmax(case.relevant)))
    return measures.impression(scores, case.relevant)


def mean_over(runs: Sequence[Values]) -> Values:
    """The mean of several runs, such as those of several seeds, case by case."""
    return {name: np.mean([run[name] for run in runs], axis=0) for name in runs[0]}


def group(
    cases: Sequence[ListCase], by_name: Mapping[str, Values], chosen: Callable[[ListCase], bool],
    pairs: Sequence[tuple[str, str]],
) -> dict[str, Any]:  # fmt: skip
    """Plain numbers for the chosen cases: how many, of how many people, of each ranking its mean and bounds by measure.

    `margins` say by how much the first ranking of each pair is ahead of the second.
    """
    rows = np.array([at for at, case in enumerate(cases) if chosen(case)], np.int64)
    users = np.unique([cases[at].user_id for at in rows], return_inverse=True)[1]
    if not len(rows):
        return {"cases": 0, "people": 0}
    return {
        "cases": len(rows), "people": int(users.max()) + 1,
        "rankings": {
            name: {measure: _bounds(of_cases[rows], users) for measure, of_cases in values.items()}
            for name, values in by_name.items()
        },
        "margins": [
            {"of": one, "over": other}
            | {m: _bounds((by_name[one][m] - by_name[other][m])[rows], users) for m in by_name[one]}
            for one, other in pairs
        ],
    }  # fmt: skip


def _bounds(values: Floats, users: NDArray[np.int64]) -> dict[str, float]:
    return {name: round(value, _DIGITS) for name, value in asdict(margin(values, users)).items()}
