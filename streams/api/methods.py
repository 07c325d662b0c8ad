"""Methods that every path answers: HEAD as GET without its body, OPTIONS, and which methods a path takes."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STREAMS = (b"text/event-stream", b"application/x-ndjson")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_KEPT = ("route", "endpoint", "path_params", "principal")


class _HeadAnswered(Exception):
    """The head of a stream has been sent; nothing more is wanted of it."""


class MethodsMiddleware:
    """Answers OPTIONS, and HEAD by what GET would answer; all other methods go on untouched."""

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute]) -> None:
        self._app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "OPTIONS" and (allow := allowed(self._routes, scope)):
            await Response(status_code=204, headers={"Allow": allow})(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        as_get = {**scope, "method": "GET"}

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)
            if message["type"] == "http.response.start" and is_stream(message):
                await send({"type": "http.response.body", "body": b""})
                raise _HeadAnswered

        try:
            await self._app(as_get, receive, without_body)
        except _HeadAnswered:
            pass
        finally:
            scope.update({name: as_get[name] for name in _KEPT if name in as_get})


def allowed(routes: Iterable[BaseRoute], scope: Scope) -> str:
    """The methods that a request's path takes, as the header Allow has them; "" where there is nothing at it."""
    found = [method for method in _METHODS if is_taken(routes, {**scope, "method": method})]
    more = (["HEAD"] if "GET" in found else []) + ["OPTIONS"]
    return ", ".join(sorted([*found, *more])) if found else ""


def is_taken(routes: Iterable[BaseRoute], scope: Scope) -> bool:
    """Whether there is a route for a request's path and method."""
    return any(route.matches(scope)[0] is Match.FULL for route in routes)


def is_stream(start: Message) -> bool:
    """Whether a response that begins so goes on for as long as there is something to send."""
    content = next((value for name, value in start.get("headers", ()) if name.lower() == b"content-type"), b"")
    return content.startswith(STREAMS)
