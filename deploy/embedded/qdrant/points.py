"""The Points service: one asynchronous method a call, protobuf request to protobuf response, for both fronts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import qdrant_edge as edge

from deploy.embedded.qdrant import indexes, points_in, vector_names, wire
from deploy.embedded.qdrant.collection import Collection
from deploy.embedded.qdrant.errors import not_found
from deploy.embedded.qdrant.filters import optional_filter
from deploy.embedded.qdrant.groups import look_up, query_groups
from deploy.embedded.qdrant.points_out import payload_selector, record_out, scored_out, vector_selector
from deploy.embedded.qdrant.queries import DEFAULT_LIMIT, QueryReader, order_by_in
from deploy.embedded.qdrant.registry import Registry
from deploy.embedded.qdrant.values import PointId, id_in, id_out
from streams.store.messages import grpc as pb

Build = Callable[[Collection], points_in.Operations]


class Points:
    """What the real server's Points service does, over the engine."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def _update(self, request: Any, build: Build, *, deletes: bool = False, touched: int = 0) -> Any:
        started = time.perf_counter()
        collection = self._registry.get(request.collection_name)
        number, done = await collection.write(
            lambda: build(collection), wait=request.wait, deletes=deletes, touched=touched
        )
        response = wire.PointsOperationResponse(time=time.perf_counter() - started)
        response.result.operation_id = number
        response.result.status = pb.UpdateStatus.Completed if done else pb.UpdateStatus.Acknowledged
        return response

    async def upsert(self, request: Any) -> Any:
        """Insert points, or overwrite those that the condition allows."""
        count = len(request.points)
        return await self._update(request, lambda there: points_in.upsert(request, there.layout), touched=count)

    async def delete(self, request: Any) -> Any:
        """Delete points by ids or filter."""
        return await self._update(request, lambda _: points_in.delete(request.points), deletes=True)

    async def update_vectors(self, request: Any) -> Any:
        """Replace vectors of points that exist."""
        count = len(request.points)
        return await self._update(request, lambda there: points_in.update_vectors(request, there.layout), touched=count)

    async def delete_vectors(self, request: Any) -> Any:
        """Delete named vectors."""
        return await self._update(request, lambda collection: points_in.delete_vectors(request, collection.layout))

    async def set_payload(self, request: Any) -> Any:
        """Merge into payloads."""
        return await self._update(request, lambda _: points_in.set_payload(request))

    async def overwrite_payload(self, request: Any) -> Any:
        """Replace payloads."""
        return await self._update(request, lambda _: points_in.overwrite_payload(request))

    async def delete_payload(self, request: Any) -> Any:
        """Delete payload keys."""
        return await self._update(request, lambda _: points_in.delete_payload(request))

    async def clear_payload(self, request: Any) -> Any:
        """Delete whole payloads."""
        return await self._update(request, lambda _: points_in.clear_payload(request.points))

    async def create_field_index(self, request: Any) -> Any:
        """Make a payload index."""
        return await self._update(request, lambda _: indexes.create(request))

    async def delete_field_index(self, request: Any) -> Any:
        """Drop a payload index."""
        return await self._update(request, lambda _: indexes.delete(request))

    async def create_vector_name(self, request: Any) -> Any:
        """Add a named vector to a collection."""
        return await self._rename(request, vector_names.added, vector_names.create)

    async def delete_vector_name(self, request: Any) -> Any:
        """Remove a named vector from a collection."""
        return await self._rename(request, vector_names.removed, vector_names.delete)

    async def _rename(self, request: Any, change: Callable[[Any, Any], Any], build: Callable[[Any], Any]) -> Any:
        started = time.perf_counter()
        collection = self._registry.get(request.collection_name)
        config = change(collection.config, request)
        await self._registry.reconfigure(collection.name, config, lambda: build(request))
        response = wire.PointsOperationResponse(time=time.perf_counter() - started)
        response.result.status = pb.UpdateStatus.Completed
        return response

    async def update_batch(self, request: Any) -> Any:
        """Apply several updates in order; all are read and checked before the first is applied."""
        started = time.perf_counter()
        collection = self._registry.get(request.collection_name)

        def build() -> points_in.Operations:
            return [one for part in points_in.batch(request.operations, collection.layout) for one in part]

        touched = sum(len(operation.upsert.points) for operation in request.operations)
        number, done = await collection.write(build, wait=request.wait, deletes=True, touched=touched)
        response = wire.UpdateBatchResponse(time=time.perf_counter() - started)
        for _ in request.operations:
            result = response.result.add()
            result.operation_id = number
            result.status = pb.UpdateStatus.Completed if done else pb.UpdateStatus.Acknowledged
        return response

    async def get(self, request: Any) -> Any:
        """Retrieve points by id, in the order asked for."""
        started = time.perf_counter()
        payload = payload_selector(request, default=True)
        vector = vector_selector(request)

        def call(shard: edge.EdgeShard) -> list[edge.Record]:
            return shard.retrieve([id_in(item) for item in request.ids], payload, vector)

        response = wire.GetResponse()
        collection = self._registry.get(request.collection_name)
        await collection.tell(await collection.read(call), lambda record: record_out(response.result.add(), record))
        response.time = time.perf_counter() - started
        return response

    async def scroll(self, request: Any) -> Any:
        """Walk through points by id or by a payload key."""
        started = time.perf_counter()
        limit = request.limit if request.HasField("limit") else DEFAULT_LIMIT

        def call(shard: edge.EdgeShard) -> tuple[list[edge.Record], Any]:
            scroll = edge.ScrollRequest(
                offset=id_in(request.offset) if request.HasField("offset") else None,
                limit=limit,
                filter=optional_filter(request),
                with_payload=payload_selector(request, default=True),
                with_vector=vector_selector(request),
                order_by=order_by_in(request.order_by) if request.HasField("order_by") else None,
            )
            return shard.scroll(scroll)

        response = wire.ScrollResponse()
        collection = self._registry.get(request.collection_name)
        records, following = await collection.read(call)
        await collection.tell(records, lambda record: record_out(response.result.add(), record))
        if following is not None:
            id_out(response.next_page_offset, following)
        response.time = time.perf_counter() - started
        return response

    async def count(self, request: Any) -> Any:
        """Count points, exactly unless told otherwise."""
        started = time.perf_counter()
        exact = request.exact if request.HasField("exact") else True

        def call(shard: edge.EdgeShard) -> int:
            return shard.count(edge.CountRequest(exact=exact, filter=optional_filter(request)))

        response = wire.CountResponse()
        response.result.count = await self._registry.get(request.collection_name).read(call)
        response.time = time.perf_counter() - started
        return response

    async def query(self, request: Any) -> Any:
        """Answer one query."""
        started = time.perf_counter()
        vectors = vector_selector(request) is not False

        def call(shard: edge.EdgeShard) -> list[edge.ScoredPoint]:
            return shard.query(self._query_request(request, shard))

        response = wire.QueryResponse()
        collection = self._registry.get(request.collection_name)
        points = await collection.read(call)
        await collection.tell(points, lambda point: scored_out(response.result.add(), point, vectors=vectors))
        response.time = time.perf_counter() - started
        return response

    async def query_batch(self, request: Any) -> Any:
        """Answer several queries of one collection together."""
        started = time.perf_counter()
        queries = request.query_points

        def call(shard: edge.EdgeShard) -> list[list[edge.ScoredPoint]]:
            return shard.query_batch(edge.QueryBatchRequest([self._query_request(query, shard) for query in queries]))

        response = wire.QueryBatchResponse()
        collection = self._registry.get(request.collection_name)
        rows: list[tuple[Any, bool, edge.ScoredPoint]] = []
        for query, points in zip(queries, await collection.read(call), strict=True):
            result, vectors = response.result.add(), vector_selector(query) is not False
            rows += [(result, vectors, point) for point in points]
        await collection.tell(rows, lambda row: scored_out(row[0].result.add(), row[2], vectors=row[1]))
        response.time = time.perf_counter() - started
        return response

    async def query_groups(self, request: Any) -> Any:
        """Answer one query, its results grouped by a payload key."""
        started = time.perf_counter()
        others = self._registry.get(request.with_lookup.collection) if request.HasField("with_lookup") else None

        def call(shard: edge.EdgeShard) -> Any:
            answer = query_groups(shard, request, self._reader(shard))
            if others is not None:
                others.read_here(lambda other: look_up(other, request.with_lookup, answer))
            return answer

        response = await self._registry.get(request.collection_name).read(call)
        response.time = time.perf_counter() - started
        return response

    async def facet(self, request: Any) -> Any:
        """Count points by the values of an indexed payload key."""
        started = time.perf_counter()
        limit = request.limit if request.HasField("limit") else DEFAULT_LIMIT

        def call(shard: edge.EdgeShard) -> Any:
            facet = edge.FacetRequest(request.key, limit, request.exact, optional_filter(request))
            response = wire.FacetResponse()
            for hit in shard.facet(facet):
                target = response.hits.add(count=hit.count)
                if isinstance(hit.value, bool):
                    target.value.bool_value = hit.value
                elif isinstance(hit.value, int):
                    target.value.integer_value = hit.value
                else:
                    target.value.string_value = str(hit.value)
            return response

        response = await self._registry.get(request.collection_name).read(call)
        response.time = time.perf_counter() - started
        return response

    def _query_request(self, request: Any, shard: edge.EdgeShard) -> Any:
        return self._reader(shard).request(
            request, payload=payload_selector(request, default=False), vector=vector_selector(request)
        )

    def _reader(self, shard: edge.EdgeShard) -> QueryReader:
        def lookup(point_id: PointId, using: str, location: Any) -> Any:
            name = using
            if location is None:
                found = shard.retrieve([point_id], False, [name])
            else:
                name = location.vector_name if location.HasField("vector_name") else ""
                other = self._registry.get(location.collection_name)
                found = other.read_here(lambda there: there.retrieve([point_id], False, [name]))
            vector: Any = found[0].vector if found else None
            if isinstance(vector, dict):
                vector = vector.get(name)
            if vector is None:
                raise not_found(f"No point with id {point_id} found")
            return vector

        return QueryReader(lookup)
