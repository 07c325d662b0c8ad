"""The store on Qdrant: gRPC, raw points, fenced upserts, one deadline a call."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import groupby
from time import monotonic
from typing import Any

from qdrant_client import grpc

from streams.base.errors import StoreUnavailable
from streams.interests.item_vectors import ItemPoint, StoredItem
from streams.interests.nodes import NAMESPACE, Node, NodeKey, NodePolicy, node_id, without_erased
from streams.store import codec
from streams.store.base import Control, Fence
from streams.store.collections import CONTROL, Collections
from streams.store.connection import QdrantConfig, connect, guarded

_TOMBSTONES = 100  # looked after in one call


class QdrantStore:
    """Implements `streams.store.base.Store` on a Qdrant server."""

    def __init__(
        self,
        config: QdrantConfig,
        policy: NodePolicy,
        collections: Collections,
        called: Callable[[str, float], None] = lambda call, seconds: None,
    ) -> None:
        self._config, self._policy, self._names, self._called = config, policy, collections, called
        self._client = connect(config)
        self._shards = 1

    @property
    def whole_trees(self) -> bool:
        """Whether one `write` of a user's nodes is all or nothing: on one shard it is one entry of its log."""
        return self._shards == 1

    async def prepare(self) -> None:
        """Make the collections, their payload indexes and aliases where they are missing, and check their size."""
        self._shards = await guarded(self._names.prepare(self._client, self._config.deadline_s), "prepare")

    async def read(self, keys: Sequence[NodeKey]) -> dict[NodeKey, Node]:
        """The nodes that exist among `keys`."""
        points = await self._get(self._names.interests, [node_id(key) for key in keys])
        nodes = (codec.node_of(point.payload, codec.row_of(point.vectors)) for point in points)
        return {node.key: node for node in nodes}

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        """Upsert nodes durably, a user's in one call; those stored under a newer fence stay as they are."""
        for chunk in _by_user(nodes, self._config.points_per_write):
            points = (codec.node_point(node, self._policy, fence) for node in chunk)
            await self._upsert(self._names.interests, points, not_newer(fence))

    async def erase(self, tombstones: Sequence[Node], fence: Fence) -> None:
        """Delete the users' nodes but the profile, then write the tombstones in its place."""
        users = [node.key.user_id for node in tombstones]
        theirs = grpc.Filter(
            must=[_match_any("user_id", users), *not_newer(fence).must], must_not=[_match_any("level", ["profile"])]
        )
        await self._delete(self._names.interests, grpc.PointsSelector(filter=theirs))
        await self.write(tombstones, fence)

    async def tree(self, user_id: str) -> list[Node]:
        """All nodes of one user."""
        nodes: list[Node] = []
        offset: grpc.PointId | None = None
        while True:
            request = grpc.ScrollPoints(
                collection_name=self._names.interests, filter=grpc.Filter(must=[_match_any("user_id", [user_id])]),
                limit=1000, offset=offset, with_payload=_all_payload(), with_vectors=_with_vectors(),
            )  # fmt: skip
            reply = await self._call(self._client.grpc_points.Scroll, request, "scroll")
            nodes += [codec.node_of(point.payload, codec.row_of(point.vectors)) for point in reply.result]
            if not reply.HasField("next_page_offset"):
                return without_erased(nodes)
            offset = reply.next_page_offset

    async def items(self, item_ids: Iterable[str]) -> dict[str, StoredItem]:
        """The described items among `item_ids`."""
        ids = [codec.item_point_id(item_id) for item_id in item_ids]
        points = await self._get(self._names.items, ids, fields=["item_id", "path"])
        found = (codec.item_of(point.payload, codec.row_of(point.vectors)) for point in points)
        return {item.item_id: item for item in found}

    async def put_items(self, points: Sequence[ItemPoint]) -> None:
        """Upsert items durably."""
        for start in range(0, len(points), self._config.points_per_write):
            chunk = points[start : start + self._config.points_per_write]
            await self._upsert(self._names.items, map(codec.item_point, chunk), None)

    async def delete_items(self, item_ids: Sequence[str]) -> None:
        """Delete items by id."""
        ids = codec.uuids([codec.item_point_id(item_id) for item_id in item_ids])
        await self._delete(self._names.items, grpc.PointsSelector(points=grpc.PointsIdsList(ids=ids)))

    async def sweep(self, now_ms: int) -> None:
        """Delete the nodes whose `expires_at` has passed, and those that an erasure ended and a late write put back."""
        selector = grpc.PointsSelector(filter=grpc.Filter(must=[_range("expires_at", lte=now_ms)]))
        await self._delete(self._names.interests, selector)
        async for tombstones in self._tombstones():
            ended = [_put_back(user_id, erased_at_ms) for user_id, erased_at_ms in tombstones]
            await self._delete(self._names.interests, grpc.PointsSelector(filter=grpc.Filter(should=ended)))

    async def _tombstones(self) -> AsyncIterator[list[tuple[str, int]]]:
        """Users whose trees were erased, and when, a page at a time."""
        offset: grpc.PointId | None = None
        while True:
            request = grpc.ScrollPoints(
                collection_name=self._names.interests, filter=grpc.Filter(must=[_range("erased_at", gt=0)]),
                limit=_TOMBSTONES, offset=offset, with_payload=_payload_fields(["user_id", "erased_at"]),
            )  # fmt: skip
            reply = await self._call(self._client.grpc_points.Scroll, request, "scroll")
            if reply.result:
                yield [(p.payload["user_id"].string_value, p.payload["erased_at"].integer_value) for p in reply.result]
            if not reply.HasField("next_page_offset"):
                return
            offset = reply.next_page_offset

    async def control(self, group: str) -> Control | None:
        """The group's control point."""
        points = await self._get(CONTROL, [_control_id(group)])
        return _control_of(points[0].payload) if points else None

    async def put_control(self, group: str, control: Control, *, if_epoch: int) -> Control:
        """Write the control point if the stored epoch is still `if_epoch`; return what is stored then."""
        payload = {
            "group": group, "epoch": control.epoch, "log": control.log, "generation": control.generation,
            "leader": control.leader, "cluster": control.cluster,
            "partitions": json.dumps(dict(control.partitions)), "highest": json.dumps(dict(control.highest)),
        }  # fmt: skip
        point = codec.Point(_control_id(group), codec.ONE, payload)
        same = grpc.FieldCondition(key="epoch", range=grpc.Range(gte=if_epoch, lte=if_epoch))
        await self._upsert(CONTROL, [point], grpc.Filter(must=[grpc.Condition(field=same)]))
        stored = await self.control(group)
        if stored is None:
            raise StoreUnavailable("Qdrant acknowledged the control point but does not return it")
        return stored

    async def answers(self) -> bool:
        """Whether the server answers a read of the control points. Raises as every call; counts as no progress."""
        request = grpc.GetPoints(collection_name=CONTROL, ids=codec.uuids([_control_id("")]))
        await guarded(self._client.grpc_points.Get(request, timeout=self._config.deadline_s), "answers")
        return True

    async def close(self) -> None:
        """Close the channels."""
        await self._client.close()

    async def _get(self, collection: str, ids: Sequence[str], fields: Sequence[str] | None = None) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(ids), self._config.points_per_write):
            request = grpc.GetPoints(
                collection_name=collection, ids=codec.uuids(ids[start : start + self._config.points_per_write]),
                with_payload=_payload_fields(fields) if fields else _all_payload(), with_vectors=_with_vectors(),
            )  # fmt: skip
            found += (await self._call(self._client.grpc_points.Get, request, "get")).result
        return found

    async def _upsert(self, collection: str, points: Iterable[codec.Point], only_if: grpc.Filter | None) -> None:
        request = grpc.UpsertPoints(collection_name=collection, wait=True, update_filter=only_if)
        for point in points:
            codec.write(request.points.add(), point)
        reply = await self._call(self._client.grpc_points.Upsert, request, "upsert")
        _require_completed(reply.result.status)

    async def _delete(self, collection: str, selector: grpc.PointsSelector) -> None:
        request = grpc.DeletePoints(collection_name=collection, wait=True, points=selector)
        reply = await self._call(self._client.grpc_points.Delete, request, "delete")
        _require_completed(reply.result.status)

    async def _call(self, method: Callable[..., Awaitable[Any]], request: Any, doing: str) -> Any:
        started = monotonic()
        reply = await guarded(method(request, timeout=self._config.deadline_s), doing)
        self._called(doing, monotonic() - started)
        return reply


