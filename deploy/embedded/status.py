"""What a person sees of a stack that starts, runs and stops: a live table in a terminal, lines anywhere else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import monotonic

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.embedded.supervise import Change, State

_STYLES: Mapping[State, str] = {
    "waiting": "dim", "starting": "yellow", "ready": "green", "restarting": "bold yellow",
    "stopping": "yellow", "stopped": "dim", "failed": "bold red",
}  # fmt: skip
WIDTH = 100
ABOUT = {
    "broker": "Kafka's protocol: the log of events",
    "qdrant": "vectors, on disk",
    "triton": "the encoder",
    "concepts": "the tree of concepts, encoded once",
    "prometheus": "metrics",
    "worker": "folds events into interests",
    "learner": "learns what makes people choose",
    "api": "answers over HTTP, and the page",
}


def wide_console() -> Console:
    """Standard output: a terminal's own width up to a hundred columns, a hundred where it is piped."""
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal or console.width > WIDTH:
        console.width = WIDTH
    return console


def quiet() -> None:
    """Keep aiokafka, which logs each attempt to reach a broker that is away, off standard error: errors are raised."""
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())


class StackStatus:
    """The state of every part. Give `changed` to a Stack as its observer; `with status` shows it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, Change] = {}
        self._since: dict[str, float] = {}
        self._live: Live | None = None

    def changed(self, change: Change) -> None:
        """Take note of a change; where no table is live, say what people should know in a line."""
        self._states[change.part] = change
        self._since[change.part] = monotonic()
        if self._live is None and change.state in ("ready", "restarting", "failed", "stopped"):
            line = Text(f"  {change.part:<11}")
            line.append(change.state, _STYLES[change.state])
            line.append(f"  {_seconds(change)}")
            if change.detail:
                line.append(f"  {change.detail}")
            self._console.print(line)

    def __enter__(self) -> StackStatus:
        """Show the table in a terminal; lines anywhere else."""
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Leave the table as it is now, and say what changes from here on in lines."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _table(self) -> RenderableType:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, change in self._states.items():
            state = Text(change.state, _STYLES[change.state])
            seconds = self._seconds_now(name, change)
            table.add_row(f"  {name}", state, f"{seconds:5.1f} s" if seconds else "", Text(_note(change), "dim"))
        return table

    def _seconds_now(self, name: str, change: Change) -> float:
        running = change.state in ("starting", "stopping")
        return monotonic() - self._since[name] if running else change.seconds


def addresses_table(addresses: Mapping[str, str]) -> Table:
    """Name and address of each part."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, address in addresses.items():
        table.add_row(f"  {name}", Text(address, "cyan"))
    return table


def _seconds(change: Change) -> str:
    return f"{change.seconds:.1f} s" if change.seconds else ""


def _note(change: Change) -> str:
    return change.detail or ABOUT.get(change.part, "")
