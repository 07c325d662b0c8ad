"""Three workers under an even load lose one: the lag as it was, beside the model of `deploy.capacity`.

The model is given what the steady time before the loss cost (processor seconds an event) and the settings; it knows
nothing of what follows. Each click is a person's first, so that every event writes four new nodes.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from deploy.capacity.model import Costs, Course, Group, Loss, simulate
from deploy.embedded.stack import Stack
from streams.broker.admin import Admin
from streams.broker.producer import Outgoing, Producer
from streams.settings.wiring import kafka_config
from tests.bench.path import APPLIED, describe_items, scraped, send, total
from tests.bench.peers.race import QUIET, broker_here, cpu_s
from tests.bench.scale import Running, newcomers, summed, workers

WORKERS, PARTITIONS, BACKLOG = 3, 6, 15_000
STEADY_S, AFTER_S = 30.0, 60.0
_WARM_S = 15.0
_SAMPLE_S = 0.25
_CHUNK_S = 0.05
_BACKLOG_WITHIN_S = 300.0
_BATCHES = "interests_batch_records_count"
_COUNTED = ("interests_events_total", _BATCHES)


async def produce(stack: Stack, events_per_s: float, stop: asyncio.Event) -> None:
    """Send newcomers' clicks evenly until `stop`: what is late is sent at once, so that the mean holds."""
    topic = stack.settings.kafka.event_topics[0]
    sent, began = 0, time.perf_counter()
    async with Producer(kafka_config(stack.settings.kafka)) as producer:
        while not stop.is_set():
            due = int((time.perf_counter() - began) * events_per_s)
            if due > sent:
                await producer.send_many(topic, list(_records(sent, due)), deadline_s=30)
                sent = due
            await asyncio.sleep(_CHUNK_S)


def _records(first: int, end: int) -> Iterator[Outgoing]:
    for row in newcomers(first, end):
        yield Outgoing(row["user_id"].encode(), json.dumps(row | {"ts": int(time.time() * 1000)}).encode())


class Watch:
    """The group's lag by time, from the broker: it counts what no worker owns too."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.times: list[float] = []
        self.lags: list[float] = []
        self.began = time.perf_counter()

    async def run(self) -> None:
        """Ask every `_SAMPLE_S` until cancelled."""
        kafka = self._stack.settings.kafka
        async with Admin(kafka_config(kafka)) as admin:
            while True:
                lags = await admin.lag(kafka.group, [kafka.event_topics[0]])
                self.times.append(time.perf_counter() - self.began)
                self.lags.append(float(sum(one.lag for one in lags)))
                await asyncio.sleep(_SAMPLE_S)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a time took: events applied, batches they came in, and processor seconds of all workers and of the store."""

    events: float
    batches: float
    worker_s: float
    store_s: float

    def __sub__(self, other: Spent) -> Spent:
        return Spent(*(mine - its for mine, its in zip(astuple(self), astuple(other), strict=True)))


async def spent(stack: Stack, running: Sequence[Running]) -> Spent:
    """The counts until now."""
    metrics = summed(await asyncio.gather(*(scraped(one.metrics_url, *_COUNTED) for one in running)))
    worker_s = sum(cpu_s(one.pid) for one in running)
    return Spent(total(metrics, APPLIED), metrics.get(_BATCHES, 0.0), worker_s, cpu_s(stack.pids()["qdrant"]))


async def backlog(stack: Stack, running: Sequence[Running], events: int) -> Spent:
    """What large batches took: `events` at once, and what the counts grew by from a fifth of them on."""
    rows = [row | {"user_id": f"backlog-{row['user_id']}"} for row in newcomers(0, events)]
    sending = asyncio.create_task(send(stack, stack.settings.kafka.event_topics[0], rows, "user_id"))
    began: Spent | None = None
    async with asyncio.timeout(_BACKLOG_WITHIN_S):
        while (now := await spent(stack, running)).events < events:
            if began is None and now.events > events / 5:
                began = now
            await asyncio.sleep(_SAMPLE_S)
    await sending
    if began is None:
        raise RuntimeError("got a backlog that was applied between two samples, expected a larger one")
    return now - began


