"""The concept tree and the weights of events, taken up while a worker runs. A broken file changes nothing.

Files are looked at every few seconds. What has changed is read beside the work and counts from the next batch on; a
batch that is tried again keeps what it began with. docs/concepts.md says what a change means for what is stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from streams.base.errors import ConfigurationError
from streams.concepts.tree import ConceptTree
from streams.concepts.tree_file import TAXONOMY_FILE
from streams.interests.signed_weight import WeightTable

log = structlog.get_logger(__name__)

_DIGITS: Final = 8


FileState = tuple[int, int, int]
"""What tells that a file was changed or replaced without reading it: time in ns, bytes, inode."""
_GONE: Final = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Tables:
    """What a worker places and weighs by; `concepts_digest` is what the sha256 of the tree's file begins with."""

    tree: ConceptTree
    weights: WeightTable
    concepts_digest: str

    @property
    def weights_digest(self) -> str:
        """What the sha256 of the weights, as JSON with sorted names, begins with."""
        return _digest(json.dumps(asdict(self.weights), sort_keys=True).encode())


def tables_of(tree: ConceptTree, weights: WeightTable, file: Path | None) -> Tables:
    """What a worker begins with; without a file the tree is the built-in taxonomy."""
    return Tables(tree, weights, _digest((file or TAXONOMY_FILE).read_bytes()))


class Reloading:
    """Reads changed files and hands what is new to `taken_up`. `count` is told of each: what, and its outcome.

    `read_tree` and `read_weights` raise ConfigurationError where a file does not fit. A table that weighs an event more
    than `most` is refused: what its events would send on would not be believed.
    """

    def __init__(
        self, tables: Tables, *, tree_file: Path | None, read_tree: Callable[[Path], ConceptTree], weights_file: Path,
        read_weights: Callable[[], WeightTable], most: float, taken_up: Callable[[Tables], Awaitable[None]],
        count: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self._tables, self._tree_file, self._read_tree = tables, tree_file, read_tree
        self._weights_file, self._read_weights, self._most = weights_file, read_weights, most
        self._taken_up, self._count = taken_up, count
        self._read = {path: _state_of(path) for path in (tree_file, weights_file) if path is not None}
        self._seen = dict(self._read)

    async def watch(self, every_s: float) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await self.look()

    async def look(self) -> None:
        """Read what has changed, once it looks the same twice: nobody is writing it any more.

        A file that was refused is read again when it changes again.
        """
        if self._tree_file is not None and self._has_changed(self._tree_file):
            await self._take("concepts", self._new_tree, self._tree_file)
        if self._has_changed(self._weights_file):
            await self._take("weights", self._new_weights, self._weights_file)

    def _has_changed(self, path: Path) -> bool:
        before, now = self._seen[path], _state_of(path)
        self._seen[path] = now
        if now != before or now == self._read[path]:
            return False
        self._read[path] = now
        return True

    async def _take(self, what: str, read: Callable[[Path], Tables], path: Path) -> None:
        try:
            new = await asyncio.to_thread(read, path)
        except (ConfigurationError, OSError) as error:
            log.error("reload_refused", what=what, file=path.name, reason=str(error))  # noqa: TRY400  # no defect
            self._count(what, "refused")
            return
        if (new.concepts_digest, new.weights) == (self._tables.concepts_digest, self._tables.weights):
            return
        self._tables = new
        await self._taken_up(new)
        self._count(what, "taken_up")
        log.warning(
            "reload_taken_up", what=what, file=path.name, concepts=new.tree.version, digest=new.concepts_digest,
            weights=new.weights_digest,
        )  # fmt: skip

    def _new_tree(self, path: Path) -> Tables:
        tree, digest = self._read_tree(path), _digest(path.read_bytes())
        if _state_of(path) != self._read[path]:  # so that a tree never goes by the digest of another one
            raise ConfigurationError("the file was changed while it was read: it is read again")
        return replace(self._tables, tree=tree, concepts_digest=digest)

    def _new_weights(self, path: Path) -> Tables:
        if self._read[path] == _GONE:
            raise ConfigurationError("the file is gone")
        weights = self._read_weights()
        if weights.most() > self._most:
            raise ConfigurationError(f"an event may weigh {weights.most():g}, at most {self._most:g} without a restart")
        return replace(self._tables, weights=weights)


def _state_of(path: Path) -> FileState:
    try:
        found = path.stat()
    except OSError:
        return _GONE
    return found.st_mtime_ns, found.st_size, found.st_ino


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
