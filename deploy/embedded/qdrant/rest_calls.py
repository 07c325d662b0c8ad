"""The REST calls one by one: paths, bodies, and how both ways are translated.

Nothing imports this before the first call comes: the models of the official client take a second of processor time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pydantic
from pydantic_core import to_json
from qdrant_client.http import models as m
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Path

from deploy.embedded.qdrant import rest_requests as requests
from deploy.embedded.qdrant import rest_results as results
from deploy.embedded.qdrant import wire
from deploy.embedded.qdrant.collections_api import CollectionsApi
from deploy.embedded.qdrant.errors import QdrantError, bad_format, internal, not_implemented, too_large, wrong_input
from deploy.embedded.qdrant.metrics import QdrantMetrics
from deploy.embedded.qdrant.points import Points
from deploy.embedded.qdrant.rest_refusals import check_key, refusal
from streams.store.messages import grpc as pb

log = logging.getLogger("embedded.qdrant")
MAX_BODY_BYTES = 32 * 1024 * 1024  # the real server's default
C = "/collections/{collection_name}"


@dataclass(frozen=True)
class Route:
    """One REST call: its body model (None for none), the call it makes, and how both are translated."""

    method: str
    path: str
    call: Callable[[Any], Any]
    request: requests.Maker
    result: Callable[[Any], Any]
    body: Any = None
    message: type[Any] | None = None  # the message class the call reads, where it is one with packed bytes


def routes(points: Points, collections: CollectionsApi) -> list[Route]:
    """Return every REST call there is."""
    update, fast = results.update, wire.message_class

    def route(method: str, path: str, call: Any, make: Any, result: Any, body: Any = None, message: str = "") -> Route:
        return Route(method, path, call, make, result, body, fast(message) if message else None)

    aliases = results.aliases
    return [
        route("GET", "/collections", collections.list, requests.nothing(pb.ListCollectionsRequest), results.names),
        route("GET", "/aliases", collections.list_aliases, requests.nothing(pb.ListAliasesRequest), aliases),
        route("POST", "/collections/aliases", collections.update_aliases, requests.change_aliases, results.plain,
              m.ChangeAliasesOperation),
        route("GET", C, collections.get, requests.collection(pb.GetCollectionInfoRequest), results.info),
        route("PUT", C, collections.create, requests.create_collection, results.plain, m.CreateCollection),
        route("PATCH", C, collections.update, requests.update_collection, results.plain, m.UpdateCollection),
        route("DELETE", C, collections.delete, requests.collection(pb.DeleteCollection), results.plain),
        route("GET", C + "/exists", collections.exists, requests.collection(pb.CollectionExistsRequest),
              results.exists),
        route("GET", C + "/aliases", collections.list_collection_aliases,
              requests.collection(pb.ListCollectionAliasesRequest), aliases),
        route("PUT", C + "/vectors/{vector_name}", points.create_vector_name, requests.create_vector_name, update,
              m.VectorNameConfig, "CreateVectorNameRequest"),
        route("DELETE", C + "/vectors/{vector_name}", points.delete_vector_name, requests.delete_vector_name, update,
              None, "DeleteVectorNameRequest"),
        route("PUT", C + "/index", points.create_field_index, requests.create_index, update, m.CreateFieldIndex,
              "CreateFieldIndexCollection"),
        route("DELETE", C + "/index/{field_name:path}", points.delete_field_index, requests.delete_index, update,
              None, "DeleteFieldIndexCollection"),
        route("PUT", C + "/points", points.upsert, requests.upsert, update, m.PointInsertOperations, "UpsertPoints"),
        route("POST", C + "/points", points.get, requests.get, results.records, m.PointRequest, "GetPoints"),
        route("POST", C + "/points/delete", points.delete, requests.delete, update, m.PointsSelector, "DeletePoints"),
        route("PUT", C + "/points/vectors", points.update_vectors, requests.update_vectors, update, m.UpdateVectors,
              "UpdatePointVectors"),
        route("POST", C + "/points/vectors/delete", points.delete_vectors, requests.delete_vectors, update,
              m.DeleteVectors, "DeletePointVectors"),
        route("POST", C + "/points/payload", points.set_payload, requests.set_payload, update, m.SetPayload,
              "SetPayloadPoints"),
        route("PUT", C + "/points/payload", points.overwrite_payload, requests.set_payload, update, m.SetPayload,
              "SetPayloadPoints"),
        route("POST", C + "/points/payload/delete", points.delete_payload, requests.delete_payload, update,
              m.DeletePayload, "DeletePayloadPoints"),
        route("POST", C + "/points/payload/clear", points.clear_payload, requests.clear_payload, update,
              m.PointsSelector, "ClearPayloadPoints"),
        route("POST", C + "/points/batch", points.update_batch, requests.update_batch, results.update_batch,
              m.UpdateOperations, "UpdateBatchPoints"),
        route("POST", C + "/points/scroll", points.scroll, requests.scroll, results.scroll, m.ScrollRequest,
              "ScrollPoints"),
        route("POST", C + "/points/count", points.count, requests.count, results.count, m.CountRequest, "CountPoints"),
        route("POST", C + "/points/query", points.query, requests.query, results.query, m.QueryRequest, "QueryPoints"),
        route("POST", C + "/points/query/batch", points.query_batch, requests.query_batch, results.query_batch,
              m.QueryRequestBatch, "QueryBatchPoints"),
        route("POST", C + "/points/query/groups", points.query_groups, requests.query_groups, results.query_groups,
              m.QueryGroupsRequest, "QueryPointGroups"),
        route("POST", C + "/facet", points.facet, requests.facet, results.facet, m.FacetRequest, "FacetCounts"),
        route("GET", C + "/points/{id}", points.get, requests.get_one, results.one_record, None, "GetPoints"),
    ]  # fmt: skip


def build_calls(points: Points, collections: CollectionsApi, metrics: QdrantMetrics, api_key: str | None) -> Starlette:
    """The calls as an application; every other path answers `not implemented here`."""

    async def anything_else(request: Request) -> Response:
        return refusal(not_implemented(f"{request.method} {request.url.path}"), time.perf_counter())

    paths = [
        Path(item.path, _endpoint(item, metrics, api_key), methods=[item.method])
        for item in routes(points, collections)
    ]
    paths.append(Path("/{rest:path}", anything_else, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]))
    return Starlette(routes=paths)


def _endpoint(route: Route, metrics: QdrantMetrics, api_key: str | None) -> Callable[[Request], Any]:
    adapter = pydantic.TypeAdapter(route.body) if route.body is not None else None

    async def endpoint(request: Request) -> Response:
        started = time.perf_counter()
        try:
            check_key(request, api_key)
            response = await _answer(route, adapter, request, started)
        except QdrantError as error:
            response = refusal(error, started)
        except Exception as error:  # a defect answers 500 in Qdrant's form, and is logged whole
            log.exception("%s %s failed", route.method, route.path)
            response = refusal(internal(type(error).__name__), started)
        metrics.answered("rest", f"{route.method} {route.path}", str(response.status_code))
        return response

    return endpoint


async def _answer(
    route: Route, adapter: pydantic.TypeAdapter[Any] | None, request: Request, started: float
) -> Response:
    content = await _body(request) if adapter is not None else b""
    wait = _wait(request)

    def read() -> Any:
        body = adapter.validate_json(content) if adapter is not None else None
        message = route.request(dict(request.path_params), body, wait)
        return wire.rewrap(message, route.message) if route.message is not None else message

    try:
        message = await asyncio.to_thread(read)
    except pydantic.ValidationError as error:
        raise bad_format(_first_problem(error)) from error
    except (ValueError, TypeError, OverflowError) as error:  # what the client library's conversions raise
        raise wrong_input(str(error).splitlines()[0][:300]) from error
    answer = await route.call(message)

    def write() -> bytes:
        envelope = {"result": route.result(answer), "status": "ok", "time": time.perf_counter() - started}
        return to_json(envelope, by_alias=True)

    return Response(await asyncio.to_thread(write), media_type="application/json")


async def _body(request: Request) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise too_large(f"JSON payload is larger than allowed (limit: {MAX_BODY_BYTES} bytes)")
    return bytes(content)


def _wait(request: Request) -> bool:
    text = request.query_params.get("wait", "false")
    if text not in ("true", "false"):
        raise wrong_input(f"Query parameter `wait` is {text[:20]!r}: expected true or false")
    return text == "true"


def _first_problem(error: pydantic.ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{first['msg']} at `{place}`" if place else str(first["msg"])
