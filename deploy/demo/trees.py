"""The trees of the demo: drawn as `interests show` draws them, compared, and counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from time import time
from types import TracebackType

from rich.console import Console, RenderableType
from rich.text import Text

from deploy.demo.accounts import RING_ENTRY_BYTES, distinct
from streams.commands.connections import surveyor_of
from streams.commands.show import names
from streams.commands.tree_drawing import draw as draw_tree
from streams.commands.tree_view import Branch, TreeOptions, TreeView, item_ids, view
from streams.interests.decay import decayed
from streams.interests.nodes import Node, NodePolicy, profile_key
from streams.settings.service import Settings
from streams.settings.wiring import qdrant_config
from streams.store.qdrant import QdrantStore

_A_CHANGE = 0.03
_LARGE = 0.03
_AVERSE = 0.05
_BRANCHES, _CHILDREN, _EVIDENCE = 5, 3, 1
_READ_AT_ONCE = 500


class Trees:
    """Reads trees from Qdrant: `async with Trees(settings, console) as trees`, once a worker has made the aliases."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._settings, self._console, self._policy = settings, console, settings.nodes.policy()
        self.name_of = names(settings.concepts.file, "en")
        self._before: dict[str, dict[str, float]] = {}
        self._after: dict[str, dict[str, float]] = {}
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Trees:
        async with AsyncExitStack() as exits:
            self._surveyor = await exits.enter_async_context(surveyor_of(self._settings))
            self._collections = await self._surveyor.collections()
            self._store = QdrantStore(qdrant_config(self._settings), self._policy, self._collections)
            exits.push_async_callback(self._store.close)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def draw(self, user: str, at_ms: int | None = None) -> RenderableType:
        """The large branches of a user's tree as they are at a time (now), drawn; remembered for `changed`."""
        nodes = await self._store.tree(user)
        at_ms = int(time() * 1000) if at_ms is None else at_ms
        (self._after if user in self._before else self._before)[user] = liked_shares(nodes, at_ms, self._policy)
        cards = await self._surveyor.cards(self._collections, item_ids(nodes, _EVIDENCE))
        tree = view(user, nodes, at_ms, self._policy, self.name_of, cards, TreeOptions(_EVIDENCE))
        return draw_tree(large(tree), self._console, self.name_of)

    def changed(self, user: str) -> RenderableType:
        """What a user likes more and less when drawn the second time than the first, topic by topic."""
        text = Text()
        for path, was, now in changes(self._before.get(user, {}), self._after.get(user, {})):
            text.append(f"{self.name_of(path):<28}", "bold")
            text.append(f"{was:5.0%} → {now:4.0%}", "green" if now > was else "red")
            text.append("  new\n" if not was else "  gone\n" if not now else "\n")
        text.rstrip()
        return text

    async def remembered(self, users: Sequence[str], ring_length: int) -> tuple[int, list[str]]:
        """How many different events the users' trees hold in their rings, and whose rings are full."""
        rings: dict[str, bytes] = {}
        for start in range(0, len(users), _READ_AT_ONCE):
            nodes = await self._store.read([profile_key(user) for user in users[start : start + _READ_AT_ONCE]])
            rings.update({key.user_id: node.ring for key, node in nodes.items()})
        full = [user for user, ring in rings.items() if len(ring) >= RING_ENTRY_BYTES * ring_length]
        return distinct(rings.values()), full


def large(tree: TreeView) -> TreeView:
    """The tree with its largest branches only, so that two of them fit on a screen."""

    def some(branches: Sequence[Branch], most: int) -> tuple[Branch, ...]:
        return tuple(branch for branch in branches[:most] if branch.share >= _LARGE)

    def pruned(branches: Sequence[Branch]) -> tuple[Branch, ...]:
        return tuple(replace(one, children=some(one.children, _CHILDREN)) for one in some(branches, _BRANCHES))

    whole = sum(topic.mass for topic in tree.topics)
    averse = sum(branch.mass for branch in tree.aversions) >= _AVERSE * whole
    return replace(tree, topics=pruned(tree.topics), aversions=pruned(tree.aversions) if averse else (), expired=0)


def liked_shares(nodes: Iterable[Node], at_ms: int, policy: NodePolicy) -> dict[str, float]:
    """Each topic's share of what is liked at a time: its net weight, if above 0, over that of all topics."""
    liked: dict[str, float] = {}
    for node in nodes:
        if node.key.level == "topic" and node.net > 0:
            liked[node.key.path] = decayed(node.net, node.t0_ms, at_ms, policy.half_life_ms("topic"))
    total = sum(liked.values())
    return {path: weight / total for path, weight in liked.items()} if total else {}


def changes(before: Mapping[str, float], after: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """Topics whose share has moved by three points or more, as (path, before, after), the largest now first."""
    paths = {*before, *after}
    moved = [(path, before.get(path, 0.0), after.get(path, 0.0)) for path in paths]
    return sorted((one for one in moved if abs(one[2] - one[1]) >= _A_CHANGE), key=lambda one: (-one[2], one[0]))
