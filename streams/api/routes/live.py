"""A person's tree as it changes."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from streams.api.admission import ApiCaller, guard
from streams.api.examples import LIVE
from streams.api.live_response import LiveResponse
from streams.api.params import ApiBackends, User
from streams.api.responses import problems

router = APIRouter(prefix="/v1/users", tags=["people"], dependencies=guard("read"))


@router.get(
    "/{user_id}/live", response_class=Response, summary="The tree as it changes",
    responses={
        **problems(),
        200: {
            "description": "Server-sent events named `update`; `data` is a LiveUpdate. The first holds the whole tree. "
            "One named `ended` holds the problem because of which the stream ends.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": LIVE}},
        },
    },
)  # fmt: skip
async def live(backends: ApiBackends, user_id: User, caller: ApiCaller) -> Response:
    """Server-sent events, from the worker's own announcements: the whole tree, then each change with its events.

    A comment comes every 15 seconds. The key or token is judged again before each of both; where it no longer holds
    an event `ended` says so. Connect again when it ends: the first event is the whole tree once more.
    """
    return LiveResponse(backends, user_id, caller)
