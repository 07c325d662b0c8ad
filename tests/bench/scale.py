"""How the path scales: two workers on one backlog, and what an event costs as the store fills with people.

Qdrant's share of the processor is told apart from the workers': the embedded engine is one Python process and takes
one core at most, so the sum of the workers cannot grow past it. What must hold is the cost of an event in each process.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from deploy.embedded import parts
from deploy.embedded.addresses import worker_metrics_url
from deploy.embedded.ports import free_ports
from deploy.embedded.stack import Stack
from deploy.embedded.supervise import Supervised
from tests.bench.path import APPLIED, PROGRESS, clicks, describe_items, scraped, send, total
from tests.bench.peers.race import QUIET, Sample, broker_here, cpu_s, second_half

WITHIN_S = 600.0
LEAST_TIMED = 5_000
_TICK_S = 0.1
_NODES = "interests_nodes_written_total"
_MISSES = r'interests_cache_lookups_total\{cache="nodes",result="miss"'
_ASKED = (*PROGRESS, "interests_cache_lookups_total", "interests_cache_bytes")


@dataclass(frozen=True, slots=True)
class Running:
    """A worker that holds partitions: its process and where it serves its metrics."""

    pid: int
    metrics_url: str


@asynccontextmanager
async def workers(stack: Stack, count: int) -> AsyncIterator[list[Running]]:
    """The stack's worker, started anew, and others beside it until there are `count`, once each holds partitions."""
    async with AsyncExitStack() as ends:
        await stack.start_worker()
        ends.push_async_callback(stack.stop_worker)
        running = [Running(stack.pids()["worker"], stack.worker_metrics_url)]
        beside = (another_worker(stack, f"worker-{number}") for number in range(2, count + 1))
        running += [await ends.enter_async_context(one) for one in beside]
        yield running


@asynccontextmanager
async def another_worker(stack: Stack, name: str, **settings: str) -> AsyncIterator[Running]:
    """A worker beside the stack's own, with settings of its own as environment variables, once it holds partitions."""
    ports = replace(stack.ports, worker_metrics=free_ports(1)[0])
    own = {"INTERESTS_WORKER__METRICS_PORT": str(ports.worker_metrics), **settings}
    async with AsyncExitStack() as ends:
        probes = parts.Probes()
        ends.push_async_callback(probes.close)
        part = parts.worker(ports, {**os.environ, **QUIET, **stack.environment(), **own}, probes)
        another = Supervised(replace(part, name=name), stack.data_dir / "logs", lambda _: None, lambda _: None)
        await another.start()
        ends.push_async_callback(another.stop)
        yield Running(another.pid, worker_metrics_url(ports))


@dataclass(frozen=True, slots=True)
class Settled:
    """A sample, the nodes that the workers had by then not found in their caches, and the bytes those hold."""

    sample: Sample
    misses: float
    cached_bytes: float = 0.0


async def course(stack: Stack, running: Sequence[Running], count: int) -> list[Settled]:
    """Wait until `count` events are applied, and return the samples on the way.

    Only scrapes that the next one repeats are kept: one in the middle of counting a batch has some of its events.
    """
    came, before = list[Settled](), Settled(Sample(0.0, 0.0, 0.0, {}), 0.0)
    others = {name: pid for name, pid in stack.pids().items() if name in ("qdrant", "broker")}
    async with asyncio.timeout(WITHIN_S):
        while not came or came[-1].sample.events < count:
            metrics = summed(await asyncio.gather(*(scraped(one.metrics_url, *_ASKED) for one in running)))
            cpu = {f"worker_{number}": cpu_s(one.pid) for number, one in enumerate(running, start=1)}
            cpu |= {name: cpu_s(pid) for name, pid in others.items()}
            sample = Sample(time.perf_counter(), total(metrics, APPLIED), total(metrics, _NODES), cpu)
            now = Settled(sample, total(metrics, _MISSES), total(metrics, "interests_cache_bytes"))
            if (before.sample.events, before.sample.nodes) == (sample.events, sample.nodes):
                came.append(before)
            before = now
            await asyncio.sleep(_TICK_S)
    return came


