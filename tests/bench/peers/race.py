"""The worker and its peers on the same events, one after the other and round after round, on one broker and Qdrant.

Every run starts a fresh process with everything there to be read, writes people nobody has met before, and is timed
over the second half of its events. What a peer has written is then held to what the events say.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.embedded import kafka
from deploy.embedded.ports import HOST
from deploy.embedded.stack import Stack
from streams.broker.admin import Admin, TopicSpec
from streams.broker.config import BrokerImplementation
from streams.encoder.client import TritonEncoder
from streams.settings.wiring import kafka_config, qdrant_config
from streams.store.collections import Collections, Shape, ensure
from streams.store.points import PointsClient
from streams.store.qdrant import QdrantStore
from tests.bench.path import APPLIED, ITEMS, PROGRESS, clicks, describe_items, samples, send, total
from tests.bench.peers.check import differences, expected, written
from tests.bench.peers.job import Catalogue, Job
from tests.fixtures.brokers import kafka_libs
from tests.fixtures.qdrant import official

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
OURS = "worker"
PEERS = ("plain", "quix", "pathway")
QUIET = {"INTERESTS_LOG__LEVEL": "warning", "INTERESTS_WORKER__SWEEP_EVERY_S": "0"}
WITHIN_S = 300.0
_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """How far a run is: events applied and nodes written, and processor time by process, in seconds."""

    at_s: float
    events: float
    nodes: float
    cpu_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Course:
    """What every run of a round reads."""

    stack: Stack
    collections: Collections
    catalogue: Catalogue
    catalogue_file: Path
    rows: list[dict[str, Any]]
    topic: str

    def sample(self, events: float, nodes: float, pid: int) -> Sample:
        """Note how far the process `pid` is now."""
        pids = {"own": pid, "qdrant": self.stack.pids()["qdrant"], "broker": self.stack.pids()["broker"]}
        return Sample(time.perf_counter(), events, nodes, {name: cpu_s(one) for name, one in pids.items()})


def cpu_s(pid: int) -> float:
    """The processor time that a process and its threads have taken, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def second_half(course: Sequence[Sample], count: int) -> dict[str, Any]:
    """The figures of a run between half of its events and all of them."""
    begun = next(sample for sample in course if sample.events >= count / 2)
    done = next(sample for sample in course if sample.events >= count)
    events = done.events - begun.events
    if not events:
        raise ValueError(f"got one write of {count} events and more, expected smaller ones: nothing is left to time")
    return {
        "events_per_s": round(events / (done.at_s - begun.at_s)),
        "nodes_an_event": round((done.nodes - begun.nodes) / events, 2),
        "cpu_us_an_event": {
            name: round(1e6 * (done.cpu_s[name] - begun.cpu_s[name]) / events) for name in done.cpu_s
        },
    }  # fmt: skip


async def worker(course: Course) -> AsyncIterator[Sample]:
    """Ours: the worker of the stack, as it is."""
    await course.stack.stop_worker()
    await send(course.stack, course.stack.settings.kafka.event_topics[0], course.rows, "user_id")
    await course.stack.start_worker()
    pid, before = course.stack.pids()["worker"], None
    while True:
        metrics = await samples(course.stack, *PROGRESS)
        now = course.sample(total(metrics, APPLIED), total(metrics, "interests_nodes_written_total"), pid)
        if before is not None and (before.events, before.nodes) == (now.events, now.nodes):
            yield before  # a scrape in the middle of counting a batch has some of its events and none of its nodes
        before = now
        await asyncio.sleep(_TICK_S)


