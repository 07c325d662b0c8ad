"""Metrics and probes of a long-running command, served by a thread that a stuck event loop cannot stop."""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from socketserver import ThreadingMixIn
from time import monotonic
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from streams.base.addresses import is_loopback, listen
from streams.base.local_callers import CallerRules

log = structlog.get_logger(__name__)

_TICK_S = 1.0
_REQUEST_WITHIN_S, _CONNECTION_WITHIN_S = 5.0, 10.0
_AT_ONCE = 32
_HEADERS = {"HTTP_HOST": b"host", "HTTP_ORIGIN": b"origin", "HTTP_SEC_FETCH_SITE": b"sec-fetch-site"}

#: Gives the HTTP status and body for a path; None where there is nothing.
Answer = Callable[[str], tuple[str, dict[str, Any]] | None]
#: Told how many seconds another thread lived; gives how long the event loop has been silent.
Tick = Callable[[float], float]


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
def status_port(
    answer: Answer, tick: Tick, registry: CollectorRegistry, host: str, port: int, *, section: str, exit_after_s: float
) -> Iterator[int]:
    """Serve while the block runs; yields the port. After `exit_after_s` of a silent loop the process exits with 1.

    `section` is that of the settings that say where, `metrics_host` and `metrics_port`.
    """
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
        head, body = answer(path) or ("404 Not Found", {"reasons": ["expected /metrics, /healthz or /readyz"]})
        start_response(head, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [json.dumps(body).encode()]

    server = _StatusServer(listen(host, port, f"{section}.metrics_port", f"{section}.metrics_host"))
    server.set_app(app)
    done = threading.Event()
    threads = [
        threading.Thread(target=server.serve_forever, name="status", daemon=True),
        threading.Thread(target=_guard, args=(tick, done, exit_after_s), name="guard", daemon=True),
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


def _guard(tick: Tick, done: threading.Event, exit_after_s: float) -> None:
    """Time the loop's silence. What only the loop could end in order, this ends at once: nothing was acknowledged."""
    while not done.wait(_TICK_S):
        silent_s = tick(_TICK_S)
        if silent_s >= exit_after_s:
            log.critical("event_loop_stuck", silent_s=silent_s, code=1)
            faulthandler.dump_traceback(sys.stderr, all_threads=True)  # places in the code, no values
            sys.stderr.flush()
            os._exit(1)
