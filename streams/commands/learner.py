"""`interests learner`: learn the weights of the score until told to stop."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import typer

from streams.commands.shell import load_settings, register, run

if TYPE_CHECKING:
    from streams.settings.service import Settings


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "learner", example="interests learner")(learner)


def learner() -> None:
    """Learn what makes people choose, publish it as weights, and measure rankings live, until Ctrl-C or SIGTERM.

    Waits for Kafka and Qdrant as long as it takes, and goes on where the last learner was. Run one: a second takes
    over, and the first ends. Exit code 0: stopped on request; 1: another learner took over, or it had to end and may
    be started again; 2: the settings do not fit.
    """
    from streams.settings.logs import set_up

    settings = load_settings()
    set_up(settings.log)
    raise typer.Exit(run(serve(settings)))


async def serve(settings: Settings) -> int:
    """Run a learner until a signal comes, whatever it is at."""
    from streams.learner.run import run as run_learner

    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return await run_learner(settings, stop)
