"""A worker with one of its guards taken out, to show that the oracle sees it: `mutant_worker NAME`.

The sabotage lives here alone; `streams/` knows nothing of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from qdrant_client import grpc

from streams import worker as worker_module
from streams.applied import Applied
from streams.cli import app
from streams.faultpoints import reach
from streams.store import qdrant


def no_fence() -> None:
    """Writes overwrite whatever is there, newer or not."""
    qdrant._not_newer = lambda _: grpc.Filter()  # type: ignore[assignment]  # sabotage


def early_ack() -> None:
    """A take is acknowledged before it is applied."""

    async def fold(self: Any, take: Any) -> None:
        await take.ack()
        if await self._until_done(take, lambda: self._fold(take, take.records)):
            await reach("before_ack")
            await reach("after_ack")

    worker_module.Worker.fold = fold  # type: ignore[method-assign]  # sabotage


def no_applied() -> None:
    """What a node says it has had already is not looked at."""
    Applied.covers = lambda *_: False  # type: ignore[method-assign]  # sabotage


MUTANTS: dict[str, Callable[[], None]] = {"no-fence": no_fence, "early-ack": early_ack, "no-applied": no_applied}

if __name__ == "__main__":
    MUTANTS[sys.argv[1]]()
    sys.argv = ["interests", "worker"]
    app()
