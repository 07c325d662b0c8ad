"""Batches worked on in their order, two at a time: what the next needs of the one before, it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from streams.broker.batches import Batch

Before = Callable[[], Awaitable[object]]
"""Waits until the batch before is done; for ever where that failed, since then this one is cancelled."""
Work = Callable[[Batch, Callable[[], None], Before], Awaitable[None]]
"""Works on a batch, calls the second argument once the next may begin, and ends after what the third waits for."""


async def one_by_one(batches: AsyncGenerator[Batch], work: Callable[[Batch], Awaitable[None]]) -> None:
    """Work on batches as they come, each after the one before."""
    async with aclosing(batches):
        async for batch in batches:
            await work(batch)


async def in_order(batches: AsyncGenerator[Batch], work: Work) -> None:
    """Work on batches as they come: each is begun once the one before lets it, and while that is the only one.

    What the work of one raises ends that of the other, and is raised.
    """
    before = asyncio.Event()
    before.set()
    try:
        async with aclosing(batches), asyncio.TaskGroup() as group:
            async for batch in batches:
                begin, done = asyncio.Event(), asyncio.Event()
                group.create_task(_one(batch, work, begin, before, done))
                await begin.wait()
                await before.wait()
                before = done
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _one(batch: Batch, work: Work, begin: asyncio.Event, before: asyncio.Event, done: asyncio.Event) -> None:
    with batch.at_work():
        await work(batch, begin.set, before.wait)
    done.set()
    begin.set()
