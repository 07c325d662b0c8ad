"""The whole embedded stack as one process tree, `interests up`, that a fault may kill in part or as a whole."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import httpx
from aiokafka.errors import KafkaError

from deploy.embedded.ports import Ports
from deploy.embedded.up import up
from streams.broker.config import BrokerImplementation
from streams.settings.service import Settings
from tests.fixtures.brokers import Broker, kafka_libs
from tests.fixtures.path import ROOT, environment
from tests.fixtures.qdrant import QdrantServer
from tests.oracle.generate import Made
from tests.oracle.ledger import Entry, Ledger

_READY_S = 120.0
_ACKNOWLEDGED_S = 120.0
_SENT_S = 3.0


class WholeStack:
    """`interests up` on ports of its own, which it keeps over restarts."""

    def __init__(self, work: Path, kind: str) -> None:
        self.ports = Ports.choose("free")
        self.data_dir, self.kind = work / "stack", kind
        self._log = work / "up.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}

    async def start(self, settings: Settings | None = None) -> None:
        """Start it, under the settings of the first start, and wait until it is ready."""
        if settings is not None:
            self._environment = environment(settings)
        env = {**os.environ, **self._environment, "PYTHONUNBUFFERED": "1"}
        if self.kind == "kafka":
            env["KAFKA_HOME"] = str(kafka_libs().parent)
        command = [
            sys.executable,
            "-m",
            "tests.fault.whole",
            str(self.data_dir),
            self.kind,
            json.dumps(asdict(self.ports)),
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=ROOT)
        end_s = time.monotonic() + _READY_S
        while self._about().get("pid") != self._process.pid:
            if self._process.poll() is not None or time.monotonic() > end_s:
                raise AssertionError(f"the stack did not become ready:\n{self.log()}")
            await asyncio.sleep(0.1)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def pid(self, part: str) -> int:
        """A part's process id; `up`: the stack's own."""
        if part == "up":
            return self._process.pid if self._process is not None else 0
        return int(dict(self._about().get("parts", {})).get(part, 0))

    async def ended(self, timeout_s: float = 120.0) -> int:
        """The exit code, once it has ended."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, timeout_s)

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-4_000:] if self._log.exists() else ""

    async def stop(self) -> None:
        """End it in order."""
        if self.running:
            os.kill(self.pid("up"), signal.SIGTERM)
            await self.ended()

    def _about(self) -> dict[str, object]:
        try:
            return dict(json.loads((self.data_dir / "stack.json").read_text()))
        except (OSError, ValueError):
            return {}


class StackBroker(Broker):
    """The broker of a whole stack, as the rigs want one."""

    def __init__(self, stack: WholeStack) -> None:
        self.kind, self.durable = stack.kind, stack.kind == "kafka"  # type: ignore[misc]  # each stack's own
        self.port = self.listening = stack.ports.broker

    def _launch(self, log: object) -> subprocess.Popen[bytes]:
        raise AssertionError("the stack starts its own broker")


class StackQdrant(QdrantServer):
    """The Qdrant of a whole stack, as the rigs want one."""

    def __init__(self, stack: WholeStack) -> None:
        self.host = "127.0.0.1"
        self.grpc_port, self.http_port = stack.ports.qdrant_grpc, stack.ports.qdrant_http


class StubbornClient:
    """Sends each event, through Kafka and the API in turn, until it is acknowledged; all carry ids."""

    def __init__(self, ledger: Ledger, stack: WholeStack) -> None:
        self._ledger, self._stack, self._turn = ledger, stack, 0
        self.acknowledged: list[Made] = []
        self.again = 0

    async def send(self, records: Iterable[Made]) -> None:
        """AssertionError where they are not acknowledged within two minutes."""
        left, end_s = list(records), time.monotonic() + _ACKNOWLEDGED_S
        self._turn += 1
        while left:
            taken = await (self._by_kafka(left) if self._turn % 2 else self._by_api(left))
            self.acknowledged += [made for made, ok in zip(left, taken, strict=True) if ok]
            left = [made for made, ok in zip(left, taken, strict=True) if not ok]
            self.again += bool(left)
            if left and time.monotonic() > end_s:
                raise AssertionError(f"{len(left)} events were not acknowledged\n{self._stack.log()}")
            await asyncio.sleep(0.3 if left else 0)

    def entries(self, now_ms: int) -> list[Entry]:
        """What was acknowledged, and to which topic; where it lies there a broker that forgets cannot be asked."""
        return [Entry(made.kind, None, None, now_ms, made.key, made.value, made.fate) for made in self.acknowledged]

    async def _by_kafka(self, records: Sequence[Made]) -> list[bool]:
        try:
            return await self._ledger.acknowledged(records, within_s=_SENT_S)
        except (OSError, TimeoutError, KafkaError):
            return [False] * len(records)

    async def _by_api(self, records: Sequence[Made]) -> list[bool]:
        url = f"http://127.0.0.1:{self._stack.ports.api}/v1/events"
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=_SENT_S) as http:
                answer = await http.post(url, json=[json.loads(made.value) for made in records])
        except httpx.TransportError:
            return [False] * len(records)
        assert not answer.is_client_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS, answer.text
        return [answer.is_success] * len(records)


def main(data_dir: str, kind: BrokerImplementation, ports: str) -> int:
    """`interests up` on these ports."""
    return up(Path(data_dir), ports=Ports(**json.loads(ports)), broker=kind)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3]))  # type: ignore[arg-type]  # the fault names one of them
