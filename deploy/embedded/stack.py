"""The embedded stack as one object: `async with Stack(data_dir) as stack`. The same for `up`, demo, tests and bench."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shlex
import shutil
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, TextIO

from deploy.embedded import parts
from deploy.embedded.concepts import tree_file
from deploy.embedded.front import Front
from deploy.embedded.ports import HOST, PortChoice, Ports, free_ports
from deploy.embedded.processes import MARK, clear_leftovers
from deploy.embedded.supervise import Change, PartFailed, Supervised
from streams.base.errors import ConfigurationError, InterestsError
from streams.broker.admin import Admin
from streams.settings.service import ConceptSettings, Settings, load
from streams.settings.wiring import kafka_config, topic_specs

#: The embedded broker makes the first member of a group wait for half its session time-out.
SESSION_TIMEOUT_S = 6.0
#: What is stopped together: the worker, which commits, and the API first; then what they talked to.
_HOPELESS_S = 2.0
_STOP_ORDER = (("api", "worker"), ("prometheus", "triton", "broker", "qdrant"))


class Stack:
    """Broker, Triton, Qdrant, Prometheus where there is one, a worker and the API, on 127.0.0.1, as child processes.

    Data and logs lie in `data_dir`, which one stack at a time may use. `observe` is told of every change of a part.
    `environment` is added to what worker and API see, for settings of its own (`INTERESTS_...`); with `fresh` the data
    of earlier runs is deleted first. Enter it in the main thread. Entering raises ConfigurationError (ports, another
    stack on the directory, a missing package) and PartFailed; leaving stops every part in order.
    """

    def __init__(
        self, data_dir: Path, *, ports: PortChoice | Ports = "default", environment: Mapping[str, str] | None = None,
        fresh: bool = False, observe: Callable[[Change], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.data_dir = data_dir.resolve()
        self._ports, self._extra, self._fresh, self._observe = ports, dict(environment or {}), fresh, observe
        self._running: dict[str, Supervised] = {}
        self._lock: TextIO | None = None
        self._failure: asyncio.Future[PartFailed] | None = None
        self._stopping = False
        self.ports = ports if isinstance(ports, Ports) else Ports()
        self._settings: Settings | None = None
        self._front: Front | None = None

    async def __aenter__(self) -> Stack:
        self._lock = lock(self.data_dir)
        try:
            await clear_leftovers(self.data_dir)
            if self._fresh:
                for name in ("qdrant", "prometheus"):
                    shutil.rmtree(self.data_dir / name, ignore_errors=True)
            self.ports = self._ports if isinstance(self._ports, Ports) else Ports.choose(self._ports)
            self.ports.check()
            self._settings = settings_for(self.ports)
            self._failure = asyncio.get_running_loop().create_future()
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    # -- looking at it --------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The user's settings with this stack's addresses; there are none before it is entered."""
        if self._settings is None:
            raise RuntimeError("got a stack that was not entered, expected `async with Stack(...)`")
        return self._settings

    def addresses(self) -> dict[str, str]:
        """Where each part answers, by name."""
        ports = self.ports
        found = {
            "Kafka": f"{HOST}:{ports.broker}",
            "Triton (gRPC)": f"{HOST}:{ports.triton_grpc}",
            "Triton (HTTP)": f"http://{HOST}:{ports.triton_http}",
            "Triton (metrics)": f"http://{HOST}:{ports.triton_metrics}/metrics",
            "Qdrant (gRPC)": f"{HOST}:{ports.qdrant_grpc}",
            "Qdrant (REST)": f"http://{HOST}:{ports.qdrant_http}",
            "Worker (metrics)": self.worker_metrics_url,
            "API": self.api_url,
            "Page": f"{self.api_url}/ui",
        }
        if "prometheus" in self._running:
            found["Prometheus"] = f"http://{HOST}:{ports.prometheus}"
        return found

    @property
    def worker_metrics_url(self) -> str:
        """Where the worker serves its metrics."""
        return f"http://{HOST}:{self.ports.worker_metrics}/metrics"

    @property
    def api_url(self) -> str:
        """Where the HTTP API answers."""
        return f"http://{HOST}:{self.ports.api}"

    def environment(self) -> dict[str, str]:
        """The environment variables under which any process of this project talks to this stack."""
        return environment_of(self.settings)

    @property
    def stopping(self) -> bool:
        """Whether the parts are being stopped, or have been."""
        return self._stopping

    def pids(self) -> dict[str, int]:
        """The process id of each part that runs."""
        return {name: one.pid for name, one in self._running.items() if one.pid}

    def restarts(self, part: str) -> int:
        """How often a part was started again after it had ended by itself."""
        return self._running[part].restarts

    async def failed(self) -> PartFailed:
        """Wait until the stack cannot go on, and say why. The parts that still run do so until the stack is left."""
        if self._failure is None:
            raise RuntimeError("got a stack that was not entered, expected `async with Stack(...)`")
        return await asyncio.shield(self._failure)

    # -- the worker, for tests of its death -----------------------------------------------------------------------

    async def kill_worker(self) -> None:
        """End the worker at once, as a crash of its machine would; it stays away until `start_worker`."""
        await self._running["worker"].kill()

    async def stop_worker(self) -> None:
        """End the worker in order; it stays away until `start_worker`."""
        await self._running["worker"].stop()

    async def start_worker(self) -> None:
        """Start the worker and wait until it holds partitions. Raises PartFailed."""
        await self._running["worker"].start()

    def kill_now(self) -> None:
        """Send SIGKILL to every part and wait for none."""
        for one in self._running.values():
            one.kill_now()

    # -- inside ---------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._log_dir = fresh_logs(self.data_dir / "logs")
        self._probes = parts.Probes()
        environment = self._environment_of_parts()
        [behind] = free_ports(1)
        self._front = Front(self.ports.broker, behind)
        servers = [
            parts.broker(self.ports, behind, environment, kafka_config(self.settings.kafka), self._probes),
            parts.qdrant(self.ports, environment, self.data_dir, self._probes),
            parts.triton(self.ports, environment, self.data_dir, self._probes),
            parts.prometheus(self.ports, environment, self.data_dir, self._probes),
        ]
        for part in servers:
            if part is not None:
                self._add(part)
        for name in ("concepts", "worker", "api"):
            self._observe(Change(name, "waiting"))
        await self._front.start()
        others = self._running.keys() - {"broker"}
        await _together(self._start_broker(), *(self._running[name].start() for name in others))
        await self._find_concepts()
        environment = self._environment_of_parts()
        self._add(parts.worker(self.ports, environment, self._probes))
        self._add(parts.api(self.ports, environment, self._probes))
        await _together(*(self._running[name].start() for name in ("worker", "api")))
        self._describe()

    def _add(self, part: parts.Part) -> None:
        self._running[part.name] = Supervised(part, self._log_dir, self._observe, self._has_failed)
        self._observe(Change(part.name, "waiting"))

    def _environment_of_parts(self) -> dict[str, str]:
        # The parts run this checkout or installation, whatever directory the stack is started in.
        path = os.pathsep.join(filter(None, [str(parts.ROOT), os.environ.get("PYTHONPATH", "")]))
        return {**os.environ, "PYTHONPATH": path, **self._extra, **self.environment(), MARK: str(self.data_dir)}

    async def _find_concepts(self) -> None:
        """Name a file of the concept tree in the settings, made now for an encoder not met before."""
        started_s = monotonic()
        if self.settings.concepts.file is None:
            self._observe(Change("concepts", "starting"))
            file = await tree_file(self.settings, parts.ROOT)
            self._settings = self.settings.model_copy(update={"concepts": ConceptSettings(file=file)})
        self._observe(Change("concepts", "ready", monotonic() - started_s))

    async def _start_broker(self) -> None:
        await self._running["broker"].start()
        async with Admin(kafka_config(self.settings.kafka)) as admin:
            await admin.create_topics(topic_specs(self.settings.kafka))

    async def _stop(self) -> None:
        self._stopping = True
        if self._running and not self._running["broker"].running and "worker" in self._running:
            # Without a broker it cannot commit, and aiokafka would wait half a minute for one.
            await self._running["worker"].stop(within_s=_HOPELESS_S)
        for names in _STOP_ORDER:
            await asyncio.gather(*(self._running[name].stop() for name in names if name in self._running))
        if self._running:
            await self._probes.close()
        self._running.clear()
        if self._front is not None:
            await self._front.close()
            self._front = None
        if self._lock is not None:
            (self.data_dir / "stack.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _has_failed(self, failure: PartFailed) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_result(failure)

    def _describe(self) -> None:
        """Leave beside the data what others need to talk to this stack."""
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in self.environment().items()]
        (self.data_dir / "env").write_text("".join(lines), "utf-8")
        about: dict[str, Any] = {"pid": os.getpid(), "parts": self.pids(), "addresses": self.addresses()}
        (self.data_dir / "stack.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")


