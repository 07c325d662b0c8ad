"""Serving: uvicorn in this process, or a supervisor over several."""

from __future__ import annotations

import socket

import uvicorn

from streams.api.app import create_app
from streams.errors import ConfigurationError
from streams.settings import Settings

_STOP_WITHIN_S = 10
_BACKLOG = 512


def serve(settings: Settings, workers: int) -> int:
    """Serve until SIGINT or SIGTERM; 0 once all that was under way has been answered."""
    app = create_app(settings)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, date_header=True, proxy_headers=False,
        timeout_graceful_shutdown=_STOP_WITHIN_S, timeout_keep_alive=30, ws="none",
        h11_max_incomplete_event_size=65_536,
    )  # fmt: skip
    listening = _listen(settings.api.host, settings.api.port)
    with listening:
        uvicorn.Server(config).run(sockets=[listening])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. ConfigurationError where the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({error.strerror}): set api.host and api.port to what is free"
        ) from error
