"""What the API reads of everybody together: items' popularity and cohorts' nodes, each kept for some seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from streams.base.caches import BoundedCache
from streams.interests.decay import decayed
from streams.interests.nodes import Node
from streams.interests.popularity import ItemPopularity
from streams.interests.together import ItemPartners
from streams.store import codec
from streams.store.cohort_store import popularity_id, popularity_of, scoped, unscoped
from streams.store.collections import POPULARITY, TOGETHER
from streams.store.filters import VECTORS, all_of, any_of, fields
from streams.store.messages import grpc
from streams.store.partners import partners_id, partners_of
from streams.store.reader import CollectionMissing, StoreReader

_POPULAR_FOR_S = 30.0
_COHORTS_FOR_S = 30.0
_MOST_POPULAR = 100_000
_PARTNERS_BYTES = 32 << 20
_MOST_COHORTS = 1_000
_IDS_PER_CALL = 1_000


_OF_PARTNERS = fields("item_id", "partners", "total", "t0")
_UNMARKED = fields("item_id", "mass", "shorter", "t0", "last", "count")
_point_id = lru_cache(maxsize=_MOST_POPULAR)(popularity_id)


class CohortReader:
    """Popularity as one group of workers counts it, and cohorts. Nothing is popular where none was ever counted."""

    def __init__(self, reading: StoreReader, group: str, half_life_s: float) -> None:
        self._reading, self._group, self._half_life_ms = reading, group, half_life_s * 1000.0
        self._popular: BoundedCache[str, ItemPopularity] = BoundedCache(_MOST_POPULAR, ttl_s=_POPULAR_FOR_S)
        self._partners: BoundedCache[str, ItemPartners] = BoundedCache(
            _PARTNERS_BYTES, size_of=_size_of, ttl_s=_POPULAR_FOR_S
        )
        self._cohorts: BoundedCache[str, list[Node]] = BoundedCache(_MOST_COHORTS, ttl_s=_COHORTS_FOR_S)

    def follow(self, group: str) -> None:
        """Read another group's counts from now on."""
        self._group = group
        for cache in (self._popular, self._partners, self._cohorts):
            cache.clear()

    async def popularity(self, item_ids: Iterable[str], at_ms: int) -> dict[str, float]:
        """Decayed masses of positive evidence of the items among `item_ids` that have any, at a moment."""
        found = await self.item_popularity(item_ids)
        return {
            item_id: decayed(one.mass, one.t0_ms, at_ms, self._half_life_ms)
            for item_id, one in found.items()
            if one.mass > 0
        }

    async def item_popularity(self, item_ids: Iterable[str]) -> dict[str, ItemPopularity]:
        """The popularity of the items among `item_ids` that anybody ever touched, as it is stored, without marks."""
        found, missing = self._popular.among(item_ids)
        if missing:
            read = await self._read(missing)
            for item_id in missing:
                found[item_id] = read.get(item_id) or ItemPopularity(item_id=item_id)
                self._popular.put(item_id, found[item_id])
        return {item_id: one for item_id, one in found.items() if one.count or one.last_ms}

    async def partners(self, item_ids: Iterable[str]) -> dict[str, ItemPartners]:
        """What was touched together with the items among `item_ids`, of those that have any, without marks."""
        found, missing = self._partners.among(item_ids)
        if missing:
            read = await self._read_partners(missing)
            for item_id in missing:
                found[item_id] = read.get(item_id) or ItemPartners(item_id=item_id)
                self._partners.put(item_id, found[item_id])
        return {item_id: one for item_id, one in found.items() if one.total}

    async def cohorts(self, names: Sequence[str]) -> dict[str, list[Node]]:
        """The nodes of cohorts by name; those that have none are left out."""
        found, missing = self._cohorts.among(names)
        if missing:
            read: dict[str, list[Node]] = {name: [] for name in missing}
            for node in await self._nodes(missing):
                read[node.key.user_id].append(node)
            for name, nodes in read.items():
                self._cohorts.put(name, nodes)
            found |= read
        return {name: nodes for name, nodes in found.items() if nodes}

    async def _nodes(self, cohorts: Sequence[str]) -> list[Node]:
        collection = (await self._reading.names()).population
        theirs = all_of(any_of("user_id", [scoped(self._group, name) for name in cohorts]))
        try:
            return [
                unscoped(codec.node_of(point.payload, codec.row_of(point.vectors)))
                async for page in self._reading.points.pages(collection, theirs, vectors=VECTORS, doing="cohorts")
                for point in page
            ]
        except CollectionMissing:  # no worker has learnt of any cohort
            return []

    async def _read(self, item_ids: Sequence[str]) -> dict[str, ItemPopularity]:
        ids = [_point_id(self._group, item_id) for item_id in item_ids]
        points = await self._points(POPULARITY, ids, _UNMARKED, "popularity")
        return {item.item_id: item for item in (popularity_of(point.payload) for point in points)}

    async def _read_partners(self, item_ids: Sequence[str]) -> dict[str, ItemPartners]:
        ids = [partners_id(self._group, item_id) for item_id in item_ids]
        points = await self._points(TOGETHER, ids, _OF_PARTNERS, "partners")
        return {item.item_id: item for item in (partners_of(point.payload) for point in points)}

    async def _points(
        self, collection: str, ids: Sequence[str], payload: grpc.WithPayloadSelector, doing: str
    ) -> Sequence[grpc.RetrievedPoint]:
        """The points of items that there are; none where no worker has counted any item yet."""
        try:
            return await self._reading.points.get(collection, ids, payload=payload, at_once=_IDS_PER_CALL, doing=doing)
        except CollectionMissing:
            return []


def _size_of(partners: ItemPartners) -> int:
    return 300 + sum(130 + len(other) for other in partners.counts)
