"""Measurements of the whole path on an embedded stack."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import httpx

from deploy.embedded.stack import Stack
from streams.broker.producer import Outgoing, Producer
from streams.encoder.client import TritonEncoder
from streams.settings.wiring import kafka_config, qdrant_config
from streams.store.base import Fence
from streams.store.collections import Collections
from streams.store.node_wire import nodes_bytes
from streams.store.qdrant import QdrantStore

ITEMS, USERS = 2_000, 2_000
WORDS = [
    *("market", "garden", "river", "engine", "novel", "coach", "recipe", "planet", "theatre", "budget", "vaccine"),
    *("harbour", "pixel", "forest", "contract", "melody", "sprint", "glacier", "battery", "museum", "court", "kettle"),
    *("lantern", "orchard", "saddle", "compass", "足球", "新闻", "音乐", "旅行", "经济", "电影", "科学", "健康"),
]


def sentence(chance: random.Random, least: int = 6, most: int = 16) -> str:
    """A short text of the length of a title."""
    return " ".join(chance.choice(WORDS) for _ in range(chance.randint(least, most)))


async def texts_per_s(stack: Stack, count: int = 4_000) -> dict[str, float]:
    """Short texts through Triton with nothing cached: texts/s over the better of three rounds."""
    chance = random.Random(1)
    encoder = TritonEncoder(stack.settings.triton.url, cache_bytes=0)
    rates = []
    await encoder.encode([sentence(chance) for _ in range(200)])
    for _ in range(3):
        texts = [f"{sentence(chance)} {n}" for n in range(count)]
        start = time.perf_counter()
        await encoder.encode(texts)
        rates.append(count / (time.perf_counter() - start))
    await encoder.close()
    return {"texts_per_s": round(max(rates)), "texts_per_s_median": round(sorted(rates)[1])}


async def send(stack: Stack, topic: str, rows: Iterable[dict[str, Any]], key: str) -> None:
    """Produce JSON rows."""
    out = [Outgoing(str(row[key]).encode(), json.dumps(row, ensure_ascii=False).encode()) for row in rows]
    async with Producer(kafka_config(stack.settings.kafka)) as producer:
        await producer.send_many(topic, out, deadline_s=120)


def clicks(count: int, run: str, users: int = USERS) -> list[dict[str, Any]]:
    """Clicks of many users on known items, spread over the last hour."""
    chance, now = random.Random(2), int(time.time() * 1000)
    return [
        {"event_id": f"{run}-{n}", "user_id": f"user-{chance.randrange(users)}", "type": "click",
         "item_id": f"item-{int(chance.paretovariate(1.2)) % ITEMS}", "ts": now - chance.randrange(3_600_000)}
        for n in range(count)
    ]  # fmt: skip


async def samples(stack: Stack, *families: str) -> dict[str, float]:
    """The worker's metrics, of these `families` or all; empty while it does not answer."""
    return await scraped(stack.worker_metrics_url, *families)


async def scraped(url: str, *families: str) -> dict[str, float]:
    """The metrics that are served at `url`, of these `families` or all; empty while nothing answers there.

    Who asks for progress asks for its counters alone: the whole page, several times a second, takes a tenth of a worker
    that is at its most.
    """
    asked = url + "?" + urlencode({"name[]": families}, doseq=True) if families else url
    try:
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(verify=False), timeout=5) as client:
            text = (await client.get(asked, headers={"Accept-Encoding": "identity"})).text
    except httpx.HTTPError:
        return {}
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def total(metrics: dict[str, float], pattern: str) -> float:
    """The sum of samples whose name matches."""
    return sum(value for name, value in metrics.items() if re.match(pattern, name))


