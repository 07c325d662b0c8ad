"""Names of nodes: the concept's name, or a word for what has no path."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from streams.concepts.tree_file import load_names
from streams.interests.nodes import Level

_ROOTS: Final[dict[Level, str]] = {
    "profile": "All interests", "session": "Right now", "aversion": "Turned away from",
    "topic": "Other", "interest": "Other", "context": "Situation",
}  # fmt: skip


class NodeNames:
    """Names of nodes by level and path, from the concept tree's file or the built-in taxonomy; read once."""

    def __init__(self, file: Path | None) -> None:
        self._of_path = lru_cache(maxsize=20_000)(load_names(file).name)

    def __call__(self, level: Level, path: str) -> str:
        """The name of a node."""
        return self.of_path(path) or _ROOTS[level]

    def of_path(self, path: str) -> str:
        """The name of a path; empty for `/`."""
        return self._of_path(path)
