"""What HTTP asks of every path: methods, Allow, packed bodies, CORS on every answer, what a caller accepts, kinds."""

from __future__ import annotations

import gzip
import re
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from streams.api import content
from streams.api.app import create_app
from streams.api.content import accepts
from streams.api.params import cursor
from streams.api.problems import Kind
from streams.settings.service import ApiSettings, Settings
from tests.unit.test_api_middleware import BODY_LIMIT, NOWHERE, client, probe, problem_in

ROOT = Path(__file__).resolve().parents[2]
PAGE = {"Origin": "http://page.example"}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the real application, with nothing behind it."""
    app = create_app(Settings(api=ApiSettings(deadline_s=3), **NOWHERE))  # type: ignore[arg-type]  # sections as dictionaries
    async with client(app) as made:
        yield made
    await app.state.backends.close()


@pytest.mark.parametrize("path", ["/users/u/tree", "/slow", "/stream", "/broken", "/nope"])
async def test_head_is_get_without_its_body(path: str) -> None:
    async with client(probe()[0]) as http:
        head, get = await http.head(path), await http.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers.get("content-length") == get.headers.get("content-length")


async def test_head_of_the_real_application_where_get_is(http: httpx.AsyncClient) -> None:
    paths = ("/healthz", "/readyz", "/openapi.json", "/docs", "/metrics", "/ui/", "/ui", "/", "/v1/users/u/interests")
    for path in paths:
        head, get = await http.head(path), await http.get(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
    assert (await http.head("/v1/events")).status_code == 405


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/items/i", "GET, HEAD, OPTIONS, PUT"), ("/v1/items", "OPTIONS, POST"), ("/v1/users/u", "DELETE, OPTIONS"),
        ("/v1/users", "GET, HEAD, OPTIONS"), ("/healthz", "GET, HEAD, OPTIONS"), ("/ui/app.js", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"), ("/v1/users/a%2Fb/rank", "OPTIONS, POST"),
    ],
)  # fmt: skip
async def test_allow_names_all_that_a_path_takes(http: httpx.AsyncClient, path: str, allow: str) -> None:
    options = await http.options(path)
    assert (options.status_code, options.headers["allow"], options.content) == (204, allow, b"")
    refused = await http.patch(path)
    assert refused.headers["allow"] == allow
    assert refused.status_code == 405


@pytest.mark.parametrize(
    "path", ["/v1/users/", "//v1/users", "/v1//users", "/v1/users//interests", "/V1/users", "/nope", "/docs/", "*"]
)
async def test_what_is_not_there_is_a_404_for_every_method(http: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        response = await http.request(method, f"http://localhost/{path.removeprefix('/')}")
        assert response.status_code == 404, method
    assert problem_in(await http.get(f"http://localhost/{path.removeprefix('/')}"), 404)["type"].endswith(":not-found")


async def test_the_root_leads_to_the_page(http: httpx.AsyncClient) -> None:
    moved = await http.get("/")
    assert (moved.status_code, moved.headers["location"]) == (307, "ui/"), "relative: a proxy may have a prefix"


async def test_every_answer_may_be_read_by_the_origins_that_are_let_in() -> None:
    async with client(probe()[0]) as http:
        for method, path, status in (
            ("GET", "/slow", 504), ("GET", "/broken", 500), ("GET", "/nope", 404), ("PATCH", "/slow", 405),
            ("GET", "/users/%00/tree", 422), ("OPTIONS", "/slow", 204), ("HEAD", "/slow", 504),
        ):  # fmt: skip
            answer = await http.request(method, path, headers=PAGE)
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "http://page.example"
            assert answer.headers["x-request-id"]
        large = await http.post("/size", content=b"x" * (BODY_LIMIT + 1), headers=PAGE)
        assert (large.status_code, large.headers["access-control-allow-origin"]) == (413, "http://page.example")
        asked = {**PAGE, "Access-Control-Request-Method": "GET"}
        assert (await http.options("/slow", headers=asked)).headers["x-request-id"], "a preflight is an answer too"
        assert "access-control-allow-origin" not in (await http.get("/slow")).headers


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json; charset=utf-8", 400),
        ('Application/JSON;charset="UTF-8"', 400),
        ("application/json;a=b", 400),
        ("application/json; charset=utf-16", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
    ],
)
async def test_a_body_says_that_it_is_json_in_utf8(http: httpx.AsyncClient, kind: str, status: int) -> None:
    for method, path in (("POST", "/v1/events"), ("PUT", "/v1/items/i"), ("POST", "/v1/items")):
        answer = await http.request(method, path, content=b"{", headers={"Content-Type": kind})
        assert problem_in(answer, status)["type"].rpartition(":")[2] == ("bad-json" if status == 400 else "no-json")


PACKED = gzip.compress(b"{}", mtime=0)


async def test_what_is_no_json_is_told_by_name(http: httpx.AsyncClient) -> None:
    head = {"Content-Type": "application/json"}
    for body, message in ((b"\xef\xbb\xbf{}", "byte order mark"), (b'{"a": "\\ud800"}', "surrogate"), (b"", "no JSON")):
        problem = problem_in(await http.post("/v1/events", content=body, headers=head), 400)
        assert message in problem["detail"]


@pytest.mark.parametrize(
    ("at", "unit"),
    [("0", "seconds"), ("-62135596800000", "seconds"), ("1700000000", "seconds"), ("1700000000000000", "micro")],
)
async def test_a_time_in_seconds_is_named(http: httpx.AsyncClient, at: str, unit: str) -> None:
    asked = await http.get(f"/v1/users/u/interests?at_ms={at}")
    assert unit in problem_in(asked, 422)["errors"][0]["message"]
    ranked = await http.post("/v1/users/u/rank", json={"items": ["i"], "at_ms": int(at)})
    assert unit in problem_in(ranked, 422)["errors"][0]["message"]


def packed(coding: str, body: bytes) -> bytes:
    return gzip.compress(body) if coding.lower() in ("gzip", "x-gzip") else zlib.compress(body)


@pytest.mark.parametrize("coding", ["gzip", "GZip", "x-gzip", "deflate"])
async def test_a_packed_body_is_unpacked_within_the_bound(coding: str) -> None:
    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(body), 7):
            yield body[at : at + 7]

    head = {"Content-Encoding": coding}
    async with client(probe()[0]) as http:
        whole = packed(coding, b"x" * BODY_LIMIT)
        assert (await http.post("/size", content=whole, headers=head)).json() == BODY_LIMIT
        assert (await http.post("/size", content=pieces(whole), headers=head)).json() == BODY_LIMIT
        assert (await http.post("/size", content=packed(coding, b""), headers=head)).json() == 0
        assert (await http.post("/size", content=b"", headers=head)).json() == 0
        problem_in(await http.post("/size", content=packed(coding, b"x" * (BODY_LIMIT + 1)), headers=head), 413)
        sent = {**head, "Content-Type": "application/json"}
        assert (await http.post("/json", content=packed(coding, b'{"a": 1}'), headers=sent)).json() == 1


@pytest.mark.parametrize("size", [1, 7, 19, 20, 21, 64, 1 << 20])
async def test_gzip_of_several_members_is_one_body_within_the_same_bound(size: int) -> None:
    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]

    head, most = {"Content-Encoding": "gzip"}, BODY_LIMIT // 3
    members = [b"", *(bytes([65 + n]) * most for n in range(3)), b"x" * (BODY_LIMIT - 3 * most), b""]
    async with client(probe()[0]) as http:
        whole = b"".join(map(gzip.compress, members))
        assert (await http.post("/size", content=pieces(whole), headers=head)).json() == BODY_LIMIT
        more = whole + gzip.compress(b"y")
        problem_in(await http.post("/size", content=pieces(more), headers=head), 413)
        sent = {**head, "Content-Type": "application/json"}
        split = gzip.compress(b'{"a"') + gzip.compress(b": 1}")
        assert (await http.post("/json", content=pieces(split), headers=sent)).json() == 1


def test_very_many_members_cost_no_more_than_their_length() -> None:
    body = gzip.compress(b"", 1) * 100_000
    began_s = time.process_time()
    assert content._Unpacking("gzip", 2 << 20).add(body, last=True) == b""
    assert time.process_time() - began_s < 1.5  # 0.2 s; where each member copies what is behind it: 2.7 s


async def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(bytes(1 << 20))  # 1 KiB that unpacks to 1 MiB
    assert len(bomb) < BODY_LIMIT
    unpacked: list[int] = []
    make = zlib.decompressobj

    class Noting:
        def __init__(self, bits: int) -> None:
            self._decoder = make(bits)

        def decompress(self, piece: bytes, most: int) -> bytes:
            body = self._decoder.decompress(piece, most)
            unpacked.append(len(body))
            return body

        def __getattr__(self, name: str) -> Any:
            return getattr(self._decoder, name)

    monkeypatch.setattr(zlib, "decompressobj", Noting)
    async with client(probe()[0]) as http:
        answer = await http.post("/size", content=bomb, headers={"Content-Encoding": "gzip"})
    assert problem_in(answer, 413)["type"].endswith(":body-too-large")
    assert sum(unpacked) <= BODY_LIMIT + 1


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"{}"), ("gzip", PACKED[:-3]), ("gzip", PACKED + b"more"),
        ("gzip", PACKED * 2 + b"more"), ("gzip", PACKED * 2 + PACKED[:9]), ("gzip", PACKED + b"\0" * 9),
        ("deflate", zlib.compress(b"{}") * 2), ("deflate", zlib.compress(b"{}", wbits=-15)),
        ("gzip", zlib.compress(b"{}")), ("deflate", PACKED),
        ("gzip", PACKED[:12] + b"\xff" + PACKED[13:]), ("deflate", b"x"),
    ],
)  # fmt: skip
async def test_a_body_that_is_not_what_its_head_says_is_refused(coding: str, body: bytes) -> None:
    async with client(probe()[0]) as http:
        answer = await http.post("/size", content=body, headers={"Content-Encoding": coding})
    assert problem_in(answer, 400)["type"].endswith(":bad-coding")


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "identity, gzip", "nonsense"])
async def test_another_coding_is_a_415_that_names_those_that_are_taken(coding: str) -> None:
    async with client(probe()[0]) as http:
        answer = await http.post("/size", content=b"x", headers={"Content-Encoding": coding})
        assert problem_in(answer, 415)["type"].endswith(":unknown-coding")
        assert answer.headers["accept-encoding"] == "gzip, deflate"
        assert (await http.get("/users/u/tree", headers={"Content-Encoding": coding})).status_code == 200


@pytest.mark.parametrize(
    ("given", "wanted", "is_taken"),
    [
        ("gzip", "gzip", True),
        ("gzip;q=0", "gzip", False),
        ("gzip; Q=0.000", "gzip", False),
        ("GZIP;q=0.1", "gzip", True),
        ("br, gzip", "gzip", True),
        ("x-gzip", "gzip", False),
        ("", "gzip", False),
        ("gzip;q=1, *;q=0", "gzip", True),
        ("application/json, application/x-ndjson;q=0.9", "application/x-ndjson", True),
        ("application/x-ndjson;profile=a", "application/x-ndjson", True),
    ],
)
def test_what_a_caller_accepts(given: str, wanted: str, is_taken: bool) -> None:
    assert accepts(given, wanted) is is_taken


def test_every_kind_of_problem_is_described_and_raised() -> None:
    kinds = set(get_args(Kind))
    page = (ROOT / "docs/api.md").read_text("utf-8").partition("\n## Errors")[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in page.splitlines() if re.match(r"\| \d", line)]
    assert sorted(re.findall(r"`([a-z-]+)`", " ".join(rows))) == sorted(kinds)
    files = [*(ROOT / "streams/api").rglob("*.py"), *(ROOT / "streams/base").glob("*.py")]
    code = "".join(path.read_text("utf-8") for path in files)
    for kind in kinds:
        assert code.count(f'"{kind}"') >= 2, f"nothing raises {kind}"


@pytest.mark.parametrize("at", [0, 86_400_000, 4_102_444_800_000, 99_999_999_999_999])
async def test_a_cursor_of_a_time_in_which_nothing_happened_is_refused(http: httpx.AsyncClient, at: int) -> None:
    answer = await http.get("/v1/users/u/interests", params={"cursor": cursor(at, 0)})
    assert problem_in(answer, 422)["type"].endswith("bad-cursor")


async def test_a_cursor_of_digits_that_are_no_numbers_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/users/u/interests", params={"cursor": cursor("²", 0)})
    assert problem_in(answer, 422)["type"].endswith("bad-cursor")
