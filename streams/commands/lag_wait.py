"""Waiting until a group has folded everything: its lag is nought, and nothing waits for an item."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

from streams.commands.progress import Meter

if TYPE_CHECKING:
    from streams.broker.admin import Admin, Lag

_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Waited:
    """How the wait ended: `left` is the lag by topic that was still there, `members` who was at work on it."""

    left: dict[str, int]
    members: int
    stopped: bool


async def until_folded(
    admin: Admin, group: str, topics: Sequence[str], deadline_s: float, meter: Meter, stop: asyncio.Event
) -> Waited:
    """Ask for the group's lag until it is nought in all `topics`, `stop` is set or the deadline passes.

    One answer is enough: offsets are read before log ends, and an event that has to wait is in the unresolved topic
    before its own offset is committed. So a lag of nought everywhere means that nothing was under way.
    """
    end = monotonic() + deadline_s
    most = 0
    while True:
        left = by_topic(await admin.lag(group, topics))
        total = sum(left.values())
        most = max(most, total)
        meter.to(most - total, most)
        if not total or stop.is_set() or monotonic() > end:
            members = len((await admin.group(group)).members)
            return Waited({name: lag for name, lag in left.items() if lag}, members, stop.is_set())
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _EVERY_S)


def by_topic(lags: Sequence[Lag]) -> dict[str, int]:
    """The lag of each topic, over its partitions."""
    totals: dict[str, int] = {}
    for lag in lags:
        totals[lag.topic] = totals.get(lag.topic, 0) + lag.lag
    return totals
