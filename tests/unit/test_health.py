"""Liveness and readiness: judged from facts, and served over HTTP even while the event loop hangs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from streams.base.errors import StoreUnavailable
from streams.broker.liveness import LivenessFacts, LivenessJudge, LivenessLimits, not_live
from streams.worker.health import WorkerFacts, not_ready
from streams.worker.status import WorkerStatus, answer, serving

ROOT = Path(__file__).resolve().parents[2]
LIMITS = LivenessLimits(loop_s=30, stuck_s=120, answered_s=10)
ANSWERED = {"kafka": 1.0, "triton": 0.5, "qdrant": 2.0}


def facts(**changes: Any) -> WorkerFacts:
    """A worker that holds partitions; `changes` of what it is judged by."""
    return WorkerFacts(liveness=LivenessFacts(**changes), partitions=4)


@pytest.mark.parametrize(
    ("facts", "live", "ready"),
    [
        (facts(answered_s=ANSWERED), [], []),
        (WorkerFacts(waiting_for="qdrant"), [], ["it starts, and waits for qdrant"]),
        (WorkerFacts(), [], ["it has no assignment: the group rebalances, or has not been joined yet"]),
        (
            facts(lag=9, answered_s={"qdrant": 11.0, "triton": None}),
            [], ["qdrant has not answered for 11 s", "triton has not answered yet"],
        ),
        (facts(uncommitted_s=121, lag=9), ["9 records wait and nothing was committed for 121 s"], None),
        (facts(unacknowledged_s=121), ["batches are out and none was acknowledged for 121 s"], None),
        (facts(unfetched_s=121), ["records wait and none was fetched for 121 s"], None),
        (facts(uncommitted_s=119, unacknowledged_s=119, unfetched_s=119, lag=9), [], []),
        (facts(failure="KafkaError()"), ["the Kafka client gave up: KafkaError()"], None),
        (facts(loop_silent_s=31), ["the event loop has not run for 31 s"], None),
        (WorkerFacts(partitions=4, stopping=True), [], ["it is stopping"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(facts: WorkerFacts, live: list[str], ready: list[str] | None) -> None:
    assert not_live(facts.liveness, LIMITS) == live
    assert not_ready(facts, LIMITS) == (live if ready is None else ready)


async def test_servers_are_asked_and_their_silence_grows() -> None:
    status = WorkerStatus(LivenessJudge(LIMITS))
    away = False

    async def probe() -> bool:
        if away:
            raise StoreUnavailable("away")
        return True

    async def silent() -> bool:
        await asyncio.sleep(60)
        return True

    watching = asyncio.create_task(status.watch({"qdrant": probe, "triton": silent}))
    await asyncio.sleep(0.1)
    away = True
    assert status.facts().liveness.answered_s["qdrant"] is not None
    assert status.facts().liveness.answered_s["triton"] is None
    await asyncio.sleep(0.2)
    assert (status.facts().liveness.answered_s["qdrant"] or 0) > 0.15
    watching.cancel()


def test_the_port_answers_while_the_loop_hangs() -> None:
    judge = LivenessJudge(LivenessLimits(loop_s=1.5, stuck_s=120, answered_s=10))
    status, registry = WorkerStatus(judge), CollectorRegistry()
    status.waiting_for, status.partitions = None, lambda: 4
    Counter("interests_something", "For the test.", registry=registry)
    hang = threading.Event()

    async def loop() -> None:
        beating = asyncio.create_task(status.beat())
        await asyncio.sleep(1.2)
        hang.wait(8)  # what an event loop must never do
        beating.cancel()

    with serving(status, registry, "127.0.0.1", 0, exit_after_s=60) as port:
        running = threading.Thread(target=asyncio.run, args=(loop(),))
        running.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert client.get("/healthz").json()["live"]
            assert client.get("/readyz").status_code == 200
            assert "interests_something_total" in client.get("/metrics").text
            assert client.get("/").status_code == 404
            end = time.monotonic() + 10
            while (answer := client.get("/healthz")).status_code == 200 and time.monotonic() < end:
                time.sleep(0.1)
            assert answer.status_code == 503
            assert answer.json()["reasons"][0].startswith("the event loop has not run for")
            assert client.get("/readyz").status_code == 503
        hang.set()
        running.join()


HANGS = """
import asyncio, sys, time
from prometheus_client import CollectorRegistry
from streams.broker.liveness import LivenessJudge
from streams.worker.status import WorkerStatus, serving

async def main():
    status = WorkerStatus(LivenessJudge())
    with serving(status, CollectorRegistry(), "127.0.0.1", 0, exit_after_s=2.0):
        asyncio.get_running_loop().create_task(status.beat())
        await asyncio.sleep(0.1)
        time.sleep(60)

asyncio.run(main())
"""


def test_a_loop_that_hangs_for_good_ends_the_process_with_1() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], cwd=ROOT, capture_output=True, timeout=30, check=False)
    assert done.returncode == 1
    assert b"event_loop_stuck" in done.stdout + done.stderr
    assert b"time.sleep" not in done.stderr  # places, no source lines
    assert b'File "<string>"' in done.stderr


def test_bodies_are_json_and_nothing_else_is_served() -> None:
    status = WorkerStatus(LivenessJudge(LIMITS))
    head, body = answer(status, "/readyz") or ("", {})
    assert head.startswith("503")
    assert json.loads(json.dumps(body))["reasons"] == ["it starts, and waits for its servers"]
    assert body.keys() == {
        "ready", "reasons", "loop_silent_s", "stuck_s", "partitions", "lag", "answered_s", "waiting_for", "stopping"
    }  # fmt: skip
    assert answer(status, "/anything") is None
