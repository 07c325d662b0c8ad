"""The whole stack under `interests up`: parts that die, an `up` that is killed or stopped.

Events with ids go through Kafka and the API until they are acknowledged, as a client does that must lose nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.fault.registry import scenario
from tests.fault.trial import Trial
from tests.fault.whole import StubbornClient, WholeStack

#: What is started again. With a broker that forgets, its end and that of `up` lose what is not folded: nobody can help.
_PARTS = ("worker", "qdrant", "triton", "api")
_DURABLE = (*_PARTS, "broker", "up")


@scenario(own="stack")
async def stack_qdrant_killed(trial: Trial) -> None:
    """SIGKILL of Qdrant under `interests up`, again and again, while events come."""
    stack, _ = _whole(trial)
    async with _producing(trial):
        for _ in range(3):
            await asyncio.sleep(1.0)
            before = stack.pid("qdrant")
            assert _kill(before), stack.log()

            async def back(before: int = before) -> bool:
                return stack.pid("qdrant") not in (0, before)

            await trial.until(back, "Qdrant is started again")
    trial.injected = "3 x SIGKILL of Qdrant under `interests up`"
    trial.over()


@scenario(own="stack")
async def stack_stopped(trial: Trial) -> None:
    """Ctrl-C while events come, and up again: what a broker that forgets had acknowledged was folded first."""
    stack, _ = _whole(trial)
    async with _producing(trial):
        for _ in range(2):
            await asyncio.sleep(2.0)
            os.kill(stack.pid("up"), signal.SIGINT)
            assert await stack.ended() == 0, stack.log()
            assert "lost with the broker" not in stack.log()
            await stack.start()
    trial.injected = "2 x Ctrl-C while events came, and up again"
    trial.over()


@scenario(own="stack", brokers=("kafka",))
async def stack_killed(trial: Trial) -> None:
    """SIGKILL of `interests up`, its parts with it, while events come, and up again."""
    stack, _ = _whole(trial)
    async with _producing(trial):
        for _ in range(2):
            await asyncio.sleep(2.0)
            await _up_again(stack)
    trial.injected = "2 x SIGKILL of `interests up` with all its parts"
    trial.over()


@scenario(own="stack", plain=False)
async def stack_kills(trial: Trial) -> None:
    """SIGKILL of any part, and of `interests up` where the broker is durable, at random for some minutes."""
    stack, client = _whole(trial)
    chance, killed = random.Random(trial.options.seed), Counter[str]()
    end_s = time.monotonic() + trial.options.minutes * 60
    async with _producing(trial) as sending:
        while time.monotonic() < end_s and not sending.done():
            await asyncio.sleep(chance.uniform(1.0, 7.0))
            part = chance.choice(_DURABLE if stack.kind == "kafka" else _PARTS)
            if part == "up":
                await _up_again(stack)
            elif not _kill(stack.pid(part)):
                continue  # it is being started again
            killed[part] += 1
            assert stack.running, stack.log()
    kills = ", ".join(f"{count} {part}" for part, count in sorted(killed.items()))
    again = f"{client.again} sends had to be repeated"
    trial.injected = f"{killed.total()} x SIGKILL in {trial.options.minutes:g} min ({kills}); {again}"
    trial.over()


def _whole(trial: Trial) -> tuple[WholeStack, StubbornClient]:
    assert trial.arena.stack is not None
    assert trial.client is not None
    return trial.arena.stack, trial.client


@asynccontextmanager
async def _producing(trial: Trial) -> AsyncIterator[asyncio.Task[None]]:
    """Send events all the while, in a task that only a failure ends; what is under way is acknowledged first."""
    _, client = _whole(trial)
    enough = asyncio.Event()

    async def keep_sending() -> None:
        while not enough.is_set():
            await client.send(trial.made.events(20))
            await asyncio.sleep(0.2)

    sending = asyncio.create_task(keep_sending())
    try:
        yield sending
        enough.set()
        await sending
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _up_again(stack: WholeStack) -> None:
    _kill(stack.pid("up"))
    await stack.ended()
    await stack.start()


def _kill(pid: int) -> bool:
    """Whether there was such a process; 0 would be this process's own group."""
    if not pid:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
