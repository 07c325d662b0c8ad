"""Latency of the API on an embedded stack that holds many users and items, while events flow."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import httpx
import numpy as np

from deploy.embedded.stack import Stack
from streams.broker.config import KafkaConfig
from streams.broker.producer import Outgoing, Producer
from streams.concepts.tree_file import load_tree
from streams.events.items import Item
from streams.interests.evidence import Evidence
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import Level, Node, NodeKey, Vector
from streams.settings.wiring import kafka_config, qdrant_config
from streams.store.base import Fence
from streams.store.collections import Collections
from streams.store.qdrant import QdrantStore

USERS, ITEMS, TOPICS_A_USER = 10_000, 10_000, 3
EVENTS_PER_S, REQUESTS_PER_S = 200.0, 20.0
_CHUNK = 500
#: Until most of those who come have been read once: a worker that has just started reads every node from Qdrant.
WARM_S = 45.0


def near(chance: np.random.Generator, centre: Vector, spread: float = 0.7) -> Vector:
    """A unit vector about a centre."""
    row = centre + spread * chance.standard_normal(centre.shape[0]).astype(np.float32) / np.sqrt(centre.shape[0])
    return (row / np.linalg.norm(row)).astype(np.float32)


async def fill(stack: Stack, encoder_id: str, dim: int) -> dict[str, float]:
    """Write users with three topics and interests each, and items, straight into the store."""
    file = stack.settings.concepts.file
    assert file is not None
    tree = load_tree(file)
    concepts = [(c.path, tree.vectors[n]) for n, c in enumerate(tree.concepts) if not c.is_topic]
    policy, now, chance = stack.settings.nodes.policy(), int(time.time() * 1000), np.random.default_rng(5)
    store = QdrantStore(qdrant_config(stack.settings), policy, Collections(encoder_id, dim))
    started, nodes = time.perf_counter(), 0
    for start in range(0, ITEMS, _CHUNK):
        points = []
        for n in range(start, min(start + _CHUNK, ITEMS)):
            path, centre = concepts[int(chance.integers(len(concepts)))]
            item = Item(
                f"item-{n}", title=f"Item number {n}", lang="en", ts_ms=now - int(chance.integers(30 * 86_400_000))
            )
            points.append(ItemPoint(item, near(chance, centre), path))
        await store.put_items(points)
    for start in range(0, USERS, _CHUNK):
        batch = [node for n in range(start, start + _CHUNK) for node in person(f"user-{n}", concepts, chance, now)]
        nodes += len(batch)
        await store.write(batch, Fence(0, 0))
    await store.close()
    return {"users": USERS, "items": ITEMS, "nodes": nodes, "fill_s": round(time.perf_counter() - started, 1)}


def person(user: str, concepts: list[tuple[str, Vector]], chance: np.random.Generator, now: int) -> list[Node]:
    """An invented tree: a profile, a session, topics and interests, each with evidence."""
    chosen = [concepts[int(n)] for n in chance.integers(len(concepts), size=TOPICS_A_USER)]
    rows: dict[tuple[Level, str], Vector] = {("profile", "/"): chosen[0][1], ("session", "/"): chosen[1][1]}
    for path, centre in chosen:
        rows["topic", "/" + path.split("/")[1]] = centre
        rows["interest", path] = centre
    evidence = tuple(
        Evidence(f"{user}-e{n}", f"item-{int(chance.integers(ITEMS))}", now - n * 60_000, 1.0) for n in range(8)
    )
    return [
        Node(
            key=NodeKey(user, level, path), direction=near(chance, centre), norm=5.0, mass=6.0, net=5.0,
            t0_ms=now, first_ms=now - 86_400_000, last_ms=now, count=9, evidence=evidence,
        )
        for (level, path), centre in rows.items()
    ]  # fmt: skip


@contextmanager
def flowing(kafka: KafkaConfig, topic: str, rate: float) -> Iterator[None]:
    """Produce clicks of those users on those items, evenly, as long as the body runs; a process beside this one."""
    process = get_context("spawn").Process(target=_produce, args=(kafka, topic, rate), daemon=True)
    process.start()
    try:
        yield
        if not process.is_alive():
            raise RuntimeError(f"the producer of events ended with {process.exitcode}: see above")
    finally:
        process.kill()
        process.join()


def _produce(kafka: KafkaConfig, topic: str, rate: float) -> None:
    asyncio.run(_keep_producing(kafka, topic, rate))


async def _keep_producing(kafka: KafkaConfig, topic: str, rate: float) -> None:
    chance, sent = random.Random(9), 0
    async with Producer(kafka) as producer:
        start = time.perf_counter()
        while True:
            due = int((time.perf_counter() - start) * rate)
            rows = [
                {"event_id": f"flow-{start:.0f}-{n}", "user_id": f"user-{chance.randrange(USERS)}", "type": "click",
                 "item_id": f"item-{chance.randrange(ITEMS)}"}
                for n in range(sent, due)
            ]  # fmt: skip
            if rows:
                await producer.send_many(topic, [Outgoing(r["user_id"].encode(), json.dumps(r).encode()) for r in rows])
            sent = due
            await asyncio.sleep(0.02)


async def latencies(url: str, template: str, seconds: float) -> dict[str, float]:
    """p50, p99 and the slowest of requests for random users, in ms, as a client sees them.

    They come at a steady rate whether those before are answered or not, and each is timed from when it was due: one
    that waits for its client to be free would hide what a standstill costs those behind it.
    """
    chance, took, failed = random.Random(11), [], 0

    async def ask(due: float) -> None:
        nonlocal failed
        answer = await client.get(template.format(user=f"user-{chance.randrange(USERS)}"))
        took.append(1000 * (time.perf_counter() - due))
        failed += answer.status_code != httpx.codes.OK

    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
        for _ in range(20):
            await client.get(template.format(user=f"user-{chance.randrange(USERS)}"))
        start = time.perf_counter()
        async with asyncio.TaskGroup() as asking:
            for sent in range(int(seconds * REQUESTS_PER_S)):
                due = start + sent / REQUESTS_PER_S
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                asking.create_task(ask(due))
    p50, p99 = np.percentile(took, [50, 99])
    return {"requests": len(took), "failed": failed, "p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1),
            "slowest_ms": round(max(took), 1)}  # fmt: skip


async def api_latency(stack: Stack, encoder_id: str, dim: int, seconds: float) -> dict[str, Any]:
    """Latency of trees and recommendations with 10,000 users and items while 200 events/s are folded."""
    figures: dict[str, Any] = {"filled": await fill(stack, encoder_id, dim), "events_per_s": EVENTS_PER_S}
    await asyncio.to_thread(os.sync)  # or the disk is still busy with what was filled, and with other parts' files
    url = stack.addresses()["API"]
    kafka = stack.settings.kafka
    with flowing(kafka_config(kafka), kafka.event_topics[0], EVENTS_PER_S):
        await asyncio.sleep(WARM_S)
        figures["interests"] = await latencies(url, "/v1/users/{user}/interests", seconds)
        figures["recommendations"] = await latencies(url, "/v1/users/{user}/recommendations?k=10", seconds)
    return figures
