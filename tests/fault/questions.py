"""Questions that find people, asked all the time while a fault goes on: nobody may be shown as they were before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle

import numpy as np

from streams.base.clock import now_ms
from streams.base.errors import StoreUnavailable
from streams.interests.nodes import LEVELS, NodeKey, is_forgotten, is_put_back, node_id
from streams.settings.wiring import qdrant_config
from streams.store.reader import StoreReader
from tests.fault.trial import Trial

_EVERY_S = 0.02
_MANY = 100


class Questions:
    """Who is near an item, near an item among some, similar, and what do they share: as the API asks Qdrant."""

    def __init__(self, reader: StoreReader, erased: Sequence[str], erased_at_ms: int) -> None:
        self._reader, self._erased, self._at_ms = reader, erased, erased_at_ms
        self.asked, self.failed = 0, ""
        self.shown: set[str] = set()

    async def asked_again(self, trial: Trial) -> None:
        """Until all has been asked once more, from its beginning."""
        until = self.asked + 2  # one round may be under way

        async def asked() -> bool:
            return self.asked >= until

        await trial.until(asked, f"all is asked again ({self.failed})")

    async def ask(self, vector: np.ndarray[tuple[int], np.dtype[np.float32]], paths: Sequence[str]) -> None:
        """All questions about one item, once."""
        reader, now = self._reader, now_ms()
        hits = await reader.groups(vector, LEVELS, None, now, users=_MANY, floor=-1.0)
        hits += await reader.nodes_near(vector, LEVELS, None, now, users=self._erased, limit=_MANY, floor=-1.0)
        for hit in hits:
            if hit.user_id in self._erased and is_put_back(hit.level, hit.first_ms, self._at_ms):
                self.shown.add(f"{hit.user_id} {hit.level} {hit.path}")
        held = await reader.paths_of(self._erased, now)
        alike = [user for user, _ in await reader.alike(vector, "", _MANY, now)]
        for user in self._erased:
            ids = [node_id(NodeKey(user, "interest", path)) for path in paths]
            tree = await reader.tree(user, vectors=False)  # read last: what is younger than the answers above is in it
            nodes = [*tree, *await reader.nodes(user, ids, vectors=False)]
            older = [node for node in nodes if is_put_back(node.key.level, node.first_ms, self._at_ms)]
            self.shown |= {f"{user} {node.key.level} {node.key.path}" for node in older}
            self.shown |= {f"{user} shares {path}" for path in held[user] - {node.key.path for node in tree}}
            if user in alike and any(is_forgotten(node) for node in tree):
                self.shown.add(f"{user} is similar")
        self.asked += 1


@asynccontextmanager
async def asked_all_the_time(trial: Trial, erased: Sequence[str], erased_at_ms: int) -> AsyncIterator[Questions]:
    """Ask from now on, about one item after another. AssertionError, in the end, where anybody erased was shown."""
    world = trial.arena.world(trial.rig.settings)
    items = cycle([(vector.astype(np.float32), path) for vector, path in world.items.values()])
    paths = sorted({path for _, path in world.items.values()})
    reader = StoreReader(qdrant_config(trial.rig.settings))
    questions = Questions(reader, erased, erased_at_ms)

    async def ask() -> None:
        for vector, _ in items:
            try:
                await questions.ask(vector, paths)
            except StoreUnavailable as error:  # a server that is away shows nobody
                questions.failed = str(error)
            await asyncio.sleep(_EVERY_S)

    asking = asyncio.create_task(ask())
    try:
        yield questions
        assert not asking.done(), asking
        assert questions.asked, "nothing was asked"
        assert not questions.shown, f"shown after their erasure: {sorted(questions.shown)[:5]}"
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await reader.close()
