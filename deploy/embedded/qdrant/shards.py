"""Shards on disk: opening them, and exchanging one for another while readers still hold the first."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from deploy.embedded.qdrant.config import engine_config
from deploy.embedded.qdrant.errors import QdrantError, from_engine


def open_shard(path: Path, config: Any) -> edge.EdgeShard:
    """Load the shard at `path` with a CreateCollection message's settings, or create it. Raises QdrantError."""
    settings = engine_config(config)
    try:
        if path.exists():
            return edge.EdgeShard.load(str(path), settings)
        path.mkdir(parents=True)
        return edge.EdgeShard.create(str(path), settings)
    except Exception as error:  # the engine raises bare Exception
        raise from_engine(error) from error


def sync_files(path: Path) -> None:
    """Bring what was written to a shard's files, its log among them, to disk; holds no lock while it waits."""
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                file = os.open(Path(folder) / name, os.O_RDONLY)
            except FileNotFoundError:
                continue  # the shard has been replaced, or its log cut
            try:
                os.fdatasync(file)
            finally:
                os.close(file)


class ShardSlot:
    """Holds the current shard. A replaced one is closed, and its files removed, when its last reader is done."""

    def __init__(self, shard: edge.EdgeShard, path: Path) -> None:
        self._condition = threading.Condition()
        self._reopening = False
        self._current = _Held(shard, path)

    @property
    def path(self) -> Path:
        """Where the current shard lies."""
        return self._current.path

    @property
    def reopening(self) -> bool:
        """Whether `use` would wait now."""
        return self._reopening

    @contextmanager
    def use(self) -> Iterator[edge.EdgeShard]:
        """Borrow the current shard."""
        with self._condition:
            self._condition.wait_for(lambda: not self._reopening)
            held = self._current
            held.users += 1
        try:
            yield held.shard
        finally:
            with self._condition:
                held.users -= 1
                last = held.retired and held.users == 0
                self._condition.notify_all()
            if last:
                held.dispose()

    def replace(self, shard: edge.EdgeShard, path: Path) -> None:
        """Make another shard the current one; the files of the former go when nobody reads them."""
        with self._condition:
            former = self._current
            self._current = _Held(shard, path)
            former.retired = True
            idle = former.users == 0
        if idle:
            former.dispose()

    def reopen(self, config: Any, former: Any) -> None:
        """Close the shard and load it with other settings, or with the `former` ones where that fails."""
        with self._condition:
            self._reopening = True
            self._condition.wait_for(lambda: self._current.users == 0)
            path = self._current.path
            try:
                self._current.shard.close()
                try:
                    self._current = _Held(open_shard(path, config), path)
                except QdrantError:
                    self._current = _Held(open_shard(path, former), path)
                    raise
            finally:
                self._reopening = False
                self._condition.notify_all()

    def close(self) -> None:
        """Flush and release the current shard, keeping its files."""
        self._current.shard.close()


class _Held:
    def __init__(self, shard: edge.EdgeShard, path: Path) -> None:
        self.shard = shard
        self.path = path
        self.users = 0
        self.retired = False

    def dispose(self) -> None:
        self.shard.close()
        shutil.rmtree(self.path, ignore_errors=True)
