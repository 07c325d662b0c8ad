"""Scores: what each target is worth to a person, and which of their interests made it so. Pure numpy.

For a target v and the person's nodes n (direction d, decayed mass m), with M the heaviest node's mass,

    a_n   = M / (M + evidence) * w(level of n) * m_n * exp(beta * cos(v, d_n)) / the same summed over the nodes
    score = sum of a_n * max(0, cos(v, d_n))  -  the same over aversion nodes  +  freshness  +  popularity

so a score is a sum over nodes and two parts of the item's own. Attention is a softmax whose prior is the evidence:
target attention as in Zhou et al., Deep Interest Network (2018), without trained weights. What little evidence shows
is held back, so that for somebody hardly known the item's own parts decide.

A newcomer's prior is a group of its own beside their own interests, each with a softmax: in one, an item near any of
the prior's nodes would draw all attention to that node, however light it is. `prior_share` says what each group gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.interests.decay import decay
from streams.interests.nodes import Level, Node, NodePolicy, Vector, is_alive, is_sum

Floats = NDArray[np.float64]

_DAY_S = 86_400.0

#: What a prior gets of the attention, at most, once a person has any evidence of their own for something.
PRIOR_AT_MOST = 0.1

DEFAULT_LEVELS: Mapping[Level, float] = {
    "profile": 0.1, "topic": 1.0, "interest": 1.0, "session": 1.0, "context": 1.0, "aversion": 1.0,
}  # fmt: skip


class Interest(NamedTuple):
    """A node as seen at one moment: `direction` float32 (dim,), unit or zero; `mass` W and `net` P decayed to then.

    `prior` marks a node that is not the person's own, but of others who began alike.
    """

    id: str
    level: Level
    path: str
    direction: Vector
    mass: float
    net: float
    prior: bool = False


@dataclass(slots=True, kw_only=True)
class Targets:
    """What is to be scored, n of it.

    `vectors` float32 (n, dim), unit rows; `ts_ms` float64 (n,), when an item was published, nan where it is not known;
    `popularity` float64 (n,), the decayed mass of positive evidence of everybody, never negative.
    """

    ids: tuple[str, ...]
    vectors: Vector
    paths: tuple[str, ...]
    ts_ms: Floats
    popularity: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPolicy:
    """The constants of the score; the defaults are what docs/evaluation.md measured.

    `levels` weighs a level's nodes in the attention (0 leaves it out). `evidence` is the mass at which a person's
    tree is believed by half. Freshness is `freshness` at an item's birth, 0 one half-life later and where its time is
    unknown, and nears -`freshness`. Popularity is `popularity` times ln(1 + mass).
    """

    beta: float = 10.0
    levels: Mapping[Level, float] = field(default_factory=lambda: dict(DEFAULT_LEVELS))
    evidence: float = 1.0
    aversion: float = 0.5
    freshness: float = 0.3
    freshness_half_life_s: float = 3 * _DAY_S
    popularity: float = 0.1


@dataclass(slots=True, kw_only=True)
class Scored:
    """Scores of n targets over m interests, with their parts; all float64.

    total = relevance + aversion + freshness + popularity, and relevance + aversion = by_node.sum(1). `relevance` is
    never negative, `aversion` never positive. `by_node` (n, m) holds every interest's signed contribution,
    `attention` (n, m) what it was weighed by: over interests a row sums to M / (M + evidence), parted between own
    ones and a prior's by `prior_share`, over aversions to their share of the mass on top of that.
    """

    total: Floats
    relevance: Floats
    aversion: Floats
    freshness: Floats
    popularity: Floats
    by_node: Floats
    attention: Floats


def interests_of(nodes: Iterable[Node], at_ms: int, policy: NodePolicy) -> list[Interest]:
    """The nodes of a tree as they stand at `at_ms`, those that have expired and learned ones left out.

    A learned node's mass is its profile's, so among sums it would count everything a second time.
    """
    seen: list[Interest] = []
    for node in nodes:
        if is_sum(node.key.level) and is_alive(node, at_ms, policy):
            key = node.key
            left = decay(max(0, at_ms - node.t0_ms), policy.half_life_ms(key.level))
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
        attention = _attention(cosines, interests, pushes, policy)
        by_node = attention * np.maximum(cosines, 0.0)
        by_node[:, pushes] *= -policy.aversion
    aversion = by_node[:, pushes].sum(axis=1)
    relevance = by_node[:, ~pushes].sum(axis=1)
    fresh = freshness(targets.ts_ms, at_ms, policy)
    popular = policy.popularity * np.log1p(targets.popularity)
    total = relevance + aversion + fresh + popular
    return Scored(
        total=total, relevance=relevance, aversion=aversion, freshness=fresh, popularity=popular, by_node=by_node,
        attention=attention,
    )  # fmt: skip


def freshness(ts_ms: Floats, at_ms: int, policy: RankPolicy) -> Floats:
    """freshness * (2 * 2^(-age/h) - 1) for items of shape (n,); 0 where the time is nan."""
    ages_s = np.maximum(at_ms - ts_ms, 0.0) / 1000.0
    fresh: Floats = policy.freshness * (2.0 * np.exp2(-ages_s / policy.freshness_half_life_s) - 1.0)
    fresh[np.isnan(ts_ms)] = 0.0
    return fresh


def prior_share(interests: Sequence[Interest]) -> float:
    """What share of the attention goes to a prior's nodes, from 0 to 1: L / (L + M), and never above `PRIOR_AT_MOST`
    where own evidence speaks for something.

    L and M are the masses of the heaviest node of the prior and of the heaviest own one, aversions aside. So whatever
    a prior holds: with own relevance o and that by the prior p, both in [0, 1], an item comes before another as soon
    as o - o' > PRIOR_AT_MOST / (1 - PRIOR_AT_MOST) * (p' - p), all else equal.
    """
    lent = max((one.mass for one in interests if one.prior), default=0.0)
    own = [one for one in interests if not one.prior and one.level != "aversion"]
    mass = max((one.mass for one in own), default=0.0)
    share = lent / (lent + mass) if lent > 0 else 0.0
    return min(share, PRIOR_AT_MOST) if any(one.net > 0 for one in own) else share


def _attention(cosines: Floats, interests: Sequence[Interest], pushes: NDArray[np.bool_], policy: RankPolicy) -> Floats:
    """Attention (n, m): own interests, the prior's and aversions apart; 0 where nothing weighs anything."""
    masses = np.array([interest.mass for interest in interests])
    weights = np.array([policy.levels.get(interest.level, 0.0) for interest in interests])
    lent = np.array([interest.prior for interest in interests], dtype=bool) & ~pushes
    raised: Floats = (weights * masses) * np.exp(policy.beta * (cosines - 1.0))
    heaviest = float(masses[~pushes].max(initial=0.0))
    against = float(masses[pushes].max(initial=0.0))
    # A negative event weighs on interests and aversions alike, so the share of aversions is at most about a half.
    believed = heaviest / (heaviest + policy.evidence) if heaviest > 0 else 0.0
    share = against / (against + heaviest + policy.evidence) if against > 0 else 0.0
    to_prior = prior_share(interests)
    groups = ((~pushes & ~lent, believed * (1.0 - to_prior)), (lent, believed * to_prior), (pushes, share))
    for group, sums_to in groups:
        sums = raised[:, group].sum(axis=1, keepdims=True)
        raised[:, group] *= np.divide(sums_to, sums, out=np.zeros_like(sums), where=sums > 0)
    return raised
