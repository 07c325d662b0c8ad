"""Attacks with bytes and connections, before anybody has said who they are."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlsplit

from tests.attack.registry import Outcome, Target, answers_within, attack

POST = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ENDS_S = 25.0


async def exchange(base: str, pieces: Iterable[bytes], *, pause_s: float = 0.0) -> tuple[bytes, int, float]:
    """Send pieces until the other side ends it: what came back, the bytes that were sent, the seconds it took."""
    parts = urlsplit(base)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    answer, sent, started = bytearray(), 0, time.monotonic()

    async def read() -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                answer.extend(piece)

    reading = asyncio.create_task(read())
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(ENDS_S):
            for piece in pieces:
                if reading.done():
                    break
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
                await asyncio.sleep(pause_s)
            await reading
    reading.cancel()
    writer.close()
    return bytes(answer), sent, time.monotonic() - started


def status_of(answer: bytes) -> str:
    """The status of an answer, or that there was none."""
    return answer[9:12].decode() if answer.startswith(b"HTTP/1.1 ") else "closed"


async def _refused(base: str, pieces: Iterable[bytes], *expected: str, pause_s: float = 0.0) -> Outcome:
    answer, sent, seconds = await exchange(base, pieces, pause_s=pause_s)
    status = status_of(answer)
    told = f"{status} after {sent / 1024:.0f} KiB, {seconds:.1f} s"
    return Outcome(told, held=status in expected and seconds < ENDS_S)


def endless_head(mib: int) -> Iterable[bytes]:
    yield b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "
    for _ in range(mib * 16):
        yield b"a" * (1 << 16)


@attack("200 MiB of one head")
async def endless_head_at_the_api(target: Target) -> Outcome:
    before = target.resident_mib("api")
    refused = await _refused(target.open_api, endless_head(target.size(32, 200)), "431", "closed")
    grown = target.resident_mib("api") - before
    return Outcome(f"{refused.came_back}, +{max(0.0, grown):.0f} MiB resident", refused.held and grown < 64)


@attack("200 MiB of one head", needs=("qdrant",))
async def endless_head_at_qdrant(target: Target) -> Outcome:
    assert target.qdrant
    return await _refused(target.qdrant, endless_head(target.size(32, 200)), "431", "closed")


@attack("200 MiB of one head", needs=("worker",))
async def endless_head_at_the_worker(target: Target) -> Outcome:
    assert target.worker
    return await _refused(target.worker, endless_head(target.size(32, 200)), "431", "closed")


@attack("5,000 header fields")
async def many_fields(target: Target) -> Outcome:
    fields = [b"h%d: v\r\n" % n for n in range(5_000)]
    return await _refused(target.open_api, [b"GET / HTTP/1.1\r\n", *fields], "431", "closed")


@attack("a head of a byte each half second")
async def trickling_head(target: Target) -> Outcome:
    return await _refused(target.open_api, [b"GET /healthz HTTP/1.1\r\nX: ", *[b"a"] * 60], "408", pause_s=0.5)


@attack("a body of a byte each half second")
async def trickling_body(target: Target) -> Outcome:
    pieces = [POST + b"Content-Length: 1000\r\n\r\n", *[b"a"] * 100]
    return await _refused(target.open_api, pieces, "408", "504", pause_s=0.5)


@attack("a body in 100,000 chunks of a byte")
async def tiny_chunks(target: Target) -> Outcome:
    pieces = [POST + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\na\r\n" * 1_000] * 100]
    return await _refused(target.open_api, pieces, "400", "closed")


@attack("a fast body without an end")
async def endless_body(target: Target) -> Outcome:
    pieces = [POST + b"Transfer-Encoding: chunked\r\n\r\n", *[b"10000\r\n" + b"a" * 65_536 + b"\r\n"] * 1_000]
    before = target.resident_mib("api")
    refused = await _refused(target.open_api, pieces, "413", "504", "closed")
    grown = target.resident_mib("api") - before
    return Outcome(f"{refused.came_back}, +{max(0.0, grown):.0f} MiB resident", refused.held and grown < 64)


@attack("a TLS handshake, HTTP/2, nothing that is HTTP")
async def no_http(target: Target) -> Outcome:
    told = []
    for greeting in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 100):
        answer, _, seconds = await exchange(target.open_api, [greeting])
        told.append(status_of(answer) if seconds < ENDS_S else "held")
    return Outcome(", ".join(told), held=set(told) <= {"400", "closed"})


@attack("2,000 requests on one connection, no answer read")
async def unread_answers(target: Target) -> Outcome:
    parts = urlsplit(target.open_api)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
    before = target.resident_mib("api")
    for _ in range(20):
        writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
    await asyncio.sleep(2)
    others_s, grown = await answers_within(target.open_api), target.resident_mib("api") - before
    writer.transport.abort()
    return Outcome(f"others in {others_s:.2f} s, +{max(0.0, grown):.0f} MiB resident", others_s < 5 and grown < 64)


async def _crowd(base: str, count: int, begun: bytes, path: str) -> Outcome:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 512)), hard))
    parts, open_ones, slowest = urlsplit(base), [], 0.0
    try:
        for number in range(count):
            with suppress(ConnectionError):
                connection = await asyncio.open_connection(parts.hostname, parts.port)
                connection[1].write(begun)
                open_ones.append(connection)
            if number % (count // 8) == 0:
                slowest = max(slowest, await answers_within(base, path))
        slowest = max(slowest, await answers_within(base, path))
        ended = 0
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(_ended(reader)) for reader, _ in open_ones]
        ended = sum(task.result() for task in waiting)
    finally:
        for _, writer in open_ones:
            writer.close()
    held = slowest < 5 and ended == len(open_ones)
    return Outcome(f"others in {slowest:.2f} s at most; {ended} of {len(open_ones)} ended within {ENDS_S:g} s", held)


async def _ended(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(ENDS_S):
            with suppress(ConnectionError):
                while await reader.read(1 << 16):
                    pass
    except TimeoutError:
        return False
    return True


@attack("3,000 half heads, left open")
async def crowd_of_half_heads(target: Target) -> Outcome:
    return await _crowd(target.open_api, target.size(1_200, 3_000), b"GET / HT", "/healthz")


@attack("500 half heads, left open", needs=("worker",))
async def crowd_at_the_worker(target: Target) -> Outcome:
    assert target.worker
    return await _crowd(target.worker, target.size(100, 500), b"GET / HT", "/metrics")


@attack("3,000 half heads, left open", needs=("qdrant",), whole=True)
async def crowd_at_qdrant(target: Target) -> Outcome:
    assert target.qdrant
    return await _crowd(target.qdrant, 3_000, b"GET / HT", "/healthz")
