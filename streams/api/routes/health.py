"""Health, readiness and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from streams.api.admission import guard
from streams.api.backends import Backends
from streams.api.models import Ready
from streams.api.params import ApiBackends
from streams.api.responses import json_response
from streams.base.errors import InterestsError

log = structlog.get_logger(__name__)
router = APIRouter(tags=["health"])
_ANSWER_WITHIN_S = 2.0


class Alive(BaseModel):
    """The process answers."""

    status: str = "ok"


@router.get("/healthz", response_model=Alive, summary="Does the process live?")
async def healthz() -> Response:
    """The process answers; no server behind it is called."""
    return json_response(Alive())


@router.get(
    "/readyz", response_model=Ready, summary="Can it answer?",
    responses={503: {"model": Ready, "description": "Qdrant does not answer or is empty, or nobody can be let in."}},
)  # fmt: skip
async def readyz(backends: ApiBackends) -> Response:
    """Ready means that trees can be read, by somebody who can be let in: 200, else 503.

    Each server is given two seconds, whatever `api.deadline_s` is; one that has not answered by then is away.
    """
    qdrant, triton = await asyncio.gather(
        _in_time("qdrant", _reads(backends)), _in_time("triton", backends.switches.encoder.ready())
    )
    ready, keys = qdrant and backends.access.lets_in, backends.access.keys_usable
    return json_response(Ready(ready=ready, qdrant=qdrant, triton=triton, keys=keys), 200 if ready else 503)


@router.get(
    "/metrics", summary="Prometheus metrics", dependencies=guard("read"), response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)  # fmt: skip
async def metrics(backends: ApiBackends) -> Response:
    """Counts of this process, or of all where several workers share a directory."""
    return Response(backends.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _reads(backends: Backends) -> bool:
    await backends.reader.profile("-")
    return True


async def _in_time(server: str, check: Awaitable[bool]) -> bool:
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            return await check
    except (InterestsError, TimeoutError) as error:
        log.warning("not_ready", server=server, error=type(error).__name__, reason=str(error))
        return False
