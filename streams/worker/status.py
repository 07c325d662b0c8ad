"""What is known of a worker, and what its status port answers: /metrics, /healthz and /readyz."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from streams.base.errors import InterestsError
from streams.base.status_port import status_port
from streams.broker.liveness import LivenessJudge, not_live
from streams.worker.health import WorkerFacts, not_ready

log = structlog.get_logger(__name__)

BEAT_S = 0.5
PROBE_EVERY_S = 2.0
PROBE_WITHIN_S = 2.0

Probe = Callable[[], Awaitable[bool]]


class WorkerStatus:
    """What is known of a worker: written by its event loop (`watch`), read by other threads."""

    def __init__(self, judge: LivenessJudge) -> None:
        self.judge = judge
        self.partitions: Callable[[], int | None] = lambda: None
        self.waiting_for: str | None = "its servers"
        self.stopping = False

    def facts(self) -> WorkerFacts:
        """The worker now."""
        return WorkerFacts(
            liveness=self.judge.facts(),
            partitions=self.partitions(),
            waiting_for=self.waiting_for,
            stopping=self.stopping,
        )

    async def watch(self, probes: Mapping[str, Probe]) -> None:
        """Ask every server over and over, until cancelled."""
        self.judge.expect(probes)
        async with asyncio.TaskGroup() as group:
            for name, probe in probes.items():
                group.create_task(self._ask(name, probe))

    async def beat(self) -> None:
        """Say that the event loop runs, until cancelled."""
        while True:
            self.judge.beat()
            await asyncio.sleep(BEAT_S)

    async def _ask(self, name: str, probe: Probe) -> None:
        while True:
            try:
                async with asyncio.timeout(PROBE_WITHIN_S):
                    if await probe():
                        self.judge.answered(name)
            except (InterestsError, TimeoutError) as error:
                log.debug("no_answer", server=name, error=str(error) or type(error).__name__)
            await asyncio.sleep(PROBE_EVERY_S)


def answer(status: WorkerStatus, path: str) -> tuple[str, dict[str, Any]] | None:
    """The HTTP status and body for a path; None where there is nothing."""
    if path not in ("/healthz", "/readyz"):
        return None
    facts, limits = status.facts(), status.judge.limits
    if path == "/healthz":
        reasons, word = not_live(facts.liveness, limits), "live"
    else:
        reasons, word = not_ready(facts, limits), "ready"
    head = "503 Service Unavailable" if reasons else "200 OK"
    return head, {word: not reasons, "reasons": reasons, **facts.fields()}


def serving(
    status: WorkerStatus, registry: CollectorRegistry, host: str, port: int, exit_after_s: float
) -> AbstractContextManager[int]:
    """Serve a worker's status; see `status_port`."""
    return status_port(
        partial(answer, status), status.judge.tick, registry, host, port, section="worker", exit_after_s=exit_after_s
    )
