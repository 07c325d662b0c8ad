"""Far more than the worker can take, and memory watched meanwhile; and everything at once, for as long as asked."""

from __future__ import annotations

import asyncio
import random
import signal
import time

from grpc import StatusCode

from tests.fault.arena import FaultyWorker
from tests.fault.registry import scenario
from tests.fault.trial import Trial
from tests.fixtures.interposer import refusing, slow, swallowing

_BURST = 40_000
_SLOW_S = 15.0
_MIB = 1 << 20


@scenario(users=200, worker={"batch_records": 1000})
async def overload(trial: Trial) -> None:
    """Ten times and more of what is applied comes in at once: memory reaches a plateau, and the lag drains."""
    peer = await trial.interpose("qdrant")
    worker = trial.worker()
    await trial.play(400)
    await trial.joined(worker)
    await trial.quiet()
    await trial.rig.mark()
    sampling = asyncio.create_task(_sample(worker))
    peer.act = slow(0.6, "Upsert")  # eight at once, so still some hundred events a second
    started = time.monotonic()
    await trial.send(trial.made.every_user(_BURST // len(trial.users)))
    sent_s = time.monotonic() - started
    await asyncio.sleep(max(0.0, _SLOW_S - sent_s))
    applied = (await trial.rig.outcomes()).get("applied", 0.0)
    times = _BURST / sent_s / (max(1.0, applied) / max(sent_s, _SLOW_S))
    peer.act = None
    trial.over()
    await trial.quiet(500)
    sampling.cancel()
    sizes = sampling_of(sampling)
    early, late = max(sizes[: len(sizes) // 2]), max(sizes[len(sizes) // 2 :])
    trial.injected = (
        f"{_BURST} clicks in {sent_s:.0f} s, {times:.0f} times what was applied meanwhile; "
        f"resident {early / _MIB:.0f} MiB at most in the first half, {late / _MIB:.0f} in the second"
    )
    assert times >= 10, f"not enough of an overload: {times:.1f} times"
    assert late < early + 48 * _MIB, f"memory goes on growing: {[size // _MIB for size in sizes]} MiB"
    assert worker.running, worker.log()


_sizes: dict[asyncio.Task[None], list[int]] = {}


async def _sample(worker: FaultyWorker) -> None:
    """Resident bytes every half second, kept by task."""
    task = asyncio.current_task()
    assert task is not None
    sizes = _sizes.setdefault(task, [])
    while True:
        sizes.append(worker.memory())
        await asyncio.sleep(0.5)


def sampling_of(task: asyncio.Task[None]) -> list[int]:
    """What a sampling task has seen."""
    return _sizes.pop(task)


@scenario(plain=False, own="broker", users=16, qdrant={"deadline_s": 2.0}, triton={"deadline_s": 5.0})
async def mix(trial: Trial) -> None:
    """Everything at once, by a seed, for ten minutes (--minutes): workers, broker, Triton and Qdrant."""
    chance, done = random.Random(trial.options.seed), dict.fromkeys(("worker", "broker", "triton", "qdrant"), 0)
    proxy = trial.arena.proxy
    assert proxy is not None
    qdrant, triton = await trial.interpose("qdrant"), await trial.interpose("triton")
    workers = [trial.worker(), trial.worker()]
    for worker in workers:
        trial.supervise(worker)
    end = time.monotonic() + 60 * trial.options.minutes
    while time.monotonic() < end:
        playing = asyncio.create_task(trial.play(chance.randrange(5, 30)))
        part = chance.choice(list(done))
        done[part] += 1
        seconds = chance.uniform(0.5, 6.0)
        if part == "worker":
            await _harm(chance.choice(workers), chance, seconds)
        elif part == "broker":
            await _disturb(trial, chance, seconds)
        else:
            peer = qdrant if part == "qdrant" else triton
            peer.act = chance.choice([
                refusing(StatusCode.UNAVAILABLE), refusing(StatusCode.INTERNAL, times=2), slow(1.0),
                swallowing("Upsert", "ModelInfer", times=2), refusing(StatusCode.RESOURCE_EXHAUSTED),
            ])  # fmt: skip
            await asyncio.sleep(seconds)
            peer.act = None
        await playing
        await asyncio.sleep(chance.uniform(0.0, 3.0))
    trial.over()
    trial.injected = f"{trial.options.minutes:g} min: " + ", ".join(f"{n} x {part}" for part, n in done.items())
    await trial.quiet(180)


async def _harm(worker: FaultyWorker, chance: random.Random, seconds: float) -> None:
    if not worker.running:
        return
    if chance.random() < 0.4:
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        worker.signal(signal.SIGCONT)
    else:
        worker.signal(chance.choice([signal.SIGKILL, signal.SIGTERM]))


async def _disturb(trial: Trial, chance: random.Random, seconds: float) -> None:
    proxy = trial.arena.proxy
    assert proxy is not None
    way = chance.randrange(3)
    if way == 0:
        proxy.reset()
    elif way == 1:
        proxy.drop_produce_answers(3)
    else:
        proxy.hold()
        await asyncio.sleep(seconds)
        proxy.release()
