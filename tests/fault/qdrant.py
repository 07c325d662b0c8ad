"""A Qdrant that is busy, fails, applies and does not answer, is away, or has no room left on its disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

from grpc import StatusCode

from tests.fault.arena import FaultyWorker
from tests.fault.registry import scenario
from tests.fault.trial import Trial
from tests.fixtures.interposer import Act, refusing, swallowing

DEADLINE = {"deadline_s": 2.0}


async def _through(trial: Trial, act: Act, seconds: float) -> FaultyWorker:
    """A worker at work, then `act` before its Qdrant while events come, for so long."""
    peer = await trial.interpose("qdrant")
    worker = trial.worker()
    await trial.play(40)
    await trial.joined(worker)
    peer.act = act
    await trial.play(80)
    await trial.waits_for(worker, "qdrant")
    await asyncio.sleep(seconds)
    peer.act = None
    trial.over()
    return worker


@scenario(qdrant=DEADLINE)
async def qdrant_busy(trial: Trial) -> None:
    """429 with Retry-After."""
    worker = await _through(trial, refusing(StatusCode.RESOURCE_EXHAUSTED, trailers=(("retry-after", "2"),)), 6.0)
    trial.injected = "429, Retry-After 2 s, for 6 s"
    assert worker.running, worker.log()


@scenario(qdrant=DEADLINE)
async def qdrant_errors(trial: Trial) -> None:
    """500 (INTERNAL) from every second call."""
    refuse, turn = refusing(StatusCode.INTERNAL), [0]

    async def every_other(method: str, request: bytes, forward: object) -> bytes:
        turn[0] += 1
        return await refuse(method, request, forward) if turn[0] % 2 else await forward()  # type: ignore[arg-type,operator]

    worker = await _through(trial, every_other, 6.0)
    trial.injected = "every second call INTERNAL for 6 s"
    assert worker.running, worker.log()


@scenario(qdrant=DEADLINE)
async def qdrant_silent_success(trial: Trial) -> None:
    """Upserts are applied and never answered: the worker's deadline passes."""
    worker = await _through(trial, swallowing("Upsert", times=4), 4.0)
    trial.injected = "4 upserts applied, not answered"
    assert worker.running, worker.log()


@scenario(own="qdrant", qdrant=DEADLINE)
async def qdrant_away(trial: Trial) -> None:
    """SIGKILL of Qdrant in the middle of events, and a restart much later."""
    qdrant = trial.arena.qdrant
    worker = trial.worker()
    await trial.play(60)
    await trial.joined(worker)
    qdrant.kill()
    await trial.play(60)
    await trial.waits_for(worker, "qdrant", 2)
    await asyncio.sleep(trial.options.away_s)
    assert worker.running, f"the worker did not wait\n{worker.log()}"
    await asyncio.to_thread(qdrant.start)
    trial.over()
    trial.injected = f"SIGKILL, away for {trial.options.away_s:g} s"


@scenario(own="qdrant-on-small-disk", qdrant=DEADLINE)
async def qdrant_disk_full(trial: Trial) -> None:
    """No room is left under the engine's files, and then there is again; a restart afterwards changes nothing."""
    qdrant, seconds = trial.arena.qdrant, 10.0
    worker = trial.worker()
    trial.supervise(worker)
    await trial.play(60)
    await trial.joined(worker)
    filler = qdrant.data_dir.parent / "filler"
    _fill(filler)
    await trial.play(300)
    await asyncio.sleep(seconds)
    waited = (await worker.metrics()).get('interests_retries_total{server="qdrant"}', 0.0)
    filler.unlink()
    trial.over()
    trial.injected = f"no byte free for {seconds:g} s, the worker waited {waited:.0f} times, then a restart"
    await trial.play(40)
    await trial.quiet()
    await asyncio.to_thread(qdrant.stop)
    await asyncio.to_thread(qdrant.start)


def _fill(file: Path) -> None:
    """Write until nothing more fits."""
    size = 1 << 20
    with file.open("wb", buffering=0) as out:
        while size:
            try:
                out.write(b"\0" * size)
            except OSError:
                size //= 4
