"""The gRPC front: every method of Qdrant's services, those not implemented answering so."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import message_factory
from qdrant_client.grpc import collections_service_pb2, points_service_pb2, qdrant_pb2, snapshots_service_pb2

from deploy.embedded.qdrant import wire
from deploy.embedded.qdrant.collections_api import CollectionsApi
from deploy.embedded.qdrant.errors import QdrantError, internal, not_implemented
from deploy.embedded.qdrant.metrics import QdrantMetrics
from deploy.embedded.qdrant.points import Points
from deploy.embedded.qdrant.security import TITLE, authorise, protocol_version
from streams.store.messages import grpc as pb

log = logging.getLogger("embedded.qdrant")

Call = Callable[[Any], Awaitable[Any]]
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
]
_HEALTH_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse{status: SERVING}


def points_calls(points: Points) -> dict[str, Call]:
    """Return the implemented methods of the Points service by name."""
    return {
        "Upsert": points.upsert,
        "Delete": points.delete,
        "Get": points.get,
        "UpdateVectors": points.update_vectors,
        "DeleteVectors": points.delete_vectors,
        "SetPayload": points.set_payload,
        "OverwritePayload": points.overwrite_payload,
        "DeletePayload": points.delete_payload,
        "ClearPayload": points.clear_payload,
        "CreateFieldIndex": points.create_field_index,
        "DeleteFieldIndex": points.delete_field_index,
        "CreateVectorName": points.create_vector_name,
        "DeleteVectorName": points.delete_vector_name,
        "UpdateBatch": points.update_batch,
        "Scroll": points.scroll,
        "Count": points.count,
        "Query": points.query,
        "QueryBatch": points.query_batch,
        "QueryGroups": points.query_groups,
        "Facet": points.facet,
    }


def collections_calls(collections: CollectionsApi) -> dict[str, Call]:
    """Return the implemented methods of the Collections service by name."""
    return {
        "Create": collections.create,
        "Delete": collections.delete,
        "Update": collections.update,
        "List": collections.list,
        "Get": collections.get,
        "CollectionClusterInfo": collections.cluster,
        "CollectionExists": collections.exists,
        "UpdateAliases": collections.update_aliases,
        "ListAliases": collections.list_aliases,
        "ListCollectionAliases": collections.list_collection_aliases,
    }


async def _health(_request: Any) -> Any:
    return pb.HealthCheckReply(title=TITLE, version=protocol_version())


def build_server(
    points: Points, collections: CollectionsApi, metrics: QdrantMetrics, api_key: str | None
) -> grpc.aio.Server:
    """Return a gRPC server without a port, its handlers in place."""
    server = grpc.aio.server(options=_OPTIONS)
    services: list[tuple[Any, dict[str, Call], bool]] = [
        (points_service_pb2.DESCRIPTOR.services_by_name["Points"], points_calls(points), True),
        (collections_service_pb2.DESCRIPTOR.services_by_name["Collections"], collections_calls(collections), False),
        (snapshots_service_pb2.DESCRIPTOR.services_by_name["Snapshots"], {}, False),
        (qdrant_pb2.DESCRIPTOR.services_by_name["Qdrant"], {"HealthCheck": _health}, False),
    ]
    for service, calls, as_bytes in services:
        handlers = {
            method.name: _handler(service, method, calls.get(method.name), metrics, api_key, as_bytes=as_bytes)
            for method in service.methods
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    server.add_generic_rpc_handlers((_standard_health(),))
    return server


def _handler(
    service: Any, method: Any, call: Call | None, metrics: QdrantMetrics, api_key: str | None, *, as_bytes: bool
) -> Any:
    path = f"/{service.full_name}/{method.name}"
    if as_bytes:
        request_class = wire.message_class(method.input_type.name)
    else:
        request_class = message_factory.GetMessageClass(method.input_type)

    async def missing(_request: Any) -> Any:
        raise not_implemented(path)

    answer = call or missing

    async def handle(request: Any, context: Any) -> Any:
        try:
            if service.name != "Qdrant":
                _authorise(context, api_key)
            response = await answer(request)
        except QdrantError as error:
            refusal = error
        except Exception as error:  # a defect answers INTERNAL instead of a dropped call, and is logged whole
            log.exception("%s failed", path)
            refusal = internal(type(error).__name__)
        else:
            metrics.answered("grpc", path, "0")
            return response
        metrics.answered("grpc", path, str(refusal.code.value[0]))
        return await context.abort(refusal.code, refusal.message)

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=request_class.FromString, response_serializer=_serialise
    )


def _serialise(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _authorise(context: Any, api_key: str | None) -> None:
    given = dict(context.invocation_metadata() or ())
    authorise(given.get("api-key"), given.get("authorization"), api_key)


def _standard_health() -> Any:
    async def check(_request: bytes, _context: Any) -> bytes:
        return _HEALTH_SERVING

    return grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
    )
