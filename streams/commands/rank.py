"""`interests rank USER`: put items and texts in a person's order."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.base.errors import ConfigurationError
from streams.commands.api_client import ApiUrl, AsJson, KeyFile, Situation, User, asking, situation
from streams.commands.score_drawing import draw_ranked
from streams.commands.shell import EXIT_FAILED, complain, console, register

_EXAMPLE = "interests rank u17 --item i12 --item i9 --text 'A hand grinder for the road'"

Items = Annotated[list[str] | None, typer.Option("--item", help="The id of an item. Repeatable.")]
Texts = Annotated[list[str] | None, typer.Option("--text", help="A text. Repeatable.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "rank", example=_EXAMPLE)(rank)


def rank(
    user: User, item: Items = None, text: Texts = None, context: Situation = None, as_json: AsJson = False,
    api: ApiUrl = None, key_file: KeyFile = None,
) -> None:  # fmt: skip
    """Put items and texts in the order of what they are worth to a person.

    Scores are those of `interests recommend`; a text has neither age nor popularity. Exit code 1: none of the items is
    known, or the API is away.
    """
    items, texts = item or [], text or []
    if not items and not texts:
        raise ConfigurationError("expected something to put in order: --item ID, --text TEXT, or several of them")
    with asking(api, key_file) as client:
        told = client.rank(user, items=items, texts=texts, context=situation(context))
    if as_json:
        typer.echo(told.model_dump_json(indent=2))
    elif told.items:
        out = console()
        out.print(draw_ranked(user, told.at_ms, told.items, out, prior=told.prior, texts=texts))
    if told.unknown and not as_json:
        complain(f"nobody has described {', '.join(told.unknown)}: `interests produce --items FILE` describes items")
    if not told.items:
        raise typer.Exit(EXIT_FAILED)
