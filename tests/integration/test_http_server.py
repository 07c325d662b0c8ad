"""A server behind bounds on what callers may hold: heads, bodies, time, connections; each on real sockets."""

from __future__ import annotations

import asyncio
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from streams.base import http_server
from streams.base.http_server import BoundedServer, Connections, connections_within_open_files
from streams.base.refusals import HEAD_BYTES, HEAD_FIELDS
from tests.fixtures.path import ROOT

pytestmark = pytest.mark.integration

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
WITHIN_S = 10.0
LEFT = asyncio.Event()
"""That somebody who watched `/live` has left."""


class Server(BoundedServer):
    """In the test's own loop; signals stay with pytest."""

    def capture_signals(self) -> Any:
        return nullcontext()


SERVING = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
from streams.base.http_server import BoundedServer, Connections, connections_within_open_files
from tests.integration.test_http_server import echo
listening = socket.create_server(("127.0.0.1", 0), backlog=128)
print(listening.getsockname()[1], flush=True)
BoundedServer(Connections(connections_within_open_files(1000)), echo, lifespan="off").run(sockets=[listening])
"""


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the number of fields and the length of the body; `/early` before it is read, `/large` with much."""
    size, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message.get("body", b"")), message["more_body"]
    if scope["path"] == "/live":
        while (await receive())["type"] != "http.disconnect":
            pass
        LEFT.set()
        return
    if scope["path"] == "/drip":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(60):  # three seconds, and less than the kernel would keep
            await send({"type": "http.response.body", "body": b"x" * 16_384, "more_body": True})
            await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    body = b"x" * (32 << 20) if scope["path"] == "/large" else b"%d fields, %d bytes" % (len(scope["headers"]), size)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(**bounds: Any) -> AsyncIterator[tuple[int, list[str]]]:
    """A server with these bounds: its port, and the kinds of what it refused."""
    refused: list[str] = []
    connections = Connections(**{"limit": 100, "refused": refused.append, "linger_s": 1.0, **bounds})
    server = Server(connections, echo, lifespan="off", timeout_graceful_shutdown=1)
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield listening.getsockname()[1], refused
    finally:
        server.should_exit = True
        await task


