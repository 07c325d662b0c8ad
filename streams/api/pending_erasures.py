"""Erasures that were accepted and not seen to take effect yet: looked at again until they have, so that none is lost.

What a process was asked for it knows until it ends. The receipts stay valid beyond that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from streams.api.erased import receipt_of
from streams.base.background import end
from streams.base.clock import now_ms
from streams.base.errors import InterestsError
from streams.store.reader import StoreReader

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 15.0
_MOST: Final = 1_000

Holds = Callable[[str, int], Awaitable[bool]]
"""Whether an erasure asked for at a time, in ms, has taken effect on the nodes kept under an id."""


async def erasure_holds(reader: StoreReader, stored_id: str, requested_ms: int) -> bool:
    """Whether an erasure asked for at that time has taken effect; raises what the reader raises."""
    return receipt_of(stored_id, "", requested_ms, await reader.stored(stored_id)).verified


class PendingErasures:
    """`oldest` is told the age in s of the oldest pending erasure, 0 where there is none, with every look.

    Looks come every `every_s` seconds, one read of Qdrant each; where it does not answer, they stay pending. At most
    1,000 are kept: one beyond that is not looked at again, which is logged.
    """

    def __init__(self, holds: Holds, oldest: Callable[[float], None], *, every_s: float = LOOK_EVERY_S) -> None:
        self._holds, self._oldest, self._every_s = holds, oldest, every_s
        self._pending: set[tuple[int, str]] = set()
        self._looking: asyncio.Task[None] | None = None

    def add(self, stored_id: str, requested_ms: int) -> None:
        """Look at an erasure again."""
        if len(self._pending) < _MOST:
            self._pending.add((requested_ms, stored_id))
        else:
            log.warning("erasure_not_followed", pending=_MOST)
        self._tell()

    def done(self, stored_id: str, requested_ms: int) -> None:
        """An erasure was seen to have taken effect."""
        self._pending.discard((requested_ms, stored_id))
        self._tell()

    def start(self) -> None:
        """Begin to look, in the background."""
        self._looking = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Stop looking."""
        await end(self._looking)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                for requested_ms, stored_id in sorted(self._pending):
                    if await self._holds(stored_id, requested_ms):
                        self.done(stored_id, requested_ms)
            except InterestsError as error:
                log.warning("erasures_not_looked_at", error=type(error).__name__, pending=len(self._pending))
            self._tell()

    def _tell(self) -> None:
        self._oldest(max(0.0, (now_ms() - min(self._pending)[0]) / 1000) if self._pending else 0.0)
