"""Tasks that run beside what serves, and how they end."""

from __future__ import annotations

import asyncio

import structlog

log = structlog.get_logger(__name__)


async def end(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait until it is over, whatever it raised; None was never begun."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def note_end(task: asyncio.Task[None]) -> None:
    """A callback of a task that is to end when it is cancelled: where it ends of an error, that is logged."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background_task_failed", error=str(error), exc_info=error)
