"""`interests settings`: every setting, what is in force, and where it is set."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from streams.commands.settings_doc import defaults, markdown, rows, told
from streams.commands.shell import console, register
from streams.settings import load

Markdown = Annotated[bool, typer.Option("--markdown", help="The page docs/settings.md, with the defaults.")]
Changed = Annotated[bool, typer.Option("--changed", help="Only what differs from its default.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "settings", example="interests settings --changed")(settings)


def settings(as_markdown: Markdown = False, changed: Changed = False) -> None:
    """Show every setting with its value and its environment variable; secrets are hidden.

    Yellow values differ from the default.
    """
    if as_markdown:
        typer.echo(markdown(defaults()))
        return
    out = console()
    plain = {row.name: row.value for _, _, mine in rows(defaults()) for row in mine}
    for section, about, mine in rows(load()):
        wanted = [row for row in mine if not changed or row.value != plain[row.name]]
        if not wanted:
            continue
        out.print(Text.assemble((section, "bold cyan"), (f"  {about}", "dim")))
        table = Table(box=None, show_header=False, pad_edge=True, padding=(0, 2, 0, 0))
        table.add_column(ratio=2, overflow="fold")
        table.add_column(ratio=2, overflow="fold")
        table.add_column(ratio=5)
        for row in wanted:
            name = row.name.partition(".")[2]
            about_it = Text(row.field.description or "").append(f"\n{row.variable}", "dim")
            table.add_row(name, Text(told(row.value), "" if row.value == plain[row.name] else "yellow"), about_it)
        out.print(table)
