"""What a feature row needs of a person and of targets, from what is stored: the worker and the API read it here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

import numpy as np

from streams.interests.nodes import Node, NodePolicy, Vector, is_alive
from streams.interests.popularity import ItemPopularity, half_lives_s
from streams.interests.recents import Recent
from streams.interests.score import Interest, interests_of
from streams.interests.together import ItemPartners, partners_at
from streams.ranking.rows import POPULARITIES_S, LearnedNode, LearnedView, RecentItem, TargetItems
from streams.store.cards import Card

_NOBODY: Final = ItemPopularity(item_id="")

T = TypeVar("T")
ByItem = Callable[[Iterable[str]], Awaitable[Mapping[str, T]]]
"""What is known of the items among some ids, by id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingReader:
    """Reads for feature rows: of items how they are described, and what everybody did with them.

    Half-lives in s: of popularity by the settings, and of what is touched together. It raises what its sources raise.
    """

    cards: ByItem[Card]
    popularity: ByItem[ItemPopularity]
    partners: ByItem[ItemPartners]
    popularity_half_life_s: float
    together_half_life_s: float

    async def recents(self, recents: Iterable[Recent], at_ms: int) -> list[RecentItem]:
        """A person's recent items, those that are described, as they are at a moment."""
        given = [one for one in recents if one.weight]
        ids = [one.item_id for one in given]
        if not ids:
            return []
        cards, partners = await asyncio.gather(self.cards(ids), self.partners(ids))
        return recent_items(given, cards, partners, at_ms, self.together_half_life_s)

    async def targets(self, cards: Sequence[Card], at_ms: int) -> TargetItems:
        """Items as targets, with their popularity at a moment."""
        found = await self.popularity([card.item_id for card in cards])
        return target_items(cards, found, at_ms, self.popularity_half_life_s)


def interests_in(nodes: Iterable[Node], here: Set[str], at_ms: int, policy: NodePolicy) -> list[Interest]:
    """What to score against: every node, but of situations only those at the `context` paths `here`."""
    return interests_of((n for n in nodes if n.key.level != "context" or n.key.path in here), at_ms, policy)


def learned_view(nodes: Iterable[Node], at_ms: int, policy: NodePolicy) -> LearnedView | None:
    """What the learned model says of a person, from their nodes; None where it has said nothing, or too long ago.

    Of nodes of several models those of the model count that made the interest, at `/`: each makes one, while tasks may
    be left over from a model of before. Where that one counts no more, neither do they. What two say is not mixed.
    """
    learned = [
        (node, node.learned)
        for node in nodes
        if node.learned and node.direction.any() and is_alive(node, at_ms, policy)
    ]
    model = next((part.model for node, part in learned if node.key.path == "/"), None)
    if model is None:
        return None
    return LearnedView(
        model=model,
        nodes=[
            LearnedNode(node.id, node.key.path, node.direction, part.scale, part.bias)
            for node, part in sorted(learned, key=lambda one: one[0].key.path)
            if part.model == model
        ],
    )


def recent_items(
    recents: Iterable[Recent], cards: Mapping[str, Card], partners: Mapping[str, ItemPartners], at_ms: int,
    half_life_s: float,
) -> list[RecentItem]:  # fmt: skip
    """Recent items that have a card, with what was touched together with them, decayed to a moment."""
    found: list[RecentItem] = []
    for one in recents:
        card = cards.get(one.item_id)
        if card is not None:
            theirs = partners.get(one.item_id)
            together, touched = partners_at(theirs, at_ms, half_life_s) if theirs else ({}, 0.0)
            found.append(
                RecentItem(
                    item_id=one.item_id, ts_ms=one.ts_ms, weight=one.weight, vector=card.vector, lang=card.lang,
                    attributes=attributes_of(card.categories, card.tags, card.brand), together=together,
                    touched=touched,
                )
            )  # fmt: skip
    return found


def target_items(
    cards: Sequence[Card], popularity: Mapping[str, ItemPopularity], at_ms: int, half_life_s: float
) -> TargetItems:
    """Items as targets at a moment; `half_life_s` is that of the settings' popularity."""
    items = [popularity.get(card.item_id) or _NOBODY for card in cards]
    masses = np.array([item.masses for item in items]).reshape(len(items), len(_NOBODY.masses))
    elapsed_s = np.maximum(at_ms - np.array([item.t0_ms for item in items], np.float64), 0.0)[:, None] / 1000.0
    masses *= np.exp2(-elapsed_s / np.array(half_lives_s(half_life_s)))
    return TargetItems(
        ids=tuple(card.item_id for card in cards),
        vectors=_stack([card.vector for card in cards]),
        paths=tuple(card.path for card in cards),
        ts_ms=np.array([np.nan if card.ts_ms is None else card.ts_ms for card in cards], np.float64),
        popularity=masses[:, 0].copy(),
        langs=tuple(card.lang for card in cards),
        attributes=tuple(attributes_of(card.categories, card.tags, card.brand) for card in cards),
        popularities=masses[:, 1:].copy(),
        touched_ms=np.array([item.last_ms or np.nan for item in items]),
    )  # fmt: skip


def with_texts(targets: TargetItems, vectors: Vector) -> TargetItems:
    """Targets with texts behind them, vectors of shape (n, dim), of which nothing is known but what they say."""
    n = len(vectors)
    if not n:
        return targets
    unknown, nobody = np.full(n, np.nan), np.zeros(n)
    rows = np.concatenate([targets.vectors, vectors.astype(np.float32)]) if targets.ids else vectors
    return TargetItems(
        ids=(*targets.ids, *[""] * n), vectors=rows, paths=(*targets.paths, *[""] * n),
        ts_ms=np.concatenate([targets.ts_ms, unknown]),
        popularity=np.concatenate([targets.popularity, nobody]),
        langs=(*targets.langs, *[None] * n),
        attributes=(*targets.attributes, *[frozenset[str]()] * n),
        popularities=np.concatenate([targets.popularities, np.zeros((n, len(POPULARITIES_S)))]),
        touched_ms=np.concatenate([targets.touched_ms, unknown]),
    )  # fmt: skip


@lru_cache(maxsize=10_000)
def attributes_of(categories: tuple[str, ...], tags: tuple[str, ...], brand: str | None) -> frozenset[str]:
    """What an item is filed under, each behind `c:`, `t:` or `b:`."""
    own = [f"b:{brand}"] if brand else []
    return frozenset([*(f"c:{one}" for one in categories), *(f"t:{one}" for one in tags), *own])


def _stack(rows: Sequence[Vector]) -> Vector:
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)
