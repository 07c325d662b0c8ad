"""Finds whose learned nodes are not of their profiles as they are, and puts them into the queue, a few at a time.

Such people there are when a worker died with a queue, when another model is served, when the level is switched on over
trees that are there, and where a full queue has left some out. So a worker looks through the profiles of its
partitions when it gets them, when another model answers, after a redelivery and after a queue that was too full. It
goes slowly: it rests after each page, and puts in nobody while a call's worth of people waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence, Set
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

import structlog

from streams.base.clock import now_ms
from streams.base.errors import InterestsError
from streams.broker.fetched_batch import GroupIdentity, Partition
from streams.interests.nodes import Node
from streams.store.base import Control, Fence
from streams.store.learned_scan import Behind
from streams.worker.learned_level import InterestModel, LearnedLimits

log = structlog.get_logger(__name__)

_LOOK_EVERY_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
_ROOM_EVERY_S: Final = 0.1
_REST_AFTER: Final = 10.0  # times as long as a sweep took, before the next one

Held = Callable[[], tuple[GroupIdentity, frozenset[Partition]] | None]
"""The assignment in force and its partitions; None while there is none."""


class _Over(Exception):
    """The assignment that is swept for has ended."""


class SweepObserver(Protocol):
    """Hears what a sweep finds; a metrics class fits it."""

    def learned_found(self, people: int) -> None:
        """So many people were behind, and wait now."""

    def learned_swept(self, outcome: str) -> None:
        """A sweep was `done`, or `failed` and is made again."""


class SweptQueue(Protocol):
    """The queue as a sweep uses it."""

    def note_changes(self, *, wanted: bool) -> None: ...
    def offer(self, profile: Node, fence: Fence) -> bool: ...
    def room(self, most: int) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSources:
    """What it is made of: the model, whom the store finds to be behind, the group's control point, and the queue."""

    model: InterestModel
    behind: Callable[[Set[str], str, int], AsyncIterator[list[Behind]]]
    control: Callable[[], Awaitable[Control | None]]
    queue: SweptQueue
    filled: Callable[[], None]
    observer: SweepObserver


class LearnedSweep:
    """Looks through the profiles of the partitions that `run` is told of, whenever that is called for."""

    def __init__(self, sources: SweepSources, limits: LearnedLimits) -> None:
        self._from, self._limits = sources, limits
        self._again = 0
        self._swept: tuple[GroupIdentity, str, int] | None = None

    def again(self) -> None:
        """Somebody may be behind: have a look at all of them once more."""
        self._again += 1

    async def run(self, held: Held) -> None:
        """Sweep until cancelled, whenever that is called for."""
        failures, rest_s = 0, _LOOK_EVERY_S
        while True:
            await asyncio.sleep(rest_s)
            began_s, rest_s = monotonic(), _LOOK_EVERY_S
            try:
                if await self._look(held):
                    rest_s = max(rest_s, _REST_AFTER * (monotonic() - began_s))
                failures = 0
            except _Over:
                continue
            except InterestsError as error:
                failures += 1
                rest_s = min(_LONGEST_WAIT_S, _LOOK_EVERY_S * 2.0 ** min(failures, 8))
                self._from.observer.learned_swept("failed")
                log.warning("learned_sweep_failed", error=str(error), again_in_s=rest_s)

    async def _look(self, held: Held) -> bool:
        """Sweep where that is called for; whether it was."""
        if (now := held()) is None:
            return False
        identity, partitions = now
        wanted = identity, (await self._from.model.info()).model_id, self._again
        if wanted == self._swept:
            return False
        control = await self._from.control()
        if control is None or control.generation > identity.generation:
            return False  # nothing was folded yet, a newer generation is at work, or the group began anew

        def still() -> None:
            if (left := held()) is None or left[0] is not identity:
                raise _Over

        slots = frozenset(f"{topic}/{partition}" for topic, partition in partitions)
        await self._sweep(slots, wanted[1], Fence(control.epoch, identity.generation), still)
        self._swept = wanted
        return True

    async def _sweep(self, slots: Set[str], model: str, newest: Fence, still: Callable[[], None]) -> None:
        began_s, found, queue = monotonic(), 0, self._from.queue
        try:
            pages = self._from.behind(slots, model, now_ms())
            while True:
                # Whom a batch changes from here on is not to be asked about as the page has them.
                queue.note_changes(wanted=True)
                page_s = monotonic()
                page = await anext(pages, None)
                if page is None:
                    break
                rest_s = self._limits.rest * (monotonic() - page_s)
                still()
                # What a newer owner has written is for that one to make nodes of.
                found += await self._put_in([one for one in page if one.fence <= newest], still)
                await asyncio.sleep(rest_s)
        finally:
            queue.note_changes(wanted=False)
        self._from.observer.learned_swept("done")
        log.info("learned_swept", behind=found, model=model, seconds=round(monotonic() - began_s, 2))

    async def _put_in(self, people: Sequence[Behind], still: Callable[[], None]) -> int:
        """Put people into the queue as there is room; how many were."""
        put = 0
        for one in people:
            while not self._from.queue.room(self._limits.people_a_call):
                await asyncio.sleep(_ROOM_EVERY_S)
                still()
            if self._from.queue.offer(one.profile, one.fence):
                put += 1
                self._from.observer.learned_found(1)
                self._from.filled()
        return put
