"""Live streams and their keys: a stream ends with its key, and one key does not take all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from fastapi import FastAPI

from streams.api import live_response
from streams.api.app import create_app
from streams.api.keys import make_key
from streams.api.models import LiveUpdate
from streams.settings.service import Settings
from streams.settings.wiring import qdrant_config
from streams.store.collections import Collections
from streams.store.qdrant import QdrantStore
from tests.fixtures.qdrant import QdrantServer
from tests.fixtures.workers import until

pytestmark = pytest.mark.integration

SECRET = "a secret of the tests, long enough for every algorithm that a token may name"
ENDED_S = 12.0


@asynccontextmanager
async def application(server: QdrantServer, **api: Any) -> AsyncIterator[FastAPI]:
    """The application on an engine with empty collections, without a topic to follow."""
    made = Settings(
        qdrant={"host": server.host, "grpc_port": server.grpc_port, "http_port": server.http_port},
        triton={"url": "127.0.0.1:1"}, kafka={"brokers": "127.0.0.1:1", "updated_topic": ""}, api=api,
    )  # type: ignore[arg-type]  # sections as dictionaries  # fmt: skip
    store = QdrantStore(qdrant_config(made), made.nodes.policy(), Collections("toy", 8))
    await store.prepare()
    await store.close()
    app = create_app(made)
    yield app
    await app.state.backends.close()


class Watching:
    """A live stream under way: ASGI without a server, so that a test sees each piece as it is sent."""

    def __init__(self, app: FastAPI, user: str, *, key: str = "") -> None:
        self.status, self.body = 0, b""
        self._headers = [(b"host", b"127.0.0.1")] + ([(b"authorization", f"Bearer {key}".encode())] if key else [])
        self._task = asyncio.ensure_future(app(self._scope(user), self._receive, self._send))

    def _scope(self, user: str) -> dict[str, Any]:
        path = f"/v1/users/{user}/live"
        return {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": self._headers, "client": ("127.0.0.1", 1), "http_version": "1.1", "scheme": "http",
            "server": ("127.0.0.1", 80), "asgi": {"version": "3.0"}, "root_path": "",
        }  # fmt: skip

    async def _receive(self) -> dict[str, Any]:
        return await asyncio.Future()

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")

    async def begun(self) -> Watching:
        await until(lambda: b"event: update" in self.body or self._task.done(), 10)
        assert self.status == 200, self.body
        return self

    async def end(self, within_s: float = ENDED_S) -> dict[str, Any] | None:
        """Wait for its end; the problem that it ended with."""
        await asyncio.wait_for(self._task, within_s)
        last = self.body.decode().strip().split("\n\n")[-1]
        if self.status != 200:
            return dict(json.loads(last))
        return dict(json.loads(last.partition("data: ")[2])) if last.startswith("event: ended\n") else None

    @property
    def done(self) -> bool:
        return self._task.done()

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def change(app: FastAPI, user: str) -> None:
    """What the hub hands on when a worker has changed a tree."""
    for watcher in app.state.backends.hub._watchers[user]:
        watcher.put(LiveUpdate(user_id=user, at_ms=int(time.time() * 1000)))


@pytest.mark.parametrize("by_change", [False, True], ids=["heartbeat", "change"])
@pytest.mark.parametrize(
    ("instead", "status"), [("{other}", 401), ("{weaker}\n{other}", 403), ("typo\n{line}", 503), (None, 503)],
    ids=["taken out", "less scope", "typo", "no file"],
)  # fmt: skip
async def test_a_live_stream_ends_with_its_key(
    own_qdrant: Callable[..., QdrantServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    instead: str | None, status: int, by_change: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(live_response, "HEARTBEAT_S", 60.0 if by_change else 0.2)
    (key, line), (other, other_line) = (make_key(name, frozenset({"read"})) for name in ("mine", "other"))
    file = tmp_path / "keys"
    file.write_text(f"{line}\n{other_line}\n")
    async with application(own_qdrant(), keys_file=file) as app:
        mine, others = await Watching(app, "u", key=key).begun(), await Watching(app, "u", key=other).begun()
        await change(app, "u")
        await until(lambda: mine.body.count(b"event: update") == 2, 10)
        if instead is None:
            file.unlink()
        else:
            file.write_text(instead.format(line=line, other=other_line, weaker=line.replace(":read:", ":ingest:")))
        if by_change:
            await asyncio.sleep(1.1)  # the file is looked at once a second
            sent = mine.body.count(b"event: update")
            await change(app, "u")
        problem = await mine.end()
        assert problem is not None
        assert problem["status"] == status
        if by_change:
            assert mine.body.count(b"event: update") == sent
        if status == 503:
            await others.end()
        else:
            assert not others.done
            await others.leave()
        assert not app.state.backends.hub._count_of


async def test_a_live_stream_ends_with_its_token(
    own_qdrant: Callable[..., QdrantServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_response, "HEARTBEAT_S", 0.2)
    (tmp_path / "secret").write_text(SECRET)
    async with application(own_qdrant(), jwt_secret_file=tmp_path / "secret", jwt_audience="api") as app:
        # 30 s of leeway: two seconds are left.
        claims = {"sub": "ana", "aud": "api", "scope": "read", "exp": time.time() - 28}
        stream = await Watching(app, "u", key=jwt.encode(claims, SECRET, "HS256")).begun()
        problem = await stream.end()
        assert problem is not None
        assert (problem["status"], "expired" in problem["detail"]) == (401, True)


@pytest.mark.parametrize(("instead", "status"), [(SECRET[::-1], 401), ("", 503)], ids=["rotated", "emptied"])
async def test_a_live_stream_ends_with_the_key_of_its_token(
    own_qdrant: Callable[..., QdrantServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instead: str, status: int
) -> None:
    monkeypatch.setattr(live_response, "HEARTBEAT_S", 0.2)
    file = tmp_path / "secret"
    file.write_text(SECRET)
    async with application(own_qdrant(), jwt_secret_file=file, jwt_audience="api") as app:
        claims = {"sub": "ana", "aud": "api", "scope": "read", "exp": time.time() + 600}
        stream = await Watching(app, "u", key=jwt.encode(claims, SECRET, "HS256")).begun()
        file.write_text(instead)
        problem = await stream.end()
        assert problem is not None
        assert problem["status"] == status
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            ready = (await http.get("/readyz")).json()
            assert ready["keys"] is (status == 401)


async def test_one_key_takes_its_share_of_the_live_streams_and_no_more(
    own_qdrant: Callable[..., QdrantServer],
) -> None:
    (key, line), (other, other_line) = (make_key(name, frozenset({"read"})) for name in ("mine", "other"))
    async with application(own_qdrant(), keys=f"{line} {other_line}", live_streams=8) as app:
        mine = [await Watching(app, f"u{n}", key=key).begun() for n in range(2)]
        problem = await Watching(app, "u9", key=key).end()
        assert problem is not None
        assert (problem["status"], problem["retry_after_s"]) == (429, 15.0)
        assert problem["type"].endswith("too-many-live-streams")
        others = await Watching(app, "u", key=other).begun()
        await mine[0].leave()
        mine.append(await Watching(app, "u9", key=key).begun())
        for stream in (*mine, others):
            await stream.leave()
        assert not app.state.backends.hub._count_of
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers={"X-API-Key": key}) as http:
            assert 'interests_api_refused_total{reason="live"} 1.0' in (await http.get("/metrics")).text


async def test_without_keys_there_are_no_shares(own_qdrant: Callable[..., QdrantServer]) -> None:
    async with application(own_qdrant(), live_streams=4) as app:
        streams = [await Watching(app, "u").begun() for _ in range(4)]
        problem = await Watching(app, "u").end()
        assert problem is not None
        assert problem["status"] == 503
        for stream in streams:
            await stream.leave()
