"""Recommendations, rankings and explanations: reads, then one score (`interests/score.py`), then the answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np

from streams.api.backends import Backends
from streams.api.candidates import candidates
from streams.api.interest_tree import NodeView, item_ids
from streams.api.models import Context, ExplainedPull, Explanation, Ranking, RankRequest, Recommendations
from streams.api.person import Person, read_person
from streams.api.problems import unknown_item
from streams.api.score_view import PULLS_SHOWN, ScoreView, targets_of, with_texts
from streams.interests.evidence import seen_entry
from streams.interests.mmr import mmr
from streams.interests.nodes import seen_of
from streams.interests.score import score
from streams.store.catalogue import ItemFilter

SEEN_BYTES = len(seen_entry(""))
_EVIDENCE_EXPLAINED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendationQuery:
    """What recommendations to make."""

    user_id: str
    at_ms: int
    k: int = 10
    diversity: float = 0.2
    item_filter: ItemFilter = field(default_factory=ItemFilter)
    exclude_seen: bool = True
    context: Context = field(default_factory=dict)
    prior: bool = True
    explain: bool = False


async def recommend(backends: Backends, query: RecommendationQuery) -> Recommendations:
    """The items for a person, best first: candidates near their interests, scored, without seen ones, made diverse."""
    person = await read_person(backends, query.user_id, query.at_ms, query.context, prior=query.prior)
    interests = person.interests(query.context, backends.policy)
    seen = ExcludedItems(person) if query.exclude_seen else None
    cards = await candidates(backends, interests, query.item_filter, query.k, seen.count if seen else 0)
    cards = [card for card in cards if seen is None or card.item_id not in seen]
    targets = targets_of(cards, await backends.popularity([card.item_id for card in cards], query.at_ms))
    scored = score(interests, targets, backends.ranking, at_ms=query.at_ms)
    best = np.argsort(-scored.total, kind="stable")[: max(4 * query.k, 100)]
    rows = [int(best[at]) for at in mmr(targets.vectors[best], scored.total[best], query.k, query.diversity)]
    score_view = ScoreView(interests=interests, scored=scored, name_of=backends.names, prior_ids=person.prior_ids)
    shown = PULLS_SHOWN if query.explain else 0
    return Recommendations(
        user_id=query.user_id, at_ms=query.at_ms, prior=person.prior, erased_at_ms=person.erased_at_ms,
        items=[score_view.item(row, cards[row], pulls=shown) for row in rows],
    )  # fmt: skip


async def rank(backends: Backends, user_id: str, request: RankRequest, at_ms: int, *, prior: bool) -> Ranking:
    """Put given items and texts in order for a person."""
    ids = list(dict.fromkeys(request.items))
    person, cards, vectors = await asyncio.gather(
        read_person(backends, user_id, at_ms, request.context, prior=prior),
        backends.catalogue.cards(ids),
        backends.encode(request.texts) if request.texts else _no_vectors(),
    )
    known = [cards[item_id] for item_id in ids if item_id in cards]
    targets = targets_of(known, await backends.popularity([card.item_id for card in known], at_ms))
    targets = with_texts(targets, vectors)
    interests = person.interests(request.context, backends.policy)
    scored = score(interests, targets, backends.ranking, at_ms=at_ms)
    score_view = ScoreView(interests=interests, scored=scored, name_of=backends.names, prior_ids=person.prior_ids)
    items = [
        score_view.item(row, known[row], pulls=PULLS_SHOWN) if row < len(known)
        else score_view.item(row, None, text_index=row - len(known), pulls=PULLS_SHOWN)
        for row in map(int, np.argsort(-scored.total, kind="stable"))
    ]  # fmt: skip
    unknown = [item_id for item_id in ids if item_id not in cards]
    return Ranking(
        user_id=user_id, at_ms=at_ms, prior=person.prior, erased_at_ms=person.erased_at_ms, items=items, unknown=unknown
    )


async def explain(
    backends: Backends, user_id: str, item_id: str, at_ms: int, context: Context, *, prior: bool
) -> Explanation:
    """Why an item has its score for a person: every interest that moved it, with the events behind the interest."""
    person, cards = await asyncio.gather(
        read_person(backends, user_id, at_ms, context, prior=prior), backends.catalogue.cards([item_id])
    )
    card = cards.get(item_id)
    if card is None:
        raise unknown_item()
    interests = person.interests(context, backends.policy)
    targets = targets_of([card], await backends.popularity([item_id], at_ms))
    scored = score(interests, targets, backends.ranking, at_ms=at_ms)
    score_view = ScoreView(interests=interests, scored=scored, name_of=backends.names, prior_ids=person.prior_ids)
    pulls = score_view.pulls(0, len(interests))
    parts = score_view.parts(0)
    moved = sum(abs(pull.contribution) for pull in pulls) + abs(parts.freshness) + abs(parts.popularity)
    nodes = {node.id: node for node in person.alive}
    titles = await backends.catalogue.titles(item_ids((nodes[p.node_id] for p in pulls), _EVIDENCE_EXPLAINED))
    node_view = NodeView(at_ms=at_ms, policy=backends.policy, name_of=backends.names, titles=titles)
    return Explanation(
        user_id=user_id, item_id=item_id, title=card.title, path=card.path, at_ms=at_ms,
        prior=person.prior, erased_at_ms=person.erased_at_ms,
        score=float(scored.total[0]), parts=parts,
        pulls=[
            ExplainedPull(
                **pull.model_dump(), share=abs(pull.contribution) / moved if moved else 0.0,
                evidence=node_view.evidence(nodes[pull.node_id], _EVIDENCE_EXPLAINED),
            )
            for pull in pulls
        ],
    )  # fmt: skip


class ExcludedItems:
    """The items a person has dealt with: those their profile remembers, and those of their evidence."""

    def __init__(self, person: Person) -> None:
        profile = person.profile
        self._ring = seen_of(profile) if profile else None
        self._in_evidence = {entry.item_id for node in person.stored for entry in node.evidence if entry.item_id}
        self.count = len(self._in_evidence) + (len(profile.seen) // SEEN_BYTES if profile else 0)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._in_evidence or (self._ring is not None and item_id in self._ring)


async def _no_vectors() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.zeros((0, 0), np.float32)
