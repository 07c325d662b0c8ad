"""`interests api`: serve the HTTP API; `interests api key`: make a key."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.commands.logs import set_up
from streams.commands.shell import register
from streams.settings import load

Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.", show_default="api.host")]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Its port.", show_default="api.port")]
Workers = Annotated[int, typer.Option("--workers", min=1, max=64, help="Processes that serve.")]


def add(app: typer.Typer) -> None:
    """Register the command and its sub-command."""
    register(app, "api", example="interests api --port 8080")(api)


def api(host: Host = None, port: Port = None, workers: Workers = 1) -> None:
    """Serve the HTTP API until Ctrl-C or SIGTERM: trees, recommendations, explanations, audiences, ingest.

    Listens on this machine only unless keys are set. Exit code 0: stopped on request; 2: the settings do not fit, or
    the port is taken.
    """
    settings = load()
    changed = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"api": settings.api.model_copy(update=changed)})
    set_up(settings.log)
    from streams.api.serving import serve  # noqa: PLC0415  # the framework and the clients take a second to import

    raise typer.Exit(serve(settings, workers))
