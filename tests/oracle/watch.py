"""Looks at the profiles while a run goes on: what was there once must not be gone later."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from streams.base.errors import StoreUnavailable
from streams.interests.nodes import Node, profile_key
from streams.store.qdrant import QdrantStore

EVERY_S = 0.25


class Regress(NamedTuple):
    """A user's profile went back in one source partition from offset `had` to `has` (-1: gone)."""

    user: str
    slot: str
    had: int
    has: int


class Watch:
    """Polls the profiles of some users and remembers how far each was; a store that is away is asked again."""

    def __init__(self, store: QdrantStore, users: Sequence[str]) -> None:
        self._store, self._users = store, list(users)
        self._far: dict[tuple[str, int, str], int] = {}
        self.rolled_back: set[Regress] = set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.look()

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Look once."""
        try:
            found = await self._store.read([profile_key(user) for user in self._users])
        except StoreUnavailable:
            return
        for user in self._users:
            self._compare(user, found.get(profile_key(user)))

    def _compare(self, user: str, profile: Node | None) -> None:
        now = {} if profile is None else {(user, profile.applied.log, s): o for s, o in profile.applied.offsets.items()}
        latest = max((log for who, log, _ in self._far if who == user), default=0)
        for (who, log, slot), had in list(self._far.items()):
            # A new incarnation of the log starts again at offset 0, and forgets the old one's.
            if who == user and log == latest and (profile is None or profile.applied.log <= log):
                has = now.get((who, log, slot), -1)
                if has < had:
                    self.rolled_back.add(Regress(user, slot, had, has))
        for slot_key, offset in now.items():
            self._far[slot_key] = max(offset, self._far.get(slot_key, -1))