async def said(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """All that comes back on one connection until the other side ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = bytearray()

    async def read() -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                answer.extend(piece)

    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(WITHIN_S):
            with suppress(ConnectionError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause_s)
            await reading
            return bytes(answer)
    finally:
        reading.cancel()
        writer.close()


def fields(count: int) -> bytes:
    return b"".join(b"h%d: v\r\n" % n for n in range(count))


async def answers(port: int) -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=WITHIN_S) as client:
        return (await client.get(f"http://127.0.0.1:{port}/")).text


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([b"GET / HTTP/1.1\r\nX: " + b"a" * (HEAD_BYTES + 1)], "head-too-large"),
        ([b"GET /" + b"a" * (HEAD_BYTES + 1)], "head-too-large"),
        ([b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n"], "head-too-large"),
        ([b"GET / HTTP/1.1\r\nX: ", *[b"a" * 1000] * 70], "head-too-large"),
        ([b"GET / HTTP/1.1\r\n" + fields(HEAD_FIELDS + 1) + b"\r\n"], "head-too-large"),
        ([b"GET / HTTP/1.1\r\n", *[fields(10)] * 20], "head-too-large"),
        ([CHUNKED, *[b"1\r\nx\r\n" * 1000] * 30], "bad-framing"),
        ([CHUNKED, b"1;" + b"e" * 3 * HEAD_BYTES], "bad-framing"),
        ([CHUNKED, b"0\r\nX: ", *[b"a" * 1000] * 200], "bad-framing"),
        ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], "bad-request"),
        ([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], "bad-request"),
    ],
)
async def test_what_is_too_large_is_refused_with_a_problem(pieces: list[bytes], kind: str) -> None:
    async with serving() as (port, refused):
        answer = await said(port, *pieces)
        assert f"urn:interest-streams:problem:{kind}".encode() in answer
        assert answer.startswith(b"HTTP/1.1 4")
        assert refused == [kind]
        assert "0 bytes" in await answers(port)


async def test_what_fits_passes() -> None:
    async with serving() as (port, refused):
        head = b"GET / HTTP/1.1\r\nConnection: close\r\n" + fields(HEAD_FIELDS - 1) + b"\r\n"
        assert b"100 fields" in await said(port, head)
        long = b"GET / HTTP/1.1\r\nConnection: close\r\nX: " + b"a" * (HEAD_BYTES - 100) + b"\r\n\r\n"
        assert b"2 fields" in await said(port, *[long[n : n + 5000] for n in range(0, len(long), 5000)])
        two = POST + b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000 + b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
        answer = await said(port, two)
        assert b"200000 bytes" in answer
        assert answer.endswith(b"1 fields, 0 bytes")
        pipelined = await said(port, GET * 30 + b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert pipelined.count(b"HTTP/1.1 200 OK") == 31
        assert refused == []


async def test_fields_behind_a_body_are_none_of_the_head() -> None:
    async with serving() as (port, _):
        closing = CHUNKED.replace(b"Host: x", b"Connection: close")
        assert b"2 fields, 2 bytes" in await said(port, closing, b"2\r\nab\r\n0\r\nX-API-Key: stolen\r\n\r\n")


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([b"GET / HTTP/1.1\r\nHo", b"st", b": ", b"x"], "head-too-slow"),
        ([b"\r\n"] * 4, "head-too-slow"),
        ([GET, b"GE", b"T", b" "], "head-too-slow"),
        ([POST + b"Content-Length: 100\r\n\r\n", b"a", b"b", b"c"], "body-too-slow"),
        ([CHUNKED, b"1\r\na\r\n", b"1\r\n", b"b\r\n"], "body-too-slow"),
        ([b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", b"a", b"b", b"c"], "bad-request"),
    ],
)
async def test_what_is_too_slow_is_refused_however_it_trickles(pieces: list[bytes], kind: str) -> None:
    async with serving(head_s=1.0, body_s=1.0) as (port, refused):
        started = time.monotonic()
        answer = await said(port, *pieces, pause_s=0.4)
        assert time.monotonic() - started < WITHIN_S / 2
        assert kind.encode() in answer
        assert refused == [kind]


async def test_who_says_nothing_is_let_go() -> None:
    async with serving(head_s=1.0) as (port, _):
        assert await said(port) == b""


async def test_a_rest_that_nobody_reads_ends_with_its_connection() -> None:
    async with serving() as (port, _):
        early = b"POST /early HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        started = time.monotonic()
        answer = await said(port, early, *[b"400\r\n" + b"x" * 1024 + b"\r\n"] * 40, pause_s=0.1)
        assert b"200 OK" in answer
        assert time.monotonic() - started < WITHIN_S - 1
        # A rest that comes in time leaves the connection as it was.
        whole = early + b"3\r\nabc\r\n0\r\n\r\n"
        assert (await said(port, whole, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", pause_s=0.3)).count(b"200") == 2


async def test_an_answer_that_nobody_takes_ends() -> None:
    async with serving(unread_s=1.0) as (port, refused):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        writer.write(b"GET /large HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(WITHIN_S):
            while not refused:
                await asyncio.sleep(0.05)
        assert refused == ["unread"]
        writer.close()


async def test_a_stream_of_small_pieces_that_nobody_takes_ends() -> None:
    """The kernel keeps megabytes, so nothing is ever held up here."""
    async with serving(unread_s=1.0) as (port, refused):
        greedy = await unread(port, b"GET /drip HTTP/1.1\r\n\r\n")
        taken = await said(port, b"GET /drip HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert taken.count(b"x" * 16_384) == 60
        assert refused == ["unread"]
        greedy.close()


async def unread(port: int, request: bytes) -> asyncio.StreamWriter:
    """A connection that takes nothing of its answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
    writer.write(request)
    return writer


async def test_requests_behind_one_that_is_not_answered_are_few() -> None:
    async with serving() as (port, refused):
        await said(port, GET * 5_000)
        assert refused == ["pipelined"]


async def test_who_leaves_answers_unread_makes_place() -> None:
    """Where requests are behind, the answer of one that nobody takes holds up the next: none of them waits."""
    async with serving(limit=5) as (port, refused):
        greedy = [await unread(port, b"GET /large HTTP/1.1\r\n\r\n" * 3) for _ in range(5)]
        await asyncio.sleep(0.5)
        assert "0 bytes" in await answers(port)
        assert refused == ["evicted"]
        for writer in greedy:
            writer.close()


async def test_unread_answers_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "UNREAD_BYTES", 80 << 20)
    async with serving() as (port, refused):
        greedy = [await unread(port, b"GET /large HTTP/1.1\r\n\r\n") for _ in range(4)]
        async with asyncio.timeout(WITHIN_S):
            while len(refused) < 2:
                await asyncio.sleep(0.05)
        assert refused == ["evicted", "evicted"]
        assert "0 bytes" in await answers(port)
        for writer in greedy:
            writer.close()


