"""What REST refuses: calls without the key, and those that fail, in Qdrant's own form."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deploy.embedded.qdrant.errors import QdrantError
from deploy.embedded.qdrant.security import authorise


def check_key(request: Request, api_key: str | None) -> None:
    """Raise QdrantError where there is a key and the request does not bring it."""
    authorise(request.headers.get("api-key"), request.headers.get("authorization"), api_key)


def refusal(error: QdrantError, started: float) -> Response:
    """The answer that tells of an error; `started` is the time of `perf_counter` at which the request began."""
    content = {"status": {"error": error.message}, "time": time.perf_counter() - started}
    return JSONResponse(content, status_code=error.status)
