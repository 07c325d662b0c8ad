"""`interests audience`: who is interested in a text or an item."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.text import Text

from streams.api.models import Audience, AudienceMember
from streams.base.errors import ConfigurationError
from streams.client import InterestClient
from streams.commands.api_client import ApiUrl, AsJson, KeyFile, open_client
from streams.commands.glyphs import WIDEST, Glyphs, glyphs_of
from streams.commands.shell import EXIT_FAILED, console, print_error, register
from streams.commands.when import ago, stamp
from streams.interests.levels import LEVELS, Level

_EXAMPLE = "interests audience --text 'A hand grinder for the road' --limit 10"
_NAMES = 3
_FIXED = 42  # cells of all columns but name and bar

OfText = Annotated[str | None, typer.Option("--text", help="Who is interested in this text?")]
OfItem = Annotated[str | None, typer.Option("--item", help="Who is interested in this item?")]
Levels = Annotated[
    list[str] | None, typer.Option("--level", help=f"Look on this level: {', '.join(LEVELS)}. Repeatable.")
]
Path_ = Annotated[str | None, typer.Option("--path", help="Only interests at or below this path, such as /sports.")]
MinSimilarity = Annotated[
    float | None, typer.Option("--min-similarity", min=-1, max=1, help="Cosine an interest must reach.")
]
MinMass = Annotated[float | None, typer.Option("--min-mass", min=0, help="Evidence an interest must have left.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many people, at most.")]
Export = Annotated[
    Path | None, typer.Option("--export", help="Write the people to this file as JSON lines; - is standard output.")
]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "audience", example=_EXAMPLE)(audience)


def audience(
    text: OfText = None, item: OfItem = None, level: Levels = None, path: Path_ = None,
    min_similarity: MinSimilarity = None, min_mass: MinMass = None, limit: Limit = 20, export: Export = None,
    as_json: AsJson = False, api: ApiUrl = None, key_file: KeyFile = None,
) -> None:  # fmt: skip
    """Who is interested in a text or an item: how strongly, since when, and in what.

    Strength is the likeness of an interest to what was asked, times the evidence left of it. Exit code 1: nobody is, or
    the API is away.
    """
    if (text is None) == (item is None):
        raise ConfigurationError("expected one of --text TEXT and --item ID")
    unknown = sorted(set(level or ()) - set(LEVELS))
    if unknown:
        raise ConfigurationError(f"got --level {', '.join(unknown)}, expected one of {', '.join(LEVELS)}")
    query: dict[str, Any] = {
        "text": text, "item_id": item, "levels": cast(list[Level], level) or None, "path": path,
        "min_similarity": min_similarity, "min_mass": min_mass, "limit": limit,
    }  # fmt: skip
    with open_client(api, key_file) as client:
        if export is not None:
            count = _export(client, query, export)
        else:
            response = client.audience(**query)
            count = len(response.members)
            _show(response, text, item, as_json=as_json)
    if not count:
        print_error("nobody is: try a lower --min-similarity or --min-mass, or another --level")
        raise typer.Exit(EXIT_FAILED)


def _export(client: InterestClient, query: dict[str, Any], path: Path) -> int:
    """Write members as JSON lines, and say how many."""
    count = 0
    try:
        with nullcontext(sys.stdout) if str(path) == "-" else path.open("w", encoding="utf-8") as out:
            for member in client.export_audience(**query):
                out.write(member.model_dump_json() + "\n")
                count += 1
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    typer.echo(_people(count), err=True)
    return count


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count:,} people"


def _show(audience: Audience, text: str | None, item: str | None, *, as_json: bool) -> None:
    if as_json:
        typer.echo(audience.model_dump_json(indent=2))
    elif audience.members:
        out = console()
        out.print(draw_audience(audience, out, text, item))


def draw_audience(audience: Audience, console: Console, text: str | None, item: str | None) -> RenderableType:
    """The members as lines for a console, strongest first."""
    glyphs, width = glyphs_of(console), min(console.width, WIDEST) - 1
    return Group(*_lines(audience, glyphs, width, glyphs.quoted(text) if text is not None else item or ""))


def _lines(audience: Audience, glyphs: Glyphs, width: int, about: str) -> Iterator[Text]:
    people = _people(len(audience.members))
    yield Text(glyphs.cut_to(" ".join(about.split()), width), "bold")
    yield Text(
        glyphs.cut_to(f"{people} {glyphs.dot} strongest first {glyphs.dot} as of {stamp(audience.at_ms)}", width), "dim"
    )
    yield Text()
    longest = max(cell_len(member.user_id) for member in audience.members)
    name = max(8, min(longest, width - _FIXED - 8))
    bar = max(1, min(30, width - _FIXED - name))
    heading = f"{'':<{name + bar + 1}}{'strength':>9} {'likeness':>9}  {'since':<10}  seen"
    yield Text(glyphs.cut_to(heading, width), "dim")
    most = max(member.strength for member in audience.members)
    for member in audience.members:
        cells = round(bar * member.strength / most) if most > 0 else 0
        line = Text(glyphs.fit(member.user_id, name), "bold")
        line.append(" ")
        line.append((glyphs.liked * cells or glyphs.trace).ljust(bar), "green not bold")
        line.append(f"{glyphs.number(member.strength, 2):>9} {glyphs.number(member.similarity, 2):>9}", "not bold")
        seen = ago(member.last_ms, audience.at_ms).removesuffix(" ago")
        line.append(f"  {stamp(member.since_ms)[:10]}  {seen}", "dim not bold")
        line.truncate(width)
        yield line
        yield Text(f"  {glyphs.cut_to(_what(member), width - 2)}", "dim")


def _what(member: AudienceMember) -> str:
    """The interests that met the query, each once."""
    names = list(dict.fromkeys(node.name[:1].upper() + node.name[1:] for node in member.nodes))
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more
