"""Who may do what, asked before anything else: each route has a rule, and without a key every answer is 401."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from streams.api.admission import PUBLIC, AdmissionMiddleware, Rule, rules_of
from streams.api.app import create_app
from streams.api.keys import make_key
from streams.api.scopes import SCOPE_OF_EVENT, SCOPES, Scope, scope_of_event
from streams.events.wire import EventType
from streams.settings.service import ApiSettings, Settings
from tests.unit.test_api_middleware import NEVER_NEW, NOWHERE, client, problem_in

API_PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
BAD_BODIES = (b"", b"{", b"[" * 10_000, b"\xff", b'{"k": "x"}', b"x" * 3_000_000)
ERASE = {"user_id": "u", "type": "erase"}
CLICK = {"user_id": "u", "type": "click", "item_id": "i"}


@asynccontextmanager
async def application(
    *given: frozenset[Scope], **api: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, list[str], FastAPI]]:
    """The real application, its servers away, with a key for each set of scopes."""
    made = [make_key(f"key{n}", scopes) for n, scopes in enumerate(given)]
    lines = "\n".join(line for _, line in made) or None
    app = create_app(Settings(api=ApiSettings(keys=lines, deadline_s=3.0, rate="", **api), **NOWHERE))  # type: ignore[arg-type]  # sections as dictionaries, keys read as a secret
    async with client(app) as http:
        yield http, [key for key, _ in made], app
    await app.state.backends.close()


def rules(app: FastAPI) -> list[Rule]:
    found: Any = next(one.kwargs["rules"] for one in app.user_middleware if one.cls is AdmissionMiddleware)
    return list(found)


def documented() -> dict[tuple[str, str], str]:
    """Method and path of each row of the page's table of scopes, with what it needs."""
    rows: dict[tuple[str, str], str] = {}
    table = API_PAGE.read_text().partition("| route | needs |")[2].partition("\n\n")[0]
    for paths, scope in re.findall(r"^\| (`(?:GET|POST|PUT|DELETE) .*?) \| `?(\w+)`?", table, re.MULTILINE):
        for method, path in re.findall(r"`([A-Z]+) (\S+?)`", paths):
            rows[method, path] = scope
    return rows


async def test_every_route_has_a_rule_and_the_page_says_the_same() -> None:
    async with application() as (_, _, app):
        have = {(m, rule.path): rule.scope for rule in rules(app) for m in rule.methods if m != "HEAD"}
        served = {(m.upper(), path) for path, methods in app.openapi()["paths"].items() for m in methods}
        served |= {("GET", path) for route in app.router.routes if (path := getattr(route, "path", None))}
    page = {key: None if scope == "nothing" else scope for key, scope in documented().items()}
    missing = {(method, path) for method, path in served if (method, path) not in have and path != "/ui"}
    assert not missing
    assert page == {key: scope for key, scope in have.items() if key[1] != "/ui/{name:path}"}


def test_a_route_without_a_rule_keeps_the_application_from_starting() -> None:
    router = APIRouter()

    @router.get("/v1/forgotten")
    async def forgotten() -> None: ...

    with pytest.raises(RuntimeError, match="/v1/forgotten"):
        rules_of([router])


