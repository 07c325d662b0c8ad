"""A stop where the broker forgets: what is said to be lost, and whom the front still lets through."""

from __future__ import annotations

import asyncio
import os

import pytest

from deploy.embedded.front import Front
from deploy.embedded.last_fold import Backlog, lost
from deploy.embedded.ports import free_ports


@pytest.mark.parametrize(
    ("left", "late", "lines"),
    [
        (Backlog(0, 0, 0, 0), "", []),
        (Backlog(1, 0, 0, 0), "", ["1 event not folded: lost with the broker"]),
        (
            Backlog(4_000, 2, 3, 1), " within 60 s",
            [
                "4,000 events and 2 other records not folded within 60 s: lost with the broker",
                "3 events that waited for an item and 1 dead letter: gone with the broker",
            ],
        ),
        (Backlog(0, 0, 0, 2), "", ["2 dead letters: gone with the broker"]),
        (None, "", ["how much was not folded could not be asked: it is lost with the broker"]),
    ],
)  # fmt: skip
def test_what_goes_with_the_broker_is_counted(left: Backlog | None, late: str, lines: list[str]) -> None:
    assert lost(left, late) == lines


async def test_a_front_that_closes_cuts_off_all_but_some_processes() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(100):
            writer.write(chunk)
        writer.close()

    async def passes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"\0\0\0\4\0\0\0\0")
        try:
            return await asyncio.wait_for(reader.readexactly(8), 5) != b""
        except (asyncio.IncompleteReadError, ConnectionError):
            return False

    port, upstream = free_ports(2)
    server, front = await asyncio.start_server(echo, "127.0.0.1", upstream), Front(port, upstream)
    await front.start()
    try:
        before = await asyncio.open_connection("127.0.0.1", port)
        assert await passes(*before)
        front.only(lambda: {os.getpid()})
        assert await passes(*before)
        after = await asyncio.open_connection("127.0.0.1", port)
        assert await passes(*after)
        front.only(lambda: {os.getppid()})
        late = await asyncio.open_connection("127.0.0.1", port)
        assert [await passes(*one) for one in (before, after, late)] == [False] * 3
        for _, writer in (before, after, late):
            writer.close()
    finally:
        await front.close()
        server.close()
