"""Tasks that run beside what serves, and how they end."""

from __future__ import annotations

import asyncio


async def end(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait until it is over, whatever it raised; None was never begun."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
