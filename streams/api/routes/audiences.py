"""People near people, and people near a text or an item."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from starlette.responses import Response

from streams.api import audiences
from streams.api.admission import guard
from streams.api.content import accepts
from streams.api.examples import AUDIENCE, AUDIENCE_REQUESTS, SIMILAR, example
from streams.api.models import Audience, AudienceRequest, SimilarUsers
from streams.api.params import ApiBackends, User, now_ms
from streams.api.problems import ApiProblem
from streams.api.responses import json_response, problems

router = APIRouter(prefix="/v1", dependencies=guard("read"))
NDJSON = "application/x-ndjson"
_BOTH: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Members, strongest first; as JSON lines where `Accept` asks for them.",
        "content": {
            "application/json": {"example": AUDIENCE},
            NDJSON: {"schema": {"type": "string"}},
        },
    }
}


@router.get(
    "/users/{user_id}/similar", response_model=SimilarUsers, tags=["people"],
    responses={**problems(404), 200: example(SIMILAR)}, summary="The nearest people",
)  # fmt: skip
async def similar(
    backends: ApiBackends, user_id: User, k: Annotated[int, Query(ge=1, le=100, description="How many people.")] = 10
) -> Response:
    """The people whose whole person is nearest, and the paths both hold."""
    return json_response(await audiences.similar(backends, user_id, k, now_ms()))


@router.post(
    "/audiences/search", response_model=Audience, tags=["audiences"],
    responses={**problems(400, 404, 413, 415), **_BOTH},
    summary="Who is interested in this?",
)  # fmt: skip
async def search(
    backends: ApiBackends, request: Request, query: Annotated[AudienceRequest, Body(openapi_examples=AUDIENCE_REQUESTS)]
) -> Response:
    """Who is interested in a text or an item, at which level, how strongly, since when; grouped by user.

    With `Accept: application/x-ndjson` one member a line.
    """
    if (query.text is None) == (query.item_id is None):
        raise ApiProblem(422, "invalid", "Expected exactly one of text and item_id.")
    audience = await audiences.search(backends, query, now_ms())
    if accepts(request.headers.get("accept", ""), NDJSON):
        lines = "".join(f"{member.model_dump_json()}\n" for member in audience.members)
        return Response(lines, media_type=NDJSON)
    return json_response(audience)
