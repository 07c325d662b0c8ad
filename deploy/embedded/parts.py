"""The parts of the embedded stack: how each is launched, when it is ready, and what becomes of it when it ends."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx

from deploy.embedded.broker import broker_process
from deploy.embedded.ports import HOST, Ports
from deploy.embedded.processes import MARK
from deploy.embedded.qdrant import qdrant_process
from deploy.embedded.triton import KEY_HEADER, triton_process
from encoders.contract import MODEL_NAME, TEXT
from encoders.locate import CACHE_VARIABLE, cache_dir
from streams.base.errors import RetryableError
from streams.broker.admin import Admin
from streams.broker.config import KafkaConfig

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
_PROBE_S = 2.0
INFER_S = 10.0  # in a dead model's queue every request ahead takes a second to be refused
BROKEN = re.compile(r"Stub process .*not healthy")  # Triton's words once a model's process has died

Probe = Callable[[], Awaitable[bool]]
#: True: it does its work. False: it answers that it cannot. None: no answer, or one that says neither.
Alive = Callable[[], Awaitable[bool | None]]


class Restarts(NamedTuple):
    """How often a part that ends by itself is started again: `most` times within `within_s` seconds."""

    most: float
    within_s: float = 600.0


#: The parts that fold step back behind those that answer: on a busy machine readers wait less.
BEHIND = 5
NEVER = Restarts(0)
#: What keeps nothing of its own, or is not needed: its end must not take the others along.
ALWAYS = Restarts(float("inf"))
#: What keeps data on disk: where it ends again and again, somebody has to look at the disk or the machine.
BOUNDED = Restarts(20)
FORGOTTEN = (
    "It kept everything in memory, so these are gone: events that were acknowledged and not folded yet, events that "
    "waited for their item, and dead letters. The trees in Qdrant stand. `interests up --broker kafka` runs a broker "
    "that keeps them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPart:
    """One process of the stack. `env` is its whole environment; times are in seconds.

    `on_orphaned` is what it gets when the stack's own process dies: SIGKILL where nothing can be lost by it.
    `end_means` says what is lost with it where it is not started again.
    `niceness` above 0 lets the others go first. `alive` is called every `alive_every_s` once the part is ready.
    """

    name: str
    argv: list[str]
    ready: Probe
    env: Mapping[str, str] = field(default_factory=dict)
    ready_within_s: float = 30.0
    stop_within_s: float = 10.0
    restarts: Restarts = NEVER
    end_means: str = ""
    on_orphaned: signal.Signals = signal.SIGTERM
    cwd: Path | None = None
    niceness: int = 0
    alive: Alive | None = None
    alive_every_s: float = 5.0


class Probes:
    """Asks the parts whether they are ready, over one HTTP client that no proxy setting touches.

    It keeps no connection: Triton would wait for its end, ten seconds, before it stops.
    """

    def __init__(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.AsyncClient(trust_env=False, timeout=_PROBE_S, limits=limits)

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    async def text(self, url: str) -> str | None:
        """The body of a 200 answer; None for anything else, or nothing."""
        try:
            answer = await self._http.get(url)
        except httpx.TransportError:
            return None
        return answer.text if answer.status_code == httpx.codes.OK else None

    def answers(self, url: str, containing: str = "") -> Probe:
        """A probe that is true once `url` answers 200 with a body that contains a string."""

        async def probe() -> bool:
            body = await self.text(url)
            return body is not None and containing in body

        return probe

    def encodes(self, url: str, key: str) -> Alive:
        """Whether the Triton at `url` encodes a text; False only where it answers that the model's process is dead."""
        infer, headers = f"{url}/v2/models/{MODEL_NAME}/infer", {KEY_HEADER: key}
        request = {"inputs": [{"name": TEXT.name, "shape": [1, 1], "datatype": TEXT.dtype, "data": ["a cup of tea"]}]}

        async def alive() -> bool | None:
            try:
                answer = await self._http.post(infer, json=request, headers=headers, timeout=INFER_S)
            except httpx.TransportError:
                return None
            if answer.is_success:
                return True
            return False if BROKEN.search(answer.text) else None

        return alive

    @staticmethod
    def serves(kafka: KafkaConfig, inner: int) -> Probe:
        """A probe that is true once the broker, itself on port `inner`, tells its cluster's id."""

        async def probe() -> bool:
            try:
                _, writer = await asyncio.open_connection(HOST, inner)  # aiokafka would complain to standard error
                writer.close()
                async with Admin(kafka) as admin:
                    return await admin.cluster_id() is not None
            except (OSError, RetryableError):
                return False

        return probe


