"""A worker's own word on its state, against what is really the case."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from streams.pipeline.faultpoints import VARIABLE
from streams.settings.wiring import qdrant_config
from streams.store.crash_marks import CrashMark
from streams.store.survey import Surveyor
from tests.fixtures.brokers import Broker
from tests.fixtures.path import ITEMS, Rig, WorkerProcess
from tests.fixtures.qdrant import QdrantServer

pytestmark = pytest.mark.integration


async def ask(worker: WorkerProcess, path: str) -> tuple[int, dict[str, Any]]:
    async with httpx.AsyncClient(trust_env=False, timeout=3) as client:
        try:
            answer = await client.get(worker.metrics_url.replace("/metrics", path))
        except httpx.TransportError:
            return 0, {}
    return answer.status_code, answer.json()


async def until(worker: WorkerProcess, path: str, status: int, timeout_s: float = 60.0) -> dict[str, Any]:
    end = time.monotonic() + timeout_s
    while (answer := await ask(worker, path))[0] != status:
        assert time.monotonic() < end, (path, answer, worker.log())
        await asyncio.sleep(0.1)
    return answer[1]


async def test_ready_is_what_it_says_and_an_outage_is_no_death(
    tansu: Broker, own_qdrant: Callable[..., QdrantServer], make_rig: Callable[..., Rig]
) -> None:
    qdrant = own_qdrant()
    path = make_rig(tansu, qdrant, worker={"unanswered_after_s": 3.0, "stuck_after_s": 40.0})
    await path.prepare()
    worker = path.worker()
    await until(worker, "/healthz", 200)
    ready = await until(worker, "/readyz", 200)
    assert ready["ready"]
    assert ready["partitions"] >= 4 * 5
    assert ready["answered_s"].keys() == {"kafka", "qdrant", "triton"}
    qdrant.kill()
    await path.items(ITEMS)
    away = await until(worker, "/readyz", 503)
    assert [reason.split(" ")[0] for reason in away["reasons"]] == ["qdrant"]
    await asyncio.sleep(2)
    assert (await ask(worker, "/healthz"))[0] == 200
    assert worker.running
    qdrant.start()
    await until(worker, "/readyz", 200)
    await path.items_known(len(ITEMS))
    assert worker.stop() == 0


async def test_five_seconds_after_it_has_partitions_a_worker_is_ready_and_has_folded_what_waited(
    tansu: Broker, qdrant: QdrantServer, make_rig: Callable[..., Rig]
) -> None:
    path = make_rig(tansu, qdrant)
    await path.prepare()
    waiting = [
        {"event_id": f"e{n}", "user_id": f"u{n % 40}", "type": "search", "text": f"tea number {n % 20}"}
        for n in range(200)
    ]
    await path.produce(path.clicks, waiting)
    worker, at_s = path.worker(), dict[str, float]()
    end = time.monotonic() + 90

    async def look() -> None:
        status, facts = await ask(worker, "/readyz")
        metrics = await worker.metrics()
        folded = sum(n for name, n in metrics.items() if re.match(r'interests_events_total.*outcome="applied"', name))
        now_s = time.monotonic()
        for name, reached in (
            ("assigned", facts.get("partitions")), ("ready", status == 200), ("folded", folded == len(waiting)),
        ):  # fmt: skip
            if reached:
                at_s.setdefault(name, now_s)

    while "ready" not in at_s or "folded" not in at_s:
        assert time.monotonic() < end, (at_s, worker.log())
        await look()
        await asyncio.sleep(0.02)
    assert at_s["ready"] - at_s["assigned"] <= 5
    assert at_s["folded"] - at_s["assigned"] <= 5
    assert "partitions_assigned" in worker.log()
    assert worker.stop() == 0


async def test_a_worker_whose_batch_hangs_is_not_live_ends_with_1_and_counts_as_dead(
    tansu: Broker, qdrant: QdrantServer, make_rig: Callable[..., Rig]
) -> None:
    path = make_rig(tansu, qdrant, worker={"stuck_after_s": 6.0})
    await path.prepare()
    worker = path.worker(**{VARIABLE: "after_read:wait=600"})
    await until(worker, "/readyz", 200)
    await path.produce(path.clicks, [{"event_id": "e", "user_id": "u", "type": "search", "text": "tea"}])
    dead = await until(worker, "/healthz", 503, 30)
    assert dead["reasons"][0].startswith("1 records wait and nothing was committed for")
    assert worker.wait() == 1
    # As good as a death: whoever takes the records over counts it, and reads one by one after some.
    (stood_still,) = await marks_of(path)
    assert stood_still.writer
    again = path.worker()
    await path.produce(path.clicks, [{"event_id": "f", "user_id": "u", "type": "search", "text": "rice"}])
    await path.settled()
    assert again.stop() == 0
    (stopped,) = await marks_of(path)
    assert (stopped.slot, stopped.writer) == (stood_still.slot, "")


async def marks_of(path: Rig) -> list[CrashMark]:
    """What the workers noted of the partitions that they began."""
    surveyor = Surveyor(qdrant_config(path.settings))
    try:
        return [mark for mark in await surveyor.crash_marks(path.settings.kafka.group) if mark.topic == path.clicks]
    finally:
        await surveyor.close()
