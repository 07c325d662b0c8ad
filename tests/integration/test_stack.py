"""The embedded stack as a whole: up, stop, up again, a worker's death, a part's death, a killed parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from deploy.embedded.processes import marked
from deploy.embedded.stack import Stack
from streams.commands.connections import surveyor_of
from streams.commands.sender import sender_of
from streams.events.drafts import Line, draft_events, draft_items
from streams.interests.nodes import Node, NodeKey, profile_key
from streams.settings.wiring import qdrant_config
from streams.store.connection import QdrantConfig
from streams.store.qdrant import QdrantStore
from tests.fixtures.brokers import kafka_libs
from tests.fixtures.qdrant import QdrantServer
from tests.integration.test_stack_processes import alive
from tests.oracle import raw
from tests.oracle.generate import Made
from tests.oracle.ledger import Ledger

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
TOPICS = {name: name for name in ("clicks", "items")}
ITEMS = [
    {"item_id": "goal", "title": "Late goal decides the cup final", "categories": ["Sports", "Football"]},
    {"item_id": "bread", "title": "Sourdough bread without a mixer", "categories": ["Food", "Baking"]},
]


def events(first: int, count: int, now_ms: int) -> list[dict[str, Any]]:
    """Numbered clicks of one user, in turn on both items."""
    fixed = {"user_id": "ada", "type": "click"}
    return [
        {**fixed, "event_id": f"e{n}", "item_id": ITEMS[n % 2]["item_id"], "ts": now_ms - 1000 + n}
        for n in range(first, first + count)
    ]


def lines(rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    return [Line(number, json.dumps(row).encode()) for number, row in enumerate(rows, 1)]


def made(count: int, first: int = 0) -> list[Made]:
    """The same as records for a ledger."""
    rows = events(first, count, int(time.time() * 1000))
    return [Made("clicks", b"ada", json.dumps(row).encode()) for row in rows]


async def send(stack: Stack, rows: Sequence[Mapping[str, Any]], *, items: bool = False) -> None:
    """Produce items, or events to `clicks`."""
    now_ms = int(time.time() * 1000)
    drafts = (
        draft_items(lines(rows), "items", now_ms, check=True)
        if items
        else draft_events(lines(rows), lambda _: "clicks", now_ms, check=True)
    )
    assert not drafts.refused
    async with sender_of(stack.settings) as sender:
        await sender.send(drafts.ready)


async def tree_with(stack: Stack, count: int, timeout_s: float = 40.0) -> dict[NodeKey, Node]:
    """The user's tree once its profile counts so many events."""
    async with surveyor_of(stack.settings) as look:
        store = QdrantStore(qdrant_config(stack.settings), stack.settings.nodes.policy(), await look.collections())
    nodes: dict[NodeKey, Node] = {}
    try:
        async with asyncio.timeout(timeout_s):
            while profile_key("ada") not in nodes or nodes[profile_key("ada")].count < count:
                nodes = {node.key: node for node in await store.tree("ada")}
                await asyncio.sleep(0.1)
    except TimeoutError:
        log = (stack.data_dir / "logs" / "worker.log").read_text()[-4_000:]
        raise AssertionError(f"not {count} events within {timeout_s} s: {nodes}\n{log}") from None
    finally:
        await store.close()
    return nodes


@pytest.mark.timeout(240)  # two starts of the whole stack, and a worker's death between
async def test_trees_survive_the_death_of_a_worker_and_a_stop_of_the_stack(tmp_path: Path) -> None:
    now_ms = int(time.time() * 1000)
    async with Stack(tmp_path, ports="free") as stack:
        await send(stack, ITEMS, items=True)
        await send(stack, events(0, 10, now_ms))
        await tree_with(stack, 10)
        first = stack.pids()["worker"]
        os.kill(first, signal.SIGKILL)
        os.kill(stack.pids()["learner"], signal.SIGKILL)
        await send(stack, events(10, 10, now_ms))
        before = await tree_with(stack, 20)
        assert stack.restarts("worker") == 1
        assert stack.pids()["worker"] != first

        # Qdrant dies while events come: it is started again, has all that it had, and the backlog is folded.
        first = stack.pids()["qdrant"]
        os.kill(first, signal.SIGKILL)
        await send(stack, events(20, 400, now_ms))
        async with asyncio.timeout(30):
            while (about := json.loads((tmp_path / "stack.json").read_text()))["parts"]["qdrant"] == first:
                await asyncio.sleep(0.1)
        assert about["parts"]["qdrant"] == stack.pids()["qdrant"]
        before = await tree_with(stack, 420)
        assert stack.restarts("worker") == stack.restarts("learner") == 1  # they have waited
        pids = stack.pids()
    assert not any(map(alive, pids.values()))
    assert "code=0" in (tmp_path / "logs" / "worker.log").read_text()
    assert "code=0" in (tmp_path / "logs" / "learner.log").read_text()
    assert "Exit timeout expired" not in (tmp_path / "logs" / "triton.log").read_text()

    # The broker has forgotten topics, groups and offsets; the trees are there. Event 419 comes again under offset 0.
    async with Stack(tmp_path, ports="free") as stack:
        await send(stack, events(419, 6, now_ms))
        after = await tree_with(stack, 425)
        assert "another cluster" in (tmp_path / "logs" / "worker.log").read_text()

        pids = stack.pids()
        os.kill(pids["broker"], signal.SIGKILL)
        failure = await asyncio.wait_for(stack.failed(), 10)
        assert failure.part == "broker"
        assert str(tmp_path / "logs" / "broker.log") in str(failure)
        assert "kept everything in memory, so these are gone" in str(failure)
    assert not any(map(alive, pids.values()))
    assert after.keys() == before.keys()
    counts = {key: (before[key].count, node.count) for key, node in after.items()}
    assert counts[profile_key("ada")] == (420, 425)
    assert sum(late - early for (_, level, _), (early, late) in counts.items() if level == "topic") == 5


