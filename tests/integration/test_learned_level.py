"""Events on a real broker become learned nodes in a real Qdrant engine by way of a model on a real Triton server."""

from __future__ import annotations

import asyncio
import time

import httpx
import numpy as np
import pytest

from streams.interests.nodes import NodeKey
from tests.fixtures.learned_path import LearnedRig
from tests.fixtures.path import WorkerProcess

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("broker", ["tansu"], indirect=True)]


def event(n: int, user: str, kind: str, item: str) -> dict[str, object]:
    ts = int(time.time() * 1000) - 1_000 + n
    return {"event_id": f"{user}-{n}", "user_id": user, "type": kind, "item_id": item, "ts": ts}


def is_ready(worker: WorkerProcess) -> bool:
    return httpx.get(worker.metrics_url.replace("/metrics", "/readyz"), timeout=5).status_code == 200


async def counted(rig: LearnedRig, name: str) -> float:
    """A metric, summed over the workers that run and over its labels."""
    found = [await worker.metrics() for worker in rig.workers if worker.running]
    return sum(value for one in found for key, value in one.items() if key.partition("{")[0] == name)


async def test_who_clicks_has_learned_nodes_by_the_served_model(learned_path: LearnedRig) -> None:
    path, me = learned_path, learned_path.user()
    await path.mark()
    await path.produce(path.clicks, [event(1, me, "click", "football"), event(2, me, "like", "jazz")])
    await path.until(lambda o: o.get("applied", 0) == 2)
    nodes = await path.until_learned(me, 2)
    assert sorted(nodes) == ["/", "/click", "/exposure", "/purchase"]
    profile = (await path.tree(me))[NodeKey(me, "profile", "/")]
    for node in nodes.values():
        assert node.learned is not None
        assert node.learned.model == path.model_id
        assert np.linalg.norm(node.direction) == pytest.approx(1.0, abs=1e-3)
        assert (node.mass, node.t0_ms, node.last_ms) == (profile.mass, profile.t0_ms, profile.last_ms)
    assert {(one.item_id, one.type) for one in nodes["/"].evidence} == {("football", "click"), ("jazz", "like")}
    assert sum(one.weight for one in nodes["/"].evidence) == pytest.approx(1.0, abs=1e-2)
    assert nodes["/click"].learned is not None
    assert nodes["/click"].learned.variance > 0
    assert await counted(path, "interests_learned_people_total") >= 1
    assert await counted(path, "interests_learned_failures_total") == 0
    for name in ("interests_learned_round_seconds_count", "interests_learned_call_seconds_count"):
        assert await counted(path, name) >= 1
    assert await counted(path, "interests_learned_model_info") == 1


async def test_while_the_model_is_down_events_are_applied_and_its_nodes_follow(learned_path: LearnedRig) -> None:
    path, me = learned_path, learned_path.user()
    await path.mark()
    await path.produce(path.clicks, [event(1, me, "click", "football")])
    before = await path.until_learned(me, 1)
    path.triton.kill()
    try:
        await path.produce(path.clicks, [event(n, me, "click", "jazz") for n in range(2, 6)])
        await path.until(lambda o: o.get("applied", 0) == 5, timeout_s=10)
        async with asyncio.timeout(20):
            while not await counted(path, "interests_learned_failures_total"):
                await asyncio.sleep(0.1)
        assert {node.t0_ms for node in (await path.learned(me)).values()} == {node.t0_ms for node in before.values()}
        assert await counted(path, "interests_learned_queue") == 1
        assert await counted(path, "interests_learned_oldest_seconds") > 0
        assert (await path.outcomes()).get("dead", 0) == 0
        assert await counted(path, "interests_retries_total") == 0, "no batch has waited"
    finally:
        path.triton.start()
    after = await path.until_learned(me, 5, timeout_s=60)
    assert {node.learned.model for node in after.values() if node.learned} == {path.model_id}


async def test_who_is_erased_has_no_learned_nodes(learned_path: LearnedRig) -> None:
    path, me = learned_path, learned_path.user()
    await path.mark()
    await path.produce(path.clicks, [event(1, me, "click", "football")])
    await path.until_learned(me, 1)
    erase = {"event_id": f"{me}-erase", "user_id": me, "type": "erase", "ts": int(time.time() * 1000)}
    await path.produce(path.events, [erase])
    await path.until(lambda o: o.get("applied", 0) == 2)
    await asyncio.sleep(0.5)  # as long as a call that is not full waits for more people, and more
    assert await path.learned(me) == {}


async def test_a_model_that_is_not_there_costs_nothing_else(learned_path: LearnedRig) -> None:
    """The worker is stopped, and another one asks for a model that Triton does not have."""
    path, me = learned_path, learned_path.user()
    assert path.workers[0].stop() == 0, path.workers[0].log()
    settings = path.settings
    path.settings = settings.model_copy(update={"learned": settings.learned.model_copy(update={"model": "nobody"})})
    worker = path.worker()
    try:
        await path.mark()
        await path.produce(path.clicks, [event(n, me, "click", "football") for n in range(1, 4)])
        await path.until(lambda o: o.get("applied", 0) == 3)
        async with asyncio.timeout(20):
            while not await counted(path, "interests_learned_failures_total"):
                await asyncio.sleep(0.1)
        metrics = await worker.metrics()
        assert metrics['interests_learned_failures_total{reason="model"}'] >= 1
        assert await path.learned(me) == {}
        assert (await path.outcomes()).get("dead", 0) == 0
        async with asyncio.timeout(20):
            while not is_ready(worker):
                await asyncio.sleep(0.2)
        began = time.monotonic()
        assert worker.stop() == 0, worker.log()
        assert time.monotonic() - began < 15
        assert me not in worker.log()
    finally:
        path.settings = settings
        worker.kill()
