"""Playing a log into Kafka: items, then events in time order, as fast as asked for; counts of what became of them."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import monotonic, time
from typing import Final

from streams.commands import log_files
from streams.commands.event_log import EventLog, Timed, moved
from streams.commands.progress import Meter
from streams.commands.sender import Sender
from streams.events.drafts import Drafts, Line, RefusedLine, draft_events, draft_items

BATCH: Final = 1_000
BATCH_BYTES: Final = 1 << 20
EXAMPLES: Final = 3
_NOT_YET_S: Final = 0.005


@dataclass(kw_only=True)
class Tally:
    """What became of a log: records sent by topic, lines refused by reason with the first few of each.

    `reached_ms` is the time of the last event handed over, and `unnamed` how many brought no `event_id`.
    """

    sent: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    sending_s: float = 0.0
    reached_ms: int | None = None
    unnamed: int = 0

    def refuse(self, path: Path, refused: Iterable[RefusedLine]) -> None:
        """Count refused lines of a file."""
        for one in refused:
            self.refused[one.reason] += 1
            known = self.examples.setdefault(one.reason, [])
            if len(known) < EXAMPLES:
                known.append(log_files.place(path, one.number))


@dataclass(frozen=True, slots=True)
class Pace:
    """When events are due: `speed` times as fast as they happened from `first_ms` on; None: at once."""

    first_ms: int
    speed: float | None

    def due_s(self, ts_ms: int) -> float:
        """Seconds after the start at which an event of `ts_ms` is due."""
        return 0.0 if self.speed is None else max(0.0, (ts_ms - self.first_ms) / 1000 / self.speed)


class Throttle:
    """Lets `rate` records a second through, a quarter of a second's at a time; None: as many as may be."""

    def __init__(self, rate: float | None = None) -> None:
        self._rate, self._through, self._began = rate, 0, 0.0
        self.at_once = BATCH if rate is None else max(1, min(BATCH, int(rate / 4)))

    async def wait(self, count: int, stop: asyncio.Event) -> None:
        """Wait until `count` more may go, or until `stop` is set; time in which nobody asked is not made up for."""
        if self._rate is None:
            return
        now_s = monotonic()
        if now_s > self._began + self._through / self._rate + 1.0:
            self._began, self._through = now_s, 0
        await _until(self._began + self._through / self._rate, stop)
        self._through += count


async def send_items(
    sender: Sender, paths: Sequence[Path], topic: str, shift_ms: int, tally: Tally, meter: Meter, stop: asyncio.Event,
    throttle: Throttle,
) -> None:  # fmt: skip
    """Send the items of files, in their order, their times moved by `shift_ms`."""
    began = monotonic()
    for path in paths:
        lines = log_files.read_file(path)
        while not stop.is_set() and (chunk := list(islice(lines, throttle.at_once))):
            await throttle.wait(len(chunk), stop)
            chunk = [Line(line.number, moved(line.body, shift_ms) if shift_ms else line.body) for line in chunk]
            drafts = draft_items(chunk, topic, _now_ms(), check=True)
            tally.refuse(path, drafts.refused)
            await send(sender, drafts, tally)
            meter.add(len(chunk))
    tally.sending_s += monotonic() - began


async def send_events(
    sender: Sender, log: EventLog, choose: Callable[[str | None], str], shift_ms: int, pace: Pace, tally: Tally,
    meter: Meter, stop: asyncio.Event, throttle: Throttle,
) -> None:  # fmt: skip
    """Send a log's events in time order, each when `pace` says it is due, their times moved by `shift_ms`."""
    began = monotonic()
    for chunk, due_s in _chunks(log.lines(), pace, throttle.at_once):
        await _until(began + due_s, stop)
        await throttle.wait(len(chunk), stop)
        if stop.is_set():
            break
        for number, path in enumerate(log.paths):
            mine = [entry.line for entry in chunk if entry.file == number]
            if not mine:
                continue
            lines = [Line(line.number, moved(line.body, shift_ms) if shift_ms else line.body) for line in mine]
            drafts = draft_events(lines, choose, _now_ms(), check=True)
            tally.refuse(path, drafts.refused)
            await send(sender, drafts, tally)
        tally.reached_ms = chunk[-1].ts_ms
        meter.add(len(chunk))
    tally.sending_s += monotonic() - began


def _chunks(entries: Iterator[Timed], pace: Pace, most: int) -> Iterator[tuple[list[Timed], float]]:
    """Entries that are due together, within the bounds of a batch, with the second at which they are due."""
    chunk: list[Timed] = []
    size, due_s = 0, 0.0
    for entry in entries:
        at_s = pace.due_s(entry.ts_ms)
        full = len(chunk) == most or size + len(entry.line.body) > BATCH_BYTES
        if chunk and (full or at_s > due_s + _NOT_YET_S):
            yield chunk, due_s
            chunk, size = [], 0
        if not chunk:
            due_s = at_s
        chunk.append(entry)
        size += len(entry.line.body)
    if chunk:
        yield chunk, due_s


async def send(sender: Sender, drafts: Drafts, tally: Tally) -> None:
    """Send what is ready, and count it."""
    await sender.send(drafts.ready)
    tally.sent.update(draft.topic for draft in drafts.ready)
    tally.unnamed += drafts.unnamed


async def _until(when_s: float, stop: asyncio.Event) -> None:
    wait_s = when_s - monotonic()
    if wait_s > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), wait_s)


@contextmanager
def stopping() -> Iterator[asyncio.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second ends the process as it would without this."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def ask() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, ask)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _now_ms() -> int:
    return int(time() * 1000)
