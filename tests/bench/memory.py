"""Does a worker's memory stay flat? Half an hour of an even load, and what it holds beside what its caches say.

Memory that grows with the people it meets is the caches', which are bounded. What is left, resident less cached, must
not rise once the caches have met everybody: its slope over the last two thirds is the figure to look at.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import Progress

from deploy.embedded.stack import Stack
from tests.bench.path import APPLIED, PROGRESS, clicks, describe_items, samples, send_evenly, total
from tests.bench.peers.race import QUIET, broker_here
from tests.bench.scale import resident_mib

RATE, PEOPLE = 300, 20_000
_EVERY_S = 15.0
_SETTLED_S = 900.0  # in a third of it the caches have met everybody; shorter runs say nothing of a slope
_CACHES = "interests_cache_bytes"


class Held(NamedTuple):
    """What a worker holds at a moment, seconds from the start: what is resident, and what its caches say."""

    at_s: float
    resident_mib: float
    cached_mib: float
    events: float


async def course(minutes: float, console: Console) -> tuple[str, list[Held]]:
    """An even load for that long, and a sample every quarter of a minute."""
    broker, came = broker_here(console), list[Held]()
    with tempfile.TemporaryDirectory(prefix="interests-bench-") as folder, Progress(console=console) as progress:
        task = progress.add_task("describing items", total=minutes * 60)
        async with Stack(Path(folder), ports="free", environment=QUIET, broker=broker) as stack:
            await describe_items(stack)
            pid, start = stack.pids()["worker"], time.perf_counter()
            load = asyncio.create_task(
                send_evenly(stack, clicks(int(RATE * minutes * 60), "memory", PEOPLE), RATE), name="load"
            )
            while not load.done():
                await asyncio.sleep(_EVERY_S)
                seen = await samples(stack, *PROGRESS, _CACHES)
                now = Held(
                    time.perf_counter() - start, resident_mib(pid), total(seen, _CACHES) / 2**20, total(seen, APPLIED)
                )
                came.append(now)
                progress.update(task, description=f"{now.resident_mib:.0f} MiB", completed=now.at_s)
            await load
    return broker, came


def summary(came: Sequence[Held]) -> dict[str, Any]:
    """Resident and cached MiB at the end of each third, and how fast the rest rises over the last two of them."""
    thirds = [came[len(came) * part // 3 - 1] for part in (1, 2, 3)]
    late = came[len(came) // 3 :]
    rest = [one.resident_mib - one.cached_mib for one in late]
    slope = {}
    if came[-1].at_s >= _SETTLED_S:
        slope["rest_rises_mib_a_minute"] = round(float(np.polyfit([one.at_s / 60 for one in late], rest, 1)[0]), 2)
    return {
        "minutes": round(came[-1].at_s / 60, 1), "events": round(came[-1].events), "people": PEOPLE,
        "resident_mib": [round(one.resident_mib) for one in thirds],
        "cached_mib": [round(one.cached_mib) for one in thirds],
        **slope,
        "course": [[round(one.at_s), round(one.resident_mib), round(one.cached_mib)] for one in came],
    }  # fmt: skip


def figures(minutes: float, console: Console) -> dict[str, Any]:
    """Measure. Raises where the worker applied less than nearly all that was sent: it held back, it was not loaded."""
    broker, came = asyncio.run(course(minutes, console))
    sent = RATE * minutes * 60
    if came[-1].events < 0.95 * sent:
        raise RuntimeError(f"got {came[-1].events:.0f} events applied, expected nearly {sent:.0f}: too slow a machine")
    return {"broker": broker, "rate_events_per_s": RATE, **summary(came)}
