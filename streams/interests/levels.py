"""The levels of a tree; apart from `nodes`, so that the client needs no arrays to name them."""

from __future__ import annotations

from typing import Final, Literal

Level = Literal["profile", "topic", "interest", "session", "context", "aversion", "learned"]
LEVELS: tuple[Level, ...] = ("profile", "topic", "interest", "session", "context", "aversion", "learned")
LEARNED: Final = "learned"


def is_sum(level: Level) -> bool:
    """Whether a node of a level is a sum of events, which a fold of the log gives again: all but `learned`.

    A learned node is what a model makes of a profile's recent items, at some time after them. So it is no part of
    what is compared with the log, exported, or weighed against other nodes by their masses.
    """
    return level != LEARNED
