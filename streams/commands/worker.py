"""`interests worker`: run one worker until it is told to stop."""

from __future__ import annotations

import typer

from streams.commands.logs import set_up
from streams.commands.shell import register, run
from streams.settings import load


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "worker", example="INTERESTS_LOG__FORM=json interests worker")(worker)


def worker() -> None:
    """Fold events into interests until Ctrl-C or SIGTERM.

    Waits for Kafka, Triton and Qdrant as long as it takes, and starts where the group left off. Start as many workers
    as there are partitions. Exit code 0: stopped on request; 1: it had to end and may be started again; 2: the
    settings do not fit.
    """
    settings = load()
    set_up(settings.log)
    from streams.app import run as run_worker  # noqa: PLC0415  # Faust and the clients take a second to import

    raise typer.Exit(run(run_worker(settings)))
