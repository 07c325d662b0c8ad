"""`interests settings`: every setting, what is in force, and where it is set."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from streams.commands.shell import console, load_settings, register

Markdown = Annotated[bool, typer.Option("--markdown", help="The page docs/settings.md, with the defaults.")]
Changed = Annotated[bool, typer.Option("--changed", help="Only what differs from its default.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "settings", example="interests settings --changed")(settings)


def settings(as_markdown: Markdown = False, changed: Changed = False) -> None:
    """Show every setting with its value and its environment variable; secrets are hidden.

    Yellow values differ from the default.
    """
    from streams.settings.document import defaults, markdown, rows, shown

    if as_markdown:
        typer.echo(markdown(defaults()))
        return
    plain = {row.name: row.value for _, _, mine in rows(defaults()) for row in mine}
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=26)
    table.add_column()
    for section, about, mine in rows(load_settings()):
        wanted = [row for row in mine if not changed or row.value != plain[row.name]]
        if wanted:
            table.add_row(Text(section, "bold cyan"), "", Text(about, "dim"))
        for row in wanted:
            about_it = Text(row.field.description or "", overflow="fold").append(f"\n{row.variable}", "dim")
            value = Text(shown(row.value), "" if row.value == plain[row.name] else "yellow")
            table.add_row("  " + row.name.partition(".")[2], value, about_it)
    console().print(table)
