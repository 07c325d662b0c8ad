"""The levels of a tree; apart from `nodes`, so that the client needs no arrays to name them."""

from __future__ import annotations

from typing import Literal

Level = Literal["profile", "topic", "interest", "session", "context", "aversion"]
LEVELS: tuple[Level, ...] = ("profile", "topic", "interest", "session", "context", "aversion")
