"""A topic followed in the background for as long as the API runs."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import aclosing

import structlog

from streams.base.background import end
from streams.base.errors import InterestsError
from streams.broker.fetched_batch import Record
from streams.broker.follow import TopicFollower

log = structlog.get_logger(__name__)


class BackgroundFollower(ABC):
    """Takes what is produced to a topic; a broker that is away is waited for.

    Where the broker refuses this client it ends, with the line `ended` in the log.
    """

    def __init__(self, follower: TopicFollower, ended: str) -> None:
        self._follower, self._ended = follower, ended
        self._following: asyncio.Task[None] | None = None

    @abstractmethod
    async def _take(self, records: Sequence[Record] | None) -> None:
        """Take records as they come; None stands for a gap, and comes first."""

    def start(self) -> None:
        """Begin to follow, in the background."""
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop following."""
        await end(self._following)

    async def _follow(self) -> None:
        try:
            async with aclosing(self._follower.batches()) as batches:
                async for records in batches:
                    await self._take(records)
        except InterestsError:
            log.exception(self._ended)
