"""What every command shares: errors as one line and an exit code, `--debug`, a console, the settings."""

from __future__ import annotations

import asyncio
import inspect
import io
import logging
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from streams.base.credentials import without_credentials
from streams.base.errors import ConfigurationError, InterestsError, RetryableError

if TYPE_CHECKING:
    from streams.settings.service import Settings

T = TypeVar("T")

EXIT_FAILED = 1
"""A server is away, or what was asked for is not there."""
EXIT_CONFIGURATION = 2
"""A setting, an argument or a file does not fit."""
EXIT_INTERRUPTED = 130
"""Ended by Ctrl-C."""

_Debug = Annotated[bool, typer.Option("--debug", help="On an error, show where it came from.")]


def report(error: InterestsError) -> int:
    """Say on standard error what went wrong, and give the exit code."""
    text = str(error) or type(error).__name__
    if isinstance(error, RetryableError):
        text += "; `interests doctor` checks every server"
    print_error(text)
    return EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else EXIT_FAILED


def print_error(text: str) -> None:
    """One error line on standard error; addresses in it are shown without credentials."""
    line = Text.assemble(("error: ", "bold red"), without_credentials(text))
    Console(stderr=True, highlight=False, soft_wrap=True).print(line)


def print_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A `sys.excepthook`: the trace of an error that nobody foresaw, its addresses without credentials."""
    sys.stderr.write(without_credentials("".join(traceback.format_exception(kind, error, trace))))


def console() -> Console:
    """Standard output; without colour where it is no terminal or NO_COLOR is set.

    What its encoding lacks is replaced: a title in another script does not end a command.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(highlight=False, emoji=False)


def register(app: typer.Typer, name: str, *, example: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a function to an app as a command with `--debug`, whose help ends with an example.

    InterestsError and Ctrl-C become one line on standard error and an exit code; with `--debug` an error's trace comes
    before it.
    """

    def add(function: Callable[..., None]) -> Callable[..., None]:
        app.command(name, help=_help(function), epilog=f"Example: {example}")(_reporting(function))
        return function

    return add


def register_group(
    app: typer.Typer, group: typer.Typer, name: str, *, example: str, function: Callable[..., None]
) -> None:
    """Add a group whose own function runs where no sub-command is asked for; else as `register` does."""
    epilog = f"Example: {example}"
    group.callback(invoke_without_command=True, help=_help(function), epilog=epilog)(_reporting(function))
    app.add_typer(group, name=name)


def load_settings() -> Settings:
    """The settings, read now. ConfigurationError where one does not fit."""
    from streams.settings.service import load

    return load()


def _help(function: Callable[..., None]) -> str:
    """A function's docstring with each paragraph on one line, so that a terminal breaks it at its own width only."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (inspect.getdoc(function) or "").split("\n\n"))


def _reporting(function: Callable[..., None]) -> Callable[..., None]:
    @wraps(function)
    def command(*args: Any, debug: bool = False, **named: Any) -> None:
        try:
            function(*args, **named)
        except InterestsError as error:
            if debug:
                print_defect(type(error), error, error.__traceback__)
            raise typer.Exit(report(error)) from None
        except KeyboardInterrupt:
            print_error("stopped by Ctrl-C")
            raise typer.Exit(EXIT_INTERRUPTED) from None

    signature = inspect.signature(function, eval_str=True)
    option = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Debug)
    command.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]  # read by inspect
    command.__annotations__ = {**function.__annotations__, "debug": _Debug}
    return command


@contextmanager
def extra(name: str) -> Iterator[None]:
    """ConfigurationError, with what to install, where a package of an optional part is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"this needs the extra {name!r} ({error.name} is missing): pip install 'interest-streams[{name}]'"
        ) from error


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; Ctrl-C cancels it and raises KeyboardInterrupt.

    Libraries say nothing of their own beside what the command says, unless logging was set up.
    """
    before = logging.root.manager.disable
    if not logging.root.handlers:
        logging.disable(logging.CRITICAL)
    try:
        return asyncio.run(coroutine)
    finally:
        logging.disable(before)
