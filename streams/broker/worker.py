"""Running a worker inside our own event loop: start, watch, stop, and an exit code for whatever runs the process."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from streams.broker.app import BrokerApp
from streams.broker.watchdog import Watchdog

CHECK_EVERY_S = 0.25
STOP_WITHIN_S = 30.0

log = logging.getLogger(__name__)


async def run_worker(
    app: BrokerApp,
    *,
    stop: asyncio.Event | None = None,
    on_ready: Callable[[], Awaitable[None]] | None = None,
    drain_s: float = 20.0,
    stall_s: float = 300.0,
    signals: bool = True,
    stuck: Callable[[], str | None] = lambda: None,
) -> int:
    """Run the app until SIGTERM, SIGINT or `stop`; returns the process's exit code.

    0: stopped on request, the batch at work finished (within `drain_s`), everything acknowledged committed, the
    group left. 1: an agent raised, the consumer failed, or nothing moved for `stall_s` seconds (see `Watchdog`;
    an agent that waits on purpose says so with `app.note_progress()`), or `stuck` says why; nothing past the failure is
    acknowledged. SIGTERM and SIGINT are ours while it runs unless `signals` is False; none of Faust's logging or
    standard-output redirection is installed. `on_ready` runs once partitions are assigned.
    """
    stop = stop or asyncio.Event()
    with _signals_set(stop) if signals else nullcontext():
        starting = asyncio.create_task(app.start())
        try:
            failed = await _watch(app, stop, starting, on_ready, _complaint(app, stall_s, stuck))
            if not failed and not await app.drain(drain_s):
                log.warning("a batch was still at work after %.0f s; it is given up and will be read again", drain_s)
        finally:
            await _stop(app, starting)
    return 1 if failed or app.crashed else 0


@contextmanager
def _signals_set(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _watch(
    app: BrokerApp,
    stop: asyncio.Event,
    starting: asyncio.Task[None],
    on_ready: Callable[[], Awaitable[None]] | None,
    complaining: Coroutine[Any, Any, str],
) -> bool:
    """Wait for a request to stop (False) or for a failure (True)."""
    complaint = asyncio.create_task(complaining)
    try:
        return await _watch_with(complaint, app, stop, starting, on_ready)
    finally:
        complaint.cancel()


async def _complaint(app: BrokerApp, stall_s: float, stuck: Callable[[], str | None]) -> str:
    watchdog = Watchdog(app, stall_s)
    while True:
        complaint = await watchdog.complaint() or stuck()
        if complaint is not None:
            return complaint
        await asyncio.sleep(CHECK_EVERY_S)


async def _watch_with(
    complaint: asyncio.Task[str],
    app: BrokerApp,
    stop: asyncio.Event,
    starting: asyncio.Task[None],
    on_ready: Callable[[], Awaitable[None]] | None,
) -> bool:
    ready = False
    while not stop.is_set():
        # The consumer's thread marks a crash without waking this loop, so it is looked at rather than waited for.
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), CHECK_EVERY_S)
        if app.crashed:
            log.error("the worker failed: %r", app.crash_reason)
            return True
        if starting.done() and starting.exception() is not None:
            log.error("the worker did not start: %r", starting.exception())
            return True
        if not ready and starting.done() and app.identity is not None:
            ready = True
            if on_ready is not None:
                await on_ready()
        if complaint.done():
            log.error("the worker is stuck: %s", complaint.result())
            return True
    return False


async def _stop(app: BrokerApp, starting: asyncio.Task[None]) -> None:
    try:
        await asyncio.wait_for(app.stop(), STOP_WITHIN_S)
    except TimeoutError:
        log.exception("the worker did not stop within %.0f s", STOP_WITHIN_S)
    if not starting.done():
        starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
