"""Serving: uvicorn in this process, or several processes on one socket under a small supervisor."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from threading import Thread
from time import sleep
from types import FrameType

import structlog
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from streams.api.app import create_app
from streams.api.telemetry import MULTIPROCESS
from streams.base.addresses import joined, listen
from streams.base.errors import ConfigurationError
from streams.base.http_server import BoundedServer, Connections, connections_within_open_files
from streams.settings.logs import set_up
from streams.settings.service import Settings

log = structlog.get_logger(__name__)

_STOP_WITHIN_S = 10
_CHECK_EVERY_S = 0.2
_RESTART_AFTER_S = 1.0


class _GracefulServer(BoundedServer):
    """Ends live streams first, since they would not end by themselves, and ends with 0 after a signal to stop."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in order; a second Ctrl-C stops at once. uvicorn's own would end by the signal again."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is under way, for ten seconds at most."""
        self.config.app.state.backends.stopping.set()  # type: ignore[union-attr]  # create_app's application
        await super().shutdown(sockets)


def serve(settings: Settings, workers: int) -> int:
    """Serve until SIGINT or SIGTERM; 0 once all that was under way has been answered, 1 where it could not start."""
    create_app(settings)  # wrong settings end the command here, once
    if settings.api.live_streams >= settings.api.connections:
        raise ConfigurationError(
            f"api.live_streams {settings.api.live_streams}: expected fewer than api.connections "
            f"({settings.api.connections}), or live streams could take every connection"
        )
    with listen(settings.api.host, settings.api.port, "api.port", "api.host") as listening:
        set_up(settings.log)
        if workers == 1:
            return _run(settings, listening)
        with tempfile.TemporaryDirectory(prefix="interests-api-") as folder:
            os.environ[MULTIPROCESS] = folder
            return _supervise(settings, listening, workers)


def _run(settings: Settings, listening: socket.socket) -> int:
    app = create_app(settings, wait_for_keys=True)  # looked at by `serve`; a process that takes another's place serves
    limit = connections_within_open_files(settings.api.connections)
    if limit < settings.api.connections:
        log.warning("fewer_connections", connections=limit, reason="the hard limit on open files (ulimit -Hn)")
    connections = Connections(limit, refused=lambda kind: app.state.backends.metrics.cut.labels(kind).inc())
    server = _GracefulServer(connections, app, timeout_graceful_shutdown=_STOP_WITHIN_S)
    # What is there by now stays: a collection of garbage that walks through all modules would stop requests for long.
    gc.collect()
    gc.freeze()
    host, port = listening.getsockname()[:2]
    log.info("listening", address=f"http://{joined(host, port)}", pid=os.getpid())
    # Products of 100 by 400 numbers: threads for them cost more than they save, and take the cores from Qdrant.
    with threadpool_limits(1, user_api="blas"):
        server.run(sockets=[listening])
    return 0 if server.started else 1


def _serve_worker(settings: Settings, listening: socket.socket) -> None:
    """A process of several."""
    set_up(settings.log)
    Thread(target=_end_with_supervisor, name="supervisor", daemon=True).start()
    try:
        raise SystemExit(_run(settings, listening))
    except ConfigurationError as error:  # a file that was whole when the command started
        log.error("cannot_serve", reason=str(error))  # noqa: TRY400  # no defect: its reason says all
        raise SystemExit(2) from None


def _end_with_supervisor() -> None:
    """Stop in order once the supervisor is gone, killed perhaps: nobody else would, and the port would stay taken."""
    if supervisor := multiprocessing.parent_process():
        supervisor.join()
        log.error("supervisor_gone", effect="this process stops")
        os.kill(os.getpid(), signal.SIGTERM)
        sleep(_STOP_WITHIN_S + 5)
        os._exit(1)


def _supervise(settings: Settings, listening: socket.socket, workers: int) -> int:
    """Keep so many processes serving; one that dies is replaced, and a signal stops all."""
    spawn = multiprocessing.get_context("spawn")

    def start() -> SpawnProcess:
        process = spawn.Process(target=_serve_worker, args=(settings, listening), daemon=False)
        process.start()
        return process

    with _stop_signals() as received:
        serving = [start() for _ in range(workers)]
        while not received:
            sleep(_CHECK_EVERY_S)
            for index, process in enumerate(serving):
                if not process.is_alive() and not received:
                    log.error("worker_died", code=process.exitcode)
                    _forget(process)
                    sleep(_RESTART_AFTER_S)
                    serving[index] = start()
        for process in serving:
            process.terminate()
        for process in serving:
            process.join(_STOP_WITHIN_S + 5)
            if process.is_alive():
                process.kill()
                process.join()
    return 0


def _forget(process: SpawnProcess) -> None:
    """Take a dead process out of the shared gauges."""
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415  # reads the environment set above

    if process.pid is not None:
        mark_process_dead(process.pid)  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """The signals to stop that have come so far."""
    received: list[int] = []
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in _SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
