"""Names of nodes: the concept's name, or a word for what has no path."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Final

import structlog

from streams.base.errors import ConfigurationError
from streams.concepts.tree_file import load_names
from streams.interests.levels import LEARNED, Level

log = structlog.get_logger(__name__)

#: How long a changed file may go unseen.
LOOK_EVERY_S: Final = 5.0
_ROOTS: Final[dict[Level, str]] = {
    "profile": "All interests", "session": "Right now", "aversion": "Turned away from",
    "topic": "Other", "interest": "Other", "context": "Situation", "learned": "As a model sees it",
}  # fmt: skip


#: Learned nodes by path, but for the whole person's.
_TASKS: Final = {"/click": "What they click", "/exposure": "What they turn to", "/purchase": "What they want most"}


class NodeNames:
    """Names of nodes by level and path, from the concept tree's file or the built-in taxonomy.

    A file that has changed is read again; one that is broken changes nothing.
    """

    def __init__(self, file: Path | None, clock: Callable[[], float] = monotonic) -> None:
        self._file, self._clock = file, clock
        self._changed_ns = self._looked_at()
        self._of_path = lru_cache(maxsize=20_000)(load_names(file).name)
        self._look_at_s = clock() + LOOK_EVERY_S

    def __call__(self, level: Level, path: str) -> str:
        """The name of a node; a learned one's path is no concept, but a task of its model."""
        if level == LEARNED:
            return _TASKS.get(path, path.strip("/")) or _ROOTS[level]
        return self.of_path(path) or _ROOTS[level]

    def of_path(self, path: str) -> str:
        """The name of a path; empty for `/`."""
        if self._clock() >= self._look_at_s:
            self._look_at_s = self._clock() + LOOK_EVERY_S
            self._read_again()
        return self._of_path(path)

    def _looked_at(self) -> int:
        try:
            return self._file.stat().st_mtime_ns if self._file is not None else 0
        except OSError:
            return 0

    def _read_again(self) -> None:
        changed_ns = self._looked_at()
        if changed_ns == self._changed_ns:
            return
        self._changed_ns = changed_ns
        try:
            self._of_path = lru_cache(maxsize=20_000)(load_names(self._file).name)
        except ConfigurationError as error:
            log.error("names_refused", reason=str(error), effect="the names of before are shown")  # noqa: TRY400  # no defect
        else:
            log.info("names_read")
