"""`interests rank USER`: put items and texts in a person's order."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.base.errors import ConfigurationError
from streams.commands.api_client import ApiUrl, AsJson, Context, KeyFile, open_client, parse_context
from streams.commands.options import User
from streams.commands.score_drawing import draw_ranked
from streams.commands.shell import EXIT_FAILED, console, print_error, register

_EXAMPLE = "interests rank u17 --item i12 --item i9 --text 'A hand grinder for the road'"

Items = Annotated[list[str] | None, typer.Option("--item", help="The id of an item. Repeatable.")]
Texts = Annotated[list[str] | None, typer.Option("--text", help="A text. Repeatable.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "rank", example=_EXAMPLE)(rank)


def rank(
    user: User, item: Items = None, text: Texts = None, context: Context = None, as_json: AsJson = False,
    api: ApiUrl = None, key_file: KeyFile = None,
) -> None:  # fmt: skip
    """Put items and texts in the order of what they are worth to a person.

    Scores are those of `interests recommend`; a text has neither age nor popularity. Exit code 1: none of the items is
    known, or the API is away.
    """
    items, texts = item or [], text or []
    if not items and not texts:
        raise ConfigurationError("expected something to put in order: --item ID, --text TEXT, or several of them")
    with open_client(api, key_file) as client:
        ranking = client.rank(user, items=items, texts=texts, context=parse_context(context))
    if as_json:
        typer.echo(ranking.model_dump_json(indent=2))
    elif ranking.items:
        out = console()
        out.print(
            draw_ranked(
                user,
                ranking.at_ms,
                ranking.items,
                out,
                prior=ranking.prior,
                erased_at_ms=ranking.erased_at_ms,
                texts=texts,
                weights=ranking.weights_version,
                kind=ranking.weights_kind,
            )
        )
    if ranking.unknown and not as_json:
        unknown = ", ".join(ranking.unknown)
        print_error(f"nobody has described {unknown}: `interests produce --items FILE` describes items")
    if not ranking.items:
        raise typer.Exit(EXIT_FAILED)
