"""Attacks with bodies that cost more than their length; others are asked for meanwhile."""

from __future__ import annotations

import asyncio
import json
import zlib

import httpx
from prometheus_client.parser import text_string_to_metric_families

from streams.broker.admin import Admin
from streams.settings.wiring import kafka_config
from tests.attack.registry import Outcome, Target, answers_within, attack
from tests.fixtures import batches


async def _posted(target: Target, bodies: list[bytes], expected: set[int], **headers: str) -> Outcome:
    async with httpx.AsyncClient(base_url=target.open_api, trust_env=False, timeout=30) as http:

        async def post(body: bytes) -> int:
            kind = {"Content-Type": "application/json", **headers}
            return (await http.post("/v1/events", content=body, headers=kind)).status_code

        before = target.resident_mib("api")
        posting = asyncio.gather(*(post(body) for body in bodies))
        await asyncio.sleep(0.05)
        others_s = await answers_within(target.open_api)
        told = set(await posting)
        grown = target.resident_mib("api") - before
    said = f"{', '.join(map(str, sorted(told)))}; others in {others_s:.2f} s, +{max(0.0, grown):.0f} MiB resident"
    return Outcome(said, told <= expected and others_s < 5 and grown < 256)


def event(text: str) -> dict[str, str]:
    return {"user_id": "attack", "type": "search", "text": text}


@attack("20 events of 50,000 combining marks in a request")
async def combining_marks(target: Target) -> Outcome:
    # Each mark is two bytes: a request of 2 MiB.
    body = json.dumps([event("a" + "\u0301" * 50_000)] * 20, ensure_ascii=False).encode()
    return await _posted(target, [body], {202, 422, 413})


@attack("1 GiB of zeros as 1 MiB of gzip")
async def gzip_bomb(target: Target) -> Outcome:
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    pieces = [packer.compress(b"\0" * (1 << 20)) for _ in range(target.size(256, 1024))]
    packed = b"".join([*pieces, packer.flush()])
    return await _posted(target, [packed], {413}, **{"Content-Encoding": "gzip"})


@attack("1,900 MiB of zeros as one record of 60 kB of zstd, through Kafka", needs=("kafka", "worker"))
async def zstd_bomb(target: Target) -> Outcome:
    assert target.kafka
    assert target.worker
    config, topic = kafka_config(target.kafka), target.kafka.event_topics[-1]
    before, letters = target.resident_mib("worker"), await _dead_letters(target.worker)
    packed = await asyncio.to_thread(batches.bomb, "zstd", target.size(256, 1_900) << 20)
    await batches.produce_raw(config, topic, 0, [packed])
    async with Admin(config) as admin:
        while await _dead_letters(target.worker) == letters or any(
            lag.lag for lag in await admin.lag(target.kafka.group, [topic])
        ):
            await asyncio.sleep(0.2)  # an attack has a deadline
    grown = target.resident_mib("worker") - before
    others_s = await answers_within(target.worker)
    said = (
        f"{len(packed) / 1024:.0f} KiB dead-lettered; worker in {others_s:.2f} s, +{max(0.0, grown):.0f} MiB resident"
    )
    return Outcome(said, others_s < 5 and grown < 160)


async def _dead_letters(worker: str) -> float:
    async with httpx.AsyncClient(base_url=worker, trust_env=False, timeout=10) as http:
        families = text_string_to_metric_families((await http.get("/metrics")).text)
    return sum(s.value for family in families for s in family.samples if s.name == "interests_dead_letters_total")


@attack("brackets 200,000 deep, a string without an end, a number of a million digits")
async def json_bombs(target: Target) -> Outcome:
    bodies = [
        b'{"user_id": "a", "x": ' + b"[" * 200_000, b'{"user_id": "a", "x": "' + b'\\"' * 500_000,
        b'{"user_id": "a", "type": "search", "ts": ' + b"9" * 1_000_000 + b"}",
    ]  # fmt: skip
    return await _posted(target, bodies, {400, 413, 422})
