"""The parts of a score, the kinds of lists, the tasks of the learned model; clients import them, so no arrays here."""

from __future__ import annotations

from typing import Final, Literal

Part = Literal[
    "relevance", "aversion", "recent", "together", "attributes", "shares", "freshness", "popularity", "touched",
    "learned",
]  # fmt: skip
"""What a feature belongs to, as the parts of a score are shown."""

Kind = Literal["next", "impression"]
"""Of what a list was: one new item among others by chance, or what was shown at once."""
KINDS: Final[tuple[Kind, ...]] = ("next", "impression")

Task = Literal["click", "exposure", "purchase"]
"""What the learned model gives a probability of, as `encoders.hierarchy_model` has its tasks."""
TASKS: Final[tuple[Task, ...]] = ("click", "exposure", "purchase")
