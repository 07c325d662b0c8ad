"""Whole collections, a page at a time: what exports and verifications read. Nothing is written, nothing kept.

A scan is no snapshot: each point is as it was when its page was read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from streams.interests.nodes import Node
from streams.interests.popularity import ItemPopularity
from streams.store import codec
from streams.store.cards import Card, card_of, read_cards
from streams.store.cohort_store import popularity_of
from streams.store.collections import POPULARITY, Collections, aliased
from streams.store.connection import QdrantConfig, guarded
from streams.store.filters import VECTORS, all_of, any_of, fields, in_range
from streams.store.messages import grpc
from streams.store.points import PointsClient

_PAGE = 500
_USERS_A_CALL = 200
_PROFILES = all_of(any_of("level", ["profile"]))


class Scan:
    """A read-only connection. Every call raises StoreUnavailable past the deadline."""

    def __init__(self, config: QdrantConfig) -> None:
        self._points = PointsClient(config)

    async def collections(self) -> Collections:
        """The collections that the aliases point at. ConfigurationError where there is no alias yet."""
        return await aliased(self._points.collections, f"Qdrant at {self._points.config.address}")

    async def count(self, collection: str, where: grpc.Filter | None = None) -> int:
        """How many points a collection has; 0 where there is none."""
        if not await guarded(self._points.collections.exists(collection), "asking for a collection"):
            return 0
        request = grpc.CountPoints(collection_name=collection, filter=where, exact=True)
        return int((await self._points.call("Count", request, "count")).result.count)

    async def count_people(self, collections: Collections) -> int:
        """How many have a profile, erased ones among them."""
        return await self.count(collections.interests, _PROFILES)

    async def nodes(self, collections: Collections) -> AsyncIterator[list[Node]]:
        """Every node, in the order of their ids, those put back after an erasure among them."""
        async for page in self._points.pages(collections.interests, all_of(), vectors=VECTORS, page=_PAGE):
            yield [codec.node_of(point.payload, codec.row_of(point.vectors)) for point in page]

    async def trees(self, collections: Collections, users: Sequence[str]) -> dict[str, list[Node]]:
        """Every node of some users, by user; those put back after an erasure among them."""
        found: dict[str, list[Node]] = {}
        for start in range(0, len(users), _USERS_A_CALL):
            theirs = all_of(any_of("user_id", users[start : start + _USERS_A_CALL]))
            async for page in self._points.pages(collections.interests, theirs, vectors=VECTORS, page=_PAGE):
                for point in page:
                    node = codec.node_of(point.payload, codec.row_of(point.vectors))
                    found.setdefault(node.key.user_id, []).append(node)
        return found

    async def people(self, collections: Collections) -> AsyncIterator[list[str]]:
        """The ids of all who have a profile, erased ones among them."""
        async for page in self._points.pages(collections.interests, _PROFILES, payload=fields("user_id")):
            yield [point.payload["user_id"].string_value for point in page]

    async def erased(self, collections: Collections) -> dict[str, int]:
        """When each user was erased who has a tombstone, in ms."""
        tombstones, payload = all_of(in_range("erased_at", gt=0)), fields("user_id", "erased_at")
        return {
            point.payload["user_id"].string_value: point.payload["erased_at"].integer_value
            async for page in self._points.pages(collections.interests, tombstones, payload=payload)
            for point in page
        }

    async def items(self, collections: Collections) -> AsyncIterator[list[Card]]:
        """Every item that is described."""
        async for page in self._points.pages(collections.items, all_of(), vectors=VECTORS, page=_PAGE):
            yield [card_of(point.payload, codec.row_of(point.vectors)) for point in page]

    async def cards(self, collections: Collections, item_ids: Sequence[str]) -> list[Card]:
        """The described items among `item_ids`."""
        ids = [codec.item_point_id(item_id) for item_id in item_ids]
        return list((await read_cards(self._points, collections.items, ids, vectors=VECTORS)).values())

    async def popularity(self, group: str) -> AsyncIterator[list[ItemPopularity]]:
        """The popularity of every item that a group has counted votes for."""
        if not await self.count(POPULARITY):
            return
        async for page in self._points.pages(POPULARITY, all_of(any_of("group", [group]))):
            yield [popularity_of(point.payload) for point in page]

    async def close(self) -> None:
        """Close the channels."""
        await self._points.close()
