"""Deadlines of both clients, on servers that are silent or slow; no API is needed."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import suppress

import pytest

from streams.client import DeadlineExceeded
from tests.fixtures.clients import Either


async def test_no_call_outlasts_its_deadline(client: Either) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        mine = client(f"http://127.0.0.1:{silent.getsockname()[1]}", deadline_s=5.0)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"had 0\.3 s"):
            await mine.within(0.3).users()
        assert 0.25 < time.monotonic() - began < 2.0


async def test_a_server_that_drips_is_cut_off_too(client: Either) -> None:
    body = json.dumps({"users": []}).encode().ljust(10_000)

    async def drip(_: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        out.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10000\r\n\r\n")
        with suppress(ConnectionError):
            for byte in body:
                if over.is_set():
                    break
                out.write(bytes([byte]))
                await out.drain()
                await asyncio.sleep(0.05)
        out.close()
        ended.set()

    over, ended = asyncio.Event(), asyncio.Event()
    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        mine = client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", deadline_s=0.5)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await mine.users()
        assert time.monotonic() - began < 3.0
        over.set()
        await ended.wait()
