"""Which items a batch of events is about: known ones, those an event brought along, those nobody has described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.base.errors import PoisonError
from streams.concepts.tree import ConceptTree
from streams.encoder.base import Encoder
from streams.events.event import Event, Source
from streams.events.items import Item
from streams.interests.item_vectors import StoredItem
from streams.pipeline.describe import describe
from streams.store.base import Store


@dataclass(slots=True)
class Resolved:
    """Events whose items are known, events that must wait, and events whose own item is poison."""

    items: dict[str, StoredItem]
    ready: list[Event] = field(default_factory=list)
    waiting: list[Event] = field(default_factory=list)
    poison: dict[Source, PoisonError] = field(default_factory=dict)
    described: int = 0


def wanted(event: Event) -> tuple[str, ...]:
    """The items an event cannot be applied without: its own, and those taken from an impression."""
    if event.type == "impression":
        return event.clicked
    needs_item = event.item_id is not None and event.type != "erase" and not (event.type == "search" and event.text)
    return (event.item_id,) if needs_item and event.item_id else ()


async def resolve(events: Sequence[Event], encoder: Encoder, store: Store, tree: ConceptTree) -> Resolved:
    """Look items up, and describe those that events bring along and nobody has described before."""
    asked = dict.fromkeys(item_id for event in events for item_id in (event.item_id, *event.items) if item_id)
    resolved = Resolved(await store.items(asked))
    brought: dict[str, Item] = {}
    for event in events:
        if event.item is not None and event.item.has_content and event.item.item_id not in resolved.items:
            brought[event.item.item_id] = event.item
    unreadable: dict[str, PoisonError] = {}
    if brought:
        points, unreadable = await describe(list(brought.values()), encoder, tree)
        await store.put_items(points)
        resolved.items.update({p.item.item_id: StoredItem(p.item.item_id, p.vector, p.path) for p in points})
        resolved.described = len(points)
    for event in events:
        missing = [item_id for item_id in wanted(event) if item_id not in resolved.items]
        if not missing:
            resolved.ready.append(event)
        elif missing[0] in unreadable:
            resolved.poison[event.source] = unreadable[missing[0]]
        else:
            resolved.waiting.append(event)
    return resolved
