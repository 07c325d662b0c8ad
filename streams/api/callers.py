"""Middleware: refuses requests of foreign pages where callers need no credentials, and bodies that are no JSON."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from streams.api.cors import readable
from streams.api.methods import is_taken
from streams.api.middleware import PROBES
from streams.api.problems import ApiProblem, document
from streams.api.telemetry import ApiMetrics
from streams.base.local_callers import CallerRules, Foreign, no_json
from streams.settings.service import ApiSettings

_PAGES = ("/", "/ui", "/dashboard", "/docs")


def caller_rules(api: ApiSettings, *, credentials: bool) -> CallerRules | None:
    """Who may call. With credentials no page can call unasked: then only hosts that the settings name are checked."""
    hosts = frozenset(name.lower().removesuffix(".") for name in api.hosts)
    if not credentials:
        origins = frozenset(origin.lower().rstrip("/") for origin in api.cors_origins)
        return CallerRules(hosts=hosts, origins=origins, pages=_PAGES, setting="api.")
    return CallerRules(hosts=hosts, loopback=False, setting="api.") if hosts else None


class CallersMiddleware:
    """Refuses what the rules do not take. `only_host`: callers bring credentials, so the rest cannot be forged.

    It stands before CORS, which would answer a preflight by any name; pages of `origins` may read its refusals.
    """

    def __init__(
        self, app: ASGIApp, *, rules: CallerRules, metrics: ApiMetrics, only_host: bool, origins: tuple[str, ...] = ()
    ) -> None:
        self._app, self._rules, self._metrics, self._only_host = app, rules, metrics, only_host
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 421, 403 or 400."""
        if scope["type"] != "http" or (self._only_host and scope["path"] in PROBES):
            await self._app(scope, receive, send)
            return
        headers = scope["headers"]
        if self._only_host:
            headers = [row for row in headers if row[0] == b"host"]
        refused = self._rules.foreign(scope["method"], scope["path"], headers, scope["http_version"])
        if refused is None:
            await self._app(scope, receive, send)
            return
        self._metrics.refused.labels(refused.kind).inc()
        await readable(_problem(refused, scope), self._origins, scope, receive, send)


class JsonBodiesMiddleware:
    """Refuses bodies that do not say that they are JSON: no route takes another."""

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute]) -> None:
        self._app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 415; a path or method that is not there is refused as that."""
        refused = no_json(scope["method"], scope["headers"]) if scope["type"] == "http" else None
        if refused is None or not is_taken(self._routes, scope):
            await self._app(scope, receive, send)
        else:
            await _problem(refused, scope)(scope, receive, send)


def _problem(refused: Foreign, scope: Scope) -> ASGIApp:
    return document(ApiProblem(refused.status, refused.kind, refused.detail), scope.get("request_id"))
