"""Work side by side, or one piece alone while all else waits: so that a death has one record to blame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Holds work that is done alone apart from all other; what is done together does not wait otherwise."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._together = 0
        self._alone = 0

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Beside others, but not beside what is done alone."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone)
            self._together += 1
        try:
            yield
        finally:
            async with self._changed:
                self._together -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """With nothing beside; who comes meanwhile waits."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone)
            self._alone = 1
            try:
                await self._changed.wait_for(lambda: not self._together)
            except BaseException:
                self._alone = 0
                self._changed.notify_all()
                raise
        try:
            yield
        finally:
            async with self._changed:
                self._alone = 0
                self._changed.notify_all()