def both(one: Alive, other: Alive) -> Alive:
    """False where one of two says so, else None where one of them does not know."""

    async def alive() -> bool | None:
        found = [await one(), await other()]
        return False if False in found else None if None in found else True

    return alive


def broker(ports: Ports, inner: int, environment: Mapping[str, str], kafka: KafkaConfig, probes: Probes) -> StackPart:
    """Tansu on port `inner`, in memory, under a new cluster id at each start. Ended at once: it keeps nothing.

    Not started again: it would be an empty one, and what it had acknowledged would be missing in silence.
    """
    argv, extra = broker_process(inner, advertised=ports.broker)
    env, ready = {**environment, **extra}, probes.serves(kafka, inner)
    return StackPart(
        name="broker", argv=argv, ready=ready, env=env, stop_within_s=5.0, on_orphaned=signal.SIGKILL,
        end_means=FORGOTTEN,
    )  # fmt: skip


def kafka(argv: list[str], environment: Mapping[str, str], config: KafkaConfig, port: int, probes: Probes) -> StackPart:
    """Apache Kafka on `port`, by the command `argv`; it keeps its records on disk, so it may be started again."""
    ready = probes.serves(config, port)
    return StackPart(
        name="broker", argv=argv, ready=ready, env=environment, ready_within_s=90.0, stop_within_s=30.0,
        restarts=BOUNDED,
    )  # fmt: skip


def triton(
    ports: Ports, environment: Mapping[str, str], data_dir: Path, probes: Probes, repo: Path, also: Alive | None = None
) -> StackPart:  # fmt: skip
    """The Triton server over a repository of models; `also` asks another one than the text encoder.

    It may be started again: it keeps nothing, and the worker waits for it. It says that it is ready even when the
    model's process has died, so it is asked to encode. The first start ever writes the model out of its package, hence
    the long deadline.
    """
    # Triton's Python is isolated: it sees no PYTHONPATH, but it sees its directory and the packages of the first
    # python3 on PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    cache = os.environ.get(CACHE_VARIABLE, str(cache_dir(ROOT)))
    extra = {MARK: environment[MARK], CACHE_VARIABLE: cache, "PATH": path}
    work = data_dir / "triton"
    work.mkdir(exist_ok=True)
    key = secrets.token_hex(16)
    argv, env = triton_process(
        repo, work=work, grpc_port=ports.triton_grpc, http_port=ports.triton_http, http_key=key,
        metrics_port=ports.triton_metrics, extra_env=extra,
    )  # fmt: skip
    url = f"http://{HOST}:{ports.triton_http}"
    return StackPart(
        name="triton", argv=argv, ready=probes.answers(f"{url}/v2/health/ready"), env=env,
        ready_within_s=180.0, stop_within_s=20.0, restarts=ALWAYS, cwd=ROOT, niceness=BEHIND,
        alive=both(probes.encodes(url, key), also) if also else probes.encodes(url, key),
    )  # fmt: skip


def qdrant(ports: Ports, environment: Mapping[str, str], data_dir: Path, probes: Probes) -> StackPart:
    """Qdrant's engine on `data_dir/qdrant`. Its log has every acknowledged write, so it may be started again."""
    argv = qdrant_process(data_dir / "qdrant", ports.qdrant_grpc, ports.qdrant_http)
    ready = probes.answers(f"http://{HOST}:{ports.qdrant_http}/readyz")
    return StackPart(
        name="qdrant", argv=argv, ready=ready, env=environment, ready_within_s=60.0, stop_within_s=30.0,
        restarts=BOUNDED,
    )  # fmt: skip


