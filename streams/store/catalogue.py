"""What the API reads of items: cards with their vectors, kept for a while, and candidates near some vectors."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from streams.base.caches import BoundedCache, CacheStats
from streams.events.languages import within
from streams.interests.nodes import Vector
from streams.store import codec
from streams.store.cards import Card, read_cards
from streams.store.collections import Collections
from streams.store.filters import NO_PAYLOAD, VECTORS, any_of, fields, in_range, nearest
from streams.store.messages import grpc
from streams.store.reader import StoreReader

_MOST_TITLES = 100_000
_CARD_BYTES = 700  # a card's objects and short strings, beside its vector and description


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """What candidates must be: below a concept path or in a category, in a language, published since a moment.

    A category in any case; a language with all that lies within it: `en` with `en-US`.
    """

    category: str | None = None
    lang: str | None = None
    since_ms: int | None = None

    def lets(self, card: Card) -> bool:
        """Whether a card is what is wanted, as the queries judge it."""
        if self.category is not None and self.category.startswith("/"):
            above, path = self.category.casefold(), card.path.casefold()
            if path != above and not path.startswith(f"{above.rstrip('/')}/"):
                return False
        elif self.category is not None and not any(_same(one, self.category) for one in card.categories):
            return False
        if self.lang is not None and not (card.lang and within(card.lang, self.lang)):
            return False
        return self.since_ms is None or (card.ts_ms is not None and card.ts_ms >= self.since_ms)


def card_cache(max_bytes: int, ttl_s: float, clock: Callable[[], float] = monotonic) -> BoundedCache[str, Card]:
    """Cards by point id, bounded in bytes, each kept for `ttl_s`."""
    return BoundedCache(max_bytes, size_of=_size, ttl_s=ttl_s, clock=clock)


class Catalogue:
    """Items by id and items near vectors. Cards are kept a while; which items are near is always asked anew.

    What is kept is as old as `cards_ttl_s` at most, where nobody tells of changes (`changed`).
    """

    def __init__(self, reading: StoreReader, *, cards_bytes: int, cards_ttl_s: float) -> None:
        self._reading, self._cache = reading, card_cache(cards_bytes, cards_ttl_s)
        self._titles: BoundedCache[str, str | None] = BoundedCache(_MOST_TITLES, ttl_s=cards_ttl_s)
        #: Points that changed of late, and whether they were deleted: not kept until a worker has surely written them.
        self._changed: BoundedCache[str, bool] = BoundedCache(_MOST_TITLES, ttl_s=cards_ttl_s)
        self._of = ""

    def cache_stats(self) -> CacheStats:
        """Hits, misses and bytes of the cache of cards."""
        return self._cache.stats()

    def changed(self, item_id: str, *, deleted: bool) -> None:
        """An item was described anew or deleted: what is kept of it is forgotten, and a deleted one is there no more.

        That holds before a worker has written it. For `cards_ttl_s` the item is read anew each time.
        """
        point_id = codec.item_point_id(item_id)
        self._cache.drop(point_id)
        self._titles.drop(item_id)
        self._changed.put(point_id, deleted)

    def forget(self) -> None:
        """Forget all that is kept: changes may have been missed."""
        self._cache.clear()
        self._titles.clear()

    async def cards(self, item_ids: Iterable[str]) -> dict[str, Card]:
        """The described items among `item_ids`."""
        points = {codec.item_point_id(item_id): item_id for item_id in item_ids if item_id}
        return {card.item_id: card for card in await self._cards(list(points))}

    async def titles(self, item_ids: Iterable[str]) -> dict[str, str | None]:
        """Titles of items, None where one has none or nobody has described it: no vector is read for them."""
        found, missing = self._titles.among({item_id for item_id in item_ids if item_id})
        if missing:
            ids = [codec.item_point_id(item_id) for item_id in missing]
            names = await self._names()
            ids = [point_id for point_id in ids if not self._changed.get(point_id)]
            cards = await read_cards(self._reading.points, names.items, ids, payload=fields("item_id", "title"))
            titles = {card.item_id: card.title for card in cards.values()}
            for item_id in missing:
                found[item_id] = titles.get(item_id)
            for item_id, title in titles.items():  # what nobody has described may be any moment
                if codec.item_point_id(item_id) not in self._changed:
                    self._titles.put(item_id, title)
        return found

    async def near(self, vectors: Sequence[Vector], wanted: ItemFilter, limit: int) -> list[Card]:
        """The items nearest to any of some vectors, `limit` for each, each item once, by one batch of queries."""
        if not vectors:
            return []
        names = await self._names()
        where = await self._where(names, wanted)
        queries = [
            grpc.QueryPoints(collection_name=names.items, query=nearest(vector), filter=where, limit=limit)
            for vector in vectors
        ]
        request = grpc.QueryBatchPoints(collection_name=names.items, query_points=queries)
        reply = await self._reading.points.call("QueryBatch", request, "query")
        return await self._cards(list(dict.fromkeys(point.id.uuid for one in reply.result for point in one.result)))

    async def newest(self, wanted: ItemFilter, limit: int) -> list[Card]:
        """The items published last; those without a time, in no order, only where there are not enough others."""
        names = await self._names()
        where = await self._where(names, wanted)
        order = grpc.OrderBy(key="ts", direction=grpc.Direction.Desc)
        found: dict[str, None] = {}
        for order_by in (order, None):
            request = grpc.ScrollPoints(
                collection_name=names.items, filter=where, limit=limit, order_by=order_by,
                with_payload=NO_PAYLOAD,
            )  # fmt: skip
            reply = await self._reading.points.call("Scroll", request, "scroll")
            found.update((point.id.uuid, None) for point in reply.result)
            if len(found) >= limit:
                break
        return await self._cards(list(found)[:limit])

    async def drawn(self, seed: int, count: int) -> list[Card]:
        """Up to `count` items by chance, the same for a 128-bit `seed` while the items are the same.

        Those whose points follow a random place: point ids are hashes of items' ids, so their order means nothing.
        """
        names = await self._names()
        found: dict[str, None] = {}
        for place in (seed, 0):  # past the last point it goes on with the first
            request = grpc.ScrollPoints(
                collection_name=names.items, limit=count, offset=grpc.PointId(uuid=str(uuid.UUID(int=place))),
                with_payload=NO_PAYLOAD,
            )  # fmt: skip
            reply = await self._reading.points.call("Scroll", request, "scroll")
            found.update((point.id.uuid, None) for point in reply.result)
            if len(found) >= count:
                break
        return await self._cards(list(found)[:count])

    async def _names(self) -> Collections:
        names = await self._reading.names()
        if names.items != self._of:  # another encoder's vectors
            self._cache.clear()
            self._of = names.items
        return names

    async def _cards(self, point_ids: Sequence[str]) -> list[Card]:
        names = await self._names()
        point_ids = [point_id for point_id in point_ids if not self._changed.get(point_id)]
        found, missing = self._cache.among(point_ids)
        for point_id, card in (await read_cards(self._reading.points, names.items, missing, vectors=VECTORS)).items():
            found[point_id] = card
            if point_id not in self._changed:
                self._cache.put(point_id, card)
        return [found[point_id] for point_id in point_ids if point_id in found]

    async def _where(self, names: Collections, wanted: ItemFilter) -> grpc.Filter | None:
        must: list[grpc.Condition] = []
        if wanted.category is not None and wanted.category.startswith("/"):
            must.append(any_of("path", await self._reading.paths_below(names.items, wanted.category)))
        elif wanted.category is not None:
            alike = [
                one for one in await self._reading.values(names.items, "categories") if _same(one, wanted.category)
            ]
            must.append(any_of("categories", {wanted.category, *alike}))
        if wanted.lang is not None:
            tags = [one for one in await self._reading.values(names.items, "lang") if within(one, wanted.lang)]
            must.append(any_of("lang", {wanted.lang, *tags}))
        if wanted.since_ms is not None:
            must.append(in_range("ts", gte=wanted.since_ms))
        return grpc.Filter(must=must) if must else None


def _same(one: str, other: str) -> bool:
    """Whether two names of categories differ in case, hyphens and spaces at most."""
    return _words(one) == _words(other)


def _words(name: str) -> list[str]:
    return name.casefold().replace("-", " ").replace("_", " ").split()


def _size(card: Card) -> int:
    texts: tuple[Any, ...] = (card.title, card.description, *card.categories, *card.tags)
    return _CARD_BYTES + card.vector.nbytes + sum(2 * len(text) for text in texts if text)
