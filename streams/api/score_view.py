"""From scores to answers: targets from cards, and the parts and pulls of a score (`interests/score.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streams.api.interest_tree import NameOf
from streams.api.models import Pull, RankedItem, ScoreParts
from streams.interests.nodes import Vector
from streams.interests.score import Interest, Scored, Targets
from streams.store.cards import Card

PULLS_SHOWN = 5


def targets_of(cards: Sequence[Card], popularity: Mapping[str, float]) -> Targets:
    """Items as targets; `popularity` is the decayed mass by item id, nothing for those not in it."""
    return Targets(
        ids=tuple(card.item_id for card in cards),
        vectors=_stack([card.vector for card in cards]),
        paths=tuple(card.path for card in cards),
        ts_ms=np.array([np.nan if card.ts_ms is None else card.ts_ms for card in cards], np.float64),
        popularity=np.array([popularity.get(card.item_id, 0.0) for card in cards], np.float64),
    )


def with_texts(targets: Targets, vectors: Vector) -> Targets:
    """Targets with texts behind them, vectors of shape (n, dim), of which neither age nor popularity is known."""
    n = len(vectors)
    if not n:
        return targets
    rows = np.concatenate([targets.vectors, vectors.astype(np.float32)]) if targets.ids else vectors
    return Targets(
        ids=(*targets.ids, *[""] * n), vectors=rows, paths=(*targets.paths, *[""] * n),
        ts_ms=np.concatenate([targets.ts_ms, np.full(n, np.nan)]),
        popularity=np.concatenate([targets.popularity, np.zeros(n)]),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreView:
    """Scores as the API shows them: with the interests they came from, their names, and which are the prior's."""

    interests: Sequence[Interest]
    scored: Scored
    name_of: NameOf
    prior_ids: frozenset[str]

    def parts(self, row: int) -> ScoreParts:
        """The parts of a target's score."""
        scored = self.scored
        return ScoreParts(
            relevance=float(scored.relevance[row]), aversion=float(scored.aversion[row]),
            freshness=float(scored.freshness[row]), popularity=float(scored.popularity[row]),
        )  # fmt: skip

    def pulls(self, row: int, shown: int) -> list[Pull]:
        """The interests that made a target's score, strongest first; those that add nothing are left out."""
        contributions = self.scored.by_node[row]
        order = np.argsort(-np.abs(contributions), kind="stable")[:shown]
        return [self._pull(row, int(at)) for at in order if contributions[at] != 0.0]

    def _pull(self, row: int, at: int) -> Pull:
        interest = self.interests[at]
        return Pull(
            node_id=interest.id, level=interest.level, path=interest.path,
            name=self.name_of(interest.level, interest.path), contribution=float(self.scored.by_node[row, at]),
            attention=float(self.scored.attention[row, at]), prior=interest.id in self.prior_ids,
        )  # fmt: skip

    def item(self, row: int, card: Card | None, *, text_index: int | None = None, pulls: int = 0) -> RankedItem:
        """A target with its score."""
        return RankedItem(
            item_id=card.item_id if card else None, text_index=text_index, title=card.title if card else None,
            path=card.path if card else "", lang=card.lang if card else None, ts_ms=card.ts_ms if card else None,
            score=float(self.scored.total[row]), parts=self.parts(row), because=self.pulls(row, pulls) if pulls else [],
        )  # fmt: skip


def _stack(rows: Sequence[Vector]) -> Vector:
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)
