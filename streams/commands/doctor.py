"""`interests doctor`: ask every server whether it is well, and say what to do where one is not."""

from __future__ import annotations

import asyncio

import typer

from streams.commands import checks
from streams.commands.check_security import check_security
from streams.commands.findings import Findings, drawn
from streams.commands.shell import EXIT_FAILED, console, register, run
from streams.settings.service import Settings, load


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "doctor", example="interests doctor")(doctor)


def doctor() -> None:
    """Check settings, Kafka, Triton, Qdrant and the API, and say what to do.

    Every server is asked, also where another is away; each check gives up after five seconds. Exit code 1: something
    does not work.
    """
    parts = run(examine(load()))
    out = console()
    out.print(drawn(parts))
    counts = {status: sum(one.status == status for part in parts for one in part.found) for status in ("FAIL", "WARN")}
    if not any(counts.values()):
        out.print("\nall is well", style="green")
    else:
        out.print(f"\n{counts['FAIL']} failed, {counts['WARN']} warned")
    if counts["FAIL"]:
        raise typer.Exit(EXIT_FAILED)


async def examine(settings: Settings) -> list[Findings]:
    """Make every check; Kafka is asked while Triton and then Qdrant are."""

    async def encoder_and_store() -> tuple[Findings, Findings, Findings]:
        here = checks.check_here(settings)
        triton, info = await checks.check_triton(settings)
        checks.check_concepts(here, settings, info)
        check_security(here, settings)
        return here, triton, await checks.check_qdrant(settings, info)

    kafka, (here, triton, qdrant), api = await asyncio.gather(
        checks.check_kafka(settings), encoder_and_store(), checks.check_api(settings)
    )
    return [here, kafka, triton, qdrant, api]
