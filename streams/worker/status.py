"""The worker's status port: /metrics, /healthz and /readyz, served by a thread that a stuck event loop cannot stop."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from socketserver import ThreadingMixIn
from time import monotonic
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from streams.base.addresses import is_loopback, listen
from streams.base.errors import InterestsError
from streams.base.local_callers import CallerRules
from streams.broker.liveness import LivenessJudge, not_live
from streams.worker.health import WorkerFacts, not_ready

log = structlog.get_logger(__name__)

BEAT_S = 0.5
PROBE_EVERY_S = 2.0
PROBE_WITHIN_S = 2.0
_TICK_S = 1.0
_REQUEST_WITHIN_S, _CONNECTION_WITHIN_S = 5.0, 10.0
_AT_ONCE = 32
_HEADERS = {"HTTP_HOST": b"host", "HTTP_ORIGIN": b"origin", "HTTP_SEC_FETCH_SITE": b"sec-fetch-site"}

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


class _StatusServer(ThreadingMixIn, WSGIServer):
    """A thread a connection; beyond `_AT_ONCE` the oldest is cut off, and each after `_CONNECTION_WITHIN_S`."""

    daemon_threads = True

    def __init__(self, listening: socket.socket) -> None:
        self._began: dict[socket.socket, float] = {}  # oldest first
        self.address_family = listening.family
        address: Any = listening.getsockname()[:2]
        super().__init__(address, _StatusHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = address
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own."""
        self._began[request] = monotonic()
        if len(self._began) > _AT_ONCE:
            self._cut(next(iter(self._began)))
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """The end of a connection."""
        self._began.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called twice a second: a deadline for each read alone would let a caller trickle for ever."""
        late_s = monotonic() - _CONNECTION_WITHIN_S
        for request in [one for one, began_s in list(self._began.items()) if began_s < late_s]:
            self._cut(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a caller went away, or was cut off."""

    def _cut(self, request: socket.socket) -> None:
        self._began.pop(request, None)
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and closes it


class _StatusHandler(WSGIRequestHandler):
    timeout = _REQUEST_WITHIN_S

    def log_message(self, *_: Any) -> None:
        """Say nothing: probes come every few seconds."""


@contextmanager
def serving(
    status: WorkerStatus, registry: CollectorRegistry, host: str, port: int, exit_after_s: float
) -> Iterator[int]:
    """Serve while the block runs; yields the port. After `exit_after_s` of a silent loop the process exits with 1."""
    metrics: Any = make_wsgi_app(registry)

    rules = CallerRules() if is_loopback(host) else None

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        headers = [(name, environ[key].encode("latin-1")) for key, name in _HEADERS.items() if key in environ]
        version = environ["SERVER_PROTOCOL"].removeprefix("HTTP/")
        if rules is not None and (foreign := rules.foreign(environ["REQUEST_METHOD"], path, headers, version)):
            start_response(f"{foreign.status} {HTTPStatus(foreign.status).phrase}", [("Content-Type", "text/plain")])
            return [foreign.detail.encode()]
        if path == "/metrics":
            text: Iterable[bytes] = metrics(environ, start_response)
            return text
        head, body = answer(status, path) or ("404 Not Found", {"reasons": ["expected /metrics, /healthz or /readyz"]})
        start_response(head, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [json.dumps(body).encode()]

    server = _StatusServer(listen(host, port, "worker.metrics_port", "worker.metrics_host"))
    server.set_app(app)
    done = threading.Event()
    threads = [
        threading.Thread(target=server.serve_forever, name="status", daemon=True),
        threading.Thread(target=_guard, args=(status.judge, done, exit_after_s), name="guard", daemon=True),
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


def _guard(judge: LivenessJudge, done: threading.Event, exit_after_s: float) -> None:
    """Time the loop's silence. What only the loop could end in order, this ends at once: nothing was acknowledged."""
    while not done.wait(_TICK_S):
        silent_s = judge.tick(_TICK_S)
        if silent_s >= exit_after_s:
            log.critical("event_loop_stuck", silent_s=silent_s, code=1)
            faulthandler.dump_traceback(sys.stderr, all_threads=True)  # places in the code, no values
            sys.stderr.flush()
            os._exit(1)