class Up:
    """`python -m deploy.embedded.up` on free ports, as a person runs it."""

    def __init__(self, data_dir: Path, *options: str, **environment: str) -> None:
        self.data_dir = data_dir
        self.errors, self.out = data_dir.with_name("errors.txt"), data_dir.with_name("out.txt")
        command = [sys.executable, "-m", "deploy.embedded.up", "--data-dir", str(data_dir), "--ports", "free", *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment}
        with self.errors.open("w") as errors, self.out.open("w") as out:
            self.process = subprocess.Popen(
                command, env=environment, stdout=out, stderr=errors, stdin=subprocess.DEVNULL
            )

    def ready(self, timeout_s: float = 90.0) -> dict[str, Any]:
        """What stack.json says, once the stack has written it."""
        about = self.data_dir / "stack.json"
        end = time.monotonic() + timeout_s
        while True:
            if about.exists() and json.loads(about.read_text())["pid"] == self.process.pid:
                return dict(json.loads(about.read_text()))
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < end, "not ready in time"
            time.sleep(0.1)

    def says(self, text: str, timeout_s: float = 20.0) -> None:
        """Wait until it has printed something."""
        end = time.monotonic() + timeout_s
        while text not in self.out.read_text():
            assert time.monotonic() < end, self.out.read_text()
            time.sleep(0.05)


@pytest.fixture
def started() -> Iterator[list[Up]]:
    """Stacks of a test; those still running are killed at its end."""
    stacks: list[Up] = []
    yield stacks
    for one in stacks:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def gone(pids: Sequence[int], within_s: float = 20.0) -> bool:
    end = time.monotonic() + within_s
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, pids))


