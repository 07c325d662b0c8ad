"""Which pages of other origins may call and read (CORS): Starlette's rules, and its refusals as problems."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from streams.api.problems import ApiProblem, document

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE")
_SENT: Final = ("Authorization", "Content-Encoding", "Content-Type", "X-API-Key", "X-Request-ID")
_READ: Final = ("Allow", "Retry-After", "WWW-Authenticate", "X-Request-ID")


class CorsMiddleware(CORSMiddleware):
    """Lets pages of `origins` call and read every answer of `app`; a preflight of others is a problem, 400."""

    def __init__(self, app: ASGIApp, *, origins: Iterable[str]) -> None:
        super().__init__(
            app, allow_origins=tuple(origins), allow_methods=_METHODS, allow_headers=_SENT, expose_headers=_READ
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a preflight: its headers are Starlette's, its refusal is a problem document."""
        made = super().preflight_response(request_headers)
        if made.status_code == 200:
            return made
        what = bytes(made.body).decode().removeprefix("Disallowed CORS ")
        problem = ApiProblem(400, "bad-preflight", f"No page may call so (CORS); not let in: {what}.")
        refused = document(problem, None)
        refused.headers.update({name: value for name, value in made.headers.items() if not name.startswith("content-")})
        return refused


async def readable(answer: ASGIApp, origins: Iterable[str], scope: Scope, receive: Receive, send: Send) -> None:
    """Send an answer that was made outside of the middleware, so that pages of `origins` may read it too."""
    await CorsMiddleware(answer, origins=origins).simple_response(scope, receive, send, Headers(scope=scope))
