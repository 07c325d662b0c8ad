"""A front before the embedded broker that mends one answer of Tansu's, so that librdkafka can speak to it.

Tansu 0.6.0 ends its answer to ApiVersions v3 and later with tagged fields of which one lacks its value; librdkafka
(kcat, confluent-kafka) reads on into nothing and gives the broker up. Those fields say nothing that a client needs:
the front leaves them out. It is the first exchange of a connection; all bytes after it pass as they are.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Set
from contextlib import suppress

from deploy.embedded.ports import HOST, connected_by

_API_VERSIONS, _FIRST_FLEXIBLE = 18, 3
_LARGEST_FIRST = 1 << 20  # bytes; a client's first request is some dozen
_CHUNK = 1 << 16
_ENTRY = 7  # an API's key, least and largest version (2 bytes each), and no tagged fields


class Front:
    """Listens on 127.0.0.1:`port` and passes each connection on to 127.0.0.1:`upstream`."""

    def __init__(self, port: int, upstream: int) -> None:
        self._port, self._upstream = port, upstream
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], int] = {}
        self._only: Callable[[], Set[int]] | None = None

    async def start(self) -> None:
        """Listen. OSError where the port is taken."""
        self._server = await asyncio.start_server(self._accept, HOST, self._port)

    async def close(self) -> None:
        """Stop listening and cut what is open."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def only(self, processes: Callable[[], Set[int]]) -> None:
        """From here on let through only what these processes of this machine send; cut the others off."""
        self._only = processes
        for task, client in list(self._open.items()):
            if not connected_by(client, self._port, processes()):
                task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client: int = writer.get_extra_info("peername")[1]
        if self._only is not None and not connected_by(client, self._port, self._only()):
            writer.close()
            return
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open[task] = client
        task.add_done_callback(self._open.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            broker, upstream = await asyncio.open_connection(HOST, self._upstream)
            request = await _frame(reader)
            _put(upstream, request)
            key, version = struct.unpack_from(">hh", request)
            if key == _API_VERSIONS and version >= _FIRST_FLEXIBLE:
                _put(writer, without_tags(await _frame(broker)))
            ways = [asyncio.ensure_future(_pass(reader, upstream)), asyncio.ensure_future(_pass(broker, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError, struct.error, ValueError):
            pass  # one side has gone, or does not speak Kafka: closing both is the answer
        finally:
            ends = [end for end in (upstream, writer) if end is not None]
            for end in ends:
                end.close()
            for end in ends:  # a cancellation that comes while it waits for one finds both closed
                with suppress(OSError):
                    await end.wait_closed()


def without_tags(answer: bytes) -> bytes:
    """An answer to ApiVersions (v3 or later) with an empty buffer of tagged fields.

    It is the correlation id (4 bytes), the error (2), the APIs as a compact array of `_ENTRY` bytes each, the
    throttle time (4), the tagged fields. ValueError where it is shorter than its own array says.
    """
    at, shift, count = 6, 0, 0
    while True:
        byte = answer[at] if at < len(answer) else 0
        count |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    end = at + max(0, count - 1) * _ENTRY + 4
    if end > len(answer):
        raise ValueError(f"got an answer of {len(answer)} bytes, expected at least {end}")
    return answer[:end] + b"\x00"


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    if not 0 <= size <= _LARGEST_FIRST:
        raise ValueError(f"got a first frame of {size} bytes, expected at most {_LARGEST_FIRST}")
    return await reader.readexactly(size)


def _put(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
