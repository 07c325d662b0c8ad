"""What is compared: the service's own ranking, the same without some of its features, and baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.base.errors import ConfigurationError
from streams.evaluation.online import OnlineRanking, scored
from streams.evaluation.prequential import Case
from streams.evaluation.world import Floats
from streams.interests.score import RankPolicy
from streams.ranking.features import feature_rows
from streams.ranking.rows import COLUMN, LEVELS, NAMES, PART_OF, fixed_weights

Scorer = Callable[[Case], Floats]

SERVICE: Final = "interests"
FIXED: Final = "fixed weights"
TOUCHES: Final = "learned from every touch"
_AVERAGE_S: Final = 30 * 86_400.0

_TEXT: Final = ("share_topic", "share_interest")
#: What `--without` can leave out, as features; the weights of the others are learned anew.
FEATURES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    **{part: tuple(name for name in NAMES if PART_OF[name] == part) for part in dict.fromkeys(PART_OF.values())},
    **{level: (f"relevance_{level}",) for level in LEVELS},
    "text": (*(name for name in NAMES if PART_OF[name] in ("relevance", "aversion", "recent")), *_TEXT),
}
#: What else it can leave out, and the policy of the tree's relevance that does.
POLICIES: Final[Mapping[str, Callable[[RankPolicy], RankPolicy]]] = {
    "attention": lambda policy: replace(policy, beta=0.0),
    "doubt": lambda policy: replace(policy, evidence=0.0),
}
SCORE_PARTS: Final = (*FEATURES_OF, *POLICIES)


def known_score_parts(parts: Sequence[str]) -> tuple[str, ...]:
    """The names of `parts`, trimmed. ConfigurationError for an unknown part."""
    trimmed = tuple(part.strip() for part in parts)
    if unknown := [part for part in trimmed if part not in SCORE_PARTS]:
        raise ConfigurationError(f"got --without {', '.join(unknown)}, expected some of {', '.join(SCORE_PARTS)}")
    return trimmed


def ablations(policy: RankPolicy, parts: Sequence[str]) -> dict[str, Scorer]:
    """The service's ranking without each of `parts` in turn."""
    return {f"without {part}": _without(policy, part) for part in parts}


def _without(policy: RankPolicy, part: str) -> Scorer:
    if part in FEATURES_OF:
        return OnlineRanking(fixed=fixed_weights(policy), without=FEATURES_OF[part])
    changed = POLICIES[part](policy)
    ranking = OnlineRanking(fixed=fixed_weights(changed))

    def scorer(case: Case) -> Floats:
        rows = feature_rows(case.rows.person, case.rows.targets, changed, at_ms=case.event.ts_ms)
        return ranking(replace(case.bare(), values=rows.values))

    return scorer


def fixed(policy: RankPolicy) -> Scorer:
    """The score with the weights of the settings."""
    weights = fixed_weights(policy)
    return lambda case: scored(case.values, weights)


def baselines(policy: RankPolicy, seed: int) -> dict[str, Scorer]:
    """What any system should beat, on the same targets; the last one has the service's own item parts."""
    item_parts = fixed_weights(policy)
    item_parts[[column for name, column in COLUMN.items() if name not in ("freshness", "popularity")]] = 0.0

    def of_item(case: Case) -> Floats:
        return scored(case.values, item_parts)

    return {
        "random": lambda case: np.random.default_rng([seed, case.index, 1]).random(len(case.relevant)),
        "popularity": lambda case: case.rows.targets.popularity,
        "freshness + popularity": of_item,
        "last item": lambda case: _nearness(case, (np.arange(len(case.ages_s)) == len(case.ages_s) - 1).astype(float)),
        "mean": lambda case: _nearness(case, np.ones(len(case.ages_s))),
        "30-day average": lambda case: _nearness(case, _faded(case)),
        "30-day average + freshness + popularity": lambda case: _nearness(case, _faded(case)) + of_item(case),
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
    return (case.rows.targets.vectors @ mean) / length if length > 0 else np.zeros(len(case.relevant))