async def test_who_is_being_answered_is_seen_to_leave_with_requests_behind() -> None:
    LEFT.clear()
    async with serving() as (port, _):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /live HTTP/1.1\r\n\r\n" + GET)
        await asyncio.sleep(0.3)
        assert not LEFT.is_set()
        writer.transport.abort()
        await asyncio.sleep(0.1)
        async with asyncio.timeout(WITHIN_S):
            await LEFT.wait()


async def test_where_it_is_full_who_waits_longest_makes_place() -> None:
    async with serving(limit=20) as (port, refused):
        half = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, writer in half:
            writer.write(b"GET / HT")
        for _ in range(5):
            assert "0 bytes" in await answers(port)
        assert set(refused) == {"evicted"}
        assert await half[0][0].read() == b""
        for _, writer in half:
            writer.close()


async def test_where_all_are_being_answered_a_new_one_is_told_so() -> None:
    async with serving(limit=5) as (port, refused):
        slow = [asyncio.create_task(said(port, b"GET /slow HTTP/1.1\r\nConnection: close\r\n\r\n")) for _ in range(5)]
        await asyncio.sleep(0.4)
        assert b"connections-full" in await said(port, GET)
        assert refused == ["connections-full"]
        assert all(b"200 OK" in answer for answer in await asyncio.gather(*slow))
        assert "0 bytes" in await answers(port)


async def test_half_open_connections_shut_nobody_out() -> None:
    """1,300 of them, more than the server may open files, and more all the time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    process = subprocess.Popen([sys.executable, "-c", SERVING], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    half: list[socket.socket] = []
    try:
        port = int(process.stdout.readline())
        for number in range(1_300):
            one = socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S)
            one.sendall(b"GET / HT" if number % 2 else b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
            half.append(one)
            if number > 1_000 and number % 20 == 0:
                started = time.monotonic()
                assert "0 bytes" in await answers(port)
                assert time.monotonic() - started < 2
        files = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        assert 700 < files <= 1024 - 128
    finally:
        for one in half:
            one.close()
        process.terminate()
        process.wait(WITHIN_S)
        process.stdout.close()


def test_connections_stay_below_what_may_be_opened() -> None:
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (300, int(sys.argv[1])))\n"
        "from streams.base.http_server import connections_within_open_files as within\n"
        "print(within(1000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )

    def run(hard: int) -> str:
        command = [sys.executable, "-c", script, str(hard)]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()

    assert run(1024) == "768 1024"
    assert run(2000) == "1000 1256"
    assert connections_within_open_files(10) == 10
