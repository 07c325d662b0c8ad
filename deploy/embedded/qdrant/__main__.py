"""`python -m deploy.embedded.qdrant`: start, serve on loopback, stop cleanly."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
import sys
from pathlib import Path

from deploy.embedded.qdrant.collections_api import Collections
from deploy.embedded.qdrant.errors import QdrantError
from deploy.embedded.qdrant.grpc_server import build_server
from deploy.embedded.qdrant.points import Points
from deploy.embedded.qdrant.registry import Registry

HOST = "127.0.0.1"
STOP_GRACE_S = 5.0
log = logging.getLogger("embedded.qdrant")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded.qdrant", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory of the collections, made if missing")
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--api-key-file", type=Path, help="file whose first line is the key every call must bring")
    parser.add_argument(
        "--flush-interval-s",
        type=float,
        default=5.0,
        help="seconds between writes to disk; 0 flushes before every answer, which also survives a power cut",
    )
    return parser.parse_args(arguments)


async def serve(settings: argparse.Namespace) -> None:
    """Serve until a signal asks to stop."""
    api_key = settings.api_key_file.read_text("utf-8").splitlines()[0].strip() if settings.api_key_file else None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    registry = await asyncio.to_thread(Registry, settings.data, flush_each=settings.flush_interval_s == 0)
    server = build_server(Points(registry), Collections(registry), api_key)
    server.add_insecure_port(f"{HOST}:{settings.grpc_port}")
    await server.start()
    flusher = asyncio.create_task(_flush_regularly(registry, settings.flush_interval_s or 5.0))
    gc.freeze()
    print(f"qdrant ready grpc={HOST}:{settings.grpc_port} http={HOST}:{settings.http_port}", flush=True)
    await stop.wait()
    flusher.cancel()
    await server.stop(STOP_GRACE_S)
    await asyncio.to_thread(registry.close)


async def _flush_regularly(registry: Registry, interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        await registry.maintain()


def main() -> int:
    """Run the server; 0 after a clean stop, 1 where it could not start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    settings = parse_arguments(sys.argv[1:])
    try:
        asyncio.run(serve(settings))
    except QdrantError as error:
        print(f"qdrant cannot serve {settings.data}: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
