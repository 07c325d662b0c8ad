"""Pages of other sites get nothing from an API without keys, by any method, on any path; configured ones do."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from streams.api.app import create_app
from streams.api.keys import make_key
from streams.settings.service import ApiSettings, Settings

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
PATHS = ("/", "/healthz", "/metrics", "/docs", "/openapi.json", "/ui", "/ui/app.js", "/v1/users", "/v1/events",
         "/v1/users/ana", "/v1/users/ana/live", "/v1/audiences/search", "/nothing")  # fmt: skip
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
APP = "https://app.example"

Calling = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@asynccontextmanager
async def calling(
    base: str = "http://localhost:8080", *, qdrant: dict[str, int] | None = None, **api: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API whose servers are away."""
    nowhere: dict[str, Any] = {
        "qdrant": qdrant or {"grpc_port": 1, "http_port": 1}, "triton": {"url": "127.0.0.1:1"},
        "kafka": {"brokers": "127.0.0.1:1"},
    }  # fmt: skip
    app = create_app(Settings(api=ApiSettings(**api), **nowhere))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as http:
        yield http
    await app.state.backends.close()


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({"Host": "evil.example"}, 421, "foreign-host"),
        ({"Host": "evil.example", **PREFLIGHT, "Origin": "http://evil.example"}, 421, "foreign-host"),
        ({"Origin": "https://evil.example"}, 403, "foreign-origin"),
        ({"Origin": "null"}, 403, "foreign-origin"),
        ({"Origin": "http://localhost:3000", **PREFLIGHT}, 403, "foreign-origin"),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403, "foreign-page"),
        ({"Sec-Fetch-Site": "same-site"}, 403, "foreign-page"),
    ],
)
async def test_a_foreign_page_gets_nothing_by_any_method_on_any_path(
    headers: dict[str, str], status: int, kind: str
) -> None:
    async with calling() as http:
        for method in METHODS:
            for path in PATHS:
                answer = await http.request(method, path, headers=headers)
                assert answer.status_code == status, (method, path, answer.text)
                if method != "HEAD":
                    assert answer.json()["type"] == f"urn:interest-streams:problem:{kind}"
                assert answer.headers["content-type"] == "application/problem+json"
                assert "access-control-allow-origin" not in answer.headers


async def test_one_s_own_page_and_programs_are_served() -> None:
    async with calling() as http:
        assert (await http.get("/healthz")).status_code == 200
        own = {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}
        assert (await http.get("/healthz", headers=own)).status_code == 200
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert (await http.get("/docs", headers=link)).status_code == 200
        assert (await http.get("/v1/users", headers=link)).status_code == 403


async def test_bodies_that_do_not_say_that_they_are_json_are_refused_with_keys_too() -> None:
    key, line = make_key("all", frozenset({"ingest", "admin", "read"}))
    erase = b'{"user_id": "ana", "type": "erase"}'
    for api in ({}, {"keys": line}):
        async with calling(**api) as http:
            for kind in ({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {}):
                for path in ("/v1/events", "/v1/items", "/v1/audiences/search", "/v1/users/ana/rank"):
                    answer = await http.post(path, content=erase, headers={**kind, "X-API-Key": key})
                    assert answer.status_code == 415, (path, answer.text)
                    assert answer.json()["type"].endswith("no-json")


async def test_configured_names_and_origins_are_served() -> None:
    async with calling("http://interests:8080", hosts=("Interests",), cors_origins=(APP,)) as http:
        for headers in ({}, {"Origin": APP, "Sec-Fetch-Site": "cross-site"}):
            assert (await http.get("/healthz", headers=headers)).status_code == 200
        preflight = await http.options("/v1/events", headers={"Origin": APP, **PREFLIGHT})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == APP
        other = await http.options("/v1/events", headers={"Origin": "https://evil.example", **PREFLIGHT})
        assert other.status_code == 403
        assert (await http.get("/healthz", headers={"Host": "127.0.0.1:8080"})).status_code == 200


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_page_that_is_let_in_may_read_every_refusal(keyed: bool) -> None:
    keys = {"keys": make_key("r", frozenset({"read"}))[1]} if keyed else {}
    async with calling(hosts=("api.example",), cors_origins=(APP,), **keys) as http:
        for headers, status in (
            ({"Host": "evil.example"}, 421), ({"Host": "evil.example", **PREFLIGHT}, 421), ({"Host": ""}, 400),
            ({"Host": "api.example"}, 401 if keyed else 404),
        ):  # fmt: skip
            for method in ("GET", "OPTIONS"):
                answer = await http.request(method, "/v1/nothing", headers={"Origin": APP, **headers})
                assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
                assert answer.headers["access-control-allow-origin"] == APP
                assert "Origin" in answer.headers["vary"]
                assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()
        foreign = await http.get("/v1/nothing", headers={"Host": "evil.example", "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers


async def test_a_preflight_that_is_refused_is_a_problem() -> None:
    # With keys no host and no origin is refused before it comes to CORS.
    async with calling(keys=make_key("r", frozenset({"read"}))[1], cors_origins=(APP,)) as http:
        for headers, what in (
            ({"Origin": "https://evil.example", **PREFLIGHT}, "origin"),
            ({"Origin": APP, **PREFLIGHT, "Access-Control-Request-Method": "PATCH"}, "method"),
            ({"Origin": APP, **PREFLIGHT, "Access-Control-Request-Headers": "x-evil"}, "headers"),
        ):
            answer = await http.options("/v1/events", headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
            assert answer.json()["type"] == "urn:interest-streams:problem:bad-preflight"
            assert what in answer.json()["detail"]
            assert answer.headers.get("access-control-allow-origin") == (None if what == "origin" else APP)
            assert answer.headers["x-request-id"]
            assert "Origin" in answer.headers["vary"]


async def test_with_keys_hosts_are_checked_where_they_are_set() -> None:
    _, line = make_key("r", frozenset({"read"}))
    foreign = {"Host": "evil.example", "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    async with calling(keys=line) as http:
        assert (await http.get("/v1/users", headers=foreign)).status_code == 401
    async with calling(keys=line, hosts=("api.example",)) as http:
        assert (await http.get("/v1/users", headers=foreign)).status_code == 421
        assert (await http.get("/v1/users", headers={"Host": "api.example"})).status_code == 401
        assert (await http.get("/readyz", headers={"Host": "10.0.0.7:8080"})).status_code == 503  # a probe by address


async def test_a_probe_says_not_ready_however_short_the_deadline_of_requests_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are taken, and nothing is answered
        port = silent.getsockname()[1]
        async with calling(qdrant={"grpc_port": port, "http_port": port}, deadline_s=0.01) as http:
            assert (await http.get("/readyz")).status_code == 503
            assert (await http.get("/v1/users")).status_code == 504