def closed(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method at every path that is not open, and paths where nothing is."""
    paths = {rule.path for rule in rules(app) if rule.path not in PUBLIC} | {"/v1/nothing", "/v2/users", "/admin"}
    for path in sorted(paths):
        for method in METHODS:
            yield method, path.replace("{user_id}", "u").replace("{item_id}", "i")


async def test_without_a_key_every_answer_is_401_whatever_path_method_and_body() -> None:
    async with application(frozenset(SCOPES)) as (http, _, app):
        for method, path in closed(app):
            for body in BAD_BODIES if method in ("POST", "PUT") else BAD_BODIES[:2]:
                for kind in ("application/json", "text/plain", "multipart/form-data"):
                    answer = await http.request(method, path, content=body, headers={"Content-Type": kind})
                    assert answer.status_code == 401, (method, path, body[:20], kind)
        answer = await http.get("/v1/users/%FF/interests?limit=x")
        assert problem_in(answer, 401)["type"].endswith("no-access")


async def test_without_a_key_not_one_byte_of_a_body_is_read() -> None:
    read = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read = True
        yield b"{"

    async with application(frozenset(SCOPES)) as (http, keys, _):
        assert (await http.post("/v1/audiences/search", content=body())).status_code == 401
        assert not read
        wrong = await http.post("/v1/audiences/search", content=body(), headers={"X-API-Key": keys[0] + "x"})
        assert (wrong.status_code, read) == (401, False)


async def test_without_the_scope_every_answer_is_403_whatever_the_body() -> None:
    one_each = [frozenset({scope}) for scope in SCOPES]
    async with application(*one_each) as (http, keys, app):
        for rule in rules(app):
            for scope, key in zip(SCOPES, keys, strict=True):
                if rule.scope in (None, scope):
                    continue
                for method in rule.methods:
                    path = rule.path.replace("{user_id}", "%FF").replace("{item_id}", "%FF")
                    answer = await http.request(method, path, content=b"{", headers={"X-API-Key": key})
                    assert answer.status_code == 403, (method, path, scope)


async def test_with_a_key_the_other_refusals_follow() -> None:
    async with application(frozenset(SCOPES)) as (http, keys, _):
        key = {"X-API-Key": keys[0]}
        json_body = {**key, "Content-Type": "application/json"}
        problem_in(await http.get("/v1/nothing", headers=key), 404)
        problem_in(await http.delete("/v1/events", headers=key), 405)
        problem_in(await http.post("/v1/users/u/rank", content=b"{", headers=json_body), 400)
        problem_in(await http.post("/v1/events", content=b"{}", headers={**key, "Content-Type": "text/plain"}), 415)
        problem_in(await http.post("/v1/audiences/search", content=b"{}", headers=json_body), 422)
        problem_in(await http.post("/v1/events", content=b"x" * 3_000_000, headers=json_body), 413)


async def test_what_is_open_answers_without_a_key() -> None:
    async with application(frozenset({"read"})) as (http, _, _):
        for path in ("/healthz", "/docs", "/openapi.json", "/ui", "/ui/", "/ui/app.js"):
            assert (await http.get(path)).status_code in (200, 307), path
        assert (await http.get("/readyz")).status_code == 503  # Qdrant is away
        assert (await http.post("/healthz")).status_code == 405


async def test_the_rate_counts_who_is_known_and_no_one_else() -> None:
    made, line = make_key("one", frozenset({"read"}))
    app = create_app(Settings(api=ApiSettings(keys=line, rate=NEVER_NEW.format(3)), **NOWHERE))  # type: ignore[arg-type]  # as above
    async with client(app) as http:
        for _ in range(5):
            assert (await http.get("/metrics", headers={"X-API-Key": "isk_wrong"})).status_code == 401
        key = {"X-API-Key": made}
        got = [(await http.request(*what, headers=key)).status_code for what in (
            ("GET", "/v1/nothing"), ("POST", "/v1/events"), ("GET", "/metrics"), ("GET", "/metrics"),
        )]  # fmt: skip
        assert got == [404, 403, 200, 429]
    await app.state.backends.close()


def test_every_type_of_event_says_which_scope_it_needs() -> None:
    assert set(SCOPE_OF_EVENT) == set(get_args(EventType))
    assert {kind for kind, scope in SCOPE_OF_EVENT.items() if scope != "ingest"} == {"erase"}
    assert scope_of_event("a type of tomorrow") == "admin"  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(ERASE).encode(),
        json.dumps([CLICK, ERASE, CLICK]).encode(),
        b'{"user_id": "u", "type": "click", "item_id": "i", "type": "erase"}',
        b'{"user_id": "u", "t\\u0079pe": "er\\u0061se"}',
        json.dumps([{**ERASE, "item_id": "i", "text": "x", "unknown": 1}]).encode(),
        json.dumps([ERASE, {"user_id": "u", "type": "klick"}]).encode(),
    ],
    ids=["alone", "among others", "last of two keys", "escaped", "dressed", "beside one that does not fit"],
)
async def test_erasing_by_an_event_needs_the_scope_of_an_erasure(body: bytes) -> None:
    scopes: list[frozenset[Scope]] = [frozenset({"ingest"}), frozenset({"ingest", "read"})]
    async with application(*scopes) as (http, keys, _):
        for key in keys:
            headers = {"X-API-Key": key, "Content-Type": "application/json"}
            problem = problem_in(await http.post("/v1/events", content=body, headers=headers), 403)
            assert problem["type"].endswith("wrong-scope")
            assert "admin" in problem["detail"]
            assert all(row["reason"] == "scope" and "admin" in row["message"] for row in problem["rejected"])


async def test_who_may_erase_sends_it_either_way_and_ingest_alone_sends_the_rest() -> None:
    scopes: list[frozenset[Scope]] = [frozenset({"ingest"}), frozenset({"ingest", "admin"}), frozenset({"admin"})]
    async with application(*scopes) as (http, (ingest, both, admin), _):

        async def status(key: str, row: dict[str, str]) -> int:
            return (await http.post("/v1/events", json=row, headers={"X-API-Key": key})).status_code

        # 503: allowed, and the broker is away.
        sent = await asyncio.gather(status(ingest, CLICK), status(both, ERASE), status(both, CLICK))
        assert sent == [503, 503, 503]
        assert await status(admin, ERASE) == 403  # the route takes events: it needs `ingest`
        two = {"user_id": "u", "type": "erase", "item": {"deleted": True, "item_id": "i"}}
        assert await status(ingest, two) == 422  # no erasure: the worker would not take it


async def test_a_key_that_is_taken_out_stops_though_the_file_has_a_typo_or_is_gone(tmp_path: Path) -> None:
    (old, old_line), (new, new_line) = make_key("old", frozenset({"read"})), make_key("new", frozenset({"read"}))
    file = tmp_path / "keys"
    file.write_text(f"{old_line}\n{new_line}\n")
    fixed, fixed_line = make_key("fixed", frozenset({"read"}))
    app = create_app(Settings(api=ApiSettings(keys=fixed_line, keys_file=file, rate=""), **NOWHERE))  # type: ignore[arg-type]  # as above
    async with client(app) as http:

        async def status(key: str | None) -> int:
            return (await http.get("/metrics", headers={"X-API-Key": key} if key else {})).status_code

        async def settled(key: str, wanted: int) -> None:
            until = time.monotonic() + 5
            while await status(key) != wanted:
                assert time.monotonic() < until, await status(key)
                await asyncio.sleep(0.05)

        assert [await status(key) for key in (old, new, fixed, None)] == [200, 200, 200, 401]
        file.write_text(f"{new_line}\nold:read:00")
        await settled(old, 503)
        assert [await status(key) for key in (old, new, fixed, None)] == [503, 503, 200, 401]
        refused = problem_in(await http.get("/metrics", headers={"X-API-Key": old}), 503)
        assert refused["type"].endswith("keys-unreadable")
        assert refused["retry_after_s"] >= 1
        assert (await http.get("/readyz")).json()["keys"] is False
        served = (await http.get("/metrics", headers={"X-API-Key": fixed})).text
        assert 'interests_api_keys_file_usable{setting="api.keys_file"} 0.0' in served
        file.write_text(new_line)
        await settled(new, 200)
        assert await status(old) == 401
        file.unlink()
        await settled(new, 503)
        (tmp_path / "next").write_text(f"{old_line}\n")
        (tmp_path / "next").rename(file)
        await settled(old, 200)
        assert await status(new) == 401
        assert (await http.get("/readyz")).json()["keys"] is True
    await app.state.backends.close()
