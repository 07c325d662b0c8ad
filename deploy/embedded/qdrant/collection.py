"""One collection: an engine shard, one thread that writes to it in order, and shared threads that read it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import qdrant_edge as edge

from deploy.embedded.qdrant.config import dense_params, engine_config
from deploy.embedded.qdrant.errors import QdrantError, from_engine, no_collection, overloaded
from deploy.embedded.qdrant.points_in import VectorLayout

log = logging.getLogger("embedded.qdrant")

T = TypeVar("T")
Build = Callable[[], list[edge.UpdateOperation]]
MAX_PENDING_WRITES = 256


class Collection:
    """A named shard on disk. Writes run one after another; reads run beside them in `readers`.

    The engine holds the interpreter's lock during a call, so threads keep the event loop alive between calls but
    do not add speed.
    """

    def __init__(self, name: str, config: Any, path: Path, readers: ThreadPoolExecutor, *, flush_each: bool) -> None:
        self.name = name
        self.config = config
        self.path = path
        self.shard = _open_shard(path, config)
        self.layout = VectorLayout(dense_params(config), set(config.sparse_vectors_config.map))
        self._readers = readers
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"write-{name[:20]}")
        self._flush_each = flush_each
        self._pending = 0
        self._operations = 0
        self._dirty = False
        self._closed = False

    async def read(self, call: Callable[[edge.EdgeShard], T]) -> T:
        """Run `call` with the shard in a reader thread. Raises QdrantError."""
        self._require_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._guarded, call)

    async def write(self, build: Build, *, wait: bool) -> tuple[int, bool]:
        """Build operations in the writer thread and apply them in order.

        Returns the operation's number and whether it was applied before the answer. With `wait` false the answer
        comes at once and a failure is only logged, as with the real server.
        """
        self._require_open()
        if self._pending >= MAX_PENDING_WRITES:
            raise overloaded(f"{self._pending} writes wait for collection `{self.name}`")
        self._pending += 1
        self._operations += 1
        number = self._operations
        future = asyncio.get_running_loop().run_in_executor(self._writer, self._apply, build)
        future.add_done_callback(self._written)
        if wait:
            await asyncio.shield(future)
        return number, wait

    async def maintain(self) -> None:
        """Flush what changed since the last time."""
        if self._dirty and not self._closed:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._flush)

    def close(self) -> None:
        """Finish the queued writes, flush and release the shard. Blocks."""
        if self._closed:
            return
        self._closed = True
        self._writer.shutdown(wait=True)
        self.shard.close()

    def _require_open(self) -> None:
        if self._closed:
            raise no_collection(self.name)

    def _written(self, future: asyncio.Future[None]) -> None:
        self._pending -= 1
        if not future.cancelled() and (error := future.exception()) is not None:
            log.info("write refused in %s: %s", self.name, error)

    def _guarded(self, call: Callable[[edge.EdgeShard], T]) -> T:
        try:
            return call(self.shard)
        except QdrantError:
            raise
        except Exception as error:  # the engine raises bare Exception
            raise from_engine(error) from error

    def _apply(self, build: Build) -> None:
        self._guarded(lambda shard: self._apply_all(shard, build()))

    def _apply_all(self, shard: edge.EdgeShard, operations: list[edge.UpdateOperation]) -> None:
        for operation in operations:
            self._dirty = True
            shard.update(operation)
        if self._flush_each:
            self._flush()

    def _flush(self) -> None:
        self._dirty = False
        self.shard.flush()


def _open_shard(path: Path, config: Any) -> edge.EdgeShard:
    settings = engine_config(config)
    try:
        if path.exists():
            return edge.EdgeShard.load(str(path))
        path.mkdir(parents=True)
        return edge.EdgeShard.create(str(path), settings)
    except Exception as error:  # the engine raises bare Exception
        raise from_engine(error) from error
