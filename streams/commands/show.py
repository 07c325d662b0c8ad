"""`interests show USER`: a person's tree, drawn in the terminal or as JSON, read straight from Qdrant."""

from __future__ import annotations

from time import time
from typing import Annotated, cast

import typer

from streams.base.errors import ConfigurationError
from streams.commands.shell import EXIT_FAILED, console, register, run
from streams.commands.showing import ShowRequest, answer
from streams.commands.when import parse_time
from streams.interests.nodes import LEVELS, Level
from streams.settings.service import load

_EXAMPLE = "interests show u17 --evidence 3"

User = Annotated[str, typer.Argument(help="The user's id.", metavar="USER", show_default=False)]
At = Annotated[str, typer.Option("--at", help="Age the tree to this time: now, ms since 1970, or RFC 3339.")]
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
    interest's is part of its topic's. Under each interest stand the events that say most why it is there. Needs Qdrant
    alone. Exit code 1: nobody is known by this id, or everything has faded.
    """
    now_ms = int(time() * 1000)
    unknown = sorted(set(level or ()) - set(LEVELS))
    if unknown:
        raise ConfigurationError(f"got --level {', '.join(unknown)}, expected one of {', '.join(LEVELS)}")
    levels = frozenset(cast(Level, name) for name in level or ())
    asked = ShowRequest(user, parse_time(at, now_ms), levels, lang, evidence, everything, as_json)
    if not run(answer(load(), asked, console())):
        raise typer.Exit(EXIT_FAILED)
