"""One collection of nodes: the users' or the cohorts'. Read and written by key, under a fence, swept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby

from streams.interests.nodes import Node, NodeKey, NodePolicy, node_id, profile_key
from streams.store import codec
from streams.store.base import Fence, Write
from streams.store.filters import VECTORS, all_of, any_of, fields, in_range, not_newer, put_back, spent
from streams.store.messages import grpc
from streams.store.node_wire import nodes_bytes
from streams.store.points import PointsClient

_TOMBSTONES = 100  # in one deletion or search


class NodeTable:
    """The nodes of one collection; `policy` says when each expires."""

    def __init__(self, points: PointsClient, collection: str, policy: NodePolicy) -> None:
        self._points, self._collection, self._policy = points, collection, policy

    async def read(self, keys: Sequence[NodeKey]) -> dict[NodeKey, Node]:
        """The nodes that exist among `keys`."""
        ids = [node_id(key) for key in keys]
        points = await self._points.get(self._collection, ids, vectors=VECTORS, deciding=True)
        nodes = (codec.node_of(point.payload, codec.row_of(point.vectors)) for point in points)
        return {node.key: node for node in nodes}

    def encoded(self, nodes: Sequence[Node], fence: Fence) -> Write:
        """Encode nodes, a user's in one call; what comes back upserts them durably."""
        only_if = not_newer(fence)
        requests = [
            self._points.upserting(self._collection, nodes_bytes(chunk, self._policy, fence), only_if)
            for chunk in _by_user(nodes, self._points.config.points_per_write)
        ]

        return partial(self._points.send_upserts, requests)

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        """Upsert nodes durably, a user's in one call; those stored under a newer fence stay as they are."""
        await self.encoded(nodes, fence)()

    async def tree(self, user_id: str) -> list[Node]:
        """All nodes of one user, those put back after an erasure among them."""
        pages = self._points.pages(self._collection, all_of(any_of("user_id", [user_id])), vectors=VECTORS)
        return [codec.node_of(point.payload, codec.row_of(point.vectors)) async for page in pages for point in page]

    async def delete_trees(self, user_ids: Sequence[str], fence: Fence) -> None:
        """Delete the users' nodes but the profile, unless they are stored under a newer fence.

        By filter, so that each replica deletes what it has of them, also what others do not have.
        """
        theirs = grpc.Filter(
            must=[any_of("user_id", user_ids), not_newer(fence)], must_not=[any_of("level", ["profile"])]
        )
        await self._points.delete(self._collection, theirs)

    async def delete_expired(self, now_ms: int) -> None:
        """Delete the nodes whose `expires_at` has passed, but for the tombstones that still hold."""
        await self._points.delete_while(self._collection, spent(now_ms, self._policy.tombstone_ms))

    async def delete_put_back(self) -> None:
        """Delete the nodes that an erasure ended and a late write put back."""
        async for erased in self._erasures():
            await self._points.delete(self._collection, _put_back(erased))

    async def delete_put_back_of(self, user_ids: Collection[str]) -> None:
        """The same of some people: one read, and a deletion where any of them was ever erased."""
        ids = [node_id(profile_key(user_id)) for user_id in user_ids]
        found = await self._points.get(self._collection, ids, payload=fields("user_id", "erased_at"), deciding=True)
        erased = {
            point.payload["user_id"].string_value: point.payload["erased_at"].integer_value
            for point in found if "erased_at" in point.payload
        }  # fmt: skip
        if erased:
            await self._points.delete(self._collection, _put_back(erased))

    async def oldest_put_back(self) -> int:
        """When the oldest erasure was, in ms, of which nodes were put back and are there; 0: of none.

        One search for every hundred tombstones.
        """
        oldest = 0
        async for erased in self._erasures():
            async for page in self._points.pages(self._collection, _put_back(erased), payload=fields("user_id")):
                times = [erased[point.payload["user_id"].string_value] for point in page]
                oldest = min([*times, oldest or times[0]])
        return oldest

    async def _erasures(self) -> AsyncIterator[Mapping[str, int]]:
        """When each person was erased who was, in ms, some of them at a time."""
        tombstones = self._points.pages(
            self._collection, all_of(in_range("erased_at", gt=0)), payload=fields("user_id", "erased_at"),
            page=_TOMBSTONES,
        )  # fmt: skip
        async for page in tombstones:
            yield {p.payload["user_id"].string_value: p.payload["erased_at"].integer_value for p in page}


def _put_back(erased: Mapping[str, int]) -> grpc.Filter:
    """Nodes of these people that were put back after their erasure."""
    return grpc.Filter(should=[put_back(user_id, at_ms) for user_id, at_ms in erased.items()])


def _by_user(nodes: Sequence[Node], limit: int) -> Iterator[list[Node]]:
    """Chunks of up to `limit` nodes that never part one user's (a larger tree is one chunk of its own)."""
    chunk: list[Node] = []
    for _, group in groupby(nodes, key=lambda node: node.key.user_id):
        theirs = list(group)
        if chunk and len(chunk) + len(theirs) > limit:
            yield chunk
            chunk = []
        chunk += theirs
    if chunk:
        yield chunk
