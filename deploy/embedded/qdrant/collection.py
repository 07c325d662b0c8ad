"""One collection: an engine shard, one thread that writes to it in order, and reads beside it."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import qdrant_edge as edge

from deploy.embedded.qdrant import reindex
from deploy.embedded.qdrant.config import dense_params, indexing_threshold_kb
from deploy.embedded.qdrant.errors import QdrantError, from_engine, internal, no_collection, overloaded
from deploy.embedded.qdrant.points_in import VectorLayout
from deploy.embedded.qdrant.shards import ShardSlot, open_shard, sync_files
from deploy.embedded.qdrant.values import FLOAT_BYTES

log = logging.getLogger("embedded.qdrant")

T = TypeVar("T")
Build = Callable[[], list[edge.UpdateOperation]]
MAX_PENDING_WRITES = 256
FEW = 64  # points, put into words in about 3 ms
LEAST_FREE_BYTES = 64 << 20
"""On a full disk the engine's mapped files end the process (SIGBUS): writes are refused before that, as Qdrant does."""
FLUSH_EVERY = 6
FLUSH_POINTS = 50_000
"""The engine is flushed once in so many syncs, or points: it holds the interpreter's lock while the disk works."""
VACUUM_MIN_POINTS = 1_000
VACUUM_SHARE = 0.2
VACUUM_EVERY_S = 60.0
"""A collection without an index (so are those of people) is rid of what was deleted at once, but no more often."""
VACUUM_PAUSE = 20  # nor sooner than so many times what the last time took


