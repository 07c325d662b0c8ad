"""Running a worker inside our own event loop: start, watch, stop, and an exit code for whatever runs the process."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from time import monotonic

from streams.base.errors import BrokerUnavailable
from streams.broker.app import BrokerApp
from streams.broker.consumer_state import ConsumerState
from streams.broker.liveness import not_live

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
) -> int:
    """Run the app until SIGTERM, SIGINT or `stop`; returns the process's exit code.

    0: stopped on request, the batch at work finished (within `drain_s`), everything acknowledged committed, the
    group left. 1: an agent raised, the consumer failed, or work stood still for `stall_s` seconds by the judgement of
    `app.liveness` (an agent that waits on purpose says so with `app.note_progress()`); nothing past the failure is
    acknowledged. SIGTERM and SIGINT are ours while it runs unless `signals` is False; none of Faust's logging or
    standard-output redirection is installed. `on_ready` runs once partitions are assigned.
    """
    stop = stop or asyncio.Event()
    with _signals_set(stop) if signals else nullcontext():
        starting = asyncio.create_task(app.start())
        judging = asyncio.create_task(_not_live(app, stall_s))
        try:
            failed = await _watch(app, stop, starting, judging, on_ready)
            judging.cancel()  # a batch that drains may take its time
            if not failed and not await app.drain(drain_s):
                log.warning("a batch was still at work after %.0f s; it is given up and will be read again", drain_s)
        finally:
            judging.cancel()
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


async def _not_live(app: BrokerApp, stall_s: float) -> str:
    """Feed the judge with the consumer's state until it finds that the worker must end; returns why.

    The log is asked for records that nobody fetches four times a `stall_s`, while no batch is out.
    """
    judge, state = app.liveness, ConsumerState(app)
    limits = replace(judge.limits, stuck_s=stall_s)
    asked_s = monotonic()
    while True:
        consumer = state.facts()
        judge.observe(consumer)
        idle = consumer.assigned and not consumer.batches_out
        if idle and monotonic() - asked_s >= stall_s / 4:
            asked_s = monotonic()
            try:
                judge.behind(await state.behind())
            except BrokerUnavailable:
                judge.excuse()
        reasons = not_live(judge.facts(), limits)
        if reasons:
            return "; ".join(reasons)
        await asyncio.sleep(CHECK_EVERY_S)


async def _watch(
    app: BrokerApp,
    stop: asyncio.Event,
    starting: asyncio.Task[None],
    judging: asyncio.Task[str],
    on_ready: Callable[[], Awaitable[None]] | None,
) -> bool:
    """Wait for a request to stop (False) or for a failure (True)."""
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
        if judging.done():
            log.error("the worker is stuck: %s", judging.result())
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
