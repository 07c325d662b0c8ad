"""The feature row: what is known of a target for a person at a moment, a number a name. Types only; see `features`.

A score is the row times its weights, so every part of it can be shown. With `fixed_weights` it is the score of
`interests.score`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from streams.interests.levels import Level
from streams.interests.nodes import Vector
from streams.interests.popularity import SHORTER_S
from streams.interests.score import Floats, Interest, RankPolicy, Targets
from streams.ranking.parts import TASKS, Part

#: Goes up when a feature's meaning, its place or their number changes.
VERSION: Final = 2

_HOUR_S: Final = 3_600.0
_DAY_S: Final = 24 * _HOUR_S

LEVELS: Final[tuple[Level, ...]] = ("profile", "topic", "interest", "session", "context")
#: Half-lives beside those of the settings, in s, by name.
AGES_S: Final[Mapping[str, float]] = {
    "1h": _HOUR_S, "6h": 6 * _HOUR_S, "1d": _DAY_S, "14d": 14 * _DAY_S, "60d": 60 * _DAY_S,
}  # fmt: skip
POPULARITIES_S = SHORTER_S
TOUCHED_S: Final[Mapping[str, float]] = {
    "1h": _HOUR_S, "6h": 6 * _HOUR_S, "1d": _DAY_S, "7d": 7 * _DAY_S, "30d": 30 * _DAY_S,
}  # fmt: skip

_PARTS: Final[Mapping[Part, tuple[str, ...]]] = {
    "relevance": tuple(f"relevance_{level}" for level in LEVELS),
    "aversion": ("aversion",),
    "recent": ("recent_max", "recent_top3", "recent_mean", "recent_last", "recent_disliked"),
    "together": ("together_sum", "together_max", "together_last", "together_count"),
    "attributes": ("attributes_mean", "attributes_max", "attributes_min", "attributes_shared"),
    "shares": ("share_topic", "share_interest", "share_language"),
    "freshness": ("freshness", *(f"freshness_{name}" for name in AGES_S)),
    "popularity": ("popularity", *(f"popularity_{name}" for name in POPULARITIES_S)),
    "touched": tuple(f"touched_{name}" for name in TOUCHED_S),
    "learned": ("learned_cosine", *(f"learned_{task}" for task in TASKS)),
}
PART_OF: Final[Mapping[str, Part]] = {name: part for part, names in _PARTS.items() for name in names}
NAMES: Final[tuple[str, ...]] = tuple(PART_OF)
COLUMN: Final[Mapping[str, int]] = {name: column for column, name in enumerate(NAMES)}
#: The features of each version that is read. Version 2 has those of 1 and, behind them, the part `learned`, so what was
#: written by 1 is read as if these had been 0.
NAMES_OF: Final[Mapping[int, tuple[str, ...]]] = {1: NAMES[: COLUMN["learned_cosine"]], VERSION: NAMES}


def fixed_weights(policy: RankPolicy) -> Floats:
    """The weights (F,) with which a row's score is that of `interests.score`: those of the settings."""
    weights = np.zeros(len(NAMES))
    for name in (*_PARTS["relevance"], "aversion"):
        weights[COLUMN[name]] = 1.0
    weights[COLUMN["freshness"]] = policy.freshness
    weights[COLUMN["popularity"]] = policy.popularity
    return weights


class RecentItem(NamedTuple):
    """One of a person's recent items that is described; `weight` is that of their latest event with it.

    `attributes` are its categories, tags and brand, each behind `c:`, `t:` or `b:`. `together` has by item what was
    touched by the same people, decayed to the moment, and `touched` all of that in sum, what is no longer kept
    included. `vector` float32 (dim,).
    """

    item_id: str
    ts_ms: int
    weight: float
    vector: Vector
    lang: str | None
    attributes: frozenset[str]
    together: Mapping[str, float]
    touched: float


class PastRow(NamedTuple):
    """What was known of an item for a user before a moment: `values` (F,), None where nobody has described the item.

    `row` is its place among those that were asked for, `events` how many the user had before.
    """

    row: int
    user_id: str
    item_id: str
    ts_ms: int
    events: int
    values: Floats | None


class LearnedNode(NamedTuple):
    """A node that the learned model made: `direction` float32 (dim,) of unit length, in the space of items' vectors.

    At the path `/` it is the person's interest, at `/click`, `/exposure` and `/purchase` what the task looks for: its
    probability for a target v is sigmoid(scale * <direction, v> + bias).
    """

    id: str
    path: str
    direction: Vector
    scale: float = 1.0
    bias: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedView:
    """What one model, by its id, says of a person: nodes of different paths."""

    model: str
    nodes: Sequence[LearnedNode]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonView:
    """A person as a row sees them: their interests at the moment, and their recent items, the latest first.

    `learned` is what the learned model says of them, None where there is none.
    """

    interests: Sequence[Interest]
    recents: Sequence[RecentItem]
    learned: LearnedView | None = None


@dataclass(slots=True, kw_only=True)
class TargetItems(Targets):
    """Targets with what else a row needs of them.

    `attributes` as of `RecentItem`; `popularities` float64 (n, 3), the decayed mass at the half-lives of
    `POPULARITIES_S`; `touched_ms` float64 (n,), when anybody gave positive evidence last, nan where nobody did.
    """

    langs: tuple[str | None, ...]
    attributes: tuple[frozenset[str], ...]
    popularities: Floats
    touched_ms: Floats