async def peer(course: Course, name: str, collection: str) -> AsyncIterator[Sample]:
    """One of the peers, as a process of its own environment that says after each write how far it is."""
    ports = course.stack.ports
    job = Job(
        f"{HOST}:{ports.broker}", course.topic, f"bench-{collection}", HOST, ports.qdrant_grpc,
        collection, str(course.catalogue_file),
    )  # fmt: skip
    log = course.catalogue_file.with_name(f"{collection}.log")
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            PYTHON, "-m", f"tests.bench.peers.{name}", job.argument(), cwd=ROOT, stdout=subprocess.PIPE, stderr=errors
        )
    assert process.stdout is not None
    try:
        while line := await process.stdout.readline():
            events, nodes = map(int, line.split())
            yield course.sample(events, nodes, process.pid)
        raise RuntimeError(f"{name} ended with {await process.wait()}:\n{log.read_text(errors='replace')[-2_000:]}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run(course: Course, name: str, label: str, show: Callable[[float], None]) -> dict[str, Any]:
    """One run of the worker or of a peer: its figures, once what it has written was found right."""
    count, came = len(course.rows), list[Sample]()
    config = qdrant_config(course.stack.settings)
    points, client = PointsClient(config), official(config)
    collection = course.collections.interests if name == OURS else f"interests__{name}-{label}"
    try:
        await ensure(points.collections, Shape(collection, course.collections.dim))
        running = worker(course) if name == OURS else peer(course, name, collection)
        async with asyncio.timeout(WITHIN_S), aclosing(running):
            async for sample in running:
                came.append(sample)
                show(sample.events)
                if sample.events >= count:
                    break
        found = await written(client, collection, {row["user_id"] for row in course.rows})
        if name != OURS:
            await client.delete_collection(collection)
    finally:
        await client.close()
        await points.close()
    if wrong := differences(expected(course.rows, course.catalogue), found):
        raise RuntimeError(f"{name} left {len(wrong)} of {len(found)} nodes wrong, such as {wrong[:3]}")
    return second_half(came, count)


async def catalogue_of(stack: Stack, file: Path) -> tuple[Catalogue, Collections]:
    """Describe the items, read back their vectors and paths, and write them to `file` for the peers."""
    encoder = TritonEncoder(stack.settings.triton.url)
    info = await encoder.info()
    await encoder.close()
    names = Collections(info.encoder_id, info.dim)
    await describe_items(stack)
    store = QdrantStore(qdrant_config(stack.settings), stack.settings.nodes.policy(), names)
    items = list((await store.items(f"item-{n}" for n in range(ITEMS))).values())
    await store.close()
    rows = {item.item_id: row for row, item in enumerate(items)}
    catalogue = Catalogue(rows, [item.path for item in items], np.array([item.vector for item in items], np.float32))
    catalogue.save(file)
    return catalogue, names


def broker_here(console: Console) -> BrokerImplementation:
    """Apache Kafka where one is installed, else the embedded broker."""
    try:
        os.environ.setdefault(kafka.HOME_VARIABLE, str(kafka_libs().parent))
    except pytest.skip.Exception as why:
        console.print(f"on the embedded broker: {why}")
        return "tansu"
    return "kafka"


async def race(count: int, rounds: int, console: Console) -> dict[str, Any]:
    """Events/s, nodes and processor time an event of each: the runs, their median, and ours as a share of theirs."""
    broker = broker_here(console)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in (OURS, *PEERS)}
    with tempfile.TemporaryDirectory(prefix="interests-bench-") as folder, Progress(console=console) as progress:
        task = progress.add_task("starting the stack and describing items", total=None)
        async with Stack(Path(folder), ports="free", environment=QUIET, broker=broker) as stack:
            file = Path(folder) / "catalogue.npz"
            catalogue, names = await catalogue_of(stack, file)
            for number in range(rounds):
                label = f"round-{number + 1}"
                rows = [row | {"user_id": f"{label}-{row['user_id']}"} for row in clicks(count, label)]
                topic = f"peers-{label}"
                async with Admin(kafka_config(stack.settings.kafka)) as admin:
                    await admin.create_topics([TopicSpec(topic, stack.settings.kafka.partitions)])
                await send(stack, topic, rows, "user_id")
                await stack.stop_worker()
                course = Course(stack, names, catalogue, file, rows, topic)
                order = (*runs,) if number % 2 == 0 else (*reversed(runs),)
                for name in order:
                    doing = f"round {number + 1} of {rounds}: {name}"
                    progress.update(task, description=doing, total=count, completed=0)
                    runs[name].append(
                        await run(course, name, label, lambda events: progress.update(task, completed=events))
                    )
                    await stack.stop_worker()
    return {"broker": broker, "events": count, "rounds": rounds, **summary(runs)}


def summary(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The median of each figure, the least and most events/s, and the median of ours over theirs, round by round."""
    figures: dict[str, Any] = {}
    for name, of in runs.items():
        rates = [one["events_per_s"] for one in of]
        figures[name] = {
            "events_per_s": round(median(rates)), "least": min(rates), "most": max(rates),
            "nodes_an_event": round(median(one["nodes_an_event"] for one in of), 2),
            "cpu_us_an_event": {
                part: round(median(one["cpu_us_an_event"][part] for one in of)) for part in of[0]["cpu_us_an_event"]
            },
        }  # fmt: skip
        if name != OURS:
            ratios = [ours["events_per_s"] / one["events_per_s"] for ours, one in zip(runs[OURS], of, strict=True)]
            figures[name]["ours_to_theirs"] = round(median(ratios), 2)
    return figures


def table(figures: Mapping[str, Any]) -> Table:
    """The figures of `race` for a reader."""
    title = f"{figures['events']:,} clicks on {figures['broker']}, median of {figures['rounds']} rounds"
    shown = Table("", title=title, caption="second half timed; nodes and processor time (µs) are an event's")
    for heading in ("events/s", "least", "most", "nodes", "CPU", "Qdrant's", "ours/theirs"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for name in (OURS, *PEERS):
        one = figures[name]
        rates = (f"{one[rate]:,}" for rate in ("events_per_s", "least", "most"))
        cpu = (str(one["cpu_us_an_event"][part]) for part in ("own", "qdrant"))
        ratio = f"{one['ours_to_theirs']:.2f}" if name != OURS else ""
        shown.add_row(name, *rates, f"{one['nodes_an_event']:.2f}", *cpu, ratio)
    return shown


def figures(count: int, rounds: int, console: Console) -> dict[str, Any]:
    """Measure, and show a table; where the peers are not installed, why there are no figures."""
    if not PYTHON.exists():
        console.print(f"no peers: {PYTHON.relative_to(ROOT)} is not there, `make peers` makes it")
        return {"skipped": "the peers are not installed: make peers"}
    results = asyncio.run(race(count, rounds, console))
    console.print(table(results))
    return results
