"""Whatever ranks the same lists beside the weights that are served: to be compared, not to be served. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.interests.score import Floats
from streams.ranking.measures import places
from streams.ranking.rows import COLUMN, LEVELS, NAMES, PART_OF

#: The learned level alone. It ranks from the first list on that has anything of it: most have no such model.
LEARNED_LEVEL: Final = "level:learned"
_LEARNED: Final = [column for name, column in COLUMN.items() if PART_OF[name] == "learned"]

_DIGITS: Final = 9  # scores that differ by less are one: equal rows may be summed up in another order


class Quality(NamedTuple):
    """How a ranker did on one list: recall@10 and reciprocal rank."""

    recall: float
    reciprocal_rank: float


def standing_rankers(fixed: Floats, shadows: Mapping[str, Floats]) -> dict[str, Floats]:
    """Weights (F,) by ranker, of those that learn nothing: the fixed ones, parts of them, and the shadows."""
    parts = {
        "fixed": tuple(NAMES),
        "freshness_popularity": ("freshness", "popularity"),
        **{f"level:{level}": (f"relevance_{level}",) for level in LEVELS},
    }
    rankers = {name: _only(fixed, names) for name, names in parts.items()}
    rankers["last_item"] = _only(np.ones(len(NAMES)), ("recent_last",))
    return rankers | {f"shadow:{name}": weights for name, weights in shadows.items()}


def learned_level() -> Floats:
    """The weights (F,) of the ranker `LEARNED_LEVEL`: nearness to what the model takes for a person's interest."""
    return _only(np.ones(len(NAMES)), ("learned_cosine",))


def has_learned(values: Floats) -> bool:
    """Whether the learned model said anything of any of the rows (n, F)."""
    return bool(values[:, _LEARNED].any())


def qualities(
    rankers: Mapping[str, Floats], values: Floats, relevant: NDArray[np.bool_]
) -> dict[str, Quality]:  # fmt: skip
    """How every ranker does on a list of rows (n, F) of which some are relevant, bool (n,)."""
    scores = np.round(values @ np.column_stack(list(rankers.values())), _DIGITS)
    return {name: Quality(*places(scores[:, at], relevant)) for at, name in enumerate(rankers)}


def _only(weights: Floats, names: tuple[str, ...]) -> Floats:
    kept = np.zeros(len(NAMES))
    columns = [COLUMN[name] for name in names]
    kept[columns] = weights[columns]
    return kept
