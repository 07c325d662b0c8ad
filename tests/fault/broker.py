"""A broker that pauses, breaks connections, loses answers, dies and comes back; and workers that come and go."""

from __future__ import annotations

import asyncio
import random
import signal

from tests.fault.registry import scenario
from tests.fault.trial import Trial


@scenario()
async def rebalance_storm(trial: Trial) -> None:
    """A third worker comes and goes, killed and stopped by turns, while two others work."""
    chance, times = random.Random(trial.options.seed), 6
    trial.worker()
    trial.worker()
    await trial.play(60)
    third = trial.worker()
    for turn in range(times):
        await trial.play(30)
        await asyncio.sleep(chance.uniform(2.0, 5.0))
        third.signal(signal.SIGKILL if turn % 2 else signal.SIGTERM)
        await third.ended()
        third.start()
    trial.injected = f"a third worker joined and left {times} times"
    trial.over()


@scenario(own="broker")
async def broker_away(trial: Trial) -> None:
    """The broker is stopped for a minute (paused where a restart would empty it)."""
    broker, away_s = trial.arena.broker, trial.options.broker_away_s
    worker = trial.worker()
    trial.supervise(worker)
    await trial.play(60)
    await trial.joined(worker)
    if broker.durable:
        await asyncio.to_thread(broker.stop)
    else:
        broker.signal(signal.SIGSTOP)
    await asyncio.sleep(away_s)
    if broker.durable:
        await asyncio.to_thread(broker.start)
    else:
        broker.signal(signal.SIGCONT)
    trial.over()
    await trial.play(60)
    trial.injected = f"{'stopped' if broker.durable else 'paused'} for {away_s:g} s"


@scenario(own="broker")
async def connections_reset(trial: Trial) -> None:
    """Every connection to the broker is cut, again and again."""
    proxy, cut = trial.arena.proxy, 0
    assert proxy is not None
    worker = trial.worker()
    trial.supervise(worker)
    for _ in range(8):
        playing = asyncio.create_task(trial.play(30))
        await asyncio.sleep(1.5)
        cut += proxy.reset()
        await playing
    trial.over()
    trial.injected = f"{cut} connections cut"


@scenario(own="broker")
async def produce_answers_dropped(trial: Trial) -> None:
    """What is produced is written, and the acknowledgement never comes: producers send again."""
    proxy = trial.arena.proxy
    assert proxy is not None
    trial.worker()
    late = f"late-{trial.run}"
    for _ in range(4):
        proxy.drop_produce_answers(3)
        await trial.play(40)
        proxy.drop_produce_answers(2)
        await trial.send([*trial.made.poison(4), *trial.made.clicks_on(late, 4)])
    trial.injected = f"{proxy.dropped} answers to produces dropped"
    await trial.describe_late(late)
    trial.over()


@scenario(own="broker")
async def broker_frozen_network(trial: Trial) -> None:
    """Connections stay open and nothing passes for longer than a session."""
    proxy = trial.arena.proxy
    assert proxy is not None
    worker = trial.worker()
    trial.supervise(worker)
    await trial.play(60)
    await trial.joined(worker)
    for seconds in (3.0, 8.0):
        proxy.hold()
        await asyncio.sleep(seconds)
        proxy.release()
        await trial.play(40)
    trial.over()
    trial.injected = "no traffic for 3 s and for 8 s"


@scenario(own="broker", brokers=("kafka",))
async def broker_killed(trial: Trial) -> None:
    """SIGKILL of the broker and a restart, again and again: what it acknowledged is there."""
    broker = trial.arena.broker
    worker = trial.worker()
    trial.supervise(worker)
    for _ in range(3):
        playing = asyncio.create_task(trial.play(60))
        await asyncio.sleep(2.0)
        await asyncio.to_thread(broker.kill)
        await asyncio.sleep(1.0)
        await asyncio.to_thread(broker.start)
        await playing
    trial.over()
    trial.injected = "3 x SIGKILL of the broker"
