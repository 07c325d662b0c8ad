"""Events and items in: what is accepted here is what the worker accepts."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from streams.api.admission import Admitted, guard
from streams.api.examples import ACCEPTED, EVENTS, ITEM_BATCH, ITEMS, example
from streams.api.ingest import bodies, send_events, send_items, with_item_id
from streams.api.models import MAX_BATCH
from streams.api.params import ApiBackends, ItemInPath, now_ms
from streams.api.problems import ApiProblem
from streams.api.receipts import Accepted
from streams.api.responses import json_response, problems

router = APIRouter(prefix="/v1")
_INGEST = guard("ingest")
JSON = "application/json"


def _body(name: str, examples: dict[str, Any], *, batch: bool, single: bool) -> dict[str, Any]:
    """The request body of the OpenAPI document: a schema of docs/schemas, alone or in a list."""
    one = {"$ref": f"#/components/schemas/{name}"}
    many = {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_BATCH}
    schema = {"anyOf": [one, many]} if batch and single else many if batch else one
    content = {JSON: {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


async def json_body(request: Request) -> bytes:
    """The body's bytes, which the worker's own parser will read; 415 where its content type is another."""
    kind, *parameters = (one.strip().lower() for one in request.headers.get("content-type", JSON).split(";"))
    charsets = {one.removeprefix("charset=").strip('"') for one in parameters if one.startswith("charset=")}
    if kind != JSON or not charsets <= {"utf-8", "utf8", "us-ascii"}:
        raise ApiProblem(415, "no-json", "Expected a body of application/json in UTF-8.")
    return await request.body()


@router.post(
    "/events", status_code=202, response_model=Accepted, tags=["ingest"], dependencies=_INGEST,
    responses={**problems(400, 413, 415), 202: example(ACCEPTED, "The broker has acknowledged all.")},
    openapi_extra=_body("Event", EVENTS, batch=True, single=True), summary="Send events",
)  # fmt: skip
async def events(backends: ApiBackends, request: Request, caller: Admitted) -> Response:
    """Send one event or a list of them: all are accepted, or none.

    What an event does needs the scope of what it does: `erase` needs `admin` too. 202 once the broker has
    acknowledged. After a 503 or 504 send again: with an `event_id` an event counts once.
    """
    rows = bodies(await json_body(request))
    return json_response(await send_events(backends, rows, now_ms(), caller), 202)


@router.put(
    "/items/{item_id}", status_code=202, response_model=Accepted, tags=["ingest"], dependencies=_INGEST,
    responses={**problems(400, 413, 415), 202: example(ACCEPTED, "The broker has acknowledged it.")},
    openapi_extra=_body("ItemContent", ITEMS, batch=False, single=True), summary="Describe an item",
)  # fmt: skip
async def put_item(backends: ApiBackends, request: Request, item_id: ItemInPath) -> Response:
    """Describe an item, or describe it anew; `"deleted": true` takes it out. It counts once a worker has read it."""
    body = with_item_id(await json_body(request), item_id)
    return json_response(await send_items(backends, [body], now_ms()), 202)


@router.post(
    "/items", status_code=202, response_model=Accepted, tags=["ingest"], dependencies=_INGEST,
    responses={**problems(400, 413, 415), 202: example(ACCEPTED, "The broker has acknowledged all.")},
    openapi_extra=_body("Item", ITEM_BATCH, batch=True, single=True), summary="Describe items",
)  # fmt: skip
async def post_items(backends: ApiBackends, request: Request) -> Response:
    """Describe one item or a list of them: all are accepted, or none."""
    rows = bodies(await json_body(request))
    return json_response(await send_items(backends, rows, now_ms()), 202)
