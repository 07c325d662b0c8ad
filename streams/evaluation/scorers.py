"""What is compared: the service's own score, the same without some of its parts, and baselines. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.base.errors import ConfigurationError
from streams.evaluation.prequential import Case
from streams.evaluation.world import Floats
from streams.interests.nodes import Level
from streams.interests.score import RankPolicy, freshness, score

Scorer = Callable[[Case], Floats]

SERVICE: Final = "interests"
_AVERAGE_S: Final = 30 * 86_400.0


def _without_level(level: Level) -> Callable[[RankPolicy], RankPolicy]:
    return lambda policy: replace(policy, levels={**policy.levels, level: 0.0})


#: What `--without` can leave out, and the policy that does.
SCORE_PARTS: Final[Mapping[str, Callable[[RankPolicy], RankPolicy]]] = {
    "freshness": lambda policy: replace(policy, freshness=0.0),
    "popularity": lambda policy: replace(policy, popularity=0.0),
    "aversion": lambda policy: replace(policy, aversion=0.0),
    "attention": lambda policy: replace(policy, beta=0.0),
    "doubt": lambda policy: replace(policy, evidence=0.0),
    "profile": _without_level("profile"),
    "topic": _without_level("topic"),
    "interest": _without_level("interest"),
    "session": _without_level("session"),
    "relevance": lambda policy: replace(policy, levels={}),
}


def service(policy: RankPolicy) -> Scorer:
    """The score as the API works it out."""
    return lambda case: score(case.interests, case.targets, policy, at_ms=case.event.ts_ms).total


def known_score_parts(parts: Sequence[str]) -> tuple[str, ...]:
    """The names of `parts`, trimmed. ConfigurationError for an unknown part."""
    trimmed = tuple(part.strip() for part in parts)
    if unknown := [part for part in trimmed if part not in SCORE_PARTS]:
        raise ConfigurationError(f"got --without {', '.join(unknown)}, expected some of {', '.join(SCORE_PARTS)}")
    return trimmed


def ablations(policy: RankPolicy, parts: Sequence[str]) -> dict[str, Scorer]:
    """The service's score without each of `parts` in turn."""
    return {f"without {part}": service(SCORE_PARTS[part](policy)) for part in parts}


def baselines(policy: RankPolicy, seed: int) -> dict[str, Scorer]:
    """What any system should beat, on the same targets; the last one has the service's own item parts."""

    def item_parts(case: Case) -> Floats:
        fresh = freshness(case.targets.ts_ms, case.event.ts_ms, policy)
        return fresh + policy.popularity * np.log1p(case.targets.popularity)

    return {
        "random": lambda case: np.random.default_rng([seed, case.index, 1]).random(len(case.relevant)),
        "popularity": lambda case: case.targets.popularity,
        "freshness + popularity": item_parts,
        "last item": lambda case: _nearness(case, (np.arange(len(case.ages_s)) == len(case.ages_s) - 1).astype(float)),
        "mean": lambda case: _nearness(case, np.ones(len(case.ages_s))),
        "30-day average": lambda case: _nearness(case, _faded(case)),
        "30-day average + freshness + popularity": lambda case: _nearness(case, _faded(case)) + item_parts(case),
    }


def _faded(case: Case) -> Floats:
    """Weights (h,) of the user's earlier items, halved every 30 days; the latest has 1."""
    youngest = case.ages_s.min(initial=np.inf)
    weights: Floats = np.exp2((youngest - case.ages_s) / _AVERAGE_S)
    return weights


def _nearness(case: Case, weights: NDArray[np.float64]) -> Floats:
    """Cosines (n,) to the weighted mean of the user's earlier items; 0 where there are none."""
    mean = weights @ case.history
    length = float(np.linalg.norm(mean))
    return (case.targets.vectors @ mean) / length if length > 0 else np.zeros(len(case.relevant))
