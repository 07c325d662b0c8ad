"""One batch in flight: what it has folded so far, and the batches before it that may not be written yet.

A batch is folded on top of those before it while these are still on their way to the store. Nothing of it leaves before
they are there; where one of them fails, it is superseded and folded again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence, Set

from streams.base.errors import InterestsError
from streams.interests.nodes import Node, NodeKey
from streams.store.base import Store


class Superseded(InterestsError):
    """A batch before this one was not written, so what this one was folded on does not exist: fold it again."""


class InFlight:
    """A batch's side of it: read through it, hold back what leaves until `after_those_before`, say what is `folded`."""

    __slots__ = ("_before", "_on_folded", "_over", "is_written", "nodes")

    def __init__(self, before: Sequence[InFlight] = (), on_folded: Callable[[], None] = lambda: None) -> None:
        self._before, self._on_folded = before, on_folded
        self._over = asyncio.Event()
        self.is_written = False
        self.nodes: dict[NodeKey, Node] = {}

    @property
    def has_failed(self) -> bool:
        """Whether it ended before all its nodes were written."""
        return self._over.is_set() and not self.is_written

    async def read(self, keys: Iterable[NodeKey], store: Store) -> dict[NodeKey, Node]:
        """The nodes that exist among `keys`, as those before leave them. Raises StoreUnavailable."""
        found: dict[NodeKey, Node] = {}
        asked: list[NodeKey] = []
        ahead = [one.nodes for one in reversed(self._before) if not one.is_written]
        if not ahead:
            return await store.read([*keys])
        for key in keys:
            node = next((nodes[key] for nodes in ahead if key in nodes), None)
            if node is None:
                asked.append(key)
            else:
                found[key] = node
        return found | await store.read(asked) if asked else found

    def ahead(self, users: Set[str]) -> dict[str, dict[NodeKey, Node]]:
        """By user, the nodes of some as those before leave them: the store may not have them yet."""
        found: dict[str, dict[NodeKey, Node]] = {}
        for one in self._before:
            for key, node in one.nodes.items():
                if key.user_id in users:
                    found.setdefault(key.user_id, {})[key] = node
        return found

    async def after_those_before(self) -> None:
        """Wait until the batches before are written. Raises Superseded where one was not."""
        for one in self._before:
            await one._over.wait()
            if not one.is_written:
                raise Superseded("a batch before was not written")
        if self.has_failed:
            raise Superseded("this one has ended")
        self._before = ()

    def folded(self, nodes: Sequence[Node]) -> None:
        """Some of its nodes are folded: who comes after reads them here until they are written."""
        self.nodes.update((node.key, node) for node in nodes)

    def all_folded(self) -> None:
        """Nothing of it is folded from here on: the next batch may begin."""
        self._on_folded()

    def end(self, *, written: bool) -> None:
        """All its nodes are durable, or some will not be: in either case nobody reads them here any more."""
        if not self._over.is_set():
            self.is_written = written
            self._over.set()
        self._before, self.nodes = (), {}  # a chain of all batches would stay otherwise
