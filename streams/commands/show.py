"""`interests show USER`: a person's tree, drawn in the terminal or as JSON, read straight from Qdrant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, cast

import msgspec
import typer
from rich.console import Console

from streams.base.errors import ConfigurationError
from streams.commands.connections import surveyor_of
from streams.commands.options import User
from streams.commands.shell import EXIT_FAILED, console, load_settings, print_error, register, run
from streams.commands.tree_drawing import draw
from streams.commands.tree_view import NameOf, TreeOptions, TreeView, item_ids, view
from streams.commands.when import ago, parse_time, rfc3339, stamp
from streams.interests.levels import LEVELS, Level

if TYPE_CHECKING:
    from streams.interests.nodes import Node
    from streams.settings.service import Settings
    from streams.store.cards import Card

_EXAMPLE = "interests show u17 --evidence 3"

At = Annotated[str, typer.Option("--at", help="Age the tree to this time: now, -2h, ms since 1970, or RFC 3339.")]
Levels = Annotated[list[str] | None, typer.Option("--level", help=f"Only this level: {', '.join(LEVELS)}. Repeatable.")]
Lang = Annotated[str, typer.Option("--lang", help="Language of the names, such as en, zh or zh-TW.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a drawing.")]
Evidence = Annotated[int, typer.Option("--evidence", min=0, max=64, help="Strongest events shown an interest.")]
All = Annotated[bool, typer.Option("--all", help="Small and faded nodes too.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "show", example=_EXAMPLE)(show)


def show(
    user: User, at: At = "now", level: Levels = None, lang: Lang = "en", as_json: AsJson = False,
    evidence: Evidence = 2, everything: All = False,
) -> None:  # fmt: skip
    """Draw a person's tree of interests.

    Bars are what is left of the evidence now; the light part was pushed away. Shares are of all topics together, so an
    interest's is part of its topic's. Under each interest stand the events that say most why it is there; the last
    items they dealt with come at the end. Needs Qdrant alone. Exit code 1: nobody is known by this id, or everything
    has faded.
    """
    now_ms = int(time() * 1000)
    unknown = sorted(set(level or ()) - set(LEVELS))
    if unknown:
        raise ConfigurationError(f"got --level {', '.join(unknown)}, expected one of {', '.join(LEVELS)}")
    levels = frozenset(cast(Level, name) for name in level or ())
    request = ShowRequest(
        user_id=user, at_ms=parse_time(at, now_ms), levels=levels, lang=lang, evidence=evidence,
        everything=everything, as_json=as_json,
    )  # fmt: skip
    if not run(show_tree(load_settings(), request, console())):
        raise typer.Exit(EXIT_FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
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
    def options(self) -> TreeOptions:
        """What of the tree to show."""
        return TreeOptions(self.evidence, self.everything, self.levels)


async def show_tree(settings: Settings, request: ShowRequest, out: Console) -> bool:
    """Show the tree; False, with one line on standard error, where there is none to show."""
    from streams.settings.privacy import pseudonyms_of

    pseudonyms = pseudonyms_of(settings)
    if pseudonyms is not None:
        request = replace(request, user_id=pseudonyms.of(request.user_id))
    nodes, cards = await fetch(settings, request)
    if not nodes:
        print_error("no interests are kept of this user: no event of theirs was folded, or they were erased")
        return False
    name_of = names(settings.concepts.file, request.lang)
    tree = view(request.user_id, nodes, request.at_ms, settings.nodes.policy(), name_of, cards, request.options)
    if request.as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(tree), indent=2).decode())
        return not tree.is_empty
    if tree.is_empty:
        print_error(why_empty(tree, request))
        return False
    out.print(draw(tree, out, name_of, fold=not request.everything))
    if tree.at_ms < tree.last_ms:
        out.print("events after that time are in it all the same: a tree is aged, not taken back", style="dim")
    return True


async def fetch(settings: Settings, request: ShowRequest) -> tuple[list[Node], Mapping[str, Card]]:
    """A user's nodes, and what is known of the items that their evidence speaks of."""
    from streams.settings.wiring import qdrant_config
    from streams.store.qdrant import QdrantStore

    async with surveyor_of(settings) as surveyor:
        collections = await surveyor.collections()
        store = QdrantStore(qdrant_config(settings), settings.nodes.policy(), collections)
        try:
            nodes = await store.tree(request.user_id)
        finally:
            await store.close()
        return nodes, await surveyor.cards(collections, item_ids(nodes, request.evidence))


def names(file: Path | None, lang: str) -> NameOf:
    """What to call a path, by the concept tree's file or the built-in taxonomy."""
    from streams.concepts.tree_file import load_names

    tree = load_names(file)
    return lambda path: tree.name(path, lang)


def why_empty(tree: TreeView, request: ShowRequest) -> str:
    """Why nothing is left of a tree, and what to do to see it."""
    if tree.erased_at_ms and not tree.last_ms:
        return f"erased on {stamp(tree.erased_at_ms)}; nothing came since"
    if request.levels and not tree.expired:
        return f"there is nothing on level {', '.join(sorted(request.levels))}"
    if not tree.last_ms:
        return "everything has faded; --all shows what is stored"
    return (
        f"everything has faded: the last event was {ago(tree.last_ms, tree.at_ms)}. "
        f"--at {rfc3339(tree.last_ms)} shows the tree as it was then"
    )
