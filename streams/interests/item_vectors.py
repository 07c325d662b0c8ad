"""Items as vectors with a path: what the fold needs of one, and what is written of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from streams.events.items import Item
from streams.interests.nodes import Vector


class StoredItem(NamedTuple):
    """An item as the fold needs it: its unit vector (dim,) and its path on the concept tree ("" unknown)."""

    item_id: str
    vector: Vector
    path: str


@dataclass(frozen=True, slots=True)
class ItemPoint:
    """An item with its vector and path, as it is written.

    `confidence` is the probability that the path's topic is right, None where it is not known.
    """

    item: Item
    vector: Vector
    path: str
    confidence: float | None = None
