"""The store on Qdrant: raw points, fenced upserts, one deadline a call."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from qdrant_client import grpc

from streams.base.errors import StoreUnavailable
from streams.interests.item_vectors import ItemPoint, StoredItem
from streams.interests.nodes import NAMESPACE, Node, NodeKey, NodePolicy, node_id, without_erased
from streams.store import codec
from streams.store.base import Control, Fence
from streams.store.collections import CONTROL, Collections
from streams.store.connection import QdrantConfig, guarded
from streams.store.filters import VECTORS, all_of, any_of, expired, fields, in_range, not_newer
from streams.store.points import Called, Points, not_counted

_TOMBSTONES = 100  # looked after in one call


class QdrantStore:
    """Implements `streams.store.base.Store` on a Qdrant server."""

    def __init__(
        self, config: QdrantConfig, policy: NodePolicy, collections: Collections, called: Called = not_counted
    ) -> None:
        self._points, self._policy, self._names = Points(config, called), policy, collections
        self._per_write = config.points_per_write
        self._shards = 1

    @property
    def whole_trees(self) -> bool:
        """Whether one `write` of a user's nodes is all or nothing: on one shard it is one entry of its log."""
        return self._shards == 1

    async def prepare(self) -> None:
        """Make the collections, their payload indexes and aliases where they are missing, and check their size."""
        points = self._points
        self._shards = await guarded(self._names.prepare(points.client, points.config.deadline_s), "prepare")

    async def read(self, keys: Sequence[NodeKey]) -> dict[NodeKey, Node]:
        """The nodes that exist among `keys`."""
        points = await self._points.get(self._names.interests, [node_id(key) for key in keys], vectors=VECTORS)
        nodes = (codec.node_of(point.payload, codec.row_of(point.vectors)) for point in points)
        return {node.key: node for node in nodes}

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        """Upsert nodes durably, a user's in one call; those stored under a newer fence stay as they are."""
        for chunk in _by_user(nodes, self._per_write):
            points = (codec.node_point(node, self._policy, fence) for node in chunk)
            await self._points.upsert(self._names.interests, points, not_newer(fence))

    async def erase(self, tombstones: Sequence[Node], fence: Fence) -> None:
        """Delete the users' nodes but the profile, then write the tombstones in its place."""
        users = [node.key.user_id for node in tombstones]
        theirs = grpc.Filter(must=[any_of("user_id", users), not_newer(fence)], must_not=[any_of("level", ["profile"])])
        await self._points.delete(self._names.interests, theirs)
        await self.write(tombstones, fence)

    async def tree(self, user_id: str) -> list[Node]:
        """All nodes of one user."""
        theirs = all_of(any_of("user_id", [user_id]))
        return without_erased(
            [
                codec.node_of(point.payload, codec.row_of(point.vectors))
                async for page in self._points.pages(self._names.interests, theirs, vectors=VECTORS)
                for point in page
            ]
        )

    async def items(self, item_ids: Iterable[str]) -> dict[str, StoredItem]:
        """The described items among `item_ids`."""
        ids = [codec.item_point_id(item_id) for item_id in item_ids]
        points = await self._points.get(self._names.items, ids, payload=fields("item_id", "path"), vectors=VECTORS)
        found = (codec.item_of(point.payload, codec.row_of(point.vectors)) for point in points)
        return {item.item_id: item for item in found}

    async def put_items(self, points: Sequence[ItemPoint]) -> None:
        """Upsert items durably."""
        for start in range(0, len(points), self._per_write):
            chunk = points[start : start + self._per_write]
            await self._points.upsert(self._names.items, map(codec.item_point, chunk), None)

    async def delete_items(self, item_ids: Sequence[str]) -> None:
        """Delete items by id."""
        await self._points.delete_ids(self._names.items, [codec.item_point_id(item_id) for item_id in item_ids])

    async def sweep(self, now_ms: int) -> None:
        """Delete the nodes whose `expires_at` has passed, and those that an erasure ended and a late write put back."""
        await self._points.delete(self._names.interests, all_of(expired(now_ms)))
        erased = self._points.pages(
            self._names.interests, all_of(in_range("erased_at", gt=0)), payload=fields("user_id", "erased_at"),
            page=_TOMBSTONES,
        )  # fmt: skip
        async for page in erased:
            ended = [_put_back(p.payload["user_id"].string_value, p.payload["erased_at"].integer_value) for p in page]
            await self._points.delete(self._names.interests, grpc.Filter(should=ended))

    async def control(self, group: str) -> Control | None:
        """The group's control point."""
        points = await self._points.get(CONTROL, [_control_id(group)])
        return _control_of(points[0].payload) if points else None

    async def put_control(self, group: str, control: Control, *, if_epoch: int) -> Control:
        """Write the control point if the stored epoch is still `if_epoch`; return what is stored then."""
        payload = {
            "group": group, "epoch": control.epoch, "log": control.log, "generation": control.generation,
            "leader": control.leader, "cluster": control.cluster,
            "partitions": json.dumps(dict(control.partitions)), "highest": json.dumps(dict(control.highest)),
        }  # fmt: skip
        point = codec.Point(_control_id(group), codec.ONE, payload)
        await self._points.upsert(CONTROL, [point], in_range("epoch", gte=if_epoch, lte=if_epoch))
        stored = await self.control(group)
        if stored is None:
            raise StoreUnavailable("Qdrant acknowledged the control point but does not return it")
        return stored

    async def answers(self) -> bool:
        """Whether the server answers a read of the control points. Raises as every call; counts as no progress."""
        request = grpc.GetPoints(collection_name=CONTROL, ids=codec.uuids([_control_id("")]))
        points = self._points
        await guarded(points.client.grpc_points.Get(request, timeout=points.config.deadline_s), "answers")
        return True

    async def close(self) -> None:
        """Close the channels."""
        await self._points.close()


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


def _put_back(user_id: str, erased_at_ms: int) -> grpc.Condition:
    """A user's nodes, but the profile, with an event no younger than the erasure."""
    theirs = [any_of("user_id", [user_id]), in_range("first", lte=erased_at_ms)]
    return grpc.Condition(filter=grpc.Filter(must=theirs, must_not=[any_of("level", ["profile"])]))


def _control_id(group: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"control\x1f{group}"))


def _control_of(payload: Any) -> Control:
    return Control(
        payload["epoch"].integer_value, payload["log"].integer_value, payload["generation"].integer_value,
        payload["leader"].string_value, payload["cluster"].string_value,
        json.loads(payload["partitions"].string_value), json.loads(payload["highest"].string_value),
    )  # fmt: skip
