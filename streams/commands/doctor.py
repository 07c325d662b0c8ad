"""`interests doctor`: ask every server whether it is well, and say what to do where one is not."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import typer

from streams.commands.shell import EXIT_FAILED, console, load_settings, register, run

if TYPE_CHECKING:
    from streams.commands.findings import Findings
    from streams.settings.service import Settings
    from streams.store.survey import Survey


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "doctor", example="interests doctor")(doctor)


def doctor() -> None:
    """Check settings, Kafka, Triton, Qdrant, the API and Prometheus where one is named, and say what to do.

    Every server is asked, also where another is away, and whether learned weights rank; each check gives up after five
    seconds. Exit code 1: something does not work.
    """
    from streams.commands.findings import findings_table

    parts = run(examine(load_settings()))
    out = console()
    out.print(findings_table(parts))
    counts = Counter(finding.status for part in parts for finding in part.entries)
    if counts["FAIL"] or counts["WARN"]:
        out.print(f"\n{counts['FAIL']} failed, {counts['WARN']} warned")
    else:
        out.print("\nall is well", style="green")
    if counts["FAIL"]:
        raise typer.Exit(EXIT_FAILED)


async def examine(settings: Settings) -> list[Findings]:
    """Make every check; Kafka is asked while Triton and then Qdrant are, and for weights once both have answered."""
    from streams.commands.installation_checks import check_concepts, check_installation, check_security
    from streams.commands.learner_checks import check_learner
    from streams.commands.prometheus_check import check_prometheus
    from streams.commands.qdrant_checks import check_qdrant
    from streams.commands.server_checks import check_api, check_kafka, check_triton

    async def encoder_and_store() -> tuple[Findings, Findings, Findings, Survey | None]:
        installation = check_installation(settings)
        triton, info = await check_triton(settings)
        check_concepts(installation, settings, info)
        check_security(installation, settings)
        return installation, triton, *await check_qdrant(settings, info)

    kafka, (installation, triton, qdrant, survey), api, prometheus = await asyncio.gather(
        check_kafka(settings), encoder_and_store(), check_api(settings), check_prometheus(settings)
    )
    parts = [installation, kafka, triton, qdrant, api, *([prometheus] if prometheus else [])]
    return parts if kafka.failed else [*parts, await check_learner(settings, survey)]
