"""Recommendations, rankings and explanations: reads, then one score (`interests/score.py`), then the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from streams.api.backends import Backends
from streams.api.models import Context, ExplainedPull, Explanation, Ranking, RankRequest, Recommendations
from streams.api.people import Person, person
from streams.api.problems import not_found
from streams.api.scoring import PULLS_SHOWN, Telling, targets_of, with_texts
from streams.api.trees import View, item_ids
from streams.interests.evidence import seen_entry
from streams.interests.mmr import mmr
from streams.interests.nodes import seen_of
from streams.interests.score import Interest, RankPolicy, score
from streams.store.cards import Card
from streams.store.catalogue import ItemFilter

SEEN_BYTES = len(seen_entry(""))
_QUERIES = 8
_EVIDENCE_EXPLAINED = 8
_MOST_EACH = 600


@dataclass(frozen=True, slots=True)
class RecommendationQuery:
    """What recommendations were asked for."""

    user_id: str
    at_ms: int
    k: int = 10
    diversity: float = 0.2
    wanted: ItemFilter = field(default_factory=ItemFilter)
    exclude_seen: bool = True
    context: Context = field(default_factory=dict)
    prior: bool = True
    explain: bool = False


async def recommend(parts: Backends, asked: RecommendationQuery) -> Recommendations:
    """The items for a person, best first: candidates near their interests, scored, seen ones left out, made diverse."""
    who = await _person(parts, asked.user_id, asked.at_ms, asked.context, prior=asked.prior)
    interests = who.interests(asked.context, parts.policy)
    seen = ExcludedItems(who) if asked.exclude_seen else None
    cards = await _candidates(parts, interests, asked, seen.count if seen else 0)
    cards = [card for card in cards if seen is None or card.item_id not in seen]
    targets = targets_of(cards, await parts.popularity([card.item_id for card in cards], asked.at_ms))
    scored = score(interests, targets, parts.ranking, at_ms=asked.at_ms)
    best = np.argsort(-scored.total, kind="stable")[: max(4 * asked.k, 100)]
    rows = [int(best[at]) for at in mmr(targets.vectors[best], scored.total[best], asked.k, asked.diversity)]
    telling = Telling(interests, scored, parts.names, who.borrowed)
    shown = PULLS_SHOWN if asked.explain else 0
    return Recommendations(
        user_id=asked.user_id, at_ms=asked.at_ms, prior=who.prior,
        items=[telling.item(row, cards[row], pulls=shown) for row in rows],
    )  # fmt: skip


async def rank(parts: Backends, user_id: str, asked: RankRequest, at_ms: int, *, prior: bool) -> Ranking:
    """Put given items and texts in order for a person."""
    ids = list(dict.fromkeys(asked.items))
    who, cards, vectors = await asyncio.gather(
        _person(parts, user_id, at_ms, asked.context, prior=prior),
        parts.catalogue.cards(ids),
        parts.encode(asked.texts) if asked.texts else _no_vectors(),
    )
    known = [cards[item_id] for item_id in ids if item_id in cards]
    targets = targets_of(known, await parts.popularity([card.item_id for card in known], at_ms))
    targets = with_texts(targets, vectors)
    interests = who.interests(asked.context, parts.policy)
    scored = score(interests, targets, parts.ranking, at_ms=at_ms)
    telling = Telling(interests, scored, parts.names, who.borrowed)
    items = [
        telling.item(row, known[row], pulls=PULLS_SHOWN) if row < len(known)
        else telling.item(row, None, text_index=row - len(known), pulls=PULLS_SHOWN)
        for row in map(int, np.argsort(-scored.total, kind="stable"))
    ]  # fmt: skip
    unknown = [item_id for item_id in ids if item_id not in cards]
    return Ranking(user_id=user_id, at_ms=at_ms, prior=who.prior, items=items, unknown=unknown)


async def explain(
    parts: Backends, user_id: str, item_id: str, at_ms: int, context: Context, *, prior: bool
) -> Explanation:
    """Why an item has its score for a person: every interest that moved it, with the events behind the interest."""
    who, cards = await asyncio.gather(
        _person(parts, user_id, at_ms, context, prior=prior), parts.catalogue.cards([item_id])
    )
    card = cards.get(item_id)
    if card is None:
        raise not_found("unknown-item", "Nobody has described this item, or it was deleted.")
    interests = who.interests(context, parts.policy)
    targets = targets_of([card], await parts.popularity([item_id], at_ms))
    telling = Telling(interests, score(interests, targets, parts.ranking, at_ms=at_ms), parts.names, who.borrowed)
    pulls = telling.pulls(0, len(interests))
    part = telling.parts(0)
    moved = sum(abs(pull.contribution) for pull in pulls) + abs(part.freshness) + abs(part.popularity)
    nodes = {node.id: node for node in who.alive}
    titles = await parts.catalogue.titles(item_ids((nodes[p.node_id] for p in pulls), _EVIDENCE_EXPLAINED))
    view = View(at_ms, parts.policy, parts.names, titles)
    return Explanation(
        user_id=user_id, item_id=item_id, title=card.title, path=card.path, at_ms=at_ms, prior=who.prior,
        score=float(telling.scored.total[0]), parts=part,
        pulls=[
            ExplainedPull(
                **pull.model_dump(), share=abs(pull.contribution) / moved if moved else 0.0,
                evidence=view.evidence(nodes[pull.node_id], _EVIDENCE_EXPLAINED),
            )
            for pull in pulls
        ],
    )  # fmt: skip


class ExcludedItems:
    """The items a person has had to do with: those their profile remembers, and those their evidence speaks of."""

    def __init__(self, who: Person) -> None:
        profile = who.profile
        self._ring = seen_of(profile) if profile else None
        self._told = {entry.item_id for node in who.stored for entry in node.evidence if entry.item_id}
        self.count = len(self._told) + (len(profile.seen) // SEEN_BYTES if profile else 0)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._told or (self._ring is not None and item_id in self._ring)


def leading(interests: Sequence[Interest], policy: RankPolicy, count: int) -> list[Interest]:
    """The interests to look for candidates with: those that weigh most in the attention, aversions aside."""
    weighed = [
        (policy.levels.get(interest.level, 0.0) * interest.mass, interest)
        for interest in interests
        if interest.level != "aversion" and interest.direction.any()
    ]
    weighed.sort(key=lambda row: (-row[0], row[1].id))
    return [interest for weight, interest in weighed[:count] if weight > 0]


async def _candidates(
    parts: Backends, interests: Sequence[Interest], asked: RecommendationQuery, seen: int
) -> list[Card]:
    about = max(parts.settings.api.candidates, 3 * asked.k)
    leaders = leading(interests, parts.ranking, _QUERIES)
    if not leaders:
        return await parts.catalogue.newest(asked.wanted, min(_MOST_EACH, about + seen))
    # What was seen lies nearest to the interests it made: so much more is asked for.
    each = min(_MOST_EACH, max(asked.k, -(-about // len(leaders))) + seen)
    return await parts.catalogue.near([leader.direction for leader in leaders], asked.wanted, each)


async def _person(parts: Backends, user_id: str, at_ms: int, context: Context, *, prior: bool) -> Person:
    return await person(parts.reading, parts.lending if prior else None, parts.policy, user_id, at_ms, context)


async def _no_vectors() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.zeros((0, 0), np.float32)
