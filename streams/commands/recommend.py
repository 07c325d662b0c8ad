"""`interests recommend USER`: what to show a person, with the interests that made each score."""

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
from streams.commands.options import User
from streams.commands.score_drawing import draw_ranked
from streams.commands.shell import EXIT_FAILED, console, print_error, register

_EXAMPLE = "interests recommend u17 -k 5 --context daypart=evening"

Count = Annotated[int, typer.Option("-k", "--count", min=1, max=200, help="How many items.")]
Diversity = Annotated[
    float | None, typer.Option("--diversity", min=0, max=1, help="0: plain order; 1: as unlike each other as can be.")
]
Category = Annotated[
    str | None, typer.Option("--category", help="Only at or below this path (/sports), or in this category.")
]
Lang = Annotated[str | None, typer.Option("--lang", help="Only items in this language: en has en-US in it.")]
MaxAgeS = Annotated[
    float | None, typer.Option("--max-age-s", min=0, help="Only items published within so many seconds.")
]
Seen = Annotated[bool, typer.Option("--seen", help="Also what they have had to do with.")]
OwnOnly = Annotated[bool, typer.Option("--own-only", help="Only a newcomer's own interests, none of their cohort.")]
NoReasons = Annotated[bool, typer.Option("--no-reasons", help="Leave the interests behind each score out.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "recommend", example=_EXAMPLE)(recommend)


def recommend(
    user: User, count: Count = 10, diversity: Diversity = None, category: Category = None, lang: Lang = None,
    max_age_s: MaxAgeS = None, context: Context = None, seen: Seen = False, own_only: OwnOnly = False,
    no_reasons: NoReasons = False, as_json: AsJson = False, api: ApiUrl = None, key_file: KeyFile = None,
) -> None:  # fmt: skip
    """The best items for a person, best first.

    The bar is the score: interest, recent items, freshness and popularity, and at its end what was taken off again.
    Below each item stand the interests and recent items that say most. Exit code 1: nothing to recommend, or the API is
    away.
    """
    daypart, device = daypart_and_device(parse_context(context))
    with open_client(api, key_file) as client:
        recommended = client.recommendations(
            user, k=count, diversity=diversity, category=category, lang=lang, max_age_s=max_age_s,
            exclude_seen=not seen, daypart=daypart, device=device, prior=not own_only, explain=not no_reasons,
        )  # fmt: skip
    if as_json:
        typer.echo(recommended.model_dump_json(indent=2))
    elif recommended.items:
        out = console()
        out.print(
            draw_ranked(
                user,
                recommended.at_ms,
                recommended.items,
                out,
                prior=recommended.prior,
                erased_at_ms=recommended.erased_at_ms,
                weights=recommended.weights_version,
                kind=recommended.weights_kind,
            )
        )
    else:
        print_error("there is nothing to recommend: every item is seen already, or left out by the filters")
    if not recommended.items:
        raise typer.Exit(EXIT_FAILED)
