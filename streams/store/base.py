"""What a store of nodes and items does; Qdrant and the in-memory fake both pass its contract suite."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from streams.interests.item_vectors import ItemPoint, StoredItem
from streams.interests.nodes import Node, NodeKey


class Fence(NamedTuple):
    """Who writes: the epoch and the generation of the consumer group, compared as one integer."""

    epoch: int
    generation: int

    @property
    def number(self) -> int:
        """epoch * 2^32 + generation: under 2^53 for two million epochs, so exact in Qdrant's ranges."""
        return (self.epoch << 32) + self.generation

    @classmethod
    def of(cls, number: int) -> Fence:
        """The fence of a number, as it is stored."""
        return cls(number >> 32, number & 0xFFFFFFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The control point of a consumer group: which incarnation it is in, and how far it has seen the log."""

    epoch: int = 0
    log: int = 0
    generation: int = 0
    leader: str = ""
    cluster: str = ""
    partitions: Mapping[str, int] = field(default_factory=dict)
    highest: Mapping[str, int] = field(default_factory=dict)

    @property
    def fence(self) -> Fence:
        """Who wrote it."""
        return Fence(self.epoch, self.generation)


Write = Callable[[], Awaitable[None]]
"""Writes what has been encoded: from here on only the store can fail, which raises StoreUnavailable."""


class Store(Protocol):
    """Nodes, items and the control point. Every call has a deadline and raises StoreUnavailable past it."""

    @property
    def whole_trees(self) -> bool:
        """Whether one `write` of a user's nodes is all or nothing (a collection of one shard and one replica)."""

    @property
    def replicated(self) -> bool:
        """Whether a write that failed may have left replicas apart: what is folded again is then written again."""

    async def read(self, keys: Sequence[NodeKey]) -> dict[NodeKey, Node]:
        """The nodes that exist among `keys`."""

    def encoded(self, nodes: Sequence[Node], fence: Fence) -> Write:
        """Encode nodes now, which may raise; what comes back writes them as `write` does."""

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        """Write nodes durably; those stored under a newer fence stay as they are. A user's nodes must be adjacent."""

    async def erase(self, tombstones: Sequence[Node], fence: Fence) -> None:
        """Delete all nodes of the tombstones' users but the profile, then write the tombstones in its place."""

    async def tree(self, user_id: str) -> list[Node]:
        """All nodes of one user, read past any cache; without those put back after an erasure had ended them."""

    async def items(self, item_ids: Iterable[str]) -> dict[str, StoredItem]:
        """The described items among `item_ids`."""

    async def put_items(self, points: Sequence[ItemPoint]) -> None:
        """Write items durably, newer descriptions over older."""

    async def delete_items(self, item_ids: Sequence[str]) -> None:
        """Delete items; unknown ids are nothing to do."""

    async def sweep(self, now_ms: int) -> None:
        """Delete the nodes that have expired by `now_ms`, and those put back after an erasure had ended them."""

    async def oldest_put_back(self) -> int:
        """When the oldest erasure was, in ms, of which nodes were put back and are there; 0: of none."""

    async def control(self, group: str) -> Control | None:
        """The group's control point, or None for a group never seen."""

    async def put_control(self, group: str, control: Control, *, if_epoch: int) -> Control:
        """Write the control point, unless another epoch than `if_epoch` (0: none) or a higher fence is stored.

        Returns what is stored then: a worker of an ended generation does not write over what the next one has said.
        """

    async def close(self) -> None:
        """Let go of connections."""