def costs_of(large: Spent, steady: Spent) -> Costs:
    """The cost of an event and that of a batch, from two times of large and of small batches: two equations each."""
    (worker_event_s, worker_batch_s), (store_event_s, store_batch_s) = (
        np.linalg.solve([[large.events, large.batches], [steady.events, steady.batches]], [of_large, of_steady])
        for of_large, of_steady in ((large.worker_s, steady.worker_s), (large.store_s, steady.store_s))
    )
    return Costs(
        worker_event_s=float(worker_event_s), worker_batch_s=float(worker_batch_s), store_event_s=float(store_event_s),
        store_batch_s=float(store_batch_s), store_cores=1, machine_cores=os.cpu_count(),
    )  # fmt: skip


async def lost(events_per_s: float, console: Console) -> dict[str, Any]:
    """The lag of a run, and that of the model, from the start of the steady time on."""
    broker = broker_here(console)
    os.environ["INTERESTS_KAFKA__PARTITIONS"] = str(PARTITIONS)  # the stack makes the topics by this process's settings
    with tempfile.TemporaryDirectory(prefix="interests-bench-") as folder:
        async with Stack(Path(folder), ports="free", environment=QUIET, broker=broker) as stack:
            console.print("describing items …")
            await describe_items(stack)
            await stack.stop_worker()
            async with workers(stack, WORKERS) as running:
                console.print(f"a backlog of {BACKLOG:,} …")
                large = await backlog(stack, running, BACKLOG)
                stop, watch = asyncio.Event(), Watch(stack)
                sending = asyncio.create_task(produce(stack, events_per_s, stop))
                await asyncio.sleep(_WARM_S)
                watch.began = time.perf_counter()
                watching = asyncio.create_task(watch.run())
                console.print(f"steady, {events_per_s:,.0f} events/s …")
                before = await spent(stack, running)
                await asyncio.sleep(STEADY_S)
                costs = costs_of(large, await spent(stack, running) - before)
                at_s = time.perf_counter() - watch.began
                console.print(f"{costs}; one of {WORKERS} workers is lost …")
                await stack.kill_worker()
                await asyncio.sleep(AFTER_S)
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
                stop.set()
                await sending
            kafka = stack.settings.kafka
    group = Group(
        workers=WORKERS, partitions=PARTITIONS, session_timeout_s=kafka.session_timeout_s,
        heartbeat_s=kafka.heartbeat_s, commit_interval_s=kafka.commit_interval_s,
    )  # fmt: skip
    model = simulate(costs, group, events_per_s, seconds=at_s + AFTER_S, loss=Loss(workers=1, at_s=at_s))
    measured = Course(tuple(watch.times), tuple(watch.lags), at_s)
    return {
        "broker": broker, "events_per_s": events_per_s,
        "costs_us": {name: round(value * 1e6) for name, value in asdict(costs).items() if name.endswith("_s")},
        "measured": figures_of(measured), "predicted": figures_of(model),
        "ratio": ratios(figures_of(model), figures_of(measured)),
    }  # fmt: skip


def figures_of(course: Course) -> dict[str, float | None]:
    """What is compared: records, seconds, and record-seconds."""
    caught_up = course.caught_up_s
    return {
        "steady_lag": round(course.steady), "peak_lag": round(course.peak),
        "caught_up_s": None if caught_up is None else round(caught_up, 1),
    }  # fmt: skip


def ratios(predicted: Mapping[str, float | None], measured: Mapping[str, float | None]) -> dict[str, float | None]:
    """Predicted over measured."""
    return {
        name: round(value / measured[name], 2) if value is not None and measured[name] else None  # type: ignore[operator]
        for name, value in predicted.items()
    }


def figures(events_per_s: float, rounds: int, console: Console) -> list[dict[str, Any]]:
    """Measure so many times, each on a stack of its own."""
    runs = []
    for number in range(rounds):
        console.print(f"round {number + 1} of {rounds}")
        runs.append(asyncio.run(lost(events_per_s, console)))
    return runs
