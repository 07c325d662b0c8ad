"""`interests predict USER`: how likely a person is to click, turn to or buy items and texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from streams.api.prediction_models import Prediction, Predictions
from streams.base.errors import ConfigurationError
from streams.commands.api_client import ApiUrl, AsJson, KeyFile, open_client
from streams.commands.glyphs import WIDEST, Glyphs, glyphs_of, percent
from streams.commands.options import User
from streams.commands.rank import Items, Texts
from streams.commands.shell import EXIT_FAILED, console, print_error, register
from streams.commands.when import ago, lasting, stamp
from streams.ranking.parts import TASKS

_EXAMPLE = "interests predict u17 --item i12 --item i9 --text 'A hand grinder for the road'"
_CELLS: Final = 10
_LEAST_TITLE: Final = 12
_NO_MODEL: Final = (
    "no model has said anything of them: none is in use (learned.model), it has not come to them yet, or what it said "
    "has faded"
)


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "predict", example=_EXAMPLE)(predict)


def predict(
    user: User, item: Items = None, text: Texts = None, as_json: AsJson = False, api: ApiUrl = None,
    key_file: KeyFile = None,
) -> None:  # fmt: skip
    """How likely a person is to click, turn to or buy items and texts.

    By the learned level of their tree, with the model that made it and when. Exit code 1: no model has said anything of
    them, none of the items is known, or the API is away.
    """
    items, texts = item or [], text or []
    if not items and not texts:
        raise ConfigurationError("expected something to predict: --item ID, --text TEXT, or several of them")
    with open_client(api, key_file) as client:
        found = client.predict(user, items=items, texts=texts)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    elif found.model is None:
        print_error(_NO_MODEL)
    elif found.items:
        out = console()
        out.print(draw_predictions(found, texts, out))
    if found.unknown and not as_json:
        unknown = ", ".join(found.unknown)
        print_error(f"nobody has described {unknown}: `interests produce --items FILE` describes items")
    if not found.items or found.model is None:
        raise typer.Exit(EXIT_FAILED)


def draw_predictions(found: Predictions, texts: Sequence[str], console: Console) -> RenderableType:
    """A table: a line a target with its probabilities; `texts` are those that were asked for."""
    glyphs, width = glyphs_of(console), min(console.width, WIDEST) - 1
    return Group(*_lines(found, texts, glyphs, width))


def _lines(found: Predictions, texts: Sequence[str], glyphs: Glyphs, width: int) -> Iterator[Text]:
    yield Text(glyphs.cut_to(found.user_id, width), "bold")
    yield Text(glyphs.cut_to(f" {glyphs.dot} ".join(_about(found)), width), "dim")
    if found.behind_ms:
        late = f"the model has not seen the last {lasting(found.behind_ms / 1000)} of their events"
        yield Text(glyphs.cut_to(late, width), "yellow")
    if found.click_through is not None:
        rate, error = found.click_through.mean, found.click_through.variance**0.5
        share = f"click-through {percent(rate)}, give or take {percent(error)}"
        yield Text(glyphs.cut_to(share, width), "dim")
    yield Text()
    tasks = [task for task in TASKS if any(task in one.probabilities for one in found.items)]
    while tasks and width - _CELLS * (len(tasks) + 1) < _LEAST_TITLE:
        tasks.pop()
    title = width - _CELLS * (len(tasks) + 1)
    heads = "".join(f"{name:>{_CELLS}}" for name in ("nearness", *tasks))
    yield Text(" " * title + heads, "dim")
    for one in found.items:
        line = Text(glyphs.fit(_name(one, texts, glyphs), title), "bold")
        line.append(f"{glyphs.signed(one.cosine or 0.0):>{_CELLS}}" if one.cosine is not None else " " * _CELLS)
        for task in tasks:
            chance = one.probabilities.get(task)
            line.append(f"{'' if chance is None else percent(chance):>{_CELLS}}", "green")
        yield line


def _about(found: Predictions) -> list[str]:
    made = [f"made {ago(found.made_ms, found.at_ms)}"] if found.made_ms is not None else []
    return [found.model or "", *made, f"as of {stamp(found.at_ms)}"]


def _name(one: Prediction, texts: Sequence[str], glyphs: Glyphs) -> str:
    if one.text_index is not None and one.text_index < len(texts):
        return glyphs.quoted(" ".join(texts[one.text_index].split()))
    return " ".join((one.title or one.item_id or "").split())
