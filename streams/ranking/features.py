"""Feature rows of targets for a person at a moment, and what each weighed feature is made of. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from streams.interests.levels import Level
from streams.interests.score import Floats, Interest, RankPolicy, Scored, score
from streams.ranking.learned_features import by_learned, fill_learned
from streams.ranking.parts import Part
from streams.ranking.recent_features import by_recent, fill_recents
from streams.ranking.rows import (
    AGES_S,
    COLUMN,
    LEVELS,
    NAMES,
    PART_OF,
    POPULARITIES_S,
    TOUCHED_S,
    PersonView,
    TargetItems,
)

#: Mass beside that of a level's nodes: a first event does not make a topic everything.
_SHARE_DOUBT: Final = 0.5


class WeighedFeature(NamedTuple):
    """One feature of one target: its value, and its weight. Their product is what it adds to the score."""

    name: str
    part: Part
    value: float
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRows:
    """The rows of n targets, float64 (n, F) in the order of `rows.NAMES`, all finite, and what they were made of.

    Weights (F,) are one for each feature. Sums equal the score but for the rounding of floats.
    """

    values: Floats
    scored: Scored
    person: PersonView
    targets: TargetItems

    def score(self, weights: Floats) -> Floats:
        """The scores (n,): the rows times the weights."""
        scores: Floats = self.values @ weights
        return scores

    def parts(self, row: int, weights: Floats) -> dict[Part, float]:
        """What each part adds to the score of the target at `row`; together they are the score."""
        added: dict[Part, float] = {}
        for one in self.features(row, weights):
            added[one.part] = added.get(one.part, 0.0) + one.value * one.weight
        return added

    def features(self, row: int, weights: Floats) -> list[WeighedFeature]:
        """The features of the target at `row` with their weights, in the order of `rows.NAMES`."""
        values = self.values[row].tolist()
        return [
            WeighedFeature(name, PART_OF[name], value, weight)
            for name, value, weight in zip(NAMES, values, weights.tolist(), strict=True)
        ]

    def by_node(self, weights: Floats) -> Floats:
        """What each interest adds to each score, float64 (n, m): a row's sum is its relevance and aversion."""
        by_level: dict[Level, float] = {level: float(weights[COLUMN[f"relevance_{level}"]]) for level in LEVELS}
        by_level["aversion"] = float(weights[COLUMN["aversion"]])
        node_weights = np.array([by_level[one.level] for one in self.person.interests])
        added: Floats = self.scored.by_node * node_weights
        return added

    def by_learned(self, weights: Floats) -> Floats:
        """What each node of the learned model adds to each score, float64 (n, k): a row's sum is the part learned."""
        return by_learned(self.values, self.person.learned, weights)

    def by_recent(self, row: int, weights: Floats) -> Floats:
        """What each recent item adds to the score of the target at `row`, float64 (R,) in the person's order.

        Their sum is that of the parts recent, together and attributes and of the feature `share_language`.
        """
        return by_recent(self.person.recents, self.targets, row, weights)


def feature_rows(person: PersonView, targets: TargetItems, policy: RankPolicy, *, at_ms: int) -> FeatureRows:
    """The rows of n targets for a person at a moment. With `fixed_weights(policy)` their score is `score(...)`'s.

    A target's row does not depend on the other targets.
    """
    scored = score(person.interests, targets, policy, at_ms=at_ms)
    values = np.zeros((len(targets.ids), len(NAMES)))
    if len(values):
        _fill_relevance(values, scored, person.interests)
        _fill_item(values, targets, policy, at_ms)
        _fill_shares(values, person.interests, targets)
        fill_recents(values, person.recents, targets)
        fill_learned(values, person.learned, targets.vectors)
    return FeatureRows(values=values, scored=scored, person=person, targets=targets)


def _fill_relevance(values: Floats, scored: Scored, interests: Sequence[Interest]) -> None:
    for level in LEVELS:
        nodes = [at for at, one in enumerate(interests) if one.level == level]
        if nodes:
            values[:, COLUMN[f"relevance_{level}"]] = scored.by_node[:, nodes].sum(axis=1)
    values[:, COLUMN["aversion"]] = scored.aversion


def _fill_item(values: Floats, targets: TargetItems, policy: RankPolicy, at_ms: int) -> None:
    """What is known of the targets themselves: age, popularity, and when anybody last touched them."""
    ages_s = np.maximum(at_ms - targets.ts_ms, 0.0) / 1000.0
    dated = ~np.isnan(ages_s)
    for name, half_life_s in (("freshness", policy.freshness_half_life_s), *_named("freshness", AGES_S)):
        values[dated, COLUMN[name]] = 2.0 * np.exp2(-ages_s[dated] / half_life_s) - 1.0
    values[:, COLUMN["popularity"]] = np.log1p(targets.popularity)
    first = COLUMN[_named("popularity", POPULARITIES_S)[0][0]]
    values[:, first : first + len(POPULARITIES_S)] = np.log1p(targets.popularities)
    since_s = np.maximum(at_ms - targets.touched_ms, 0.0) / 1000.0
    touched = ~np.isnan(since_s)
    for name, half_life_s in _named("touched", TOUCHED_S):
        values[touched, COLUMN[name]] = np.exp2(-since_s[touched] / half_life_s)


def _named(prefix: str, half_lives_s: Mapping[str, float]) -> list[tuple[str, float]]:
    return [(f"{prefix}_{name}", half_life_s) for name, half_life_s in half_lives_s.items()]


def _fill_shares(values: Floats, interests: Sequence[Interest], targets: TargetItems) -> None:
    """The share of the target's topic and interest in the net mass of their level; the person's own alone count."""
    for level in ("topic", "interest"):
        net = {one.path: max(one.net, 0.0) for one in interests if one.level == level and not one.prior}
        if net:
            whole = sum(net.values()) + _SHARE_DOUBT
            share = {
                path: net.get(path if level == "interest" else topic_of(path), 0.0) / whole
                for path in set(targets.paths)
            }
            values[:, COLUMN[f"share_{level}"]] = [share[path] for path in targets.paths]


def topic_of(path: str) -> str:
    """The topic's path that a path lies under; "" of none."""
    head = path.strip("/").partition("/")[0]
    return f"/{head}" if head else ""
