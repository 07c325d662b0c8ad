"""How responses are written, and their descriptions in the OpenAPI document where they are problems."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from streams.api.problems import MEDIA_TYPE
from streams.api.receipts import Problem

_ABOUT = {
    400: "The request cannot be read.",
    401: "The key or token is missing or does not hold.",
    403: "The key lacks the scope that this needs.",
    404: "Not found.",
    413: "The body is too large.",
    415: "The content type of the body is not supported.",
    422: "A field does not fit; `errors` names it.",
    429: "Too many requests: `Retry-After` says how long to wait.",
    500: "A defect or a wrong setting; the log has it under the request id.",
    503: "A server behind this one is away: `Retry-After` says when to ask again.",
    504: "The request's deadline has passed.",
}
_ALWAYS = (401, 403, 422, 429, 500, 503, 504)


def json_response(model: BaseModel, status: int = 200) -> Response:
    """A model as JSON, written once and without a second check."""
    return Response(model.model_dump_json(), status_code=status, media_type="application/json")


def problems(*more: int) -> dict[int | str, dict[str, Any]]:
    """The problem documents a route may answer with: those that all may, and `more`."""
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    return {
        status: {"description": _ABOUT[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted({*_ALWAYS, *more})
    }
