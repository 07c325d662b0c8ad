"""The store in memory: the shipped fake, held to the same contract suite as Qdrant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from streams.interests.item_vectors import ItemPoint, StoredItem
from streams.interests.nodes import Node, NodeKey, NodePolicy, is_put_back, is_spent, without_erased
from streams.store.base import Control, Fence, Write


class MemoryStore:
    """Implements `streams.store.base.Store` in dictionaries; for tests and for folding without servers."""

    whole_trees = True
    replicated = False

    def __init__(self, policy: NodePolicy) -> None:
        self._policy = policy
        self._nodes: dict[NodeKey, tuple[Node, int]] = {}
        self._items: dict[str, StoredItem] = {}
        self._controls: dict[str, Control] = {}

    async def read(self, keys: Sequence[NodeKey]) -> dict[NodeKey, Node]:
        """The nodes that exist among `keys`."""
        return {key: self._nodes[key][0] for key in keys if key in self._nodes}

    def encoded(self, nodes: Sequence[Node], fence: Fence) -> Write:
        """Nothing to encode."""
        return partial(self.write, nodes, fence)

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        """Keep nodes, unless what is kept has a newer fence."""
        for node in nodes:
            stored = self._nodes.get(node.key)
            if stored is None or stored[1] <= fence.number:
                self._nodes[node.key] = (replace(node), fence.number)

    async def erase(self, tombstones: Sequence[Node], fence: Fence) -> None:
        """Forget the users' nodes but the profile, then keep the tombstones in its place."""
        users = {node.key.user_id for node in tombstones}
        for key, (_, number) in list(self._nodes.items()):
            if key.user_id in users and key.level != "profile" and number <= fence.number:
                del self._nodes[key]
        await self.write(tombstones, fence)

    async def tree(self, user_id: str) -> list[Node]:
        """All nodes of one user."""
        return without_erased(node for key, (node, _) in self._nodes.items() if key.user_id == user_id)

    async def items(self, item_ids: Iterable[str]) -> dict[str, StoredItem]:
        """The described items among `item_ids`."""
        return {item_id: self._items[item_id] for item_id in item_ids if item_id in self._items}

    async def put_items(self, points: Sequence[ItemPoint]) -> None:
        """Keep items."""
        for point in points:
            self._items[point.item.item_id] = StoredItem(point.item.item_id, point.vector, point.path)

    async def delete_items(self, item_ids: Sequence[str]) -> None:
        """Forget items."""
        for item_id in item_ids:
            self._items.pop(item_id, None)

    async def sweep(self, now_ms: int) -> None:
        """Forget the nodes that have expired, and those that an erasure ended."""
        alive = {node.key for node in without_erased(node for node, _ in self._nodes.values())}
        for key, (node, _) in list(self._nodes.items()):
            if key not in alive or is_spent(node, now_ms, self._policy):
                del self._nodes[key]

    async def oldest_put_back(self) -> int:
        """When the oldest erasure was, in ms, of which nodes were put back and are there; 0: of none."""
        nodes = [node for node, _ in self._nodes.values()]
        erased = {node.key.user_id: node.erased_at_ms for node in nodes if node.erased_at_ms}
        return min(
            (
                at_ms for node in nodes
                if is_put_back(node.key.level, node.first_ms, at_ms := erased.get(node.key.user_id, 0))
            ),
            default=0,
        )  # fmt: skip

    async def control(self, group: str) -> Control | None:
        """The group's control point."""
        return self._controls.get(group)

    async def put_control(self, group: str, control: Control, *, if_epoch: int) -> Control:
        """Keep the control point over one of epoch `if_epoch` whose fence is not higher."""
        stored = self._controls.get(group)
        if stored is None or (stored.epoch == if_epoch and stored.fence <= control.fence):
            self._controls[group] = control
        return self._controls[group]

    async def close(self) -> None:
        """Nothing to let go of."""
