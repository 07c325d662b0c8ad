"""`interests watch USER`: a person's tree in the terminal, moving as events arrive."""

from __future__ import annotations

from time import time
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from streams.client import InterestClient, TryLater
from streams.commands.api_client import ApiUrl, KeyFile, User, asking
from streams.commands.shell import EXIT_FAILED, complain, console, register
from streams.commands.watching import Watched, draw_tree, draw_watched, event_line

_EXAMPLE = "interests watch u17"
_PER_S = 4

Updates = Annotated[
    int | None, typer.Option("--updates", min=1, help="End after so many; the first is the whole tree.")
]
Evidence = Annotated[int, typer.Option("--evidence", min=0, max=8, help="Events shown under each interest.")]
All = Annotated[bool, typer.Option("--all", help="Small interests too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Each update as a line of JSON, for programs.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "watch", example=_EXAMPLE)(watch)


def watch(
    user: User, updates: Updates = None, evidence: Evidence = 0, everything: All = False, as_json: AsJson = False,
    api: ApiUrl = None, key_file: KeyFile = None,
) -> None:  # fmt: skip
    """Watch a person's tree and their last events until Ctrl-C.

    In a terminal the tree moves; where the output is piped, the tree is printed once and then a line an event. A lost
    connection is made again. Exit code 0: Ctrl-C; 1: the API is away for longer than five minutes.
    """
    out = console()
    with asking(api, key_file) as client:
        try:
            if as_json:
                _as_json(client, user, updates)
            else:
                _watch(client, user, out, updates, evidence, fold=not everything)
        except KeyboardInterrupt:
            return  # the way to end it
    if updates is None:
        raise typer.Exit(EXIT_FAILED)


def _as_json(client: InterestClient, user: str, most: int | None) -> None:
    for number, update in enumerate(client.live(user, on_wait=_tell), 1):
        typer.echo(update.model_dump_json())
        if number == most:
            return


def _tell(error: TryLater, wait_s: float) -> None:
    complain(f"{error}; trying again in {wait_s:.1f} s")


def _watch(client: InterestClient, user: str, out: Console, most: int | None, evidence: int, *, fold: bool) -> None:
    watched = Watched(user, evidence)
    if out.is_terminal:
        _live(client, watched, out, most, fold=fold)
    else:
        _lines(client, watched, out, most, fold=fold)


def _live(client: InterestClient, watched: Watched, out: Console, most: int | None, *, fold: bool) -> None:
    """Draw the tree anew four times a second; what is left at the end is its last state."""
    status = "connecting"

    def draw() -> Group | Text:
        return Group(*draw_watched(watched, int(time() * 1000), out, status, fold=fold))

    def wait(error: TryLater, wait_s: float) -> None:
        nonlocal status
        status = f"{error.title}: connecting again in {wait_s:.1f} s"

    with Live(get_renderable=draw, console=out, refresh_per_second=_PER_S):
        for update in client.live(watched.user_id, on_wait=wait):
            watched.apply(update)
            changes = watched.updates - 1
            status = f"live, {changes} change{'' if changes == 1 else 's'} so far; Ctrl-C ends it"
            if watched.updates == most:
                return


def _lines(client: InterestClient, watched: Watched, out: Console, most: int | None, *, fold: bool) -> None:
    """The tree once, then a line an event."""
    for update in client.live(watched.user_id, on_wait=_tell):
        watched.apply(update)
        now_ms = int(time() * 1000)
        if watched.updates == 1:
            out.print(Group(*draw_tree(watched, now_ms, out, fold=fold), ""))
        for event in sorted(update.events, key=lambda event: event.ts_ms):
            out.print(event_line(event, now_ms, out))
        if watched.updates == most:
            return
