"""What lies in Qdrant as it lies there: every point, past all that readers leave out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

from qdrant_client import AsyncQdrantClient, grpc

from streams.interests.nodes import Node
from streams.store import codec
from streams.store.collections import CONTROL
from streams.store.connection import QdrantConfig
from tests.fixtures.qdrant import official

_PAGE = 1000


def holds_nodes(collection: str) -> bool:
    """Whether a collection is one of nodes, whichever encoder's."""
    return collection.startswith("interests__") and collection != CONTROL


async def nodes(config: QdrantConfig, users: Sequence[str] = ()) -> list[Node]:
    """Every node there is, or all of these users, hidden ones too, whichever encoder's they are."""
    client = official(config)
    try:
        return [
            codec.node_of(point.payload, codec.row_of(point.vectors))
            for name in await _named(client)
            if holds_nodes(name)
            async for point in _points(client, name, users)
        ]
    finally:
        await client.close()


async def mentions(config: QdrantConfig, users: Collection[str]) -> list[str]:
    """Where beside the nodes a user is named: `collection: user`, for each point that does."""
    client = official(config)
    try:
        return [
            f"{name}: {user}"
            for name in await _named(client)
            if not holds_nodes(name)
            async for point in _points(client, name)
            for user in users
            if user in str(point.payload)
        ]
    finally:
        await client.close()


async def _named(client: AsyncQdrantClient) -> list[str]:
    return sorted(one.name for one in (await client.get_collections()).collections)


async def _points(client: AsyncQdrantClient, collection: str, users: Sequence[str] = ()) -> AsyncIterator[Any]:
    """The points of a collection, a page at a time."""
    match = grpc.Match(keywords=grpc.RepeatedStrings(strings=users))
    theirs = grpc.Condition(field=grpc.FieldCondition(key="user_id", match=match))
    offset: grpc.PointId | None = None
    while True:
        request = grpc.ScrollPoints(
            collection_name=collection, limit=_PAGE, offset=offset, filter=grpc.Filter(must=[theirs] if users else []),
            with_payload=grpc.WithPayloadSelector(enable=True), with_vectors=grpc.WithVectorsSelector(enable=True),
        )  # fmt: skip
        reply = await client.grpc_points.Scroll(request, timeout=30)
        for point in reply.result:
            yield point
        if not reply.HasField("next_page_offset"):
            return
        offset = reply.next_page_offset
