"""Items like an item: near it in content, touched together with it, or both. Reads, then one order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streams.api.backends import Backends
from streams.api.models import SimilarBy, SimilarItem, SimilarItems
from streams.api.problems import unknown_item
from streams.interests.together import partners_at, strength
from streams.store.cards import Card
from streams.store.catalogue import ItemFilter

_FUSED = 60.0  # reciprocal rank fusion: Cormack, Clarke and Büttcher, SIGIR 2009
_LEAST_NEAR = 64  # as many as partners are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarQuery:
    """Which items to find."""

    item_id: str
    at_ms: int
    by: SimilarBy = "both"
    k: int = 10
    item_filter: ItemFilter = field(default_factory=ItemFilter)


async def similar_items(backends: Backends, query: SimilarQuery) -> SimilarItems:
    """The items most like one, best first. 404 where nobody has described it."""
    card = (await backends.catalogue.cards([query.item_id])).get(query.item_id)
    if card is None:
        raise unknown_item()
    near, together = await asyncio.gather(
        _near(backends, card, query) if query.by != "together" else _nothing(), _together(backends, query)
    )
    cards = {one.item_id: one for one in near}
    cards |= await backends.catalogue.cards(item_id for item_id in together if item_id not in cards)
    cosines = {item_id: float(np.dot(card.vector, one.vector)) for item_id, one in cards.items()}
    partners = {
        item_id: found for item_id, found in together.items()
        if item_id in cards and query.item_filter.lets(cards[item_id])
    }  # fmt: skip
    lists = {
        "content": _ranks({one.item_id: cosines[one.item_id] for one in near}),
        "together": _ranks({item_id: by for item_id, (by, _) in partners.items()}) if query.by != "content" else {},
    }
    scores = _scores(query.by, lists, cosines, partners)
    best = sorted(scores, key=lambda item_id: (-scores[item_id], item_id))[: query.k]
    return SimilarItems(
        item_id=query.item_id, by=query.by, at_ms=query.at_ms,
        items=[
            SimilarItem(
                item_id=item_id, title=cards[item_id].title, path=cards[item_id].path, lang=cards[item_id].lang,
                ts_ms=cards[item_id].ts_ms, score=scores[item_id], content=cosines[item_id],
                together=together.get(item_id, (0.0, 0.0))[0], people=together.get(item_id, (0.0, 0.0))[1],
                found_by=[name for name, ranks in lists.items() if item_id in ranks],
            )
            for item_id in best
        ],
    )  # fmt: skip


async def _near(backends: Backends, card: Card, query: SimilarQuery) -> list[Card]:
    """The items nearest to one by their vectors, without itself."""
    limit = 1 + (query.k if query.by == "content" else max(query.k, _LEAST_NEAR))
    found = await backends.catalogue.near([card.vector], query.item_filter, limit)
    return [one for one in found if one.item_id != card.item_id]


async def _nothing() -> list[Card]:
    return []


async def _together(backends: Backends, query: SimilarQuery) -> dict[str, tuple[float, float]]:
    """Of each partner how strongly it is touched together with the item, and by how many people, decayed."""
    half_life_s = backends.settings.population.together_half_life_s
    stored = (await backends.ranking_reader.partners([query.item_id])).get(query.item_id)
    if stored is None:
        return {}
    counts, total = partners_at(stored, query.at_ms, half_life_s)
    theirs = await backends.ranking_reader.partners(counts)
    totals = {item_id: partners_at(one, query.at_ms, half_life_s)[1] for item_id, one in theirs.items()}
    return {
        other: (strength(count, total, max(count, totals.get(other, 0.0))), count) for other, count in counts.items()
    }


def _ranks(scores: Mapping[str, float]) -> dict[str, int]:
    order: Sequence[str] = sorted(scores, key=lambda item_id: (-scores[item_id], item_id))
    return {item_id: rank for rank, item_id in enumerate(order, start=1)}


def _scores(
    by: SimilarBy, lists: Mapping[str, Mapping[str, int]], cosines: Mapping[str, float],
    partners: Mapping[str, tuple[float, float]],
) -> dict[str, float]:  # fmt: skip
    """The cosine or the strength; of both the sum of 1 / (60 + rank), since they are on no common scale."""
    if by == "content":
        return {item_id: cosines[item_id] for item_id in lists["content"]}
    if by == "together":
        return {item_id: partners[item_id][0] for item_id in lists["together"]}
    scores: dict[str, float] = {}
    for ranks in lists.values():
        for item_id, rank in ranks.items():
            scores[item_id] = scores.get(item_id, 0.0) + 1.0 / (_FUSED + rank)
    return scores
