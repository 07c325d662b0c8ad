"""Building a collection's indexes beside it: a copy is optimised elsewhere, caught up, and takes its place.

1. In the writer's turn: flush, copy the shard's files, start to remember the operations that follow.
2. In another process: optimise the copy. Reads and writes go on as before.
3. In the writer's turns, some at a time: apply what was remembered to the copy. When nothing is left, exchange them.

A crash before the exchange leaves the old shard, which is complete; the copy is removed at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import sys
import uuid
from collections import deque
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from deploy.embedded.processes import tied
from deploy.embedded.qdrant.errors import QdrantError
from deploy.embedded.qdrant.optimize import CHANGED, rewritten
from deploy.embedded.qdrant.shards import open_shard

log = logging.getLogger("embedded.qdrant")

MAX_JOURNAL_OPERATIONS = 2_000
REPLAY_OPERATIONS_A_TURN = 4
DEADLINE_S = 1_800.0
NICENESS = 10


class Journal:
    """The operations applied since a copy was made, oldest first; gives up when there are too many to keep."""

    def __init__(self) -> None:
        self._operations: deque[edge.UpdateOperation] = deque()
        self.overflowed = False

    def add(self, operation: edge.UpdateOperation) -> None:
        """Remember one applied operation."""
        if len(self._operations) >= MAX_JOURNAL_OPERATIONS:
            self.overflowed = True
            self._operations.clear()
        if not self.overflowed:
            self._operations.append(operation)

    def replay(self, shard: edge.EdgeShard, limit: int) -> bool:
        """Apply up to `limit` operations to `shard`; True when none is left."""
        for _ in range(min(limit, len(self._operations))):
            operation = self._operations.popleft()
            try:
                shard.update(operation)
            except Exception as error:  # what the first shard refused (bare Exception), its copy refuses too
                log.debug("replayed operation refused again: %s", error)
        return not self._operations


async def optimise_copy(source: Path, *, vacuum: bytes | None = None) -> bool:
    """Optimise the shard at `source` in a process of its own; True where that changed it.

    With `vacuum`, its CreateCollection message as bytes, it is written anew: nothing deleted is left in its files.
    """
    command = [sys.executable, "-m", "deploy.embedded.qdrant.optimize", str(source), *(["--vacuum"] if vacuum else [])]
    process = await asyncio.create_subprocess_exec(
        *tied(command, signal.SIGKILL, NICENESS), stdin=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            await process.communicate(vacuum)
            return process.returncode == CHANGED
    except TimeoutError:
        log.warning("optimising %s took more than %d s and was stopped", source.name, DEADLINE_S)
        return False
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await asyncio.to_thread(shutil.rmtree, rewritten(source), ignore_errors=True)  # where it was ended half-way


def copy_shard(source: Path) -> Path:
    """Copy a flushed shard's files beside it and return where."""
    target = source.with_name(uuid.uuid4().hex)
    shutil.copytree(source, target)
    return target


def open_copy(path: Path, config: Any) -> edge.EdgeShard | None:
    """Open an optimised copy, or None where it cannot be: the collection then stays as it was."""
    try:
        return open_shard(path, config)
    except QdrantError as error:
        log.warning("optimised copy %s does not open: %s", path.name, error.message)
        return None
