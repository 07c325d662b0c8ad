"""Before a route sees a request, and before its body is read: who is it, how often, and may they do this?

Each route names the scope it needs with `guard`; what is open to all stands in `PUBLIC`. There is no third kind: an
application with a route of neither does not start. What matches no route needs credentials too, so without them every
answer is 401, whatever the path, the method or the body.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from re import Pattern
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Depends, Request, Security
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.datastructures import Headers
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from streams.api.access import Access
from streams.api.backends import Backends
from streams.api.credentials_file import CHECK_EVERY_S, KeysUnreadable
from streams.api.problems import ApiProblem, document
from streams.api.scopes import CredentialsRefused, Principal, Scope
from streams.api.telemetry import ADMISSION_REASONS

#: Open to all: they hold nothing about anybody. Whoever may not ask finds out here what to ask with.
PUBLIC: Final = ("/", "/docs", "/openapi.json", "/ui", "/ui/{name:path}", "/dashboard", "/healthz", "/readyz")

_BEARER = HTTPBearer(auto_error=False, description="An API key, or a JSON web token.", scheme_name="bearer")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key.", scheme_name="key")


class _Needs:
    """Marks a route with its scope. The middleware has asked already; a route that it did not guard stays closed."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> None:
        """Hold the route against what the middleware found."""
        admitted: Principal | None = request.scope.get("admitted")
        if admitted is None:
            raise _wrong_scope(self.scope)
        require(admitted, self.scope)


async def _schemes(*, bearer: object = Security(_BEARER), key: object = Security(_HEADER)) -> None:
    """Names the two kinds of credentials in the OpenAPI document."""


def guard(scope: Scope) -> list[Dependency]:
    """The dependencies of a route that asks for a scope."""
    return [Depends(_Needs(scope)), Depends(_schemes)]


class Rule(NamedTuple):
    """A path, the methods of one of its routes, and the scope these need; None: open to all."""

    path: str
    methods: frozenset[str]
    scope: Scope | None
    pattern: Pattern[str]


def rules_of(routers: Iterable[APIRouter]) -> list[Rule]:
    """The rule of every route, in the order in which they are tried. Raises where a route has none."""
    rules = [Rule(path, frozenset({"GET", "HEAD"}), None, compile_path(path)[0]) for path in PUBLIC]
    return rules + [rule for router in routers for rule in _rules(router)]


def _rules(router: APIRouter) -> Iterator[Rule]:
    for route in router.routes:
        if not isinstance(route, APIRoute):
            raise TypeError(f"a route of kind {type(route).__name__} has no rule of access")
        if route.path in PUBLIC:
            continue
        needs = [one.dependency for one in route.dependencies if isinstance(one.dependency, _Needs)]
        if len(needs) != 1:
            raise RuntimeError(f"{route.path} has {len(needs)} rules of access: use guard(scope), or add it to PUBLIC")
        yield Rule(route.path, frozenset(route.methods or ()), needs[0].scope, route.path_regex)


@dataclass(frozen=True, slots=True, repr=False)
class Caller:
    """What a request came with, to be judged now and again while its answer lasts."""

    access: Access
    authorization: str | None
    api_key: str | None

    def judged(self) -> Principal:
        """Who it is. Raises ApiProblem: 401, or 503 where it cannot be told because a file of keys is not whole."""
        try:
            return self.access.principal(self.authorization, self.api_key)
        except KeysUnreadable as error:
            detail = f"{str(error).capitalize()}: it cannot be read or does not fit, so nobody is let in by it."
            raise ApiProblem(503, "keys-unreadable", detail, retry_after_s=CHECK_EVERY_S) from error
        except CredentialsRefused as error:
            raise ApiProblem(
                401, "no-access", f"Who is asking? {str(error).capitalize()}: send `Authorization: Bearer KEY`.",
                headers={"WWW-Authenticate": "Bearer"},
            ) from error  # fmt: skip


def require(principal: Principal, scope: Scope) -> None:
    """Raise ApiProblem 403 where a caller lacks a scope."""
    if scope not in principal.scopes:
        raise _wrong_scope(scope)


def _wrong_scope(scope: Scope) -> ApiProblem:
    return ApiProblem(403, "wrong-scope", f"This key may not do this: it needs the scope {scope}.")


async def _caller(request: Request) -> Caller:
    caller: Caller = request.scope["caller"]
    return caller


async def _admitted(request: Request) -> Principal:
    principal: Principal = request.scope["admitted"]
    return principal


ApiCaller = Annotated[Caller, Depends(_caller)]
Admitted = Annotated[Principal, Depends(_admitted)]


class AdmissionMiddleware:
    """Answers 401, 429 or 403 before a route runs; the rate counts each request of a caller who is known."""

    def __init__(self, app: ASGIApp, *, backends: Backends, rules: list[Rule]) -> None:
        self._app, self._backends, self._rules = app, backends, rules

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass on who may; the route finds them as `scope["caller"]`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope["caller"] = caller = Caller(self._backends.access, headers.get("authorization"), headers.get("x-api-key"))
        rule, here = self._rule(scope)
        try:
            if not here or any(one.scope for one in here):
                scope["admitted"] = await self._admit(scope, caller, rule)
        except ApiProblem as problem:
            if here:
                scope["route"] = rule or here[0]
            self._backends.metrics.refused.labels(ADMISSION_REASONS.get(problem.status, "credentials")).inc()
            await document(problem, scope.get("request_id"))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Connection, caller: Caller, rule: Rule | None) -> Principal:
        principal = caller.judged()
        scope["principal"] = principal.name  # for the log
        backends = self._backends
        address = scope["client"][0] if scope.get("client") else ""
        if wait_s := await backends.limits.wait_s(principal.name if backends.access.required else address):
            detail = f"More than {backends.settings.api.rate}: wait and ask again."
            raise ApiProblem(429, "too-many-requests", detail, retry_after_s=wait_s)
        if rule is not None and rule.scope is not None:
            require(principal, rule.scope)
        return principal

    def _rule(self, scope: Connection) -> tuple[Rule | None, list[Rule]]:
        """The rule of this request, and all rules at its path: none where nothing is there."""
        path, method = scope["path"], scope["method"]
        here = [rule for rule in self._rules if rule.pattern.match(path)]
        wanted = {method, "GET"} if method == "HEAD" else {method}
        return next((rule for rule in here if wanted & rule.methods), None), here
