"""The parts of a score and the kinds of lists; clients import them, so no arrays here."""

from __future__ import annotations

from typing import Final, Literal

Part = Literal[
    "relevance", "aversion", "recent", "together", "attributes", "shares", "freshness", "popularity", "touched"
]
"""What a feature belongs to, as the parts of a score are shown."""

Kind = Literal["next", "impression"]
"""Of what a list was: one new item among others by chance, or what was shown at once."""
KINDS: Final[tuple[Kind, ...]] = ("next", "impression")
