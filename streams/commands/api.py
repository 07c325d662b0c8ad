"""`interests api`: serve the HTTP API; `interests api key`: make a key."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from streams.api.keys import make_key
from streams.api.scopes import SCOPES, Scope
from streams.base.errors import ConfigurationError
from streams.commands.shell import load_settings, register, register_group

Host = Annotated[str | None, typer.Option("--host", help="Address to listen on; by default api.host.")]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Its port; by default api.port.")]
Workers = Annotated[int, typer.Option("--workers", min=1, max=64, help="Processes that serve.")]
Name = Annotated[str, typer.Argument(help="Whose key it is, for limits and logs.", metavar="NAME", show_default=False)]
Scopes = Annotated[list[str] | None, typer.Option("--scope", help="read, ingest or admin. Repeatable; read if none.")]

_group = typer.Typer(no_args_is_help=False)


def add(app: typer.Typer) -> None:
    """Register the command and its sub-command."""
    register_group(app, _group, "api", example="interests api --port 8080", function=api)
    register(_group, "key", example="interests api key dashboard --scope read")(key)


def api(context: typer.Context, host: Host = None, port: Port = None, workers: Workers = 1) -> None:
    """Serve the HTTP API until Ctrl-C or SIGTERM: trees, recommendations, explanations, audiences, ingest.

    Listens on this machine only unless keys are set. Exit code 0: stopped on request; 2: the settings do not fit, or
    the port is taken.
    """
    if context.invoked_subcommand is not None:
        return
    from streams.api.server import serve

    settings = load_settings()
    changed = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"api": settings.api.model_copy(update=changed)})
    raise typer.Exit(serve(settings, workers))


def key(name: Name, scope: Scopes = None) -> None:
    """Make an API key: the key itself on standard output, once, and the line that lets it in on standard error.

    The line goes into the file that api.keys_file names; it holds a hash, from which the key cannot be had.
    """
    scopes = scope or ["read"]
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise ConfigurationError(f"got --scope {', '.join(unknown)}, expected one of {', '.join(SCOPES)}")
    secret, line = make_key(name, frozenset(cast("list[Scope]", scopes)))
    typer.echo(secret)
    typer.echo(line, err=True)
