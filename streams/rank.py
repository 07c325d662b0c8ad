"""Scores: what each target is worth to a person, and which of their interests made it so. Pure numpy.

For a target v of a user with nodes n (direction d, mass m), the attention over the nodes and the score are

    a_n   = w(level of n) * m_n * exp(beta * cos(v, d_n)),  divided by its sum over the nodes
    score = sum of a_n * cos(v, d_n)  -  aversion  +  freshness  +  popularity

so a score is a sum over nodes and two parts of the item's own. The attention is a softmax whose prior is the
evidence: target attention as in Zhou et al., Deep Interest Network (2018), without trained weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.nodes import LEVELS, Level, Node, NodePolicy, Vector, decay, expires_at_ms

Floats = NDArray[np.float64]

_DAY_S = 86_400.0

DEFAULT_LEVELS: Mapping[Level, float] = {
    "profile": 1.0, "topic": 1.0, "interest": 1.0, "session": 1.0, "context": 1.0, "aversion": 1.0,
}  # fmt: skip


class Interest(NamedTuple):
    """A node as seen at one moment: `direction` float32 (dim,), unit or zero; `mass` W and `net` P decayed to then."""

    id: str
    level: Level
    path: str
    direction: Vector
    mass: float
    net: float


@dataclass(slots=True)
class Targets:
    """What is to be scored, n of it.

    `vectors` float32 (n, dim), unit rows; `ts_ms` float64 (n,), when an item was published, nan where nobody said;
    `popularity` float64 (n,), the decayed mass of positive evidence of everybody, never negative.
    """

    ids: tuple[str, ...]
    vectors: Vector
    paths: tuple[str, ...]
    ts_ms: Floats
    popularity: Floats


@dataclass(frozen=True, slots=True)
class RankPolicy:
    """The constants of the score; the defaults are what docs/evaluation.md measured.

    `levels` weighs a level's nodes in the attention (0 leaves it out). Freshness is `freshness` at an item's birth,
    0 one half-life later and where its time is unknown, and nears -`freshness`. Popularity is `popularity` times
    ln(1 + mass).
    """

    beta: float = 10.0
    levels: Mapping[Level, float] = field(default_factory=lambda: dict(DEFAULT_LEVELS))
    aversion: float = 1.0
    freshness: float = 0.1
    freshness_half_life_s: float = 7 * _DAY_S
    popularity: float = 0.02


@dataclass(slots=True)
class Scored:
    """Scores of n targets over m interests, with their parts; all float64.

    total = relevance + aversion + freshness + popularity, and relevance + aversion = by_node.sum(1). `aversion` is
    never positive. `by_node` (n, m) holds every interest's signed contribution; `attention` (n, m) has rows that
    sum to 1, or to 0 where there is no interest to attend to.
    """

    total: Floats
    relevance: Floats
    aversion: Floats
    freshness: Floats
    popularity: Floats
    by_node: Floats
    attention: Floats


def interests_of(nodes: Iterable[Node], at_ms: int, policy: NodePolicy) -> list[Interest]:
    """The nodes of a tree as they stand at `at_ms`, those that have expired left out."""
    seen: list[Interest] = []
    for node in nodes:
        if node.mass <= 0 or expires_at_ms(node, policy) < at_ms:
            continue
        left = decay(max(0, at_ms - node.t0_ms), policy.half_life_ms(node.key.level))
        if node.mass * left >= policy.expire_below:
            key = node.key
            seen.append(Interest(node.id, key.level, key.path, node.direction, node.mass * left, node.net * left))
    return seen


def score(interests: Sequence[Interest], targets: Targets, policy: RankPolicy, *, at_ms: int) -> Scored:
    """Score n targets for a person with m interests; a target's score does not depend on the other targets.

    Without interests relevance and aversion are 0: what is fresh and popular comes first.
    """
    n, m = len(targets.ids), len(interests)
    by_node, attention = np.zeros((n, m)), np.zeros((n, m))
    pushes = np.array([interest.level == "aversion" for interest in interests], dtype=bool)
    if n and m:
        directions = np.stack([interest.direction for interest in interests])
        cosines = (targets.vectors @ directions.T).astype(np.float64)
        attention = _attention(cosines, interests, policy)
        by_node = attention * cosines
        by_node[:, pushes] = -policy.aversion * attention[:, pushes] * np.maximum(cosines[:, pushes], 0.0)
    aversion = by_node[:, pushes].sum(axis=1)
    relevance = by_node[:, ~pushes].sum(axis=1)
    fresh = freshness(targets.ts_ms, at_ms, policy)
    popular = policy.popularity * np.log1p(targets.popularity)
    total = relevance + aversion + fresh + popular
    return Scored(total, relevance, aversion, fresh, popular, by_node, attention)


def freshness(ts_ms: Floats, at_ms: int, policy: RankPolicy) -> Floats:
    """freshness * (2 * 2^(-age/h) - 1) for items of shape (n,); 0 where the time is nan."""
    ages_s = np.maximum(at_ms - ts_ms, 0.0) / 1000.0
    found: Floats = policy.freshness * (2.0 * np.exp2(-ages_s / policy.freshness_half_life_s) - 1.0)
    return np.where(np.isnan(ts_ms), 0.0, found)


def _attention(cosines: Floats, interests: Sequence[Interest], policy: RankPolicy) -> Floats:
    """Rows (n, m) that sum to 1: weight * mass * exp(beta * cos), normalised; 0 where no interest weighs anything."""
    weights = {level: policy.levels.get(level, 0.0) for level in LEVELS}
    prior = np.array([weights[interest.level] * interest.mass for interest in interests])
    raised = prior * np.exp(policy.beta * (cosines - 1.0))
    sums = raised.sum(axis=1, keepdims=True)
    return np.divide(raised, sums, out=np.zeros_like(raised), where=sums > 0)
