"""Whether a command line of this project would be understood, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from streams.commands.cli import app


def understood(arguments: Sequence[str]) -> None:
    """Parse what follows `interests`; fails for a command, an option or a value that does not exist."""
    command: Any = typer.main.get_command(app)
    context, name, rest = None, "interests", list(arguments)
    while hasattr(command, "get_command"):
        context = command.make_context(name, rest[:1], parent=context)
        command = command.get_command(context, rest[0])
        assert command is not None, f"there is no command {' '.join(arguments)}"
        name, *rest = rest
    command.make_context(name, rest, parent=context)
