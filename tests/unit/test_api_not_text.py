"""What is no Unicode text, in bodies, paths and queries: the caller's fault, told in a problem document."""

from __future__ import annotations

import httpx
import pytest

from streams.api.app import create_app
from streams.settings.service import Settings

HALF = rb'"\ud800"'


def client() -> httpx.AsyncClient:
    settings = Settings(
        qdrant={"host": "127.0.0.1", "grpc_port": 1, "http_port": 1, "deadline_s": 0.2}, triton={"url": "127.0.0.1:1"},
        kafka={"brokers": "127.0.0.1:1"},
    )  # type: ignore[arg-type]  # sections as dictionaries  # fmt: skip
    app = create_app(settings)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=20)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/users/u1/rank", b'{"texts": [' + HALF + b"]}"),
        ("POST", "/v1/users/u1/rank", b'{"items": [' + HALF + b"]}"),
        ("POST", "/v1/users/u1/rank", b'{"items": ["a"], "context": {"a": ' + HALF + b"}}"),
        ("POST", "/v1/users/u1/rank", b'{"items": ["a"], "context": {' + HALF + b': "a"}}'),
        ("POST", "/v1/users/u1/rank", b"{" + HALF + b': "a"}'),
        ("POST", "/v1/users/u1/rank", b'{"texts": ["\xff"]}'),
        ("POST", "/v1/users/u1/rank", b'{"texts": ' + b"[" * 20_000),
        ("POST", "/v1/users/u1/rank", b'{"at_ms": ' + b"9" * 100_000 + b"}"),
        ("POST", "/v1/audiences/search", b'{"text": ' + HALF + b"}"),
        ("POST", "/v1/audiences/search", b'{"text": "a", "path": ' + HALF + b"}"),
        ("POST", "/v1/audiences/search", b'{"text": "a", "levels": [' + HALF + b"]}"),
        ("POST", "/v1/events", b'{"user_id": ' + HALF + b', "type": "search", "text": "a"}'),
        ("POST", "/v1/events", b'{"user_id": "u", ' + HALF + b": 1}"),
        ("POST", "/v1/events", b'[{"user_id": "\xff"}]'),
        ("POST", "/v1/items", b'{"item_id": "i", "title": ' + HALF + b"}"),
        ("PUT", "/v1/items/i", b'{"title": ' + HALF + b"}"),
        ("PUT", "/v1/items/i", b'{"title": "\xff"}'),
    ],
)
async def test_a_body_that_is_no_text(method: str, path: str, body: bytes) -> None:
    async with client() as http:
        answer = await http.request(method, path, content=body, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    answer.content.decode()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/users/%FF/interests",
        "/v1/users/%ED%A0%80/interests",
        "/v1/users/u1/explain/%FF",
        "/v1/users/u1/interests?level=%FF",
        "/v1/users/u1/interests?path=%ED%A0%80",
        "/v1/users/u1/recommendations?daypart=%FF",
        "/v1/users?cursor=%FF",
        "/v1/users?cursor=%ED%A0%80",
        "/v1/users?limit=" + "9" * 10_000,
        "/%FF",
    ],
)
async def test_a_path_or_a_query_that_is_no_text(path: str) -> None:
    async with client() as http:
        answer = await http.get(path)
    assert answer.status_code != 500, answer.text
    assert answer.status_code in {400, 404, 422, 503}, answer.text
    answer.content.decode()
