"""`interests similar ITEM`: the items most like one, in content and by who touches them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from typing import Annotated, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from streams.api.models import SimilarItem, SimilarItems
from streams.commands.api_client import ApiUrl, AsJson, KeyFile, open_client
from streams.commands.explain import Item
from streams.commands.glyphs import WIDEST, Glyphs, glyphs_of
from streams.commands.recommend import Category, Count, Lang, MaxAgeS
from streams.commands.shell import EXIT_FAILED, console, print_error, register
from streams.commands.when import ago, stamp

_EXAMPLE = "interests similar i12 --by together -k 5"
_FIGURES: Final = {"content": 11, "together": 13}
"""Cells of each figure."""
_LEAST_TITLE: Final = 12
_WAYS: Final = {"both": "content and together", "content": "by content", "together": "touched together"}


class By(StrEnum):
    """By which likeness."""

    both = "both"
    content = "content"
    together = "together"


Likeness = Annotated[By, typer.Option("--by", help="Near in content, touched by the same people, or both.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "similar", example=_EXAMPLE)(similar)


def similar(
    item: Item, by: Likeness = By.both, count: Count = 10, category: Category = None, lang: Lang = None,
    max_age_s: MaxAgeS = None, as_json: AsJson = False, api: ApiUrl = None, key_file: KeyFile = None,
) -> None:  # fmt: skip
    """The items most like one: near it in content, touched by the same people, or both.

    Of each the cosine to the item and how much the same people touch both. Exit code 1: there is none, nobody has
    described the item, or the API is away.
    """
    with open_client(api, key_file) as client:
        found = client.similar_items(
            item, by=by.value, k=count, category=category, lang=lang, max_age_s=max_age_s
        )  # fmt: skip
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    elif found.items:
        out = console()
        out.print(draw_similar(found, out))
    else:
        print_error("no item is like it: none is near by these filters, and none was touched by the same people")
    if not found.items:
        raise typer.Exit(EXIT_FAILED)


def draw_similar(found: SimilarItems, console: Console) -> RenderableType:
    """Items in order, each with both figures, where there is room for them."""
    glyphs, width = glyphs_of(console), min(console.width, WIDEST) - 1
    about = f"{_WAYS[found.by]} {glyphs.dot} best first {glyphs.dot} as of {stamp(found.at_ms)}"
    head = [Text(glyphs.cut_to(found.item_id, width), "bold"), Text(glyphs.cut_to(about, width), "dim"), Text()]
    title = width - 4 - sum(_FIGURES.values())
    if title >= _LEAST_TITLE:
        head.append(Text(" " * (4 + title) + "".join(f"{way:>{cells}}" for way, cells in _FIGURES.items()), "dim"))
    rows = [_rows(number, item, found.at_ms, glyphs, width) for number, item in enumerate(found.items, 1)]
    return Group(*head, *chain.from_iterable(rows))


def _rows(number: int, item: SimilarItem, at_ms: int, glyphs: Glyphs, width: int) -> Iterator[Text]:
    title = width - 4 - sum(_FIGURES.values())
    shown = title >= _LEAST_TITLE
    name = glyphs.fit(item.title or item.item_id, title if shown else width - 4)
    line = Text.assemble((f"{number:>3} ", "dim"), (name, "bold"))
    for way, cells in _FIGURES.items() if shown else ():
        value = item.content if way == "content" else item.together
        line.append(f"{glyphs.number(value):>{cells}}", "green" if way in item.found_by else "dim")
    yield line
    about = [item.path] if item.path not in {"", "/"} else []
    about += [item.lang] if item.lang else []
    about += [ago(item.ts_ms, at_ms)] if item.ts_ms is not None else []
    about += [item.item_id] if item.title else []
    people = f"{item.people:.1f}".removesuffix(".0")
    about += [f"{people} {'person' if people == '1' else 'people'}"] if item.people else []
    if about:
        yield Text("    " + glyphs.cut_to(f" {glyphs.dot} ".join(about), width - 4), "dim")