def descendants(pid: int) -> list[int]:
    """A process's children and theirs."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for child in map(int, children) for one in (child, *descendants(child))]


async def test_up_refuses_a_second_one_and_stops_in_order(tmp_path: Path, started: list[Up]) -> None:
    up = Up(tmp_path / "data")
    started.append(up)
    about = up.ready()
    assert set(about["parts"]) >= {"broker", "triton", "qdrant", "worker"}
    assert "INTERESTS_KAFKA__BROKERS" in (tmp_path / "data" / "env").read_text()
    up.says("keeps its records in memory")
    second = subprocess.run(
        [sys.executable, "-m", "deploy.embedded.up", "--data-dir", str(tmp_path / "data")],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert f"pid {up.process.pid}" in second.stderr
    processes = descendants(up.process.pid)

    # With a worker that hangs, 7 events cannot be folded: the second Ctrl-C says how many go.
    os.kill(about["parts"]["worker"], signal.SIGSTOP)
    ledger = Ledger(tmp_path / "ledger", TOPICS, about["addresses"]["Kafka"])
    assert await ledger.produce(made(7)) == 7
    up.process.send_signal(signal.SIGINT)
    up.says("is folded first")
    up.process.send_signal(signal.SIGINT)
    up.says("7 events not folded, as asked: lost with the broker")
    os.kill(about["parts"]["worker"], signal.SIGCONT)
    assert up.process.wait(60) == 0
    assert up.errors.read_text() == ""
    assert gone(processes, 1.0)
    assert not (tmp_path / "data" / "stack.json").exists()


@pytest.mark.parametrize(
    ("within", "frozen", "said"),
    [
        ("0", "worker", "7 events not folded: lost with the broker"),
        ("2", "worker", "7 events not folded within 2 s: lost with the broker"),
        ("0", "broker", "how much was not folded could not be asked: it is lost with the broker"),
    ],
    ids=["not at all", "two seconds", "a broker that hangs"],
)
async def test_a_stop_waits_no_longer_than_it_was_given(
    tmp_path: Path, started: list[Up], within: str, frozen: str, said: str
) -> None:
    started.append(up := Up(tmp_path / "data", "--fold-within", within))
    about = up.ready()
    os.kill(about["parts"]["worker"], signal.SIGSTOP)
    ledger = Ledger(tmp_path / "ledger", TOPICS, about["addresses"]["Kafka"])
    assert await ledger.produce(made(7)) == 7
    os.kill(about["parts"][frozen], signal.SIGSTOP)
    up.process.send_signal(signal.SIGINT)
    up.says(said)
    os.kill(about["parts"]["worker"], signal.SIGCONT)
    os.kill(about["parts"][frozen], signal.SIGCONT)
    assert up.process.wait(60) == 0
    assert ("is folded first" in up.out.read_text()) == (within != "0")


async def test_ctrl_c_folds_first_what_was_acknowledged(tmp_path: Path, started: list[Up]) -> None:
    up = Up(tmp_path / "data")
    started.append(up)
    kafka = up.ready()["addresses"]["Kafka"]
    ledger, asked = Ledger(tmp_path / "ledger", TOPICS, kafka), 0

    async def keep_producing() -> None:
        nonlocal asked
        with suppress(KafkaError, OSError):
            while asked < 100_000:  # until nobody takes them any more
                asked += 200
                assert await ledger.produce(made(200, asked), within_s=5) == 200

    await ledger.produce([Made("items", str(i["item_id"]).encode(), json.dumps(i).encode()) for i in ITEMS])
    producing = asyncio.create_task(keep_producing())
    async with asyncio.timeout(30):
        while len(ledger.entries()) < 2_000:
            await asyncio.sleep(0.05)
    up.process.send_signal(signal.SIGINT)
    await asyncio.gather(producing, return_exceptions=True)
    assert await asyncio.to_thread(up.process.wait, 90) == 0
    said = up.out.read_text()
    assert "folding: " in said
    assert "lost with the broker" not in said

    acknowledged = sum(entry.topic == "clicks" and entry.offset is not None for entry in ledger.entries())
    qdrant = QdrantServer(tmp_path / "data" / "qdrant")
    qdrant.start()
    try:
        config = QdrantConfig(host=qdrant.host, grpc_port=qdrant.grpc_port, http_port=qdrant.http_port)
        [profile] = [node for node in await raw.nodes(config, ["ada"]) if node.key.level == "profile"]
    finally:
        qdrant.stop()
    assert 2_000 <= acknowledged <= profile.count <= asked  # a batch that was cut off may or may not have been taken


@pytest.mark.timeout(240)  # two starts of the whole stack
async def test_a_kafka_in_the_data_directory_keeps_what_was_acknowledged(tmp_path: Path, started: list[Up]) -> None:
    home = str(kafka_libs().parent)
    started.append(up := Up(tmp_path / "data", "--broker", "kafka", KAFKA_HOME=home))
    about = up.ready()
    assert "INTERESTS_KAFKA__IMPLEMENTATION=kafka\n" in (tmp_path / "data" / "env").read_text()
    assert "in memory" not in up.out.read_text()
    os.kill(about["parts"]["worker"], signal.SIGSTOP)
    ledger = Ledger(tmp_path / "ledger", TOPICS, about["addresses"]["Kafka"])
    items = [Made("items", str(i["item_id"]).encode(), json.dumps(i).encode()) for i in ITEMS]
    assert await ledger.produce([*items, *made(300)]) == len(ITEMS) + 300
    processes = descendants(up.process.pid)
    up.process.kill()
    up.process.wait()
    assert gone(processes)

    started.append(up := Up(tmp_path / "data", "--broker", "kafka", KAFKA_HOME=home))
    parts = up.ready()["parts"]
    os.kill(parts["broker"], signal.SIGKILL)  # it is started again, as all that keeps its data
    qdrant = json.loads((tmp_path / "data" / "stack.json").read_text())["addresses"]["Qdrant (gRPC)"]
    config = QdrantConfig(host="127.0.0.1", grpc_port=int(qdrant.rpartition(":")[2]))
    async with asyncio.timeout(60):
        while [n.count for n in await raw.nodes(config, ["ada"]) if n.key.level == "profile"] != [300]:
            await asyncio.sleep(0.2)
    up.says("broker     restarting")
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0
    assert "folding" not in up.out.read_text()  # it will be folded next time


def test_kafka_is_asked_for_where_it_is_not(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "KAFKA_HOME"}
    asked = subprocess.run(
        [sys.executable, "-m", "deploy.embedded.up", "--data-dir", str(tmp_path), "--broker", "kafka"],
        env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (asked.returncode, asked.stderr.count("\n")) == (2, 1)
    assert "set KAFKA_HOME" in asked.stderr


def test_a_stop_while_starting_leaves_nothing(tmp_path: Path, started: list[Up]) -> None:
    up = Up(tmp_path / "data")
    started.append(up)
    end = time.monotonic() + 30
    while not (tmp_path / "data" / "logs" / "triton.log").exists() and time.monotonic() < end:
        time.sleep(0.02)
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(30) == 0
    assert up.errors.read_text() == ""
    assert marked(tmp_path / "data") == []


def test_nothing_outlives_a_killed_parent(tmp_path: Path, started: list[Up]) -> None:
    up = Up(tmp_path / "data")
    started.append(up)
    up.ready()
    processes = descendants(up.process.pid)
    assert len(processes) >= 5  # Triton runs each model in a process of its own
    up.process.kill()
    up.process.wait()
    assert gone(processes)
