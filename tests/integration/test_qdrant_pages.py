"""The embedded Qdrant's REST port against web pages and callers who hold on to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from qdrant_client import QdrantClient, models

from tests.fixtures.qdrant import QdrantServer

pytestmark = pytest.mark.integration

PAGES = [
    ({"Host": "evil.example:6333"}, 421), ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403),
]  # fmt: skip


@pytest.fixture
def server(own_qdrant: Callable[..., QdrantServer]) -> QdrantServer:
    made = own_qdrant("--host-name", "Qdrant")
    with httpx.Client(base_url=made.url, trust_env=False) as http:
        body = {"vectors": {"size": 2, "distance": "Cosine"}}
        assert http.put("/collections/kept", json=body).status_code == 200
    return made


def test_a_foreign_page_neither_reads_nor_writes(server: QdrantServer) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        for headers, status in PAGES:
            for method, path in (
                ("GET", "/collections"), ("GET", "/metrics"), ("GET", "/"), ("DELETE", "/collections/kept"),
                ("OPTIONS", "/collections/kept"), ("POST", "/collections/aliases"), ("GET", "/readyz"),
            ):  # fmt: skip
                answer = http.request(method, path, headers=headers, json={"actions": []} if method == "POST" else None)
                assert answer.status_code == status, (method, path)
                assert answer.json()["status"]["error"]
        clear = b'{"filter": {}}'
        for kind in ({"Content-Type": "text/plain"}, {}):
            assert http.post("/collections/kept/points/delete", content=clear, headers=kind).status_code == 415
        assert http.get("/collections/kept/exists").json()["result"] == {"exists": True}
        assert http.get("/collections", headers={"Host": "qdrant:6333"}).status_code == 200
    client = QdrantClient(url=server.url, prefer_grpc=False, check_compatibility=False)
    client.upsert("kept", [models.PointStruct(id=1, vector=[1.0, 0.0])])
    assert client.count("kept").count == 1
    client.close()


def test_a_head_is_bounded(server: QdrantServer) -> None:
    answer = httpx.get(f"{server.url}/collections", headers={"X": "a" * 70_000}, trust_env=False)
    assert answer.status_code == 431


def test_with_a_key_the_key_decides(own_qdrant: Callable[..., QdrantServer], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret\n")
    made = own_qdrant(api_key_file=key)
    with httpx.Client(base_url=made.url, trust_env=False, headers={"Host": "qdrant.example"}) as http:
        assert http.get("/collections").status_code == 401
        assert http.get("/collections", headers={"api-key": "secret"}).status_code == 200
