"""From feature rows to answers: a score, its parts, and what each node and each recent item added to it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.api.interest_tree import NameOf
from streams.api.score_models import FeatureValue, OtherPart, Pull, RankedItem, RecentPull, ScoreParts
from streams.api.served_weights import Weights
from streams.interests.score import Floats
from streams.ranking.features import FeatureRows
from streams.ranking.parts import Kind, Part
from streams.ranking.rows import COLUMN, NAMES, PART_OF
from streams.store.cards import Card

PULLS_SHOWN: Final = 5
PARTS: Final = tuple(dict.fromkeys(PART_OF.values()))
_TO_PARTS: Final = np.array([[PART_OF[name] == part for part in PARTS] for name in NAMES], np.float64)
#: Parts of which every feature comes from the nodes, or from the recent items.
_TRACED: Final = frozenset({"relevance", "aversion", "recent", "together", "attributes", "learned"})

#: The shares that are of interests; that of a language comes from the recent items.
_SHARES: Final = [COLUMN["share_topic"], COLUMN["share_interest"]]

Titles = Mapping[str, str | None]


class ScoreView:
    """Scores of n targets as the API shows them. `scores` float64 (n,) are the sums of their parts."""

    def __init__(self, rows: FeatureRows, weights: Weights, name_of: NameOf, prior_ids: frozenset[str]) -> None:
        self._rows, self._weights, self._name_of, self._prior_ids = rows, weights, name_of, prior_ids
        self._parts: Floats = (rows.values * weights.values) @ _TO_PARTS
        learned = rows.person.learned
        self._learned = () if learned is None else learned.nodes
        self._by_node: Floats = rows.by_node(weights.values)  # of the interests, then of the model's nodes
        if self._learned:
            self._by_node = np.hstack([self._by_node, rows.by_learned(weights.values)])
        self.scores: Floats = self._parts.sum(axis=1)

    @property
    def version(self) -> int:
        """The version of the weights; 0: the fixed ones."""
        return self._weights.version

    @property
    def kind(self) -> Kind | None:
        """The kind of lists the weights were learned from; None: the fixed ones."""
        return self._weights.kind

    def parts(self, row: int) -> ScoreParts:
        """The parts of a target's score."""
        return ScoreParts(**dict(zip(PARTS, self._parts[row].tolist(), strict=True)))

    def pulls(self, row: int, shown: int | None = None) -> list[Pull]:
        """The interests and learned nodes that made a score, strongest first; those that add nothing are left out."""
        order, added = self._order[row, :shown].tolist(), self._by_node[row]
        return [self._pull(row, at) for at in order if added[at]]

    @cached_property
    def _order(self) -> NDArray[np.intp]:
        """Of each target the places of the interests, the strongest first; one sorting for all targets."""
        return np.argsort(-np.abs(self._by_node), axis=1, kind="stable")

    def _pull(self, row: int, at: int) -> Pull:
        interests = self._rows.person.interests
        if at >= len(interests):
            node = self._learned[at - len(interests)]
            return Pull(
                node_id=node.id, level="learned", path=node.path, name=self._name_of("learned", node.path),
                contribution=float(self._by_node[row, at]), attention=0.0,
            )  # fmt: skip
        interest = interests[at]
        return Pull(
            node_id=interest.id, level=interest.level, path=interest.path,
            name=self._name_of(interest.level, interest.path), contribution=float(self._by_node[row, at]),
            attention=float(self._rows.scored.attention[row, at]), prior=interest.id in self._prior_ids,
        )  # fmt: skip

    def recent_ids(self) -> list[str]:
        """The ids of the recent items that are looked at."""
        return [one.item_id for one in self._rows.person.recents]

    def recents(self, row: int, titles: Titles, shown: int | None = None) -> list[RecentPull]:
        """The recent items that made a target's score, strongest first; those that add nothing are left out."""
        recents, added = self._rows.person.recents, self._rows.by_recent(row, self._weights.values)
        return [
            RecentPull(
                item_id=recents[at].item_id, title=titles.get(recents[at].item_id), ts_ms=recents[at].ts_ms,
                weight=recents[at].weight, contribution=float(added[at]),
            )
            for at in np.argsort(-np.abs(added), kind="stable")[:shown].tolist()
            if added[at]
        ]  # fmt: skip

    def others(self, row: int) -> list[OtherPart]:
        """By part, what neither a node nor a recent item added to a target's score."""
        rest: dict[Part, float] = {
            part: float(self._parts[row, at]) for at, part in enumerate(PARTS) if part not in _TRACED
        }
        rest["shares"] = float(self._rows.values[row, _SHARES] @ self._weights.values[_SHARES])
        return [OtherPart(part=part, contribution=added) for part, added in rest.items() if added]

    def features(self, row: int) -> list[FeatureValue]:
        """The whole row of a target."""
        return [FeatureValue(**one._asdict()) for one in self._rows.features(row, self._weights.values)]

    def item(
        self,
        row: int,
        card: Card | None,
        *,
        text_index: int | None = None,
        pulls: int = 0,
        titles: Titles | None = None,
    ) -> RankedItem:
        """A target with its score, with `pulls` with what made it, with `titles` with the recent items behind it."""
        return RankedItem(
            item_id=card.item_id if card else None, text_index=text_index, title=card.title if card else None,
            path=card.path if card else "", lang=card.lang if card else None, ts_ms=card.ts_ms if card else None,
            score=float(self.scores[row]), parts=self.parts(row), because=self.pulls(row, pulls) if pulls else [],
            recents=self.recents(row, titles, pulls) if titles is not None else [],
            others=self.others(row) if pulls else [],
        )  # fmt: skip
