"""The middleware of the API without servers: ids, deadlines, sizes, limits, and every error as a problem document."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from streams.api.app import create_app
from streams.api.keys import make_key
from streams.api.methods import MethodsMiddleware
from streams.api.middleware import GuardMiddleware, RequestMiddleware
from streams.api.params import UserInPath, cursor, read_cursor
from streams.api.problems import ApiProblem, answer, body_too_large, problem_of
from streams.api.rate_limits import RateLimits
from streams.api.telemetry import ApiMetrics
from streams.base.errors import (
    BrokerUnavailable,
    ConfigurationError,
    EncoderUnavailable,
    InterestsError,
    PoisonError,
    StoreUnavailable,
)
from streams.settings.service import ApiSettings, Settings

BODY_LIMIT = 2048
NOWHERE = {
    "qdrant": {"grpc_port": 1, "http_port": 1},
    "triton": {"url": "127.0.0.1:1"},
    "kafka": {"brokers": "127.0.0.1:1"},
}
#: Windows begin by the clock on the wall, and where a new one begins one request more passes: none begins in a test.
NEVER_NEW = "{}/year"


def probe(deadline_s: float = 0.3) -> tuple[FastAPI, ApiMetrics]:
    app, metrics = FastAPI(redirect_slashes=False), ApiMetrics()
    for known in (ApiProblem, InterestsError, RequestValidationError, HTTPException):
        app.add_exception_handler(known, answer)

    @app.get("/users/{user_id}/tree")
    async def tree(user_id: UserInPath) -> dict[str, str]:
        return {"user": user_id}

    @app.post("/size")
    async def size(request: Request) -> int:
        return len(await request.body())

    @app.post("/json")
    async def body(values: dict[str, int]) -> int:
        return len(values)

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(30)

    @app.get("/stream")
    async def stream() -> Response:
        async def lines() -> AsyncIterator[bytes]:
            for n in range(3):
                await asyncio.sleep(0.15)
                yield b"%d\n" % n

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError("a value that is nobody's business")

    @app.get("/timeout")
    async def timeout() -> None:
        raise TimeoutError

    app.add_middleware(MethodsMiddleware, routes=app.routes)
    app.add_middleware(GuardMiddleware, deadline_s=deadline_s, max_body_bytes=BODY_LIMIT)
    app.add_middleware(CORSMiddleware, allow_origins=["http://page.example"])
    app.add_middleware(RequestMiddleware, metrics=metrics)
    return app, metrics


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


def problem_in(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer, held to its form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:interest-streams:problem:")
    assert problem["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    return problem


@pytest.mark.parametrize(
    "user_id", ["u1", "a/b", "a/b/interests", "😀", "ü ö", "a%2Fb", "..", "a?b#c", "%", "+", "x" * 256]
)
async def test_any_id_comes_through_a_path_as_it_is(user_id: str) -> None:
    segment = quote(user_id, safe="").replace(".", "%2E")
    async with client(probe()[0]) as http:
        assert (await http.get(f"/users/{segment}/tree")).json() == {"user": user_id}


@pytest.mark.parametrize(
    "segment", ["%00", "a%0Ab", "%E2%80%AE", "%FF", "x" * 257, "%F0%9F%98%80" * 2_500, "%ED%A0%80"]
)
async def test_ids_that_cannot_be_are_a_422_that_names_the_field(segment: str) -> None:
    async with client(probe()[0]) as http:
        problem = problem_in(await http.get(f"/users/{segment}/tree"), 422)
    assert [one["field"] for one in problem["errors"]] == ["path.user_id"]
    assert "xxxx" not in json.dumps(problem)


async def test_request_ids_are_taken_over_where_they_are_harmless() -> None:
    async with client(probe()[0]) as http:
        assert (await http.get("/nope", headers={"X-Request-ID": "trace-1.a"})).headers["x-request-id"] == "trace-1.a"
        for bad in ("a b", "x" * 65, "<script>", ""):
            given = (await http.get("/nope", headers={"X-Request-ID": bad})).headers["x-request-id"]
            assert len(given) == 32


async def test_no_path_no_method_no_json_and_a_defect() -> None:
    app, metrics = probe()
    async with client(app) as http:
        problem_in(await http.get("/nope"), 404)
        wrong = await http.delete("/slow")
        problem_in(wrong, 405)
        assert wrong.headers["allow"] == "GET, HEAD, OPTIONS"
        kind = {"Content-Type": "application/json"}
        assert problem_in(await http.post("/json", content=b"{", headers=kind), 400)["type"].endswith("bad-json")
        problem_in(await http.post("/json", content=b'{"a": 1}'), 415)
        assert problem_in(await http.post("/json", json={"a": "secret text"}), 422)["errors"][0]["field"] == "body.a"
        broken = problem_in(await http.get("/broken"), 500)
        assert "nobody's business" not in json.dumps(broken)
        problem_in(await http.get("/timeout"), 500)
    samples = {
        (s.labels["route"], s.labels["status"]): s.value
        for family in metrics.registry.collect() for s in family.samples if s.name == "interests_api_requests_total"
    }  # fmt: skip
    assert samples["(none)", "404"] == 1
    assert samples["/broken", "500"] == 1


async def test_a_request_ends_at_its_deadline_and_a_stream_does_not() -> None:
    async with client(probe()[0]) as http:
        loop = asyncio.get_running_loop()
        started = loop.time()
        problem_in(await http.get("/slow"), 504)
        assert loop.time() - started < 2
        assert (await http.get("/stream")).text == "0\n1\n2\n"  # 0.45 s, over the deadline of 0.3 s


async def test_a_body_is_bounded_whether_it_tells_its_length_or_not() -> None:
    async def pieces(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 256):
            yield b"x" * 256

    async with client(probe()[0]) as http:
        assert (await http.post("/size", content=b"x" * BODY_LIMIT)).json() == BODY_LIMIT
        assert (await http.post("/size", content=pieces(BODY_LIMIT))).json() == BODY_LIMIT
        problem_in(await http.post("/size", content=b"x" * (BODY_LIMIT + 1)), 413)
        problem_in(await http.post("/size", content=pieces(BODY_LIMIT + 256)), 413)
        problem_in(await http.post("/json", json={"a" * BODY_LIMIT: 1}), 413)


@pytest.mark.parametrize(
    ("error", "status", "kind", "again"),
    [
        (StoreUnavailable("q", retry_after_s=3), 503, "store-away", 3),
        (EncoderUnavailable("t"), 503, "encoder-away", 1),
        (BrokerUnavailable("b"), 503, "broker-away", 1),
        (PoisonError("text: no", reason="bad_utf8"), 422, "unreadable-text", None),
        (ConfigurationError("the password is x"), 500, "misconfigured", None),
        (body_too_large(5), 413, "body-too-large", None),
        (ValueError("x"), 500, "internal", None),
    ],
)
def test_errors_have_their_status(error: Exception, status: int, kind: str, again: float | None) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.retry_after_s) == (status, again)
    assert problem.kind == kind
    assert "password" not in problem.detail


async def test_limits_count_by_caller_and_say_how_long_to_wait() -> None:
    limits = RateLimits(NEVER_NEW.format(3))
    assert [await limits.wait_s("a") for _ in range(3)] == [0, 0, 0]
    assert 1 <= await limits.wait_s("a") <= 366 * 86_400
    assert await limits.wait_s("b") == 0
    assert [await RateLimits("").wait_s("a") for _ in range(5)] == [0] * 5
    with pytest.raises(ConfigurationError, match="100/second"):
        RateLimits("as many as you like")


async def test_scopes_credentials_and_rates_of_the_real_application(tmp_path: Any) -> None:
    lines = [make_key(name, frozenset({name})) for name in ("read", "ingest", "admin")]  # type: ignore[arg-type]  # scopes are their names
    keys = dict(zip(("read", "ingest", "admin"), (key for key, _ in lines), strict=True))
    api = ApiSettings(keys="\n".join(line for _, line in lines), rate=NEVER_NEW.format(6))  # type: ignore[arg-type]  # read as a secret
    app = create_app(Settings(api=api, **NOWHERE))  # type: ignore[arg-type]  # sections as dictionaries
    async with client(app) as http:
        missing = await http.get("/v1/users")
        assert problem_in(missing, 401)["type"].endswith("no-access")
        assert missing.headers["www-authenticate"] == "Bearer"
        problem_in(await http.get("/v1/users", headers={"X-API-Key": "isk_wrong"}), 401)
        for path, method, scope in (
            ("/v1/users", "GET", "ingest"), ("/v1/events", "POST", "read"), ("/v1/users/u", "DELETE", "ingest"),
            ("/metrics", "GET", "admin"),
        ):  # fmt: skip
            refused = await http.request(method, path, headers={"X-API-Key": keys[scope]})
            assert problem_in(refused, 403)["type"].endswith("wrong-scope")
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/metrics", headers={"X-API-Key": keys["read"]})).status_code == 200
        for _ in range(8):
            last = await http.get("/metrics", headers={"X-API-Key": keys["read"]})
        assert problem_in(last, 429)["retry_after_s"] >= 1
        assert int(last.headers["retry-after"]) >= 1
    await app.state.backends.close()


async def test_servers_that_are_away_are_a_503_each_for_what_needs_them() -> None:
    app = create_app(Settings(api=ApiSettings(deadline_s=3, encode_deadline_s=1), **NOWHERE))  # type: ignore[arg-type]  # as above
    async with client(app) as http:
        assert (await http.get("/readyz")).json() == {"ready": False, "qdrant": False, "triton": False, "keys": True}
        reads = await http.get("/v1/users/u/interests")
        assert problem_in(reads, 503)["type"].endswith("store-away")
        assert int(reads.headers["retry-after"]) >= 1
        sent = await http.post("/v1/events", json={"user_id": "u", "type": "search", "text": "tea"})
        assert problem_in(sent, 503)["type"].endswith("broker-away")
    await app.state.backends.close()


async def test_a_probe_says_what_is_silent_however_short_a_request_may_last() -> None:
    """Servers that take a connection and never answer: a request runs into its deadline, a probe into its checks'."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        away = {"qdrant": {"grpc_port": port, "http_port": port}, "triton": {"url": f"127.0.0.1:{port}"}}
        app = create_app(Settings(api=ApiSettings(deadline_s=0.2, encode_deadline_s=0.1), **away))  # type: ignore[arg-type]  # as above
        async with client(app) as http:
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["qdrant"], ready.json()["triton"]) == (503, False, False)
            assert problem_in(await http.get("/v1/users/u/interests"), 504)["type"].endswith("deadline")
        await app.state.backends.close()


@pytest.mark.parametrize("text", ["", "x", "é", "!!!!", cursor("a", "b", "c"), cursor("a")])
def test_a_cursor_of_somebody_else_is_refused(text: str) -> None:
    with pytest.raises(ApiProblem, match="cursor"):
        read_cursor(text, 2)
    assert read_cursor(cursor(5, "x"), 2) == ["5", "x"]
