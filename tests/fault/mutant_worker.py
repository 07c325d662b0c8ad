"""A worker with one of its guards taken out, to show that the oracle sees it: `mutant_worker NAME`.

The sabotage lives here alone; `streams/` knows nothing of it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from streams.commands.cli import app
from streams.interests.applied import Applied
from streams.interests.nodes import Node
from streams.pipeline import erase
from streams.store.collections import CONTROL
from streams.store.points import PointsClient
from streams.worker.batch_worker import BatchWorker
from streams.worker.learned_queue import LearnedQueue
from streams.worker.learned_sweep import LearnedSweep


def no_fence() -> None:
    """Writes overwrite whatever is there, newer or not."""
    upserting = PointsClient.upserting

    def always(self: Any, collection: str, points: Any, only_if: Any) -> Any:
        return upserting(self, collection, points, only_if if collection == CONTROL else None)

    PointsClient.upserting = always  # type: ignore[method-assign]  # sabotage


def early_ack() -> None:
    """A batch is acknowledged before it is applied."""
    fold = BatchWorker.fold

    async def first(self: Any, batch: Any, *among_others: Any) -> None:
        await batch.ack()
        await fold(self, batch, *among_others)

    BatchWorker.fold = first  # type: ignore[method-assign]  # sabotage


def no_applied() -> None:
    """What a node says it has had already is not looked at."""
    assert callable(Applied.up_to)
    Applied.up_to = lambda *_: -1  # type: ignore[method-assign]  # sabotage


def no_tombstone() -> None:
    """An erasure deletes, and its time is not kept."""
    tombstone = erase._tombstone

    def forgetful(*given: Any) -> Node:
        return replace(tombstone(*given), erased_at_ms=0)

    erase._tombstone = forgetful


def no_sweep() -> None:
    """Nobody looks for people whose learned nodes are not of their last state."""

    async def idle(*_: object) -> None:
        await asyncio.sleep(3600)

    LearnedSweep.run = idle  # type: ignore[method-assign]  # sabotage


def forgetful_queue() -> None:
    """Whom a call fails about is not asked about again."""

    def forget(self: Any) -> None:
        self.done(self.in_hand())

    LearnedQueue.put_back = forget  # type: ignore[method-assign]  # sabotage


MUTANTS: dict[str, Callable[[], None]] = {
    "no-fence": no_fence, "early-ack": early_ack, "no-applied": no_applied, "no-tombstone": no_tombstone,
    "no-sweep": no_sweep, "forgetful-queue": forgetful_queue,
}  # fmt: skip

if __name__ == "__main__":
    MUTANTS[sys.argv[1]]()
    sys.argv = ["interests", "worker"]
    app()
