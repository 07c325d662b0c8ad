"""`python -m deploy.embedded.qdrant`: start, serve on loopback, stop cleanly."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import grpc
from starlette.applications import Starlette

from deploy.embedded.qdrant.collections_api import CollectionsApi
from deploy.embedded.qdrant.errors import QdrantError
from deploy.embedded.qdrant.grpc_server import build_server
from deploy.embedded.qdrant.metrics import QdrantMetrics
from deploy.embedded.qdrant.points import Points
from deploy.embedded.qdrant.registry import Registry
from deploy.embedded.qdrant.rest import build_app
from streams.base.addresses import listen
from streams.base.errors import ConfigurationError
from streams.base.http_server import BoundedServer, Connections, connections_within_open_files

HOST = "127.0.0.1"
STOP_GRACE_S = 5.0
CONNECTIONS = 1000  # of the REST port; the rest of the open files is the engine's and gRPC's
DEFAULT_FLUSH_INTERVAL_S = 5.0
SWITCH_INTERVAL_S = 0.001  # how long a write's conversion may keep a read waiting at a time; Python's 5 ms doubles it
GC_THRESHOLD = 50_000  # a batch makes many short-lived lists: collecting every 700 of them costs a tenth of the speed


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded.qdrant", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory of the collections, made if missing")
    parser.add_argument("--grpc-port", type=_port, required=True)
    parser.add_argument("--http-port", type=_port, required=True)
    parser.add_argument("--api-key-file", type=Path, help="file whose first line is the key every call must bring")
    parser.add_argument(
        "--host-name",
        action="append",
        default=[],
        help="a name beside loopback's by which REST is called without a key",
    )
    parser.add_argument("--tls-cert-file", type=Path, help="certificate in PEM: both ports speak TLS")
    parser.add_argument("--tls-key-file", type=Path, help="its key in PEM")
    parser.add_argument("--tls-ca-file", type=Path, help="clients must bring a certificate that this authority signed")
    parser.add_argument(
        "--flush-interval-s",
        type=float,
        default=DEFAULT_FLUSH_INTERVAL_S,
        help="seconds between writes to disk; 0 flushes before every answer, which also survives a power cut",
    )
    settings = parser.parse_args(arguments)
    if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
        parser.error("--tls-cert-file and --tls-key-file go together")
    if settings.tls_ca_file and not settings.tls_cert_file:
        parser.error("--tls-ca-file needs --tls-cert-file")
    return settings


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"got {port}, expected a port of 0 to 65535")
    return port


async def serve(settings: argparse.Namespace) -> None:
    """Serve until a signal asks to stop."""
    api_key = settings.api_key_file.read_text("utf-8").splitlines()[0].strip() if settings.api_key_file else None
    listening = listen(HOST, settings.http_port, "--http-port")
    listen(HOST, settings.grpc_port, "--grpc-port").close()  # gRPC's own words for a port in use are no sentence
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    registry = Registry(settings.data, flush_each=settings.flush_interval_s == 0)
    metrics, points, collections = QdrantMetrics(registry), Points(registry), CollectionsApi(registry)
    rpc = build_server(points, collections, metrics, api_key)
    credentials = _grpc_credentials(settings)
    address = f"{HOST}:{settings.grpc_port}"
    if credentials is None:
        rpc.add_insecure_port(address)
    else:
        rpc.add_secure_port(address, credentials)
    await rpc.start()
    app = build_app(points, collections, metrics, api_key, frozenset(name.lower() for name in settings.host_name))
    rest = RestServer(app, listening, **_uvicorn_tls(settings))
    await rest.start()
    maintenance = asyncio.create_task(_maintain(registry, settings.flush_interval_s or DEFAULT_FLUSH_INTERVAL_S))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    print(f"qdrant ready grpc={HOST}:{settings.grpc_port} http={HOST}:{settings.http_port}", flush=True)
    await stop.wait()
    maintenance.cancel()
    await asyncio.gather(rpc.stop(STOP_GRACE_S), rest.stop())
    await registry.close()


def _grpc_credentials(settings: argparse.Namespace) -> grpc.ServerCredentials | None:
    if settings.tls_cert_file is None:
        return None
    pair = (settings.tls_key_file.read_bytes(), settings.tls_cert_file.read_bytes())
    authority = settings.tls_ca_file.read_bytes() if settings.tls_ca_file else None
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)


def _uvicorn_tls(settings: argparse.Namespace) -> dict[str, Any]:
    if settings.tls_cert_file is None:
        return {}
    files: dict[str, Any] = {"ssl_certfile": settings.tls_cert_file, "ssl_keyfile": settings.tls_key_file}
    if settings.tls_ca_file:
        files |= {"ssl_ca_certs": str(settings.tls_ca_file), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return files


class RestServer(BoundedServer):
    """uvicorn inside a running loop; signals stay with the caller."""

    def __init__(self, app: Starlette, listening: socket.socket, **tls: Any) -> None:
        connections = Connections(connections_within_open_files(CONNECTIONS))
        super().__init__(connections, app, lifespan="off", timeout_graceful_shutdown=int(STOP_GRACE_S), **tls)
        self.config.load()  # now: a certificate that cannot be read ends the process
        self._socket = listening
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]  # no handlers
        """Leave the process's signal handlers as they are."""
        return contextlib.nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open for requests."""
        await super().startup(sockets)
        self._ready.set()

    async def start(self) -> None:
        """Serve, and return when requests are taken."""
        self._task = asyncio.create_task(self.serve(sockets=[self._socket]))
        await self._ready.wait()

    async def stop(self) -> None:
        """Answer what is under way and end."""
        self.should_exit = True
        if self._task is not None:
            await self._task


async def _maintain(registry: Registry, interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        await registry.maintain()


def main() -> int:
    """Run the server; 0 after a clean stop, 1 where it could not start, 2 where an argument does not fit."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    settings = parse_arguments(sys.argv[1:])
    try:
        asyncio.run(serve(settings))
    except ConfigurationError as error:
        print(f"qdrant cannot serve {settings.data}: {error}", file=sys.stderr)
        return 2
    except (QdrantError, OSError, RuntimeError) as error:
        print(f"qdrant cannot serve {settings.data}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
