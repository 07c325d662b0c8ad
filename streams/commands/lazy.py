"""Commands that are imported when they run: help and completion are drawn from a table and import none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, ClassVar, NamedTuple, TypeAlias, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

AddCommand: TypeAlias = Callable[[typer.Typer], None]
"""Registers one command, or one group of commands, on an application."""


class CommandRow(NamedTuple):
    """A command before it is imported: its module has an `AddCommand` called `add`; help shows `line` in `panel`."""

    name: str
    module: str
    line: str
    panel: str | None = None


class LazyCommand(TyperCommand):
    """Stands for a command in help and completion; the command itself is made when its arguments are parsed."""

    def __init__(self, name: str, line: str, panel: str | None, add_command: Callable[[], AddCommand]) -> None:
        super().__init__(name, help=line, rich_help_panel=panel)
        self._add_command = add_command

    def load(self) -> TyperCommand | TyperGroup:
        """The command itself, from its module."""
        app = typer.Typer()
        self._add_command()(app)
        return cast("TyperCommand | TyperGroup", get_group(app).commands[str(self.name)])

    # A context is of Typer's own copy of click, whose classes have no public names.
    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse arguments as the command itself does."""
        return self.load().make_context(info_name, args, parent, **extra)


class LazyGroup(TyperGroup):
    """A group whose commands are the rows of a table, in their order."""

    rows: ClassVar[Sequence[CommandRow]] = ()

    def __init__(self, **attributes: Any) -> None:  # what Typer read from the application
        super().__init__(**attributes)
        self.commands = {row.name: _from_row(row) for row in self.rows}


def _from_row(row: CommandRow) -> LazyCommand:
    def add_command() -> AddCommand:
        return cast(AddCommand, import_module(row.module).add)

    return LazyCommand(row.name, row.line, row.panel, add_command)