def summed(scrapes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The sum of each sample over all workers."""
    names = {name for scrape in scrapes for name in scrape}
    return {name: sum(scrape.get(name, 0.0) for scrape in scrapes) for name in names}


def resident_mib(pid: int) -> int:
    """The resident memory of a process, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def disk_mib(folder: Path) -> int:
    """What the files under `folder` take on the disk, in MiB."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()) >> 20


def figures_of(came: Sequence[Settled], count: int) -> dict[str, Any]:
    """The second half of a course: events/s, nodes an event, and processor µs an event and a node by process.

    Nodes read are those that no cache had, over the whole course: misses are counted ahead of the events. `workers` is
    all workers together, so with each event on one of them it is a worker's cost of an event. `cores` is how much of a
    core each process took.
    """
    figures = second_half([one.sample for one in came], count)
    cpu = figures["cpu_us_an_event"]
    own = [cpu.pop(name) for name in sorted(cpu) if name.startswith("worker_")]
    cpu["workers"] = sum(own)
    rate, nodes = figures["events_per_s"], figures["nodes_an_event"]
    figures["nodes_per_s"] = round(rate * nodes)
    figures["nodes_read_an_event"] = round(came[-1].misses / came[-1].sample.events, 2)
    figures["cpu_us_a_node"] = {name: round(cpu[name] / nodes) for name in ("workers", "qdrant")}
    figures["cores"] = {
        **{f"worker_{n}": round(us * rate / 1e6, 2) for n, us in enumerate(own, start=1)},
        "qdrant": round(cpu["qdrant"] * rate / 1e6, 2),
    }
    return figures


async def applied(stack: Stack, rows: list[dict[str, Any]], count: int = 1) -> dict[str, Any]:
    """Have `count` fresh workers apply a backlog: their figures over its second half, and memory at the end.

    It is sent once they hold their partitions, in less time than they need for its first half.
    """
    async with workers(stack, count) as running:
        sending = asyncio.create_task(send(stack, stack.settings.kafka.event_topics[0], rows, "user_id"))
        came = await course(stack, running, len(rows))
        await sending
        return figures_of(came, len(rows)) | {
            "resident_mib": {
                "workers": sum(resident_mib(one.pid) for one in running),
                "qdrant": resident_mib(stack.pids()["qdrant"]),
            },
            "cached_mib": round(came[-1].cached_bytes / 2**20),
        }


def newcomers(first: int, end: int) -> list[dict[str, Any]]:
    """One click of each of the people first … end − 1."""
    rows = clicks(end - first, f"new-{first}")
    return [row | {"user_id": f"user-{n}"} for n, row in enumerate(rows, start=first)]


async def by_people(stack: Stack, events: int, populations: Sequence[int], console: Console) -> dict[str, Any]:
    """What an event costs with so many people in the store, by a worker that has just started: rising numbers.

    `newcomers` is the first click of each who was not there before, four new nodes (fewer than 5,000 are gone too
    soon to be timed); `known` are `events` clicks of anybody.
    """
    figures: dict[str, Any] = {"events": events}
    people = 0
    for number in populations:
        console.print(f"{number:,} people …")
        new = newcomers(people, number)
        if len(new) >= LEAST_TIMED:
            figures[f"newcomers_to_{number}"] = await applied(stack, new)
        else:
            async with workers(stack, 1) as running:
                await send(stack, stack.settings.kafka.event_topics[0], new, "user_id")
                await course(stack, running, len(new))
        people = number
        figures[f"known_of_{number}"] = await applied(stack, clicks(events, f"known-{number}", number))
        figures[f"known_of_{number}"]["qdrant_disk_mib"] = disk_mib(stack.data_dir / "qdrant")
    return figures


async def by_workers(stack: Stack, events: int, rounds: int, console: Console) -> dict[str, Any]:
    """One worker and two in turn, each round on people of its own: the median of each figure, and two over one.

    `own`: each click is a person's first, so every event is four new nodes. `shared`: the clicks are of 2,000 people,
    and how often their nodes are written depends on how much a batch holds.
    """
    figures: dict[str, Any] = {"events": events, "rounds": rounds}
    for kind in ("own", "shared"):
        runs: dict[str, list[dict[str, Any]]] = {"one_worker": [], "two_workers": []}
        for number in range(rounds):
            order = list(enumerate(runs, start=1))
            for count, name in order if number % 2 == 0 else order[::-1]:
                console.print(f"round {number + 1} of {rounds}, {kind} people: {name.replace('_', ' ')} …")
                label = f"{kind}-{name}-{number}"
                rows = newcomers(0, events) if kind == "own" else clicks(2 * events, label)
                people = [
                    row | {"user_id": f"{label}-{row['user_id']}", "event_id": f"{label}-{row['event_id']}"}
                    for row in rows
                ]
                runs[name].append(await applied(stack, people, count))
                console.print(runs[name][-1])
        figures[kind] = {name: medians_of(of) for name, of in runs.items()}
        for rate in ("events_per_s", "nodes_per_s"):
            ratios = [two[rate] / one[rate] for one, two in zip(*runs.values(), strict=True)]
            figures[kind][f"two_to_one_{rate}"] = round(median(ratios), 2)
    return figures


def medians_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The median of each figure of several runs."""
    return {
        name: medians_of([run[name] for run in runs])
        if isinstance(value, dict)
        else round(median(run[name] for run in runs), 2)
        for name, value in runs[0].items()
    }


async def scale(events: int, populations: Sequence[int], rounds: int, console: Console) -> dict[str, Any]:
    """Both parts on one stack; what is not asked for (no populations, no rounds) is left out."""
    broker = broker_here(console)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="interests-bench-") as folder:
        async with Stack(Path(folder), ports="free", environment=QUIET, broker=broker) as stack:
            console.print("describing items …")
            await describe_items(stack)
            await stack.stop_worker()
            if rounds:
                figures["scale_workers"] = {"broker": broker, **await by_workers(stack, events, rounds, console)}
            if populations:
                figures["scale_people"] = {"broker": broker, **await by_people(stack, events, populations, console)}
    return figures


def figures(events: int, populations: Sequence[int], rounds: int, console: Console) -> dict[str, Any]:
    """Measure."""
    return asyncio.run(scale(events, populations, rounds, console))
