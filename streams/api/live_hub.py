"""The hub of live trees: one follower of `interests.updated` a process, which hands each update to its watchers."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from time import time

import structlog
from pydantic import ValidationError

from streams.api.models import LiveUpdate
from streams.base.errors import InterestsError, RetryableError
from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import Record
from streams.broker.follow import TopicFollower
from streams.interests.updates import GROUP

log = structlog.get_logger(__name__)

#: Updates that wait for one watcher; past it they are dropped and the watcher reads the tree again.
WAITING = 64
CONNECT_WITHIN_S = 3.0


class TooManyWatchers(RetryableError):
    """This process serves as many live trees as it may."""


class TooManyOfOne(RetryableError):
    """One caller watches as many live trees as they may."""


class Watcher:
    """The updates of one user for one watcher: an async iterator that ends when the hub is closed."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self._waiting: deque[LiveUpdate] = deque()
        self._lost = False
        self._closed = False
        self._changed = asyncio.Event()

    def put(self, update: LiveUpdate) -> None:
        """Leave an update; never waits. One too many drops all that wait: see `lose`."""
        if len(self._waiting) >= WAITING:
            self.lose()
        else:
            self._waiting.append(update)
            self._changed.set()

    def lose(self) -> None:
        """Drop all that wait; the next update asks to read the whole tree again."""
        self._waiting.clear()
        self._lost = True
        self._changed.set()

    def close(self) -> None:
        """End the iteration once it has given what waits."""
        self._closed = True
        self._changed.set()

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> LiveUpdate:
        while not (self._lost or self._waiting or self._closed):
            self._changed.clear()
            await self._changed.wait()
        if self._lost:
            self._lost = False
            return LiveUpdate(user_id=self.user_id, at_ms=int(time() * 1000), resync=True)
        if self._waiting:
            return self._waiting.popleft()
        raise StopAsyncIteration


class Hub:
    """Follows the topic of updates and hands each update to the watchers of its user.

        async with hub.subscribe(user_id) as updates:
            async for update in updates: ...

    Updates come as the worker wrote them: without names, titles, shares and evidence. One with `resync` stands for
    updates that were lost (a watcher too slow, a broker away, a tree of which too much changed): read the whole
    tree then. A watcher gets every change that is made after `subscribe` has been entered, provided `ready`.
    """

    def __init__(
        self, config: KafkaConfig, topic: str, *, watchers: int = 200, share: float = 1.0, check_s: float = 2.0
    ) -> None:  # fmt: skip
        self._group, self._limit = config.group_id, watchers
        self._limit_of_one = max(1, int(watchers * share))
        self._follower = TopicFollower(config, topic, check_s=check_s) if topic else None
        self._watchers: dict[str, set[Watcher]] = {}
        self._count_of: Counter[str] = Counter()
        self._following: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether changes arrive now: the topic is followed."""
        return self._follower is not None and self._follower.ready.is_set()

    def follow(self, group: str) -> None:
        """Hand out another group's updates from now on; whoever watches reads the whole tree again."""
        self._group = group
        self._lose_all()

    async def start(self) -> None:
        """Begin to follow; returns once ready, or after three seconds with the broker still away: it is waited for.

        Raises ConfigurationError where the broker refuses this client.
        """
        if self._follower is None:
            return
        self._following = asyncio.create_task(self._follow(self._follower))
        connected = asyncio.create_task(self._follower.ready.wait())
        await asyncio.wait({self._following, connected}, timeout=CONNECT_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        connected.cancel()
        if self._following.done():
            self._following.result()

    async def close(self) -> None:
        """Stop following; what waits for a watcher is still given, then its iteration ends."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        for watcher in [one for some in self._watchers.values() for one in some]:
            watcher.close()

    @asynccontextmanager
    async def subscribe(self, user_id: str, caller: str | None = None) -> AsyncIterator[Watcher]:
        """Watch a user. TooManyWatchers past the limit, TooManyOfOne past a caller's share of it (None: no share)."""
        if self._count_of.total() >= self._limit:
            raise TooManyWatchers(f"{self._limit} live trees are watched already, which is the limit of this process")
        if caller is not None and self._count_of[caller] >= self._limit_of_one:
            raise TooManyOfOne(f"this caller watches {self._limit_of_one} live trees already")
        watcher = Watcher(user_id)
        self._watchers.setdefault(user_id, set()).add(watcher)
        self._count_of[caller or ""] += 1
        try:
            yield watcher
        finally:
            self._count_of[caller or ""] -= 1
            self._count_of += Counter()  # drops those at zero
            self._watchers[user_id].discard(watcher)
            if not self._watchers[user_id]:
                del self._watchers[user_id]

    async def _follow(self, follower: TopicFollower) -> None:
        try:
            async with aclosing(follower.batches()) as batches:
                async for records in batches:
                    if records is None:
                        self._lose_all()
                    else:
                        for record in records:
                            self._deliver(record)
        except InterestsError:
            log.exception("live_ended")
            for watcher in [one for some in self._watchers.values() for one in some]:
                watcher.close()
            raise

    def _lose_all(self) -> None:
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.lose()

    def _deliver(self, record: Record) -> None:
        watchers = self._watchers.get((record.key or b"").decode(errors="replace"))
        if not watchers or not record.value:
            return
        if dict(record.headers).get(GROUP, self._group.encode()) != self._group.encode():
            return
        try:
            update = LiveUpdate.model_validate_json(record.value)
        except ValidationError as error:
            log.warning("live_update_unread", offset=record.offset, errors=error.error_count())
            return
        for watcher in watchers:
            watcher.put(update)