def _require_completed(status: int) -> None:
    if status != grpc.UpdateStatus.Completed:
        name = grpc.UpdateStatus.Name(status)
        raise StoreUnavailable(f"Qdrant answered {name}: whether the write holds is not known")


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


def not_newer(fence: Fence) -> grpc.Filter:
    """The condition of a fenced write: what is stored was written under no newer fence."""
    within = grpc.FieldCondition(key="fence", range=grpc.Range(lte=fence.number))
    return grpc.Filter(must=[grpc.Condition(field=within)])


def _range(key: str, **bounds: float) -> grpc.Condition:
    return grpc.Condition(field=grpc.FieldCondition(key=key, range=grpc.Range(**bounds)))


def _put_back(user_id: str, erased_at_ms: int) -> grpc.Condition:
    """A user's nodes, but the profile, with an event no younger than the erasure."""
    theirs = [_match_any("user_id", [user_id]), _range("first", lte=erased_at_ms)]
    return grpc.Condition(filter=grpc.Filter(must=theirs, must_not=[_match_any("level", ["profile"])]))


def _match_any(key: str, values: Sequence[str]) -> grpc.Condition:
    match = grpc.Match(keywords=grpc.RepeatedStrings(strings=values))
    return grpc.Condition(field=grpc.FieldCondition(key=key, match=match))


def _all_payload() -> grpc.WithPayloadSelector:
    return grpc.WithPayloadSelector(enable=True)


def _payload_fields(fields: Sequence[str]) -> grpc.WithPayloadSelector:
    return grpc.WithPayloadSelector(include=grpc.PayloadIncludeSelector(fields=fields))


def _with_vectors() -> grpc.WithVectorsSelector:
    return grpc.WithVectorsSelector(enable=True)


def _control_id(group: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"control\x1f{group}"))


def _control_of(payload: Any) -> Control:
    return Control(
        payload["epoch"].integer_value, payload["log"].integer_value, payload["generation"].integer_value,
        payload["leader"].string_value, payload["cluster"].string_value,
        json.loads(payload["partitions"].string_value), json.loads(payload["highest"].string_value),
    )  # fmt: skip