async def until(stack: Stack, met: Callable[[dict[str, float]], bool], timeout_s: float) -> dict[str, float]:
    """Poll the worker's counters of `PROGRESS` until they meet a condition."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        metrics = await samples(stack, *PROGRESS)
        if met(metrics):
            return metrics
        await asyncio.sleep(0.05)
    raise TimeoutError(f"not there after {timeout_s:g} s")


APPLIED = r'interests_events_total\{.*outcome="applied"'
PROGRESS = ("interests_events_total", "interests_nodes_written_total", "interests_items_total")


async def describe_items(stack: Stack) -> dict[str, float]:
    """Items/s from the topic to the collection."""
    chance = random.Random(3)
    rows = [{"item_id": f"item-{n}", "title": f"{sentence(chance)} {n}"} for n in range(ITEMS)]
    start = time.perf_counter()
    await send(stack, stack.settings.kafka.items_topic, rows, "item_id")
    await until(stack, lambda m: total(m, "interests_items_total") >= ITEMS, 300)
    return {"items": ITEMS, "items_per_s": round(ITEMS / (time.perf_counter() - start))}


async def events_per_s(stack: Stack, count: int) -> dict[str, float]:
    """Events/s that a worker applies when all are there already: half to warm its caches, half measured."""
    await stack.stop_worker()
    await send(stack, stack.settings.kafka.event_topics[0], clicks(count, "load"), "user_id")
    await stack.start_worker()
    half = await until(stack, lambda m: total(m, APPLIED) >= count / 2, 600)
    begun, at = total(half, APPLIED), time.perf_counter()
    done = await until(stack, lambda m: total(m, APPLIED) >= count, 600)
    seconds = time.perf_counter() - at
    written = total(done, "interests_nodes_written_total")
    return {
        "events": count,
        "users": USERS,
        "events_per_s": round((count - begun) / seconds),
        "nodes_per_s": round(written / count * (count - begun) / seconds),
        "nodes_written_an_event": round(written / count, 2),
    }


@contextmanager
def busy_core() -> Iterator[None]:
    """While another process keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def ages(stack: Stack, most: float, seconds: float) -> dict[str, dict[str, float]]:
    """Age at apply at a sixth and at half of the most, and at a sixth beside a process that keeps a core busy."""
    found = {"at_a_sixth": await age_at(stack, most / 6, seconds), "at_half": await age_at(stack, most / 2, seconds)}
    with busy_core():
        found["at_a_sixth_beside_a_busy_core"] = await age_at(stack, most / 6, seconds)
    return found


async def send_evenly(stack: Stack, rows: Sequence[dict[str, Any]], rate: float) -> float:
    """Produce events at `rate` events/s, as they are due; returns the seconds that it took."""
    topic, tick_s = stack.settings.kafka.event_topics[0], 0.02
    async with Producer(kafka_config(stack.settings.kafka)) as producer:
        start, sent = time.perf_counter(), 0
        pending = set[asyncio.Task[Any]]()
        while sent < len(rows):
            due = min(len(rows), int((time.perf_counter() - start) * rate))
            if due > sent:
                out = [Outgoing(r["user_id"].encode(), json.dumps(r).encode()) for r in rows[sent:due]]
                pending = {task for task in pending if not (task.done() and task.result())}
                pending.add(asyncio.create_task(producer.send_many(topic, out)))
                sent = due
            await asyncio.sleep(tick_s)
        took = time.perf_counter() - start
        await asyncio.gather(*pending)
    return took


async def age_at(stack: Stack, rate: float, seconds: float) -> dict[str, float]:
    """p50 and p99 of the age at apply while `rate` events/s flow evenly, from the worker's own histogram."""
    before = await samples(stack)
    rows = clicks(int(rate * seconds), f"at-{time.time():.0f}")
    took = await send_evenly(stack, rows, rate)
    goal = total(before, APPLIED) + len(rows)
    await until(stack, lambda m: total(m, APPLIED) >= goal, 120)
    after = await samples(stack)
    p50, p99 = (quantile(before, after, q) for q in (0.5, 0.99))
    return {"rate_events_per_s": round(len(rows) / took), "p50_s": round(p50, 3), "p99_s": round(p99, 3)}


def quantile(before: dict[str, float], after: dict[str, float], q: float) -> float:
    """A quantile of the age histogram between two scrapes, linear within its bucket, as PromQL does it."""
    counts: dict[float, float] = {}
    for name, value in after.items():
        if match := re.match(r'interests_age_at_apply_seconds_bucket\{.*le="([^"]+)"', name):
            counts[float(match[1])] = counts.get(float(match[1]), 0) + value - before.get(name, 0)
    wanted, low, under = q * counts[float("inf")], 0.0, 0.0
    for edge in sorted(counts):
        if counts[edge] >= wanted:
            return low if edge == float("inf") else low + (edge - low) * (wanted - under) / (counts[edge] - under)
        low, under = edge, counts[edge]
    return low


async def bytes_a_user(stack: Stack) -> dict[str, float]:
    """What a user takes: nodes, and vectors and payload by their own size."""
    encoder = TritonEncoder(stack.settings.triton.url)
    info = await encoder.info()
    await encoder.close()
    policy = stack.settings.nodes.policy()
    store = QdrantStore(qdrant_config(stack.settings), policy, Collections(info.encoder_id, info.dim))
    sizes, nodes = [], 0
    for user in range(50):
        tree = await store.tree(f"user-{user}")
        nodes += len(tree)
        sizes.append(len(nodes_bytes(tree, policy, Fence(1, 1))))
    await store.close()
    return {
        "nodes": round(nodes / 50, 1),
        "bytes_written": round(sum(sizes) / 50),
    }
