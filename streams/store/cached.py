"""A bounded cache before a store: the owner of a partition reads each node once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from time import monotonic

from streams.base.caches import BoundedCache, CacheStats
from streams.interests.item_vectors import ItemPoint, StoredItem
from streams.interests.nodes import Node, NodeKey
from streams.store.base import Control, Fence, Store, Write

_ENTRY_BYTES = 400  # an item's objects beside its vector; what stands for an absent node


ReadItems = Callable[[Sequence[str]], Awaitable[Mapping[str, StoredItem]]]
"""Reads the described items among some ids, past any cache."""


class _Absent:
    """Stands for a node that the store does not have."""


_ABSENT = _Absent()


class CachedStore:
    """A `Store` with two caches: nodes (absent ones too) and items that exist.

    Right only while this worker alone writes its users' nodes: `forget` when partitions change hands or a write
    fails. What is written is cached after the store has acknowledged it.
    """

    def __init__(
        self, store: Store, *, nodes_bytes: int, items_bytes: int, items_ttl_s: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:  # fmt: skip
        self._store = store
        self._nodes: BoundedCache[NodeKey, Node | _Absent] = BoundedCache(
            nodes_bytes, size_of=lambda node: node.nbytes if isinstance(node, Node) else _ENTRY_BYTES
        )
        self._items: BoundedCache[str, StoredItem] = BoundedCache(
            items_bytes, size_of=lambda item: item.vector.nbytes + _ENTRY_BYTES, ttl_s=items_ttl_s, clock=clock
        )

    def readers(self) -> Mapping[str, Callable[[], CacheStats]]:
        """By cache: a reader of its hits, misses and bytes."""
        return {"nodes": self._nodes.stats, "items": self._items.stats}

    @property
    def whole_trees(self) -> bool:
        """As the store behind says."""
        return self._store.whole_trees

    @property
    def replicated(self) -> bool:
        """As the store behind says."""
        return self._store.replicated

    async def read(self, keys: Sequence[NodeKey]) -> dict[NodeKey, Node]:
        """The nodes that exist among `keys`, asking the store only for those not cached."""
        found: dict[NodeKey, Node] = {}
        missing: list[NodeKey] = []
        for key in keys:
            node = self._nodes.get(key)
            if isinstance(node, Node):
                found[key] = node
            elif node is None:
                missing.append(key)
        if missing:
            loaded = await self._store.read(missing)
            for key in missing:
                self._nodes.put(key, loaded.get(key, _ABSENT))
            found.update(loaded)
        return found

    def encoded(self, nodes: Sequence[Node], fence: Fence) -> Write:
        """Encode for the store behind; what comes back writes through."""
        behind = self._store.encoded(nodes, fence)

        async def write() -> None:
            try:
                await behind()
            except BaseException:  # nothing is known of these nodes
                for node in nodes:
                    self._nodes.drop(node.key)
                raise
            for node in nodes:
                self._nodes.put(node.key, node)

        return write

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        """Write through; on failure nothing is known of these nodes, so they are forgotten."""
        await self.encoded(nodes, fence)()

    async def erase(self, tombstones: Sequence[Node], fence: Fence) -> None:
        """Erase behind, and forget all that is cached of these users."""
        users = {node.key.user_id for node in tombstones}
        for key in self._nodes:
            if key.user_id in users:
                self._nodes.drop(key)
        await self._store.erase(tombstones, fence)

    async def tree(self, user_id: str) -> list[Node]:
        """All nodes of one user, past the cache."""
        return await self._store.tree(user_id)

    async def items(self, item_ids: Iterable[str]) -> dict[str, StoredItem]:
        """The described items; those not there are asked for again each time, since they may come."""
        return await self.items_through(item_ids, self._store.items)

    async def items_through(self, item_ids: Iterable[str], read: ReadItems) -> dict[str, StoredItem]:
        """The same, those that are not cached read by `read`: for who reads beside the path, by calls of their own."""
        found, missing = self._items.among(item_ids)
        if missing:
            loaded = await read(missing)
            for item_id, item in loaded.items():
                self._items.put(item_id, item)
            found.update(loaded)
        return found

    async def put_items(self, points: Sequence[ItemPoint]) -> None:
        """Write through."""
        await self._store.put_items(points)
        for point in points:
            item_id = point.item.item_id
            self._items.put(item_id, StoredItem(item_id, point.vector, point.path))

    async def delete_items(self, item_ids: Sequence[str]) -> None:
        """Delete behind and here."""
        await self._store.delete_items(item_ids)
        for item_id in item_ids:
            self._items.drop(item_id)

    async def sweep(self, now_ms: int) -> None:
        """Sweep behind, and forget all nodes: some may be gone."""
        await self._store.sweep(now_ms)
        self._nodes.clear()

    async def oldest_put_back(self) -> int:
        """Ask the store behind."""
        return await self._store.oldest_put_back()

    async def control(self, group: str) -> Control | None:
        """Never cached: it says whether this worker still owns what it writes."""
        return await self._store.control(group)

    async def put_control(self, group: str, control: Control, *, if_epoch: int) -> Control:
        """Never cached."""
        return await self._store.put_control(group, control, if_epoch=if_epoch)

    async def close(self) -> None:
        """Close the store behind."""
        await self._store.close()

    def forget(self) -> None:
        """Forget all nodes; items stay, they belong to nobody."""
        self._nodes.clear()
