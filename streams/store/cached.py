"""A bounded cache before a store: the owner of a partition reads each node once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import monotonic
from typing import Generic, TypeVar

from streams.interests.item_vectors import ItemPoint, StoredItem
from streams.interests.nodes import Node, NodeKey
from streams.store.base import Control, Fence, Store

K = TypeVar("K")
V = TypeVar("V")


class Lru(Generic[K, V]):
    """Least recently used values, bounded in bytes by `size_of`."""

    def __init__(self, limit_bytes: int, size_of: Callable[[V], int]) -> None:
        self._limit, self._size_of = limit_bytes, size_of
        self._values: OrderedDict[K, V] = OrderedDict()
        self.nbytes = self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K) -> V | None:
        """The value, now the most recently used; None where there is none."""
        value = self._values.get(key)
        if value is None:
            self.misses += 1
            return None
        self._values.move_to_end(key)
        self.hits += 1
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value and drop the least recently used ones over the limit."""
        self.drop(key)
        self._values[key] = value
        self.nbytes += self._size_of(value)
        while self.nbytes > self._limit and self._values:
            _, old = self._values.popitem(last=False)
            self.nbytes -= self._size_of(old)

    def drop(self, key: K) -> None:
        """Forget one value."""
        if (old := self._values.pop(key, None)) is not None:
            self.nbytes -= self._size_of(old)

    def clear(self) -> None:
        """Forget everything; the counts of hits and misses go on."""
        self._values.clear()
        self.nbytes = 0

    def __iter__(self) -> Iterator[K]:
        """The keys as they are now, least recently used first."""
        return iter(list(self._values))


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
        self._store, self._items_ttl_s, self._clock = store, items_ttl_s, clock
        self._nodes: Lru[NodeKey, Node | _Absent] = Lru(
            nodes_bytes, lambda node: node.nbytes if isinstance(node, Node) else 400
        )
        self._items: Lru[str, tuple[StoredItem, float]] = Lru(items_bytes, lambda entry: entry[0].vector.nbytes + 400)

    def readers(self) -> dict[str, Callable[[], tuple[int, int, int]]]:
        """By cache: a reader of its hits, misses and bytes."""
        return {
            "nodes": lambda: (self._nodes.hits, self._nodes.misses, self._nodes.nbytes),
            "items": lambda: (self._items.hits, self._items.misses, self._items.nbytes),
        }

    @property
    def whole_trees(self) -> bool:
        """As the store behind says."""
        return self._store.whole_trees

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

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        """Write through; on failure nothing is known of these nodes, so they are forgotten."""
        try:
            await self._store.write(nodes, fence)
        except BaseException:
            for node in nodes:
                self._nodes.drop(node.key)
            raise
        for node in nodes:
            self._nodes.put(node.key, node)

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
        now = self._clock()
        found: dict[str, StoredItem] = {}
        missing: list[str] = []
        for item_id in item_ids:
            entry = self._items.get(item_id)
            if entry is not None and now - entry[1] < self._items_ttl_s:
                found[item_id] = entry[0]
            else:
                missing.append(item_id)
        if missing:
            loaded = await self._store.items(missing)
            for item_id, item in loaded.items():
                self._items.put(item_id, (item, now))
            found.update(loaded)
        return found

    async def put_items(self, points: Sequence[ItemPoint]) -> None:
        """Write through."""
        await self._store.put_items(points)
        for point in points:
            item = StoredItem(point.item.item_id, point.vector, point.path)
            self._items.put(item.item_id, (item, self._clock()))

    async def delete_items(self, item_ids: Sequence[str]) -> None:
        """Delete behind and here."""
        await self._store.delete_items(item_ids)
        for item_id in item_ids:
            self._items.drop(item_id)

    async def sweep(self, now_ms: int) -> None:
        """Sweep behind, and forget all nodes: some may be gone."""
        await self._store.sweep(now_ms)
        self._nodes.clear()

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
