"""Calls of Qdrant's points service: raw gRPC, one deadline each, long answers a page at a time and never cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence, Set
from itertools import islice
from time import monotonic
from typing import Any, NamedTuple

from grpc import aio

from streams.base.errors import StoreUnavailable
from streams.store import codec
from streams.store.collections import CONTROL
from streams.store.collections_client import CollectionsClient
from streams.store.connection import QdrantConfig, guarded, open_channel
from streams.store.filters import ALL_PAYLOAD, NO_PAYLOAD, agreed, one_of, ordered
from streams.store.messages import grpc
from streams.store.wire import Point, points_bytes

_PAGE = 1000
_UPSERTS_AT_ONCE = 8  # so that the server has something to do while this process folds

Called = Callable[[str, float], None]
"""Called with what was done and how many seconds it took."""
Guard = Callable[[Awaitable[Any], str], Awaitable[Any]]
"""Awaits a call and turns its errors into ours, as `connection.guarded` does."""


class _Connection(NamedTuple):
    """A channel, both services on it, and `Upsert` for a request that is bytes already."""

    channel: aio.Channel
    collections: CollectionsClient
    stub: Any
    upsert: Any


def not_counted(call: str, seconds: float) -> None:
    """Count no calls."""


class PointsClient:
    """The points of a server's collections. Calls raise StoreUnavailable past the deadline, or what `guard` raises."""

    def __init__(self, config: QdrantConfig, called: Called = not_counted, guard: Guard = guarded) -> None:
        self.config = config
        self._called, self._guard = called, guard
        self._connection: _Connection | None = None
        self._places = asyncio.Semaphore(_UPSERTS_AT_ONCE)
        self._metadata = (("api-key", config.api_key),) if config.api_key else ()

    @property
    def collections(self) -> CollectionsClient:
        """The calls that concern whole collections; first asked for inside the loop that uses it."""
        return self._points.collections

    @property
    def _points(self) -> _Connection:
        if self._connection is None:
            channel = open_channel(self.config)
            upsert = channel.unary_unary(
                "/qdrant.Points/Upsert", response_deserializer=grpc.PointsOperationResponse.FromString
            )
            stub = grpc.PointsStub(channel)  # type: ignore[no-untyped-call]
            self._connection = _Connection(channel, CollectionsClient(channel, self.config), stub, upsert)
        return self._connection

    async def close(self) -> None:
        """Close the channel."""
        if self._connection is not None:
            await self._connection.channel.close()

    async def call(self, method: str, request: Any, doing: str) -> Any:
        """Call a method of the service, such as `Query`; `doing` names it in metrics and messages."""
        return await self._timed(getattr(self._points.stub, method), request, doing)

    async def _timed(self, method: Any, request: Any, doing: str) -> Any:
        started = monotonic()
        reply = await self._guard(method(request, timeout=self.config.deadline_s, metadata=self._metadata), doing)
        self._called(doing, monotonic() - started)
        return reply

    async def answers(self, request: grpc.GetPoints) -> None:
        """Ask for points, and count it nowhere: no progress of whoever asks."""
        method = self._points.stub.Get
        await self._guard(method(request, timeout=self.config.deadline_s, metadata=self._metadata), "answers")

    async def get(
        self, collection: str, ids: Sequence[str], *, payload: grpc.WithPayloadSelector = ALL_PAYLOAD,
        vectors: grpc.WithVectorsSelector | None = None, at_once: int | None = None, doing: str = "get",
        deciding: bool = False,
    ) -> list[Any]:  # fmt: skip
        """The points that exist among `ids`, asked for in calls of `at_once` (by default `points_per_write`).

        `deciding`: what is found, and what is not, decides what is written. Then as many replicas must agree as the
        settings ask for. StoreUnavailable where they do not.
        """
        step = at_once or self.config.points_per_write
        consistency = agreed(self.config.consistency.reads) if deciding else None
        found: list[Any] = []
        for start in range(0, len(ids), step):
            asked = ids[start : start + step]
            request = grpc.GetPoints(
                collection_name=collection, ids=codec.uuids(asked), with_payload=payload, with_vectors=vectors,
                read_consistency=consistency,
            )  # fmt: skip
            known = (await self.call("Get", request, doing)).result
            if consistency is not None:
                await self._require_absent(collection, set(asked) - {point.id.uuid for point in known})
            found += known
        return found

    async def _require_absent(self, collection: str, missing: Set[str]) -> None:
        """StoreUnavailable where one replica has a point that several did not agree on: it only seems to be missing.

        Qdrant leaves out of an answer what differs between the replicas it asks. Whoever took that for a point that is
        not there would begin it anew, over what is stored.
        """
        if not missing:
            return
        request = grpc.GetPoints(collection_name=collection, ids=codec.uuids(sorted(missing)), with_payload=NO_PAYLOAD)
        differ = len((await self.call("Get", request, "agree")).result)
        if differ:
            raise StoreUnavailable(f"replicas of {collection} differ in {differ} points: asked again until they agree")

    async def pages(
        self, collection: str, where: grpc.Filter, *, payload: grpc.WithPayloadSelector = ALL_PAYLOAD,
        vectors: grpc.WithVectorsSelector | None = None, page: int = _PAGE, doing: str = "scroll",
    ) -> AsyncIterator[Sequence[Any]]:  # fmt: skip
        """All points that a filter lets through, `page` of them at a time."""
        request = grpc.ScrollPoints(
            collection_name=collection, filter=where, limit=page, with_payload=payload, with_vectors=vectors
        )
        while True:
            reply = await self.call("Scroll", request, doing)
            if reply.result:
                yield reply.result
            if not reply.HasField("next_page_offset"):
                return
            request.offset.CopyFrom(reply.next_page_offset)

    async def upsert(self, collection: str, points: Iterable[Point], only_if: grpc.Condition | None) -> None:
        """Write points durably, in one call; where one is stored that does not meet `only_if`, it stays."""
        await self.send_upsert(self.upserting(collection, points_bytes(points), only_if))

    def upserting(self, collection: str, points: bytes, only_if: grpc.Condition | None) -> bytes:
        """The request of `upsert` for points that are bytes already."""
        head = grpc.UpsertPoints(
            collection_name=collection, wait=True, ordering=self._ordering(collection),
            update_filter=grpc.Filter(must=[only_if]) if only_if else None,
        )  # fmt: skip
        # Fields of a message may follow each other in any order: the points are what is most of it.
        request: bytes = head.SerializeToString() + points
        return request

    async def send_upsert(self, request: bytes) -> None:
        """Send a request of `upserting`."""
        _require_completed((await self._timed(self._points.upsert, request, "upsert")).result.status)

    async def send_upserts(self, requests: Sequence[bytes]) -> None:
        """Send requests of `upserting`, some at once; an error is raised once none is under way.

        What several callers send goes out in the order of their calls, so that the server always has the next.
        """
        failed = False

        async def send(request: bytes) -> None:
            nonlocal failed
            async with self._places:
                if failed:
                    return
                try:
                    await self.send_upsert(request)
                except BaseException:
                    failed = True
                    raise

        for outcome in await asyncio.gather(*map(send, requests), return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def upsert_all(self, collection: str, points: Iterable[Point], only_if: grpc.Condition | None) -> None:
        """The same for many points, in calls of `points_per_write`."""
        rest = iter(points)
        while chunk := list(islice(rest, self.config.points_per_write)):
            await self.upsert(collection, chunk, only_if)

    async def delete(self, collection: str, where: grpc.Filter) -> None:
        """Delete the points that a filter lets through: on each replica those that it has."""
        await self._delete(collection, grpc.PointsSelector(filter=where))

    async def delete_while(self, collection: str, where: grpc.Filter) -> None:
        """Delete the points that a filter lets through, found a page at a time and deleted by id.

        Each is deleted only where the filter still holds then: one that was written anew meanwhile stays.
        """
        async for page in self.pages(collection, where, payload=NO_PAYLOAD):
            theirs = grpc.Filter()
            theirs.CopyFrom(where)
            theirs.must.append(one_of(point.id.uuid for point in page))
            await self.delete(collection, theirs)

    async def delete_ids(self, collection: str, ids: Sequence[str]) -> None:
        """Delete points by id; unknown ids are nothing to do."""
        await self._delete(collection, grpc.PointsSelector(points=grpc.PointsIdsList(ids=codec.uuids(ids))))

    async def _delete(self, collection: str, selector: grpc.PointsSelector) -> None:
        request = grpc.DeletePoints(
            collection_name=collection, wait=True, points=selector, ordering=self._ordering(collection)
        )
        _require_completed((await self.call("Delete", request, "delete")).result.status)

    def _ordering(self, collection: str) -> grpc.WriteOrdering:
        consistency = self.config.consistency
        return ordered(consistency.comparing if collection == CONTROL else consistency.ordering)


def _require_completed(status: int) -> None:
    if status != grpc.UpdateStatus.Completed:
        name = grpc.UpdateStatus.Name(status)
        raise StoreUnavailable(f"Qdrant answered {name}: whether the write holds is not known")
