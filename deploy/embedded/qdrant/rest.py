"""The REST front: the calls people and the official client use; every other path answers `not implemented here`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Receive, Scope, Send

from deploy.embedded.qdrant.collections_api import CollectionsApi
from deploy.embedded.qdrant.errors import QdrantError
from deploy.embedded.qdrant.metrics import QdrantMetrics
from deploy.embedded.qdrant.points import Points
from deploy.embedded.qdrant.rest_refusals import check_key, refusal
from deploy.embedded.qdrant.security import TITLE, protocol_version
from streams.base.local_callers import CallerRules, no_json

HEALTH_TEXTS = {
    "/healthz": "healthz check passed",
    "/livez": "livez check passed",
    "/readyz": "all shards are ready",
}


def build_app(
    points: Points, collections: CollectionsApi, metrics: QdrantMetrics, api_key: str | None,
    hosts: frozenset[str] = frozenset(),
) -> Starlette:  # fmt: skip
    """Return the REST application. Without a key it is called by loopback's names and `hosts`, and by no web page."""

    async def version(_request: Request) -> Response:
        return JSONResponse({"title": TITLE, "version": protocol_version()})

    async def prometheus(request: Request) -> Response:
        started = time.perf_counter()
        try:
            check_key(request, api_key)
        except QdrantError as error:
            return refusal(error, started)
        return PlainTextResponse(await metrics.text(), media_type="text/plain; version=0.0.4")

    paths: list[BaseRoute] = [Path("/", version), Path("/metrics", prometheus)]
    paths += [Path(path, _text(text)) for path, text in HEALTH_TEXTS.items()]
    paths.append(Mount("/", _CallsWhenAsked(points, collections, metrics, api_key)))
    rules = CallerRules(hosts=hosts) if api_key is None else None
    return Starlette(routes=paths, middleware=[Middleware(_Callers, rules=rules)])


class _CallsWhenAsked:
    """The calls, made and imported when the first one comes, beside what is served over gRPC meanwhile."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts
        self._app: ASGIApp | None = None
        self._making = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call."""
        async with self._making:
            if self._app is None:
                self._app = await asyncio.to_thread(self._made)
        await self._app(scope, receive, send)

    def _made(self) -> ASGIApp:
        from deploy.embedded.qdrant.rest_calls import build_calls  # noqa: PLC0415  # with all models of REST

        return build_calls(*self._parts)


class _Callers:
    """Refuses requests of web pages, which need no key either, and bodies that do not say that they are JSON."""

    def __init__(self, app: ASGIApp, *, rules: CallerRules | None) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it in Qdrant's form."""
        method, headers = scope["method"], scope["headers"]
        refused = self._rules and self._rules.foreign(method, scope["path"], headers, scope["http_version"])
        if refused := refused or no_json(method, headers):
            content = {"status": {"error": refused.detail}, "time": 0.0}
            await JSONResponse(content, status_code=refused.status)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _text(text: str) -> Callable[[Request], Any]:
    async def endpoint(_request: Request) -> Response:
        return PlainTextResponse(text)

    return endpoint
