"""`interests worker`: run one worker until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import TYPE_CHECKING

import structlog
import typer

from streams.commands.shell import load_settings, register, run

if TYPE_CHECKING:
    from streams.settings.service import Settings

log = structlog.get_logger(__name__)


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "worker", example="INTERESTS_LOG__FORM=json interests worker")(worker)


def worker() -> None:
    """Fold events into interests until Ctrl-C or SIGTERM.

    Waits for Kafka, Triton and Qdrant as long as it takes, and starts where the group left off. Start as many workers
    as there are partitions. Exit code 0: stopped on request; 1: it had to end and may be started again; 2: the
    settings do not fit.
    """
    from streams.pipeline import faultpoints
    from streams.settings.logs import set_up

    settings = load_settings()
    set_up(settings.log)
    faultpoints.arm(os.environ.get(faultpoints.VARIABLE, ""))  # tests only
    raise typer.Exit(run(serve(settings)))


async def serve(settings: Settings) -> int:
    """Run a worker; a signal that comes while it still waits for a server ends it with 0 too.

    Once it works it has signal handlers of its own, which let the batch at hand finish.
    """
    gc.disable()  # importing takes a fifth less so; once it works, the worker sets how it is collected
    from streams.worker.run import run as run_worker

    gc.enable()
    working = asyncio.create_task(run_worker(settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, working.cancel)
    try:
        return await working
    except asyncio.CancelledError:
        log.info("stopped", code=0, while_="waiting for a server")
        return 0
