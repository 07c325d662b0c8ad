"""Reading a person's tree from Qdrant and handing it to the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import typer
from rich.console import Console

from streams.commands.branches import NameOf, TreeView
from streams.commands.connections import look_of
from streams.commands.shell import complain
from streams.commands.tree_draw import draw
from streams.commands.tree_view import TreeOptions, item_ids, view
from streams.commands.when import ago, rfc3339, stamp
from streams.concepts.tree_file import load_names
from streams.interests.nodes import Level, Node
from streams.settings.privacy import pseudonyms_of
from streams.settings.service import Settings
from streams.settings.wiring import qdrant_config
from streams.store.cards import Card
from streams.store.qdrant import QdrantStore


@dataclass(frozen=True, slots=True)
class ShowRequest:
    """What was asked for: whose tree, aged to when (ms), and how to show it."""

    user_id: str
    at_ms: int
    levels: frozenset[Level]
    lang: str
    evidence: int
    everything: bool
    as_json: bool

    @property
    def wanted(self) -> TreeOptions:
        """What of the tree to show."""
        return TreeOptions(self.evidence, self.everything, self.levels)


async def answer(settings: Settings, asked: ShowRequest, out: Console) -> bool:
    """Show the tree; False, with one line on standard error, where there is none to show."""
    names_of = pseudonyms_of(settings)
    if names_of is not None:
        asked = replace(asked, user_id=names_of.of(asked.user_id))
    nodes, cards = await fetch(settings, asked)
    if not nodes:
        complain("no interests are kept of this user: no event of theirs was folded, or they were erased and forgotten")
        return False
    name_of = names(settings.concepts.file, asked.lang)
    tree = view(asked.user_id, nodes, asked.at_ms, settings.nodes.policy(), name_of, cards, asked.wanted)
    if asked.as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(tree), indent=2).decode())
        return not tree.is_empty
    if tree.is_empty:
        complain(why_empty(tree, asked))
        return False
    out.print(draw(tree, out, name_of, fold=not asked.everything))
    if tree.at_ms < tree.last_ms:
        out.print("events after that time are in it all the same: a tree is aged, not taken back", style="dim")
    return True


async def fetch(settings: Settings, asked: ShowRequest) -> tuple[list[Node], Mapping[str, Card]]:
    """A user's nodes, and what is known of the items that their evidence speaks of."""
    async with look_of(settings) as look:
        collections = await look.collections()
        store = QdrantStore(qdrant_config(settings), settings.nodes.policy(), collections)
        try:
            nodes = await store.tree(asked.user_id)
        finally:
            await store.close()
        return nodes, await look.cards(collections, item_ids(nodes, asked.evidence))


def names(file: Path | None, lang: str) -> NameOf:
    """What to call a path, by the concept tree's file or the written taxonomy."""
    tree = load_names(file)
    return lambda path: tree.name(path, lang)


def why_empty(tree: TreeView, asked: ShowRequest) -> str:
    """Why nothing is left of a tree, and what to do to see it."""
    if asked.levels and not tree.expired:
        return f"there is nothing on level {', '.join(sorted(asked.levels))}"
    if tree.erased_at_ms and not tree.last_ms:
        return f"erased on {stamp(tree.erased_at_ms)}; nothing came since"
    if not tree.last_ms:
        return "everything has faded; --all shows what is stored"
    return (
        f"everything has faded: the last event was {ago(tree.last_ms, tree.at_ms)}. "
        f"--at {rfc3339(tree.last_ms)} shows the tree as it was then"
    )