class Collection:
    """A named shard on disk. Writes run one after another in a thread, reads beside them in the event loop.

    The engine holds the interpreter's lock during a call, so a thread for a read would add no speed, but two waits
    for that lock beside a writer that keeps it busy. Only long answers are put into words in `readers`. `moved` is
    called when the shard's files have moved, before the former ones go; `turn` lets one collection at a time build
    indexes.
    """

    def __init__(
        self,
        name: str,
        config: Any,
        path: Path,
        readers: ThreadPoolExecutor,
        *,
        flush_each: bool,
        moved: Callable[[], None],
        turn: asyncio.Semaphore,
    ) -> None:
        self.name = name
        self.config = config
        self.layout = _layout(config)
        self._slot = ShardSlot(open_shard(path, config), path)
        self._readers = readers
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"write-{name[:20]}")
        self._flush_each = flush_each
        self._moved = moved
        self._turn = turn
        self._task: asyncio.Task[None] | None = None
        self._journal: reindex.Journal | None = None
        self._path_override: Path | None = None
        self._pending = 0
        self._operations = 0
        self._dirty = self._unsynced = False
        self._syncs = self._unflushed = 0
        self._closed = False
        info = self.read_here(lambda shard: shard.info())
        unindexed = info.points_count * len(self.layout.dense) - info.indexed_vectors_count
        self._touched = max(0, unindexed)  # vectors written since indexes were last built
        self._deleted = 0
        self._vacuum_from_s = 0.0

    @property
    def path(self) -> Path:
        """Where the shard lies, or will lie once a pending exchange is written down."""
        return self._path_override or self._slot.path

    @property
    def optimising(self) -> bool:
        """Whether an index is being built."""
        return self._task is not None

    async def read(self, call: Callable[[edge.EdgeShard], T]) -> T:
        """Run `call` with the shard, once it is open. Raises QdrantError."""
        self._require_open()
        if self._slot.reopening:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_here, call)
        return self.read_here(call)

    async def tell(self, found: Sequence[T], one: Callable[[T], None]) -> None:
        """Run `one` over what was found: many in a reader thread, which lets others go first every millisecond."""
        if len(found) <= FEW:
            _each(found, one)
        else:
            await asyncio.get_running_loop().run_in_executor(self._readers, _each, found, one)

    def read_here(self, call: Callable[[edge.EdgeShard], T]) -> T:
        """Run `call` with the shard in this thread. Raises QdrantError."""
        try:
            with self._slot.use() as shard:
                return call(shard)
        except QdrantError:
            raise
        except Exception as error:  # the engine raises bare Exception
            raise from_engine(error) from error

    async def write(self, build: Build, *, wait: bool, deletes: bool = False, touched: int = 0) -> tuple[int, bool]:
        """Build operations in the writer thread and apply them in order.

        `deletes` says that they may remove points, `touched` how many vectors they write.

        Returns the operation's number and whether it was applied before the answer. With `wait` false the answer
        comes at once and a failure is only logged, as with the real server.
        """
        self._require_open()
        if self._pending >= MAX_PENDING_WRITES:
            raise overloaded(f"{self._pending} writes wait for collection `{self.name}`")
        self._pending += 1
        self._operations += 1
        self._touched += touched
        self._unflushed += touched
        number = self._operations
        future = asyncio.get_running_loop().run_in_executor(self._writer, self._apply, build, deletes)
        future.add_done_callback(self._written)
        if wait:
            await asyncio.shield(future)
        return number, wait

    async def reconfigure(self, config: Any, build: Build | None = None) -> None:
        """Take new parameters: apply the operations that bring them about, or open the shard again with them."""
        self._require_open()

        def change() -> None:
            if build is not None:
                self._apply(build)
            else:
                self._slot.reopen(config, self.config)
            self.config = config
            self.layout = _layout(config)

        await self._in_writer(change)

    async def maintain(self) -> None:
        """Bring to disk what changed since the last time, and build indexes where they are due."""
        if self._dirty and not self._closed:
            # The engine holds the interpreter's lock while it flushes: what is on disk by then keeps nobody waiting.
            if self._unsynced:
                self._unsynced = False
                await asyncio.get_running_loop().run_in_executor(self._readers, sync_files, self._slot.path)
            self._syncs += 1
            if self._syncs % FLUSH_EVERY == 0 or self._unflushed >= FLUSH_POINTS:
                await self._in_writer(self._flush)
        if not self._closed and self._task is None and await self._needs_optimising():
            self._task = asyncio.create_task(self._optimise_in_turn())

    async def close(self) -> None:
        """Finish the queued writes, flush and release the shard."""
        if self._closed:
            return
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._slot.close)

    async def _in_writer(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)

    def _require_open(self) -> None:
        if self._closed:
            raise no_collection(self.name)

    def _written(self, future: asyncio.Future[None]) -> None:
        self._pending -= 1
        if not future.cancelled() and (error := future.exception()) is not None:
            log.info("write refused in %s: %s", self.name, error)

    def _apply(self, build: Build, deletes: bool = False) -> None:
        def call(shard: edge.EdgeShard) -> None:
            if not self._has_room():
                raise internal("No space left on device: less than 64 MiB are free")
            before = shard.info().points_count if deletes else 0
            self._apply_all(shard, build())
            if deletes:
                self._deleted += before - shard.info().points_count

        self.read_here(call)

    def _apply_all(self, shard: edge.EdgeShard, operations: list[edge.UpdateOperation]) -> None:
        for operation in operations:
            self._dirty = self._unsynced = True
            if self._journal is not None:
                self._journal.add(operation)
            shard.update(operation)
        if self._flush_each:
            self._flush()

    def _has_room(self) -> bool:
        return shutil.disk_usage(self.path).free >= LEAST_FREE_BYTES

    def _flush(self) -> None:
        if not self._has_room():
            return  # what is acknowledged lies in the write-ahead log
        self._dirty, self._unflushed = False, 0
        self.read_here(lambda shard: shard.flush())

    async def _needs_optimising(self) -> bool:
        info = await self.read(lambda shard: shard.info())
        if self._deleted > max(VACUUM_MIN_POINTS, VACUUM_SHARE * info.points_count):
            return True
        threshold_kb = indexing_threshold_kb(self.config.optimizers_config)
        widths = [params.size for params in self.layout.dense.values()]
        if not threshold_kb or not widths:
            return self._deleted > 0 and monotonic() >= self._vacuum_from_s
        # the engine counts a vector that was overwritten, and so left its index, as indexed still
        unindexed = min(self._touched, info.points_count * len(widths))
        return bool(unindexed * max(widths) * FLOAT_BYTES / 1024 >= threshold_kb)

    async def _optimise_in_turn(self) -> None:
        try:
            async with self._turn:
                await self._optimise()
        except (QdrantError, OSError):
            log.exception("indexes of collection %s were not built: trying again later", self.name)
        finally:
            self._task = None

    async def _optimise(self) -> None:
        deleted, began_s = self._deleted, monotonic()
        copy = await self._in_writer(self._begin_copy)
        try:
            indexed = indexing_threshold_kb(self.config.optimizers_config)
            changed = await reindex.optimise_copy(copy, vacuum=None if indexed else self.config.SerializeToString())
            shard = await self._in_writer(lambda: reindex.open_copy(copy, self.config)) if changed else None
            if shard is not None:
                await self._catch_up(shard, copy)
        finally:
            self._journal = None
            self._vacuum_from_s = monotonic() + max(VACUUM_EVERY_S, VACUUM_PAUSE * (monotonic() - began_s))
            if copy != self.path:
                self._deleted += deleted  # it is in the files still
                await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)

    def _begin_copy(self) -> Path:
        self._flush()
        self._deleted = self._touched = 0
        copy = reindex.copy_shard(self.path)
        self._journal = reindex.Journal()
        return copy

    async def _catch_up(self, shard: edge.EdgeShard, path: Path) -> None:
        try:
            while not await self._in_writer(lambda: self._exchange_if_level(shard, path)):
                if self._journal is None or self._journal.overflowed:
                    log.warning("collection %s changed too fast to be indexed: trying again later", self.name)
                    return
            log.info("collection %s has new indexes", self.name)
        finally:
            if path != self.path:
                shard.close()

    def _exchange_if_level(self, shard: edge.EdgeShard, path: Path) -> bool:
        journal = self._journal
        if journal is None or journal.overflowed or not journal.replay(shard, reindex.REPLAY_OPERATIONS_A_TURN):
            return False
        shard.flush()
        self._path_override = path
        self._moved()
        self._slot.replace(shard, path)
        self._path_override = None
        self._journal = None
        return True


def _each(found: Sequence[T], one: Callable[[T], None]) -> None:
    for item in found:
        one(item)


def _layout(config: Any) -> VectorLayout:
    return VectorLayout(dense_params(config), set(config.sparse_vectors_config.map))
