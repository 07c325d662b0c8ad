"""Commands that are imported when they run: help and completion are drawn from a table and import none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

#: Entry points of this group add commands: each is called as its command, and its object is an `AddCommand`.
ENTRY_POINTS: Final = "interests.commands"

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
        """The command itself, from its module. ImportError, AttributeError or LookupError where there is none."""
        app = typer.Typer()
        self._add_command()(app)
        command = get_group(app).commands.get(str(self.name))
        if command is None:
            raise LookupError(f"there is no command {self.name!r} in its package")
        return cast("TyperCommand | TyperGroup", command)

    # A context is of Typer's own copy of click, whose classes have no public names.
    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse arguments as the command itself does."""
        return self.load().make_context(info_name, args, parent, **extra)


class LazyGroup(TyperGroup):
    """A group whose commands are the rows of a table, in their order, and entry points of installed packages.

    Entry points are looked for only where the commands are listed, or where a name is in no row.
    """

    rows: ClassVar[Sequence[CommandRow]] = ()
    #: Commands that an entry point adds where an extra of this package is installed, with the extra; listed first.
    of_extras: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **attributes: Any) -> None:  # what Typer read from the application
        super().__init__(**attributes)
        self.commands = {row.name: _from_row(row) for row in self.rows}
        self._searched = False

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands: those of extras, those of the rows, those of other packages."""
        self._search()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> LazyCommand | None:
        """The command of a name, not imported yet. A usage error where it comes with an extra that is not there."""
        if cmd_name not in self.commands:
            self._search()
        if cmd_name not in self.commands and cmd_name in self.of_extras and not ctx.resilient_parsing:
            extra = self.of_extras[cmd_name]
            ctx.fail(f"No such command {cmd_name!r}: pip install 'interest-streams[{extra}]' adds it.")
        return cast("LazyCommand | None", super().get_command(ctx, cmd_name))

    def _search(self) -> None:
        """Add the commands of entry points; none of them takes the place of a row."""
        if self._searched:
            return
        self._searched = True
        points = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
        added = {point.name: _from_entry_point(point) for point in points if point.name not in self.commands}
        first = {name: added.pop(name) for name in self.of_extras if name in added}
        self.commands = {**first, **self.commands, **added}


def _from_row(row: CommandRow) -> LazyCommand:
    def add_command() -> AddCommand:
        return cast(AddCommand, import_module(row.module).add)

    return LazyCommand(row.name, row.line, row.panel, add_command)


def _from_entry_point(point: EntryPoint) -> LazyCommand:
    """A command of another package, which is imported here: nobody else knows its line of the help page."""
    command = LazyCommand(point.name, "", None, point.load)
    try:
        command.help = command.load().help
    except (ImportError, AttributeError, LookupError) as error:  # one broken package takes no other command away
        command.help = f"Cannot be used: {error}"
    return command
