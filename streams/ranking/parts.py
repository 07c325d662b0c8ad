"""The parts of a score; apart from `rows.py`, so that clients need no arrays."""

from __future__ import annotations

from typing import Literal

Part = Literal[
    "relevance", "aversion", "recent", "together", "attributes", "shares", "freshness", "popularity", "touched"
]
"""What a feature belongs to, as the parts of a score are shown."""
