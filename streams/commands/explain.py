"""`interests explain USER ITEM`: why an item has its score for a person."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.commands.api_client import (
    ApiUrl,
    AsJson,
    Context,
    KeyFile,
    daypart_and_device,
    open_client,
    parse_context,
)
from streams.commands.options import Evidence, User
from streams.commands.score_drawing import draw_explained
from streams.commands.shell import console, register

_EXAMPLE = "interests explain u17 i12 --evidence 3"

Item = Annotated[str, typer.Argument(help="The item's id.", metavar="ITEM", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="Also what hardly moved the score.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "explain", example=_EXAMPLE)(explain)


def explain(
    user: User, item: Item, evidence: Evidence = 1, everything: All = False, context: Context = None,
    as_json: AsJson = False, api: ApiUrl = None, key_file: KeyFile = None,
) -> None:  # fmt: skip
    """Why an item has its score for a person: what pulled, what pushed, and the events behind it.

    The numbers under "adds" sum up to the score. Exit code 1: the item is not known, or the API is away.
    """
    daypart, device = daypart_and_device(parse_context(context))
    with open_client(api, key_file) as client:
        explanation = client.explain(user, item, daypart=daypart, device=device)
    if as_json:
        typer.echo(explanation.model_dump_json(indent=2))
        return
    out = console()
    out.print(draw_explained(explanation, out, evidence=evidence, fold=not everything))
