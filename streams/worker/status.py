"""The worker's status port: /metrics, /healthz and /readyz, served by a thread that a stuck event loop cannot stop."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from socketserver import ThreadingMixIn
from time import monotonic
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from streams.base.errors import InterestsError
from streams.worker.health import HealthLimits, WorkerFacts, not_live, not_ready

log = structlog.get_logger(__name__)

BEAT_S = 0.5
PROBE_EVERY_S = 2.0
PROBE_WITHIN_S = 2.0
_TICK_S = 1.0
_REQUEST_WITHIN_S = 5.0

Probe = Callable[[], Awaitable[bool]]


class WorkerStatus:
    """What is known of a worker: told by its event loop (`watch`), timed and read by other threads.

    Silence of the loop is counted in ticks of a thread of its own, so that a process that was frozen as a whole is not
    taken for one whose loop hangs.
    """

    def __init__(self, limits: HealthLimits) -> None:
        self.limits = limits
        self.stuck: Callable[[], float] = lambda: 0.0
        self.lag: Callable[[], Mapping[tuple[str, int], int]] = dict
        self.partitions: Callable[[], int | None] = lambda: None
        self.waiting_for: str | None = "its servers"
        self.stopping = False
        self._answered: dict[str, float | None] = {}
        self._beats = self._seen = 0
        self._silent_s = 0.0
        self._excused_s = 0.0

    def facts(self) -> WorkerFacts:
        """The worker now."""
        now_s = monotonic()
        answered = {name: None if at is None else now_s - at for name, at in list(self._answered.items())}
        if any(seconds is not None and seconds > self.limits.answered_s for seconds in answered.values()):
            self._excused_s = now_s  # a server is away: that is what stands still
        lag = sum(self.lag().values())
        stuck_s = min(self.stuck(), now_s - self._excused_s) if lag else 0.0
        return WorkerFacts(self._silent_s, stuck_s, self.partitions(), lag, answered, self.waiting_for, self.stopping)

    def complaint(self, stuck_s: float) -> str | None:
        """Why the worker must end: a standstill of more than `stuck_s`; None while there is none."""
        return "; ".join(not_live(self.facts(), replace(self.limits, stuck_s=stuck_s))) or None

    def beat(self) -> None:
        """The event loop runs."""
        self._beats += 1

    def tick(self, seconds: float) -> float:
        """Another thread lived for `seconds` more; how long the loop has been silent by that clock."""
        self._silent_s = 0.0 if self._beats != self._seen else self._silent_s + seconds
        self._seen = self._beats
        return self._silent_s

    async def watch(self, probes: Mapping[str, Probe]) -> None:
        """Beat, and ask every server over and over, until cancelled."""
        self._answered = dict.fromkeys(probes)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.beating())
            for name, probe in probes.items():
                group.create_task(self._asking(name, probe))

    async def beating(self) -> None:
        """Beat until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(BEAT_S)

    async def _asking(self, name: str, probe: Probe) -> None:
        while True:
            try:
                async with asyncio.timeout(PROBE_WITHIN_S):
                    if await probe():
                        self._answered[name] = monotonic()
            except (InterestsError, TimeoutError) as error:
                log.debug("no_answer", server=name, error=str(error) or type(error).__name__)
            await asyncio.sleep(PROBE_EVERY_S)


def answer(status: WorkerStatus, path: str) -> tuple[str, dict[str, Any]] | None:
    """The HTTP status and body for a path; None where there is nothing."""
    if path not in ("/healthz", "/readyz"):
        return None
    facts = status.facts()
    if path == "/healthz":
        reasons, word = not_live(facts, status.limits), "live"
    else:
        reasons, word = not_ready(facts, status.limits), "ready"
    told = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(facts).items()}
    told["answered_s"] = {name: None if at is None else round(at, 3) for name, at in facts.answered_s.items()}
    return ("503 Service Unavailable" if reasons else "200 OK"), {word: not reasons, "reasons": reasons, **told}


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_WITHIN_S

    def log_message(self, *_: Any) -> None:
        """Say nothing: probes come every few seconds."""


@contextmanager
def serving(
    status: WorkerStatus, registry: CollectorRegistry, host: str, port: int, exit_after_s: float
) -> Iterator[int]:
    """Serve while the block runs; yields the port. After `exit_after_s` of a silent loop the process exits with 1."""
    metrics: Any = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            found: Iterable[bytes] = metrics(environ, start_response)
            return found
        answered = answer(status, path)
        head, body = answered or ("404 Not Found", {"reasons": ["expected /metrics, /healthz or /readyz"]})
        start_response(head, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [json.dumps(body).encode()]

    server = make_server(host, port, app, _Server, _Handler)
    done = threading.Event()
    threads = [
        threading.Thread(target=server.serve_forever, name="status", daemon=True),
        threading.Thread(target=_guard, args=(status, done, exit_after_s), name="guard", daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield server.server_port
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join()


def _guard(status: WorkerStatus, done: threading.Event, exit_after_s: float) -> None:
    """Time the loop's silence. What only the loop could end in order, this ends at once: nothing was acknowledged."""
    while not done.wait(_TICK_S):
        silent_s = status.tick(_TICK_S)
        if silent_s >= exit_after_s:
            log.critical("event_loop_stuck", silent_s=silent_s, code=1)
            faulthandler.dump_traceback(sys.stderr, all_threads=True)  # places in the code, no values
            sys.stderr.flush()
            os._exit(1)
