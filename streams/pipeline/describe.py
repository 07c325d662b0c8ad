"""Items to vectors and paths: encode what there is to read, place it on the concept tree."""

from __future__ import annotations

from collections.abc import Sequence

from streams.base.errors import PoisonError
from streams.concepts.tree import ConceptTree
from streams.encoder.base import Encoder
from streams.events.items import Item, item_text
from streams.interests.item_vectors import ItemPoint

#: Characters of an item's text that are encoded: about what a 512-token model reads.
ITEM_CHARS = 2_000


async def describe(
    items: Sequence[Item], encoder: Encoder, tree: ConceptTree
) -> tuple[list[ItemPoint], dict[str, PoisonError]]:
    """Encode items and give each its path: from its own categories or tags, else from its text, or none.

    Returns the points, and by item id why an item cannot be encoded.
    """
    poison: dict[str, PoisonError] = {}
    readable: list[tuple[Item, str]] = []
    for item in items:
        if text := item_text(item, ITEM_CHARS):
            readable.append((item, text))
        else:
            poison[item.item_id] = PoisonError("the item has nothing to read", reason="no_content", stage="describe")
    if not readable:
        return [], poison
    matches = [tree.path_of(item.categories, item.tags) for item, _ in readable]
    labels = list(dict.fromkeys(label for match in matches for label in match.unknown))
    encoded = await encoder.encode([text for _, text in readable] + labels)
    nearest = dict(zip(labels, encoded.vectors[len(readable) :], strict=True))
    placed = tree.placements(matches, encoded.vectors[: len(readable)], nearest)
    points: list[ItemPoint] = []
    for at, ((item, _), place) in enumerate(zip(readable, placed, strict=True)):
        if at in encoded.poison:
            poison[item.item_id] = encoded.poison[at]
        else:
            points.append(ItemPoint(item, encoded.vectors[at], place.path, place.confidence))
    return points, poison
