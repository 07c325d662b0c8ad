"""The command `interests`: the table of its commands."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from typing import Annotated, Any, ClassVar, Final

import typer

from streams.commands.lazy import CommandRow, LazyGroup
from streams.commands.shell import EXIT_CONFIGURATION, print_defect, print_error

#: Commands by name: the module of `streams.commands` that is imported when one runs, and its line on the help page,
#: which is the first of its own help. They are shown in this order.
_COMMANDS: Final = {
    "worker": ("worker", "Fold events into interests until Ctrl-C or SIGTERM."),
    "learner": (
        "learner",
        "Learn what makes people choose, publish it as weights, and measure rankings live, until Ctrl-C or SIGTERM.",
    ),
    "produce": ("produce", "Send one event made of options, or the lines of a file."),
    "replay": ("replay", "Play a log into Kafka: items first, then events in time order."),
    "verify": ("verify", "Check that what is in Qdrant is what the log says: fold it once more, compare node by node."),
    "export": (
        "export",
        "Write trees, items and popularity as Parquet, as of a time; DuckDB, pandas and Spark read it.",
    ),
    "show": ("show", "Draw a person's tree of interests."),
    "doctor": (
        "doctor",
        "Check settings, Kafka, Triton, Qdrant, the API and Prometheus where one is named, and say what to do.",
    ),
    "settings": ("settings", "Show every setting with its value and its environment variable; secrets are hidden."),
    "eval": ("evaluate", "Replay a log, rank before each event, and compare with baselines on the same candidates."),
    "eval-hierarchy": (
        "eval_hierarchy",
        "Train the hierarchy on the first three fifths of a log and measure it on the last: alone, and in the score.",
    ),
    "train": ("train", "Train a model of people's interests on a log: what they do next, told from what they did."),
    "api": (
        "api",
        "Serve the HTTP API until Ctrl-C or SIGTERM: trees, recommendations, explanations, audiences, ingest.",
    ),
    "topics": ("topics", "Make the service's topics and look at them."),
    "collections": ("collections", "Make Qdrant's collections beforehand."),
    "dead-letters": ("dead_letters", "Dead letters: keys to seal them with, and what sealed ones hold."),
    "encoder": ("encoder", "Export models for Triton, look at the one served, go over to another one."),
    "concepts": ("concepts", "The tree of topics and interests that items are placed on."),
}
_ASK_THE_API: Final = {
    "recommend": ("recommend", "The best items for a person, best first."),
    "rank": ("rank", "Put items and texts in the order of what they are worth to a person."),
    "predict": ("predict", "How likely a person is to click, turn to or buy items and texts."),
    "explain": (
        "explain",
        "Why an item has its score for a person: what pulled, what pushed, and the events behind it.",
    ),
    "similar": ("similar", "The items most like one: near it in content, touched by the same people, or both."),
    "audience": ("audience", "Who is interested in a text or an item: how strongly, since when, and in what."),
    "watch": ("watch", "Watch a person's tree and their last events until Ctrl-C."),
    "erase": ("erase", "Erase all that is kept of a person, wait until it has taken effect, and print the receipt."),
}


class Commands(LazyGroup):
    """The commands of the tables above, in two panels of the help page, and those that installed packages add."""

    of_extras: ClassVar[Mapping[str, str]] = {"up": "embedded"}
    rows = tuple(
        CommandRow(name=name, module=f"streams.commands.{module}", line=line, panel=panel)
        for panel, table in ((None, _COMMANDS), ("Ask the API", _ASK_THE_API))
        for name, (module, line) in table.items()
    )

    def main(self, args: Sequence[str] | None = None, *rest: Any, **named: Any) -> Any:
        """Refuse arguments that are not UTF-8, which no server could be sent; then as Typer does."""
        sys.excepthook = print_defect
        for number, given in enumerate(sys.argv[1:] if args is None else args, start=1):
            try:
                given.encode()
            except UnicodeEncodeError:
                print_error(
                    f"argument {number} is not UTF-8 text: {given.encode('utf-8', 'backslashreplace').decode()}"
                )
                sys.exit(EXIT_CONFIGURATION)
        return super().main(args, *rest, **named)


app = typer.Typer(
    name="interests",
    cls=Commands,
    help="Every user's interests as live vectors: Kafka in, Triton encodes, Qdrant keeps.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its pages of locals would show settings
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        try:
            typer.echo(package_version("interest-streams"))
        except PackageNotFoundError:
            typer.echo("not installed: run from its sources")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Every user's interests as live vectors: Kafka in, Triton encodes, Qdrant keeps."""


if __name__ == "__main__":
    app()
