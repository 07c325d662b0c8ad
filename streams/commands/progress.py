"""How far a long command is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from streams.commands.when import lasting

_LINE_EVERY_S: Final = 5.0
_STILL_EVERY_S: Final = 60.0


class Meter(Protocol):
    """Shows how many of how many are done."""

    def to(self, done: int, total: int | None = None) -> None:
        """`done` are done, now of `total` where that changed."""

    def add(self, count: int) -> None:
        """`count` more are done."""


@contextmanager
def meter(console: Console, label: str, total: int) -> Iterator[Meter]:
    """A meter for one step of `total` records, drawn on `console` until the block ends."""
    if not console.is_terminal:
        lines = _Lines(console, label, total)
        yield lines
        lines.end()
        return
    columns = (
        TextColumn("{task.description:<8}"), BarColumn(bar_width=None), MofNCompleteColumn(), _Rate(), _Left(),
    )  # fmt: skip
    with Progress(*columns, console=console, expand=True, refresh_per_second=8) as progress:
        yield _Bar(progress, label, total)


class _Bar:
    def __init__(self, progress: Progress, label: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=total)

    def to(self, done: int, total: int | None = None) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def add(self, count: int) -> None:
        self._progress.advance(self._task, count)


class _Lines:
    """One line at the start, every few seconds, and at the end."""

    def __init__(self, console: Console, label: str, total: int) -> None:
        self._console, self._label, self._total = console, label, total
        self._done, self._began = 0, monotonic()
        self._shown_at, self._shown = self._began, -1

    def to(self, done: int, total: int | None = None) -> None:
        self._done = done
        self._total = self._total if total is None else total
        if monotonic() - self._shown_at >= (_LINE_EVERY_S if done != self._shown else _STILL_EVERY_S):
            self._show()

    def add(self, count: int) -> None:
        self.to(self._done + count)

    def end(self) -> None:
        if self._shown != self._done:
            self._show()

    def _show(self) -> None:
        self._shown_at, self._shown = monotonic(), self._done
        took_s = max(self._shown_at - self._began, 1e-3)
        rate = self._done / took_s
        left = f", {lasting((self._total - self._done) / rate)} left" if 0 < self._done < self._total else ""
        self._console.print(f"{self._label}: {self._done:,} of {self._total:,}, {rate:,.0f}/s{left}")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="progress.data.speed")


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(lasting(task.finished_time or 0.0), style="progress.elapsed")
        left_s = task.time_remaining
        return Text("" if left_s is None else f"{lasting(left_s)} left", style="progress.remaining")
