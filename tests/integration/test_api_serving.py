"""`interests api` as a process: it starts without its servers, stops in order, and serves from several."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from deploy.embedded.ports import free_ports
from streams.api.keys import make_key
from streams.settings.service import Settings
from streams.settings.wiring import qdrant_config
from streams.store.collections import Collections
from streams.store.qdrant import QdrantStore
from tests.fixtures.path import ROOT, environment
from tests.fixtures.qdrant import QdrantServer

pytestmark = pytest.mark.integration

READY_S, STOPPED_S = 60.0, 15.0


@pytest.fixture
def settings(own_qdrant: Callable[..., QdrantServer]) -> Settings:
    """An engine with empty collections; Triton and the broker are away."""
    server = own_qdrant()
    made = Settings(
        qdrant={"host": server.host, "grpc_port": server.grpc_port, "http_port": server.http_port},
        triton={"url": "127.0.0.1:1"}, kafka={"brokers": "127.0.0.1:1"}, log={"form": "json"},
        api={"port": free_ports(1)[0]},
    )  # type: ignore[arg-type]  # sections as dictionaries  # fmt: skip

    async def prepare() -> None:
        store = QdrantStore(qdrant_config(made), made.nodes.policy(), Collections("toy", 8))
        await store.prepare()
        await store.close()

    asyncio.run(prepare())
    return made


@pytest.fixture
def serve(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the command and wait until it answers."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "api.log").open("ab") as log:
            command = [sys.executable, "-m", "streams.commands.cli", "api", *options]
            env = {**os.environ, **environment(settings)}
            started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=ROOT))
        end = time.monotonic() + READY_S
        while not answers(settings):
            assert started[-1].poll() is None, (tmp_path / "api.log").read_text()
            assert time.monotonic() < end, (tmp_path / "api.log").read_text()
            time.sleep(0.1)
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        try:
            process.wait(READY_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def address(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.api.port}"


def answers(settings: Settings) -> bool:
    try:
        return httpx.get(f"{address(settings)}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def children(pid: int) -> list[int]:
    """The processes that serve, below a supervisor."""
    below = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in below if b"spawn_main" in command_of(child)]


def command_of(pid: int) -> bytes:
    """A process's command line; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def until_listening(log: Path, processes: int) -> None:
    """Wait until so many processes have begun to serve, those that died since among them."""
    end = time.monotonic() + READY_S
    while log.read_text().count('"event": "listening"') < processes:
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def a_worker_dies(pid: int) -> int:
    """Kill one of two and wait until there are two again."""
    first, _ = children(pid)
    os.kill(first, signal.SIGKILL)
    end = time.monotonic() + READY_S
    while first in (now := children(pid)) or len(now) < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    return first


@pytest.mark.parametrize("workers", [1, 2])
def test_it_stops_in_order_with_streams_open(
    settings: Settings, serve: Callable[..., subprocess.Popen[bytes]], workers: int, tmp_path: Path
) -> None:
    process = serve("--workers", str(workers))
    base = address(settings)
    if workers > 1:
        replaced = a_worker_dies(process.pid)
        assert replaced not in children(process.pid)
    assert httpx.get(f"{base}/v1/users").json() == {"users": [], "next_cursor": None}
    assert httpx.get(f"{base}/readyz").json() == {"ready": True, "qdrant": True, "triton": False, "keys": True}
    with httpx.Client(timeout=STOPPED_S) as http:  # one connection: what follows a head is the next answer
        for path in ("/v1/users/ana/live", "/healthz", "/v1/users/ana/live"):
            head = http.head(f"{base}{path}")
            assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert http.get(f"{base}/healthz").json() == {"status": "ok"}
    with httpx.stream("GET", f"{base}/v1/users/ana/live", timeout=STOPPED_S) as stream:
        lines = stream.iter_lines()
        assert "event: update" in (next(lines), next(lines), next(lines), next(lines))
        counted = httpx.get(f"{base}/metrics").text
        asked = re.search(r'requests_total\{method="GET",route="/v1/users",status="200"\} (\S+)', counted)
        assert asked is not None
        assert float(asked[1]) == 1.0  # whichever process answers speaks for all
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        list(lines)  # ends by itself: the answer is whole
    assert process.wait(STOPPED_S) == 0
    assert time.monotonic() - started < STOPPED_S
    log = (tmp_path / "api.log").read_text()
    assert "Traceback" not in log
    assert "ana" not in log


def test_the_processes_end_where_their_supervisor_is_killed(
    settings: Settings, serve: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    supervisor = serve("--workers", "2")
    serving, log = children(supervisor.pid), tmp_path / "api.log"
    until_listening(log, 2)
    with httpx.stream("GET", f"{address(settings)}/v1/users/ana/live", timeout=STOPPED_S) as stream:
        lines = stream.iter_lines()
        next(lines)
        supervisor.kill()
        supervisor.wait()
        list(lines)  # ends by itself: the answer is whole
    end = time.monotonic() + STOPPED_S
    while any(map(runs, serving)):
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    assert not answers(settings)
    assert log.read_text().count('"event": "supervisor_gone"') == 2
    serve("--workers", "2")  # the port is free again


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_that_is_replaced_while_the_keys_file_is_broken_serves_and_lets_nobody_in(
    settings: Settings, serve: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, (key, line) = tmp_path / "keys", make_key("one", frozenset({"read"}))
    file.write_text(line)
    monkeypatch.setenv("INTERESTS_API__KEYS_FILE", str(file))
    process, base, log = serve("--workers", "2"), address(settings), tmp_path / "api.log"

    def asked() -> int:
        return httpx.get(f"{base}/v1/users", headers={"X-API-Key": key}, timeout=10).status_code

    until_listening(log, 2)
    assert asked() == 200
    file.write_text(line + "\ntypo")
    of_before = children(process.pid)
    for _ in of_before:
        a_worker_dies(process.pid)
    replaced = children(process.pid)
    assert not set(of_before) & set(replaced)
    until_listening(log, 4)
    for _ in range(6):
        assert answers(settings)
        assert asked() == 503
    assert httpx.get(f"{base}/readyz", timeout=10).json()["keys"] is False
    assert log.read_text().count('"event": "keys_file_refused"') >= 2
    file.write_text(line)
    end = time.monotonic() + READY_S
    while asked() != 200:
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    assert children(process.pid) == replaced
    assert "Traceback" not in log.read_text()
    assert key not in log.read_text()


def test_texts_full_of_marks_do_not_hold_the_others_up(
    serve: Callable[..., subprocess.Popen[bytes]], settings: Settings
) -> None:
    """NFC sorts a run of combining marks in quadratic time: 50,000 took 3.8 s, five of them 24.7 s for everybody."""
    serve()
    marks = "a" + "\u0301\u0316" * 25_000
    event = {"user_id": "u1", "type": "view", "item_id": "i1", "item": {"description": marks[:50_000]}}

    async def run() -> float:
        slowest_s = 0.0
        async with httpx.AsyncClient(base_url=address(settings), timeout=60) as client:
            body = json.dumps([event] * 5, ensure_ascii=False).encode()
            json_type = {"content-type": "application/json"}
            sending = asyncio.create_task(client.post("/v1/events", content=body, headers=json_type))
            for _ in range(20):
                began_s = time.monotonic()
                assert (await client.get("/healthz")).status_code == 200
                slowest_s = max(slowest_s, time.monotonic() - began_s)
                await asyncio.sleep(0.02)
            sending.cancel()
        return slowest_s

    assert asyncio.run(run()) < 2.0
