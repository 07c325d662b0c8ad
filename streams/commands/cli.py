"""The command `interests`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from typing import Annotated

import typer

from streams.commands import (
    api,
    audience,
    concepts,
    dead_letters,
    doctor,
    encoder,
    erase,
    evaluate,
    explain,
    produce,
    rank,
    recommend,
    replay,
    settings,
    show,
    topics,
    up,
    watch,
    worker,
)

app = typer.Typer(
    name="interests",
    help="Every user's interests as live vectors: Kafka in, Triton encodes, Qdrant keeps.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its pages of locals would show settings
    context_settings={"help_option_names": ["-h", "--help"]},
)
_SERVE = (up, worker, api, topics, produce, replay, dead_letters, show, doctor, settings, encoder, concepts, evaluate)
_ASK = (recommend, rank, explain, audience, watch, erase)
for command in (*_SERVE, *_ASK):
    command.add(app)


def _version(value: bool) -> None:
    if value:
        try:
            typer.echo(package_version("interest-streams"))
        except PackageNotFoundError:
            typer.echo("not installed: run from its sources")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Every user's interests as live vectors: Kafka in, Triton encodes, Qdrant keeps."""


if __name__ == "__main__":
    app()
