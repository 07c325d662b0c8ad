"""Attacks of callers who hold live streams: after their key, and more than their share."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from tests.attack.issuer import LEEWAY_S, public_pem
from tests.attack.registry import Outcome, Target, attack

LIVE = "/v1/users/attack/live"
#: A heartbeat, and the second for which a file may go unread; twice that on a machine under load.
ENDS_S = 32.0


async def _until_ended(target: Target, key: str, begun: asyncio.Event) -> str:
    """Watch a tree until the stream ends: the status of the problem it ended with, or what else came."""
    kept = b""
    async with _client(target, key) as http, http.stream("GET", LIVE) as answer:
        if answer.status_code != httpx.codes.OK:
            begun.set()
            return f"not begun: {answer.status_code}"
        with suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(ENDS_S):
                async for piece in answer.aiter_raw():
                    kept = (kept + piece)[-4096:]
                    begun.set()
                last = kept.decode().strip().rpartition("\n\n")[2]
                status = last.partition('"status":')[2].partition(",")[0]
                return status if last.startswith("event: ended\n") else "ended without a word"
        return "still open"


def _client(target: Target, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=str(target.keyed_api), trust_env=False, timeout=30, headers={"Authorization": f"Bearer {key}"},
        limits=httpx.Limits(max_connections=None),
    )  # fmt: skip


async def _let_in(target: Target, *keys: str) -> bool:
    """Whether all these are let in again, within some seconds: what other attacks need."""
    async with _client(target, "") as http:
        for _ in range(100):
            told = [
                (await http.get("/v1/users", headers={"Authorization": f"Bearer {key}"})).status_code for key in keys
            ]
            if set(told) == {200}:
                return True
            await asyncio.sleep(0.1)
    return False


@attack(
    "live streams held while their key is taken out, their token ends, the key of their token is replaced",
    needs=("keyed_api", "keys", "keys_file", "issuer"),
)  # fmt: skip
async def streams_after_their_key(target: Target) -> Outcome:
    issuer, file = target.issuer, Path(str(target.keys_file))
    assert issuer
    lines, pem = file.read_text("utf-8"), issuer.file.read_bytes()
    given = {
        "key": target.keys["read"], "expired": issuer.token(exp=time.time() - LEEWAY_S + 4), "rotated": issuer.token(),
        "stays": target.keys["all"],
    }  # fmt: skip
    begun = {name: asyncio.Event() for name in given}
    started = time.monotonic()
    try:
        async with asyncio.TaskGroup() as group:
            watching = {name: group.create_task(_until_ended(target, key, begun[name])) for name, key in given.items()}
            for event in begun.values():
                await event.wait()
            file.write_text("\n".join(line for line in lines.splitlines() if not line.startswith("read:")), "utf-8")
            issuer.file.write_bytes(public_pem(generate_private_key(65537, 2048)))
            ending = [task for name, task in watching.items() if name != "stays"]
            await asyncio.gather(*ending)
            took_s, stays = time.monotonic() - started, not watching["stays"].done()
            watching["stays"].cancel()
    finally:
        file.write_text(lines, "utf-8")
        issuer.file.write_bytes(pem)
    again = await _let_in(target, target.keys["read"], issuer.token())
    told = {name: task.result() for name, task in watching.items() if name != "stays"}
    said = ", ".join(f"{name}: {one}" for name, one in told.items())
    held = set(told.values()) == {"401"} and stays and again
    return Outcome(f"{said} within {took_s:.1f} s; another key's goes on: {stays}; put back: {again}", held)


@attack("300 live streams of one key, then one of another", needs=("keyed_api", "keys"))
async def all_streams_of_one_key(target: Target) -> Outcome:
    async with AsyncExitStack() as opened:
        mine = await opened.enter_async_context(_client(target, target.keys["flood"]))
        other = await opened.enter_async_context(_client(target, target.keys["read"]))

        async def watch(http: httpx.AsyncClient, number: int) -> int:
            path = f"/v1/users/attack-{number}/live"
            answer = await opened.enter_async_context(http.stream("GET", path))
            return answer.status_code

        told = [await watch(mine, number) for number in range(target.size(120, 300))]
        others = await watch(other, 0)
    said = ", ".join(f"{told.count(one)} × {one}" for one in sorted(set(told)))
    held = set(told) == {200, 429} and told.count(200) <= 60 and others == httpx.codes.OK
    return Outcome(f"{said}; another key: {others}", held)
