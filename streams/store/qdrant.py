"""The store on Qdrant: raw points, fenced upserts, one deadline a call."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence, Set
from typing import Any, Final

from streams.base.errors import StoreUnavailable
from streams.interests.item_vectors import ItemPoint, StoredItem
from streams.interests.nodes import NAMESPACE, Node, NodeKey, NodePolicy, without_erased
from streams.store import codec, versions
from streams.store.base import Control, Fence, Write
from streams.store.collections import CONTROL, ONE_COPY, Collections
from streams.store.connection import QdrantConfig, guarded
from streams.store.filters import VECTORS, fields, in_range
from streams.store.learned_scan import Behind, learned_behind
from streams.store.messages import grpc
from streams.store.node_table import NodeTable
from streams.store.points import Called, PointsClient, not_counted
from streams.store.server_version import check_version
from streams.store.wire import Point

#: The control point's field with the version of the nodes that the group writes.
_NODES: Final = "nodes"


class QdrantStore:
    """Implements `streams.store.base.Store` on a Qdrant server."""

    def __init__(
        self, config: QdrantConfig, policy: NodePolicy, collections: Collections, *, called: Called = not_counted
    ) -> None:
        self._points, self._names = PointsClient(config, called), collections
        self._nodes = NodeTable(self._points, collections.interests, policy)
        self._policy, self._copies = policy, ONE_COPY

    @property
    def whole_trees(self) -> bool:
        """Whether one `write` of a user's nodes is all or nothing: on one shard it is one entry of its log."""
        return self._copies.shards == 1 and not self.replicated

    @property
    def replicated(self) -> bool:
        """Whether a write that failed may have left replicas apart."""
        return self._copies.replicas > 1

    async def prepare(self) -> None:
        """Make the collections, their payload indexes and aliases where they are missing, and check their size.

        ConfigurationError where Qdrant is too old.
        """
        points = self._points
        await check_version(points.collections, points.config)
        self._copies = await guarded(self._names.prepare(points.collections), "prepare")

    async def check_control(self, group: str) -> None:
        """NewerPoints where a newer release has written for the group."""
        await self.control(group)

    async def read(self, keys: Sequence[NodeKey]) -> dict[NodeKey, Node]:
        """The nodes that exist among `keys`."""
        return await self._nodes.read(keys)

    def encoded(self, nodes: Sequence[Node], fence: Fence) -> Write:
        """Encode nodes, a user's in one call; what comes back upserts them durably."""
        return self._nodes.encoded(nodes, fence)

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        """Upsert nodes durably, a user's in one call; those stored under a newer fence stay as they are."""
        await self._nodes.write(nodes, fence)

    async def write_late(self, nodes: Sequence[Node], fence: Fence) -> None:
        """Write nodes that were made beside the path, of what was there before; whom an erasure has ended meanwhile
        they are deleted of again.

        An erasure deletes before it leaves its mark: of one that is just between the two, the next sweep does that.
        """
        await self._nodes.write(nodes, fence)
        await self._nodes.delete_put_back_of({node.key.user_id for node in nodes})

    def learned_behind(self, slots: Set[str], model: str, at_ms: int) -> AsyncIterator[list[Behind]]:
        """Who has learned nodes of another state or another model: as `streams.store.learned_scan` says."""
        return learned_behind(self._points, self._names.interests, self._policy, slots, model, at_ms)

    async def erase(self, tombstones: Sequence[Node], fence: Fence) -> None:
        """Delete the users' nodes but the profile, then write the tombstones in its place."""
        await self._nodes.delete_trees([node.key.user_id for node in tombstones], fence)
        await self._nodes.write(tombstones, fence)

    async def tree(self, user_id: str) -> list[Node]:
        """All nodes of one user, without those put back after an erasure had ended them."""
        return without_erased(await self._nodes.tree(user_id))

    async def items(self, item_ids: Iterable[str]) -> dict[str, StoredItem]:
        """The described items among `item_ids`."""
        ids = [codec.item_point_id(item_id) for item_id in item_ids]
        points = await self._points.get(
            self._names.items, ids, payload=fields("item_id", "path"), vectors=VECTORS, deciding=True
        )
        found = (codec.item_of(point.payload, codec.row_of(point.vectors)) for point in points)
        return {item.item_id: item for item in found}

    async def put_items(self, points: Sequence[ItemPoint]) -> None:
        """Upsert items durably."""
        await self._points.upsert_all(self._names.items, map(codec.item_point, points), None)

    async def delete_items(self, item_ids: Sequence[str]) -> None:
        """Delete items by id."""
        await self._points.delete_ids(self._names.items, [codec.item_point_id(item_id) for item_id in item_ids])

    async def sweep(self, now_ms: int) -> None:
        """Delete the nodes whose `expires_at` has passed, and those that an erasure ended and a late write put back."""
        await self._nodes.delete_expired(now_ms)
        await self._nodes.delete_put_back()

    async def oldest_put_back(self) -> int:
        """When the oldest erasure was, in ms, of which nodes were put back and are there; 0: of none."""
        return await self._nodes.oldest_put_back()

    async def control(self, group: str) -> Control | None:
        """The group's control point. NewerPoints where it, or any node written in this group, is of a newer release."""
        points = await self._points.get(CONTROL, [control_id(group)], deciding=True)
        return _control_of(points[0].payload) if points else None

    async def put_control(self, group: str, control: Control, *, if_epoch: int) -> Control:
        """Write the control point over one of epoch `if_epoch` whose fence is not higher; return what is stored."""
        payload = {
            "group": group, "epoch": control.epoch, "log": control.log, "generation": control.generation,
            "leader": control.leader, "cluster": control.cluster,
            "partitions": json.dumps(dict(control.partitions)), "highest": json.dumps(dict(control.highest)),
            versions.FIELD: versions.CONTROL, _NODES: versions.NODES,
        }  # fmt: skip
        point = Point(control_id(group), codec.ONE, payload)
        seen = [in_range("epoch", gte=if_epoch, lte=if_epoch)]
        if control.epoch == if_epoch:
            seen.append(in_range("generation", lte=control.generation))
        readable = grpc.Filter(must=seen, must_not=[in_range(_NODES, gt=versions.NODES)])
        await self._points.upsert(CONTROL, [point], grpc.Condition(filter=readable))
        stored = await self.control(group)
        if stored is None:
            raise StoreUnavailable("Qdrant acknowledged the control point but does not return it")
        return stored

    async def answers(self) -> bool:
        """Whether the server answers a read of the control points. Raises as every call; counts as no progress."""
        request = grpc.GetPoints(collection_name=CONTROL, ids=codec.uuids([control_id("")]))
        await self._points.answers(request)
        return True

    async def close(self) -> None:
        """Close the channels."""
        await self._points.close()


def control_id(group: str) -> str:
    """The id of a group's control point."""
    return str(uuid.uuid5(NAMESPACE, f"control\x1f{group}"))


def _control_of(payload: Any) -> Control:
    versions.require_known(payload, versions.CONTROL, "control points")
    newest = payload[_NODES].integer_value if _NODES in payload else 0
    if newest > versions.NODES:
        raise versions.NewerPoints("nodes", newest, versions.NODES)
    return Control(
        epoch=payload["epoch"].integer_value, log=payload["log"].integer_value,
        generation=payload["generation"].integer_value,
        leader=payload["leader"].string_value, cluster=payload["cluster"].string_value,
        partitions=json.loads(payload["partitions"].string_value), highest=json.loads(payload["highest"].string_value),
    )  # fmt: skip