async def _together(*starts: Coroutine[Any, Any, None]) -> None:
    """Await all; the first error of ours ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for start in starts:
                group.create_task(start)
    except* InterestsError as failures:
        raise failures.exceptions[0] from None


def lock(data_dir: Path) -> TextIO:
    """Make the directory this process's until it ends, however it ends. ConfigurationError where it is another's."""
    data_dir.mkdir(parents=True, exist_ok=True)
    file = (data_dir / "up.pid").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise ConfigurationError(
            f"a stack is running on {data_dir} already (pid {owner}): stop it with `kill {owner}`, "
            "or use another directory and --ports any"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def fresh_logs(log_dir: Path) -> Path:
    """The directory, with no log in it but those of the run before, as `<name>.log.before`."""
    log_dir.mkdir(exist_ok=True)
    for old in log_dir.glob("*.log"):
        old.replace(old.with_name(old.name + ".before"))
    return log_dir


def settings_for(ports: Ports) -> Settings:
    """The user's settings with the addresses of a stack on these ports."""
    own = load()
    kafka: dict[str, Any] = {"brokers": f"{HOST}:{ports.broker}", "implementation": "tansu"}
    if "session_timeout_s" not in own.kafka.model_fields_set:
        kafka["session_timeout_s"] = SESSION_TIMEOUT_S
    return load(
        kafka=kafka,
        triton={"url": f"{HOST}:{ports.triton_grpc}"},
        qdrant={"host": HOST, "grpc_port": ports.qdrant_grpc, "http_port": ports.qdrant_http, "https": False},
        worker={"metrics_host": HOST, "metrics_port": ports.worker_metrics},
        api={"host": HOST, "port": ports.api},
        client={"url": f"http://{HOST}:{ports.api}"},
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that carry a stack's addresses to other processes."""
    qdrant, concepts = settings.qdrant, settings.concepts
    return {
        "INTERESTS_KAFKA__BROKERS": settings.kafka.brokers,
        "INTERESTS_KAFKA__IMPLEMENTATION": settings.kafka.implementation,
        "INTERESTS_KAFKA__SESSION_TIMEOUT_S": f"{settings.kafka.session_timeout_s:g}",
        "INTERESTS_TRITON__URL": settings.triton.url,
        "INTERESTS_QDRANT__HOST": qdrant.host,
        "INTERESTS_QDRANT__GRPC_PORT": str(qdrant.grpc_port),
        "INTERESTS_QDRANT__HTTP_PORT": str(qdrant.http_port),
        "INTERESTS_QDRANT__HTTPS": "false",
        "INTERESTS_WORKER__METRICS_HOST": settings.worker.metrics_host,
        "INTERESTS_WORKER__METRICS_PORT": str(settings.worker.metrics_port),
        "INTERESTS_API__HOST": settings.api.host,
        "INTERESTS_API__PORT": str(settings.api.port),
        "INTERESTS_CLIENT__URL": settings.client.url,
        **({"INTERESTS_CONCEPTS__FILE": str(concepts.file)} if concepts.file else {}),
    }
