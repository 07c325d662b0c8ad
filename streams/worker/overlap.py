"""Batches that overlap: while one is on its way to the store, the next is folded on top of it.

One batch folds at a time, so a user's nodes are read and changed by one. What follows is written, and acknowledged,
after what is before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from streams.pipeline.in_flight import InFlight


@dataclass(slots=True, eq=False)
class _Flight:
    identity: object
    side: InFlight
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Overlap:
    """Who folds, and which batches are in flight. Of another assignment than a batch's own there are none beside it."""

    def __init__(self) -> None:
        self._folding = asyncio.Lock()
        self._flights: list[_Flight] = []

    @asynccontextmanager
    async def beside(self, identity: object) -> AsyncIterator[None]:
        """While nobody folds, and nothing of another assignment is in flight."""
        async with self._folding:
            await self._only(identity)
            yield

    @asynccontextmanager
    async def flight(self, identity: object, folded: Callable[[InFlight], None]) -> AsyncIterator[InFlight]:
        """A batch from its folding until it is announced; `folded` is called where it says that all of it is folded."""
        await self._folding.acquire()
        folds = True

        def let_go() -> None:
            nonlocal folds
            if folds:
                folds = False
                self._folding.release()

        def all_folded() -> None:
            let_go()
            folded(flight.side)

        try:
            await self._only(identity)
            flight = _Flight(identity, InFlight([one.side for one in self._flights], all_folded))
            self._flights.append(flight)
        except BaseException:
            let_go()
            raise
        try:
            yield flight.side
        finally:
            # What was folded on top of a batch that was not written ends before that is tried again.
            flight.side.end(written=False)
            let_go()
            try:
                if flight.side.has_failed:
                    for later in self._flights[self._flights.index(flight) + 1 :]:
                        await later.ended.wait()
            finally:
                self._flights.remove(flight)
                flight.ended.set()

    async def _only(self, identity: object) -> None:
        """Wait until nothing is in flight that failed or belongs to another assignment."""
        while doubtful := [one for one in self._flights if one.side.has_failed or one.identity is not identity]:
            await doubtful[0].ended.wait()
