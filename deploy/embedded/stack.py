"""The embedded stack as one object: `async with Stack(data_dir) as stack`. The same for `up`, demo, tests and bench."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, TextIO

from deploy.embedded import kafka, parts
from deploy.embedded.addresses import (
    addresses_of,
    api_url,
    environment_of,
    learner_metrics_url,
    settings_for,
    worker_metrics_url,
)
from deploy.embedded.concepts import tree_file
from deploy.embedded.data_directory import describe, forget_description, fresh_logs, lock
from deploy.embedded.front import Front
from deploy.embedded.models import answers_about_people, model_repository
from deploy.embedded.ports import HOST, PortChoice, Ports, free_ports
from deploy.embedded.processes import MARK, clear_leftovers
from deploy.embedded.supervise import Change, PartFailed, Supervised
from streams.base.errors import InterestsError
from streams.broker.admin import Admin
from streams.broker.config import BrokerImplementation
from streams.settings.service import ConceptSettings, Settings
from streams.settings.wiring import kafka_config, topic_specs

_HOPELESS_S = 2.0
_LAG = re.compile(r"^interests_lag_records\{.*\} (\S+)$", re.MULTILINE)
#: What is stopped together: the worker, which commits, and the API first; the learner, which reads what the worker sent
#: last; then what they talked to.
_STOP_ORDER = (("api", "worker"), ("learner",), ("prometheus", "triton", "broker", "qdrant"))


class Stack:
    """Broker, Triton, Qdrant, Prometheus where there is one, worker, learner and API, on 127.0.0.1, as child processes.

    Data and logs lie in `data_dir`, which one stack at a time may use. `broker` is the one that keeps its records in
    memory (`tansu`) or an Apache Kafka that is installed here and keeps them in `data_dir` (`kafka`). `interest_model`
    is the folder of a trained model of interests, which Triton then serves too. `observe` is called with every change
    of a part. `environment` is added to what worker and API see, for settings of its own
    (`INTERESTS_...`); with `fresh` the data of earlier runs is deleted first. Enter it in the main thread. Entering
    raises ConfigurationError (ports, another stack on the directory, a missing package) and PartFailed; leaving stops
    every part in order.
    """

    def __init__(
        self, data_dir: Path, *, ports: PortChoice | Ports = "default", environment: Mapping[str, str] | None = None,
        broker: BrokerImplementation = "tansu", fresh: bool = False, interest_model: Path | None = None,
        observe: Callable[[Change], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.data_dir, self._broker = data_dir.resolve(), broker
        self._ports, self._extra, self._fresh, self._observe = ports, dict(environment or {}), fresh, observe
        self._interest_model = interest_model
        self._running: dict[str, Supervised] = {}
        self._lock: TextIO | None = None
        self._failure: asyncio.Future[PartFailed] | None = None
        self._stopping = self._described = False
        self.ports = ports if isinstance(ports, Ports) else Ports()
        self._settings: Settings | None = None
        self._front: Front | None = None

    async def __aenter__(self) -> Stack:
        if self._broker == "kafka":
            kafka.check()
        self._lock = lock(self.data_dir)
        try:
            await clear_leftovers(self.data_dir)
            if self._fresh:
                for name in ("qdrant", "prometheus", "kafka"):
                    shutil.rmtree(self.data_dir / name, ignore_errors=True)
            self.ports = self._ports if isinstance(self._ports, Ports) else Ports.choose(self._ports)
            self.ports.check()
            self._settings = settings_for(
                self.ports, self._broker, prometheus=parts.has_prometheus(),
                interest_model=self._interest_model is not None,
            )  # fmt: skip
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
        return addresses_of(self.ports, prometheus="prometheus" in self._running)

    @property
    def worker_metrics_url(self) -> str:
        """Where the worker serves its metrics."""
        return worker_metrics_url(self.ports)

    @property
    def learner_metrics_url(self) -> str:
        """Where the learner serves its metrics."""
        return learner_metrics_url(self.ports)

    @property
    def api_url(self) -> str:
        """Where the HTTP API answers."""
        return api_url(self.ports)

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

    # -- its end --------------------------------------------------------------------------------------------------

    @property
    def forgets(self) -> bool:
        """Whether what the broker holds is gone when it ends."""
        return self._broker == "tansu"

    async def close_intake(self) -> None:
        """Take no more events: the API stops, and nobody reaches the broker but the worker and this process."""
        await self._running["api"].stop()
        if self._front is not None:
            self._front.only(lambda: {os.getpid(), self._running["worker"].pid, self._running["learner"].pid})

    async def reported_lag(self) -> int | None:
        """How many records the worker had still to fold, by its own last count; None where it does not answer."""
        metrics = await self._probes.text(self.worker_metrics_url)
        counts = _LAG.findall(metrics or "")
        return int(sum(map(float, counts))) if counts else None

    def kill_now(self) -> None:
        """Send SIGKILL to every part and wait for none."""
        for one in self._running.values():
            one.kill_now()

    # -- inside ---------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._log_dir = fresh_logs(self.data_dir / "logs")
        self._probes = parts.Probes()
        environment = self._environment_of_parts()
        models = await asyncio.to_thread(model_repository, self.data_dir, self._interest_model)
        interests = answers_about_people(models, f"{HOST}:{self.ports.triton_grpc}")
        servers = [
            await self._broker_part(environment),
            parts.qdrant(self.ports, environment, self.data_dir, self._probes),
            parts.triton(self.ports, environment, self.data_dir, self._probes, models, interests),
            parts.prometheus(self.ports, environment, self.data_dir, self._probes),
        ]
        for part in servers:
            if part is not None:
                self._add(part)
        for name in ("concepts", "worker", "learner", "api"):
            self._observe(Change(name, "waiting"))
        if self._front is not None:
            await self._front.start()
        others = self._running.keys() - {"broker"}
        await _together(self._start_broker(), *(self._running[name].start() for name in others))
        await self._find_concepts()
        environment = self._environment_of_parts()
        self._add(parts.worker(self.ports, environment, self._probes))
        self._add(parts.learner(self.ports, environment, self._probes))
        self._add(parts.api(self.ports, environment, self._probes))
        await _together(*(self._running[name].start() for name in ("worker", "learner", "api")))
        self._described = True
        self._describe()

    async def _broker_part(self, environment: Mapping[str, str]) -> parts.StackPart:
        config, port = kafka_config(self.settings.kafka), self.ports.broker
        [inner] = free_ports(1)
        if self._broker == "kafka":
            argv = await asyncio.to_thread(kafka.kafka_process, self.data_dir / "kafka", port, inner)
            return parts.kafka(argv, environment, config, port, self._probes)
        self._front = Front(port, inner)
        return parts.broker(self.ports, inner, environment, config, self._probes)

    def _add(self, part: parts.StackPart) -> None:
        self._running[part.name] = Supervised(part, self._log_dir, self._changed, self._has_failed)
        self._observe(Change(part.name, "waiting"))

    def _changed(self, change: Change) -> None:
        self._observe(change)
        if self._described and change.state == "ready":  # started again: it has another process id
            self._describe()

    def _describe(self) -> None:
        describe(self.data_dir, self.environment(), self.pids(), self.addresses())

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
        self._observe(Change(part="concepts", state="ready", seconds=monotonic() - started_s))

    async def _start_broker(self) -> None:
        await self._running["broker"].start()
        async with Admin(kafka_config(self.settings.kafka)) as admin:
            await admin.create_topics(topic_specs(self.settings.kafka))

    async def _stop(self) -> None:
        self._stopping, self._described = True, False
        if self._running and not self._running["broker"].running:
            # Without a broker they cannot commit, and aiokafka would wait half a minute for one.
            hopeless = [self._running[name] for name in ("worker", "learner") if name in self._running]
            await asyncio.gather(*(one.stop(within_s=_HOPELESS_S) for one in hopeless))
        for names in _STOP_ORDER:
            await asyncio.gather(*(self._running[name].stop() for name in names if name in self._running))
        if self._running:
            await self._probes.close()
        self._running.clear()
        if self._front is not None:
            await self._front.close()
            self._front = None
        if self._lock is not None:
            forget_description(self.data_dir)
            self._lock.close()
            self._lock = None

    def _has_failed(self, failure: PartFailed) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_result(failure)


async def _together(*starts: Coroutine[Any, Any, None]) -> None:
    """Await all; the first error of ours ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for start in starts:
                group.create_task(start)
    except* InterestsError as failures:
        raise failures.exceptions[0] from None
