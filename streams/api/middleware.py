"""The middleware of every request: an id, a deadline, a bound on its body, a count, a log line, and no stack trace."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable
from time import perf_counter
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.api.problems import BodyTooLarge, document, problem_of, timed_out
from streams.api.telemetry import ApiMetrics

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_STREAMS = (b"text/event-stream", b"application/x-ndjson")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/ui"})
NO_ROUTE = "(none)"
_FIXED_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]


class RequestMiddleware:
    """The outermost of our middleware. Paths reach the routes as they came, percent-encoded: an id may hold a slash."""

    def __init__(self, app: ASGIApp, *, metrics: ApiMetrics, deadline_s: float, max_body_bytes: int) -> None:
        self._app, self._metrics = app, metrics
        self._deadline_s, self._max_body_bytes = deadline_s, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it at its end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope["request_id"] = request_id
        if raw := scope.get("raw_path"):
            scope["path"] = raw.decode("latin-1")
        sender = _ResponseSender(send, request_id)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            started = perf_counter()
            self._metrics.under_way.inc()
            try:
                await self._answer(scope, self._bounded(scope, receive), sender)
            finally:
                self._metrics.under_way.dec()
                self._count(scope, sender, perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, sender: _ResponseSender) -> None:
        try:
            async with asyncio.timeout(self._deadline_s) as deadline:
                sender.on_stream = lambda: deadline.reschedule(None)
                await self._app(scope, receive, sender)
        except TimeoutError as error:
            if not deadline.expired():
                await self._failed(scope, receive, sender, error)
            elif not sender.status:
                await document(timed_out(self._deadline_s), scope["request_id"])(scope, receive, sender)
        except Exception as error:  # the last guard: a defect is logged and answered, and ends nothing else
            await self._failed(scope, receive, sender, error)

    async def _failed(self, scope: Scope, receive: Receive, sender: _ResponseSender, error: Exception) -> None:
        log.error("failed", error=type(error).__name__, exc_info=error)
        if not sender.status:
            await document(problem_of(error), scope["request_id"])(scope, receive, sender)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        limit = self._max_body_bytes
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        # Where too much is announced, the first read is refused.
        received = limit + 1 if declared.isdigit() and int(declared) > limit else 0

        async def read() -> Message:
            nonlocal received
            if received > limit:
                raise BodyTooLarge(limit)
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise BodyTooLarge(limit)
            return message

        return read

    def _count(self, scope: Scope, sender: _ResponseSender, seconds: float) -> None:
        page = scope["path"].startswith("/ui")
        route: str = "/ui" if page else getattr(scope.get("route"), "path", NO_ROUTE)
        status = sender.status or 499  # nginx's number for a caller who went away
        self._metrics.requests.labels(scope["method"], route, str(status)).inc()
        if not sender.streamed:
            self._metrics.seconds.labels(route).observe(seconds)
        write = log.debug if route in _QUIET else log.info
        write(
            "answered", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 1),
            caller=scope.get("principal"),
        )  # fmt: skip


class _ResponseSender:
    """Sends a response: notes its status, adds the common headers, and lifts the deadline of a stream."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._headers = [(b"x-request-id", request_id.encode()), *_FIXED_HEADERS]
        self.status = 0
        self.streamed = False
        self.on_stream: Callable[[], Any] = lambda: None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message.setdefault("headers", [])
            content = next((value for name, value in headers if name == b"content-type"), b"")
            if content.startswith(_STREAMS):
                self.streamed = True
                self.on_stream()
            message["headers"] = [*headers, *self._headers]
        await self._send(message)
