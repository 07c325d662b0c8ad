"""The trees of the demo: drawn as `interests show` draws them, compared, and counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from time import time
from types import TracebackType

from rich.console import RenderableType
from rich.text import Text

from deploy.demo.accounts import distinct
from streams.app import qdrant_config
from streams.commands.connecting import look_of
from streams.nodes import Node, NodePolicy, mass_at, profile_key
from streams.settings import Settings
from streams.store.qdrant import QdrantStore
from streams.treefile import load_tree

_A_CHANGE = 0.03


class Trees:
    """Reads trees from Qdrant: `async with Trees(settings) as trees`."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._policy = settings, settings.nodes.policy()
        self._names = load_tree(settings.concepts.file) if settings.concepts.file else None
        self._before: dict[str, dict[str, float]] = {}
        self._after: dict[str, dict[str, float]] = {}
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Trees:
        async with AsyncExitStack() as exits:
            self._look = await exits.enter_async_context(look_of(self._settings))
            self._store = QdrantStore(qdrant_config(self._settings), self._policy, await self._look.collections())
            exits.push_async_callback(self._store.close)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def look(self, user: str, at_ms: int | None) -> RenderableType:
        """A user's tree as it is at a time (now), drawn; remembered for `changed`."""
        nodes = await self._store.tree(user)
        at_ms = int(time() * 1000) if at_ms is None else at_ms
        (self._after if user in self._before else self._before)[user] = shares(nodes, at_ms, self._policy)
        lines = [
            f"  {node.key.level:10} {node.key.path:40} {mass_at(node, at_ms, self._policy):7.2f}" for node in nodes
        ]
        return Text("\n".join(lines))

    def changed(self, user: str) -> RenderableType:
        """What the second look at a user's tree has that the first had not, topic by topic."""
        told = Text()
        for path, was, now in changes(self._before.get(user, {}), self._after.get(user, {})):
            name = self._names.name(path) if self._names else path
            told.append(f"  {name:<28}", "bold")
            told.append(f"{was:4.0%} → {now:4.0%}", "green" if now > was else "red")
            told.append("  new\n" if not was else "\n")
        told.rstrip()
        return told

    async def remembered(self, users: Iterable[str], ring_length: int) -> tuple[int, list[str]]:
        """How many different events the users' trees hold in their rings, and whose rings are full."""
        nodes = await self._store.read([profile_key(user) for user in users])
        rings = [(key.user_id, node.ring) for key, node in nodes.items()]
        return distinct(ring for _, ring in rings), [user for user, ring in rings if len(ring) >= 10 * ring_length]


def shares(nodes: Iterable[Node], at_ms: int, policy: NodePolicy) -> dict[str, float]:
    """Each topic's share of the mass of all topics at a time."""
    masses = {node.key.path: mass_at(node, at_ms, policy) for node in nodes if node.key.level == "topic"}
    total = sum(masses.values())
    return {path: mass / total for path, mass in masses.items()} if total else {}


def changes(before: Mapping[str, float], after: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """Topics whose share has moved by three points or more, as (path, before, after), the largest now first."""
    paths = {*before, *after}
    moved = [(path, before.get(path, 0.0), after.get(path, 0.0)) for path in paths]
    return sorted((one for one in moved if abs(one[2] - one[1]) >= _A_CHANGE), key=lambda one: (-one[2], one[0]))
