"""The middleware of every request: an id, a count, a log line; a deadline, a bound on its body, and no stack trace."""

from __future__ import annotations

import asyncio
import re
import uuid
from time import perf_counter

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.api.content import bounded
from streams.api.methods import is_stream
from streams.api.problems import ApiProblem, document, problem_of, timed_out
from streams.api.telemetry import ApiMetrics

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
PROBES = frozenset({"/healthz", "/readyz"})
_PAGES = ("/ui", "/dashboard")
_QUIET = PROBES | {"/metrics", *_PAGES}
NO_ROUTE = "(none)"
_FIXED_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]


class RequestMiddleware:
    """The outermost of our middleware. Paths reach the routes as they came, percent-encoded: an id may hold a slash."""

    def __init__(self, app: ASGIApp, *, metrics: ApiMetrics) -> None:
        self._app, self._metrics = app, metrics

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
                await self._app(scope, receive, sender)
            finally:
                self._metrics.under_way.dec()
                self._count(scope, sender, perf_counter() - started)

    def _count(self, scope: Scope, sender: _ResponseSender, seconds: float) -> None:
        page = next((page for page in _PAGES if scope["path"].startswith(page)), "")
        route: str = page or str(getattr(scope.get("route"), "path", NO_ROUTE))
        status = sender.status or 499  # nginx's number for a caller who went away
        self._metrics.requests.labels(scope["method"], route, str(status)).inc()
        if not sender.streamed:
            self._metrics.seconds.labels(route).observe(seconds)
        write = log.debug if route in _QUIET else log.info
        write(
            "answered", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 1),
            caller=scope.get("principal"),
        )  # fmt: skip


class GuardMiddleware:
    """Within CORS, whose headers its answers get too: a deadline, a bound on the body, and no stack trace.

    Probes bound each of their checks themselves, so that they say what is away however short a request's deadline is.
    """

    def __init__(self, app: ASGIApp, *, deadline_s: float, max_body_bytes: int) -> None:
        self._app, self._deadline_s, self._max_body_bytes = app, deadline_s, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; what it ends in is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, problem = False, None
        deadline_s = None if scope["path"] in PROBES else self._deadline_s

        async def sent(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                if is_stream(message):
                    deadline.reschedule(None)
            await send(message)

        receive = bounded(scope, receive, self._max_body_bytes)
        try:
            async with asyncio.timeout(deadline_s) as deadline:
                await self._app(scope, receive, sent)
        except TimeoutError as error:
            problem = timed_out(self._deadline_s) if deadline.expired() else _failed(error)
        except Exception as error:  # the last guard: a defect is logged and answered, and ends nothing else
            problem = _failed(error)
        if problem is not None and not begun:
            await document(problem, scope["request_id"])(scope, receive, send)


def _failed(error: Exception) -> ApiProblem:
    log.error("failed", error=type(error).__name__, exc_info=error)
    return problem_of(error)


class _ResponseSender:
    """Sends a response: notes its status, and adds the common headers."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._headers = [(b"x-request-id", request_id.encode()), *_FIXED_HEADERS]
        self.status = 0
        self.streamed = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.streamed = message["status"], is_stream(message)
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)
