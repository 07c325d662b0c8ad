"""The application: routes, problems for every error, and what lies before and behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from streams.api import ui
from streams.api.admission import AdmissionMiddleware, rules_of
from streams.api.backends import make_backends
from streams.api.callers import CallersMiddleware, JsonBodiesMiddleware, caller_rules
from streams.api.cors import CorsMiddleware
from streams.api.docs_page import HEADERS, docs_page
from streams.api.methods import MethodsMiddleware
from streams.api.middleware import GuardMiddleware, RequestMiddleware
from streams.api.openapi_schema import ABOUT, TAGS, extend_openapi
from streams.api.problems import ApiProblem, answer
from streams.api.routes import audiences, dashboards, erasure, health, ingest, items, live, users
from streams.base.errors import InterestsError
from streams.settings.service import Settings


def create_app(settings: Settings, *, wait_for_keys: bool = False) -> FastAPI:
    """The API on these settings; nothing connects before the first request that needs it.

    Raises ConfigurationError where callers could come from elsewhere and need no credentials, and where the file of
    keys is not whole: with `wait_for_keys` none of its keys is let in until it is.
    """
    backends = make_backends(settings, wait_for_keys=wait_for_keys)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        backends.start()
        try:
            yield
        finally:
            await backends.close()

    app = FastAPI(
        title="interest-streams", version=_version(), description=ABOUT, openapi_tags=TAGS, lifespan=life,
        redirect_slashes=False,
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.backends = backends
    for known in (ApiProblem, InterestsError, RequestValidationError, HTTPException):
        app.add_exception_handler(known, answer)
    routers = [module.router for module in (users, live, audiences, items, ingest, erasure, dashboards, health)]
    for router in routers:
        app.include_router(router)
    ui.mount(app)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(docs_page(app.openapi()), media_type="text/html", headers=HEADERS)

    # The last added is the outermost: every answer has an id and is counted, and those to other origins may be read.
    app.add_middleware(JsonBodiesMiddleware, routes=app.routes)
    app.add_middleware(MethodsMiddleware, routes=app.routes)
    app.add_middleware(AdmissionMiddleware, backends=backends, rules=rules_of(routers))
    app.add_middleware(GuardMiddleware, deadline_s=settings.api.deadline_s, max_body_bytes=settings.api.max_body_bytes)
    if settings.api.cors_origins:
        app.add_middleware(CorsMiddleware, origins=settings.api.cors_origins)
    rules = caller_rules(settings.api, credentials=backends.access.required)
    if rules is not None:
        app.add_middleware(
            CallersMiddleware, rules=rules, metrics=backends.metrics, only_host=backends.access.required,
            origins=settings.api.cors_origins,
        )  # fmt: skip
    app.add_middleware(RequestMiddleware, metrics=backends.metrics)
    extend_openapi(app)
    return app


def _version() -> str:
    try:
        return version("interest-streams")
    except PackageNotFoundError:
        return "0"