def worker(ports: Ports, environment: Mapping[str, str], probes: Probes) -> StackPart:
    """A worker, ready once it holds partitions; started again for as long as the stack runs, as in production."""
    argv = [sys.executable, "-m", "streams.commands.cli", "worker"]
    ready = probes.answers(f"http://{HOST}:{ports.worker_metrics}/metrics", "interests_lag_records{")
    return StackPart(
        name="worker", argv=argv, ready=ready, env={**environment, "PYTHONUNBUFFERED": "1"},
        ready_within_s=60.0, stop_within_s=45.0, restarts=ALWAYS, on_orphaned=signal.SIGKILL, niceness=BEHIND,
    )  # fmt: skip


def learner(ports: Ports, environment: Mapping[str, str], probes: Probes) -> StackPart:
    """The learner, ready once it reads examples; started again for ever: its state is in Qdrant."""
    argv = [sys.executable, "-m", "streams.commands.cli", "learner"]
    ready = probes.answers(f"http://{HOST}:{ports.learner_metrics}/readyz")
    return StackPart(
        name="learner", argv=argv, ready=ready, env={**environment, "PYTHONUNBUFFERED": "1"},
        ready_within_s=60.0, stop_within_s=15.0, restarts=ALWAYS, on_orphaned=signal.SIGKILL, niceness=BEHIND,
    )  # fmt: skip


def api(ports: Ports, environment: Mapping[str, str], probes: Probes) -> StackPart:
    """The HTTP API and its page, ready once it can read trees. Started again for ever: it keeps nothing."""
    argv = [sys.executable, "-m", "streams.commands.cli", "api"]
    ready = probes.answers(f"http://{HOST}:{ports.api}/readyz")
    return StackPart(
        name="api", argv=argv, ready=ready, env={**environment, "PYTHONUNBUFFERED": "1"},
        ready_within_s=60.0, stop_within_s=15.0, restarts=ALWAYS, on_orphaned=signal.SIGKILL,
    )  # fmt: skip


def has_prometheus() -> bool:
    """Whether Prometheus is on PATH."""
    return shutil.which("prometheus") is not None


def prometheus(ports: Ports, environment: Mapping[str, str], data_dir: Path, probes: Probes) -> StackPart | None:
    """Prometheus with rules and alerts, where it is on PATH; None where it is not."""
    binary = shutil.which("prometheus")
    if binary is None:
        return None
    folder = data_dir / "prometheus"
    folder.mkdir(exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text(scrape_config((PROMETHEUS / "prometheus.yml").read_text("utf-8"), ports), "utf-8")
    _copy_rules(folder / "rules")
    argv = [
        binary, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={HOST}:{ports.prometheus}", "--storage.tsdb.retention.time=7d",
    ]  # fmt: skip
    ready = probes.answers(f"http://{HOST}:{ports.prometheus}/-/ready")
    return StackPart(name="prometheus", argv=argv, ready=ready, env=environment, stop_within_s=15.0, restarts=ALWAYS)


def _copy_rules(to: Path) -> None:
    to.mkdir(exist_ok=True)
    for old in to.glob("*.yml"):  # of another version, perhaps
        old.unlink()
    for file in (PROMETHEUS / "rules").glob("*.yml"):
        (to / file.name).write_bytes(file.read_bytes())


def scrape_config(template: str, ports: Ports) -> str:
    """The configuration with the default ports replaced by these, and without Alertmanager, which `up` starts none of.

    What answers at Alertmanager's port is another's, and is to be told nothing of a stack that somebody tries.
    """
    template = template.partition("\nalerting:\n")[0]
    # In two steps, so that a port that is another purpose's default is not replaced twice.
    for name, default in Ports().items():
        template = template.replace(f"{HOST}:{default}", f"{HOST}:<{name}>")
    for name, port in ports.items():
        template = template.replace(f"{HOST}:<{name}>", f"{HOST}:{port}")
    return template
