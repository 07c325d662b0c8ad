"""The pages `/ui` and `/dashboard`: plain files beside this module, plotly's own bundle, and a strict policy.

The files need no build step and ask no other host for anything. The API mounts them with `mount(app)`.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import lru_cache
from importlib.resources import files
from threading import Condition
from typing import Final, NamedTuple

from cachetools import cached
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from streams.api.content import accepts
from streams.api.problems import ApiProblem, document

PLOTLY: Final = "plotly.min.js"
_INDEX: Final = "index.html"
_DASHBOARD: Final = "dashboard.html"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: Scripts, styles and connections from this server only; nothing inline; no frame around the page.
POLICY: Final = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    )
)  # fmt: skip
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Asked again each time and answered with 304: a new version of the service is a new page at once.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}


class Asset(NamedTuple):
    """One file of the page: its bytes, the same gzipped, its media type and a strong validator."""

    body: bytes
    gzipped: bytes
    media_type: str
    etag: str


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """The names of all files that are served."""
    here = (entry.name for entry in files(__package__).iterdir())
    return frozenset(name for name in here if _suffix(name) in _TYPES) | {PLOTLY}


# Whoever asks while a file is packed for the first time waits for that: each by itself took the memory of a hundred.
@cached({}, condition=Condition())
def asset(name: str) -> Asset:
    """A file of the page by name, read once. Raises KeyError where there is none of that name."""
    if name not in names():
        raise KeyError(name)
    # Only the file is read: importing plotly would take a second and 40 MB.
    folder = files("plotly") / "package_data" if name == PLOTLY else files(__package__)
    body = (folder / name).read_bytes()
    tag = hashlib.sha256(body).hexdigest()[:32]
    return Asset(body=body, gzipped=gzip.compress(body, 6, mtime=0), media_type=_TYPES[_suffix(name)], etag=f'"{tag}"')


def mount(app: Starlette, path: str = "/ui") -> None:
    """Serve the page of an application under `path`, with and without a slash at the end; the root leads to it.

    The dashboards stand beside it, at `/dashboard`; their files are under `path`.
    No access rights are needed: the files hold no data.
    """
    app.router.routes.append(Route("/", _to_page, methods=["GET"], include_in_schema=False))
    app.router.routes.append(Route(path, _to_folder, methods=["GET"], include_in_schema=False))
    app.router.routes.append(Route("/dashboard", _serve_dashboard, methods=["GET"], include_in_schema=False))
    app.router.routes.append(Route(path + "/{name:path}", _serve, methods=["GET"], include_in_schema=False))


async def _to_page(_: Request) -> Response:
    return RedirectResponse("ui/", status_code=307)


async def _to_folder(request: Request) -> Response:
    # Relative, so that a proxy may serve the API under a prefix of its own.
    return RedirectResponse(request.url.path.rstrip("/").rpartition("/")[2] + "/", status_code=307)


async def _serve_dashboard(request: Request) -> Response:
    return await _file(request, _DASHBOARD)


async def _serve(request: Request) -> Response:
    return await _file(request, request.path_params["name"] or _INDEX)


async def _file(request: Request, name: str) -> Response:
    if name not in names():
        missing = ApiProblem(404, "not-found", "There is no such file.", headers=HEADERS)
        return document(missing, request.scope.get("request_id"))
    file = await run_in_threadpool(asset, name)
    packed = accepts(request.headers.get("accept-encoding", ""), "gzip")
    # A strong validator stands for the bytes as they are sent (RFC 9110, section 8.8.3.3).
    etag = f'{file.etag[:-1]}-gzip"' if packed else file.etag
    headers = {**HEADERS, "ETag": etag}
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    if known & {file.etag, etag, "*"}:
        return Response(status_code=304, headers=headers)
    headers["Content-Type"] = file.media_type
    if packed:
        return Response(file.gzipped, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.body, headers=headers)


def _suffix(name: str) -> str:
    return name[name.rfind(".") :] if "." in name else ""
