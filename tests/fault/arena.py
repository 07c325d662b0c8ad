"""Where the faults happen: one set of servers for all of them."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from streams.pipeline import faultpoints
from streams.settings.service import Settings
from tests.fault.models import InterestModels
from tests.fault.whole import StackBroker, StackQdrant, WholeStack
from tests.fixtures.brokers import Broker, Tansu, make_broker
from tests.fixtures.path import ROOT, Rig, WorkerProcess
from tests.fixtures.proxy import KafkaProxy
from tests.fixtures.qdrant import QdrantServer
from tests.fixtures.triton import TritonServer
from tests.oracle.expect import World
from tests.oracle.generate import catalogue, texts
from tests.oracle.world import world_of

#: What a profile remembers in these runs: enough for all that one user does in them.
NODES = {"evidence_length": 64, "ring_length": 4096, "marks_length": 1024, "votes_length": 1024}
QUICK = {"session_timeout_s": 1.5, "heartbeat_s": 0.3, "commit_interval_s": 0.2, "request_timeout_s": 10.0}


class Skipped(Exception):
    """This fault cannot be done here; the message says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line may change."""

    seed: int = 1
    mutant: str = ""
    kills: int = 50
    away_s: float = 120.0
    broker_away_s: float = 60.0
    minutes: float = 10.0
    data: Path | None = None


class FaultyWorker(WorkerProcess):
    """A worker process that can be armed with fault points, or be a mutant."""

    def __init__(self, settings: Settings, log: Path, mutant: str = "", module: str = "", **env: str) -> None:
        super().__init__(settings, log, **env)
        self._command = [sys.executable, "-m", module or "streams.commands.cli", "worker"]
        if mutant:
            self._command = [sys.executable, "-m", "tests.fault.mutant_worker", mutant]

    def start(self, faults: str = "") -> None:
        """Start it with these fault points armed, or with none."""
        env = {**self._env, faultpoints.VARIABLE: faults}
        with self._log_path.open("ab") as out:
            self._process = subprocess.Popen(self._command, env=env, stdout=out, stderr=out, cwd=ROOT)

    async def ended(self, timeout_s: float = 60.0) -> int:
        """The exit code, once it has ended."""
        return await asyncio.to_thread(self.wait, timeout_s)

    async def frozen(self, timeout_s: float = 60.0) -> None:
        """Wait until the process has been stopped by SIGSTOP."""
        async with asyncio.timeout(timeout_s):
            while self._state() != "T":
                if not self.running:
                    raise AssertionError(f"the worker ended instead of freezing:\n{self.log()}")
                await asyncio.sleep(0.05)

    def memory(self, what: str = "VmRSS") -> int:
        """Its resident bytes now, or with `VmHWM` the most there ever were."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) << 10
        raise AssertionError(f"the worker has no {what}: it has ended")

    def _state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()[0]


@dataclass
class Arena:
    """The servers, and the world that events refer to."""

    broker: Broker
    triton: TritonServer
    qdrant: QdrantServer
    concept_file: str
    work: Path
    options: Options = field(default_factory=Options)
    items: list[dict[str, Any]] = field(default_factory=lambda: catalogue("oracle"))
    proxy: KafkaProxy | None = None
    stack: WholeStack | None = None
    models: InterestModels | None = None
    described: bool = False
    _world: World | None = None

    def rig(self, **sections: dict[str, Any]) -> Rig:
        """A rig with topics and a group of its own."""
        work = self.work / Broker.unique("trial")
        work.mkdir(parents=True)
        waits = {"base_s": 0.3, "cap_s": 1.0, "deadline_s": 900.0}
        defaults: dict[str, dict[str, Any]] = {
            "kafka": QUICK, "nodes": NODES, "concepts": {"file": self.concept_file}, "unresolved": waits,
            "worker": {"batch_records": 20},
        }  # fmt: skip
        merged = {name: {**defaults.get(name, {}), **sections.get(name, {})} for name in {**defaults, **sections}}
        return Rig(self.broker, self.triton, self.qdrant, work, **merged)

    async def describe(self) -> None:
        """Have a worker describe the items, once: they lie in a collection that all trials share."""
        if self.described:
            return
        rig = self.rig()
        await rig.prepare()
        worker = FaultyWorker(rig.settings, self.work / "describer.log")
        worker.start()
        rig.workers.append(worker)
        try:
            await rig.items(self.items)
            await rig.items_known(len(self.items), 120)
        finally:
            worker.kill()
        self.described = True

    @asynccontextmanager
    async def with_own(self, part: str) -> AsyncIterator[Arena]:
        """This arena with a broker behind a proxy, a Qdrant, or a whole stack of one trial's own; "" is itself.

        The stack is started by the trial, which knows its settings. Triton is the arena's: the oracle asks it. With
        `learned` it is another, for all such trials, that has a model of interests beside the same encoder.
        """
        work = self.work / Broker.unique("own")
        if part == "broker":
            proxy = KafkaProxy()
            await proxy.start()
            broker = behind(make_broker(self.broker.kind, work), proxy.port)
            proxy.to("127.0.0.1", broker.listening)
            await asyncio.to_thread(broker.start)
            try:
                yield replace(self, broker=broker, proxy=proxy, work=work)
            finally:
                await proxy.stop()
                await asyncio.to_thread(broker.kill)
        elif part.startswith("qdrant"):
            work.mkdir(parents=True)
            with small_disk(work / "disk", 768) if part.endswith("disk") else nullcontext(work) as place:
                qdrant = QdrantServer(place / "qdrant")
                await asyncio.to_thread(qdrant.start)
                try:
                    yield replace(self, qdrant=qdrant, work=work, described=False)
                finally:
                    await asyncio.to_thread(qdrant.kill)
        elif part == "stack":
            work.mkdir(parents=True)
            stack = WholeStack(work, self.broker.kind)
            try:
                broker, qdrant = StackBroker(stack), StackQdrant(stack)
                yield replace(self, broker=broker, qdrant=qdrant, stack=stack, work=work, described=True)
            finally:
                await stack.stop()
        elif part == "learned":
            assert self.models is not None
            yield replace(self, triton=await asyncio.to_thread(self.models.started))
        else:
            yield self

    def world(self, settings: Settings) -> World:
        """Vectors, sentiments and paths, asked of Triton once."""
        if self._world is None:
            self._world = world_of(settings, self.triton.grpc_url, self.items, texts())
        return self._world


@contextmanager
def small_disk(place: Path, mib: int) -> Iterator[Path]:
    """A tmpfs of `mib` MiB, where this user may mount one."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        raise Skipped("mounting a small disk needs root")
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", str(place)], check=False, capture_output=True
    )
    if made.returncode:
        raise Skipped(f"no small disk can be mounted: {made.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def behind(broker: Broker, proxy_port: int) -> Broker:
    """A broker, not started yet, that tells its clients to come by way of a proxy on `proxy_port`."""
    if not isinstance(broker, Tansu):
        properties = broker.work / "server.properties"
        told = f"advertised.listeners=PLAINTEXT://127.0.0.1:{broker.port}"
        text = properties.read_text()
        assert told in text
        properties.write_text(text.replace(told, told.replace(str(broker.port), str(proxy_port))))
    broker.port = proxy_port
    return broker
