"""Workers that die: at random, at every point of the path, and asked to stop in the middle of a batch."""

from __future__ import annotations

import asyncio
import random
import signal

from streams.pipeline.faultpoints import POINTS
from tests.fault.registry import scenario
from tests.fault.trial import Trial


@scenario()
async def kill_at_points(trial: Trial) -> None:
    """SIGKILL between read, encode, upsert and acknowledgement, early and late in a run."""
    worker = trial.worker()
    for turn, point in enumerate(POINTS):
        worker.kill()
        await trial.play(60)
        worker.start(f"{point}:kill@{1 + turn % 2}")
        assert await worker.ended() == -signal.SIGKILL, worker.log()
    worker.start()
    trial.injected = f"SIGKILL at {', '.join(POINTS)}"
    trial.over()


@scenario()
async def kill_random(trial: Trial) -> None:
    """SIGKILL at random moments while events keep coming."""
    chance, kills = random.Random(trial.options.seed), trial.options.kills
    worker = trial.worker()
    trial.supervise(worker)
    producing = asyncio.create_task(_keep_playing(trial))
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.2, 6.0) if chance.random() < 0.7 else chance.uniform(0.0, 1.0))
        if worker.running:
            worker.signal(signal.SIGKILL)
        await asyncio.sleep(0.2)
    producing.cancel()
    await asyncio.gather(producing, return_exceptions=True)
    trial.injected = f"{kills} x SIGKILL"
    trial.over()


async def _keep_playing(trial: Trial) -> None:
    while True:
        await asyncio.shield(trial.play(10))
        await asyncio.sleep(1.0)


@scenario()
async def terminate(trial: Trial) -> None:
    """SIGTERM in the middle of a batch: the worker finishes it and ends with 0."""
    worker = trial.worker()
    for point in ("after_encode", "before_ack"):
        worker.kill()
        await trial.play(60)
        worker.start(f"{point}:term@2")
        assert await worker.ended() == 0, worker.log()
    worker.start()
    trial.injected = "2 x SIGTERM within a batch"
    trial.over()


@scenario()
async def kill_before_upsert(trial: Trial) -> None:
    """SIGKILL before an upsert, long enough after the read that anything acknowledged too soon is committed."""
    worker = trial.worker()
    await trial.play(60)
    worker.kill()
    for _ in range(2):
        worker.start("before_upsert:kill=1.0@1")
        assert await worker.ended() == -signal.SIGKILL, worker.log()
    worker.start()
    trial.injected = "2 x SIGKILL 1 s after encoding"
    trial.over()


@scenario()
async def kill_after_upsert(trial: Trial) -> None:
    """SIGKILL when nodes are written and nothing is acknowledged yet, again and again in one place."""
    await trial.play(60)
    worker = trial.worker("after_upsert:kill@1")
    for _ in range(2):
        assert await worker.ended() == -signal.SIGKILL, worker.log()
        worker.start("after_upsert:kill@1")
    assert await worker.ended() == -signal.SIGKILL, worker.log()
    worker.start()
    trial.injected = "3 x SIGKILL before the acknowledgement"
    trial.over()
