"""A log of events in time order, read as a stream: what is out of order is sorted in runs on disk."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

import msgspec

from streams.base.errors import PoisonError
from streams.commands.log_files import read_file
from streams.events import times
from streams.events.drafts import Line
from streams.events.wire import MIN_EVENT_TS_MS, MIN_ITEM_TS_MS, EventTime

#: Bytes of lines sorted in memory at a time.
RUN_BYTES: Final = 64 << 20
_TOLD_EVERY: Final = 1_000


class Timed(NamedTuple):
    """A line with when it happened (ms; a line without a time takes the time of the one before it)."""

    ts_ms: int
    file: int
    line: Line


class _Stamp(msgspec.Struct, gc=False):
    ts: EventTime = None


_STAMP: Final = msgspec.json.Decoder(_Stamp)
_TIME: Final = msgspec.json.Decoder(EventTime | float)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODE: Final = msgspec.json.Encoder()


def _tell_nobody(count: int) -> None:
    pass


@dataclass
class EventLog:
    """A log over one or several files: `with EventLog(paths) as log`.

    Opening reads it through once, and calls `on_read` with how many events it read of each so many. `count`,
    `first_ms` and `last_ms` are of its first `limit` events in time order from `since_ms` until before `until_ms` (all
    of them without these); `sorted` says whether it had to be sorted. `lines()` may be called again and again.
    """

    paths: Sequence[Path]
    limit: int | None = None
    run_bytes: int = RUN_BYTES
    since_ms: int | None = None
    until_ms: int | None = None
    on_read: Callable[[int], None] = _tell_nobody
    count: int = field(default=0, init=False)
    first_ms: int | None = field(default=None, init=False)
    last_ms: int | None = field(default=None, init=False)
    sorted: bool = field(default=False, init=False)
    _runs: list[Path] = field(default_factory=list, init=False)
    _folder: tempfile.TemporaryDirectory[str] | None = field(default=None, init=False)

    def __enter__(self) -> EventLog:
        before = None
        in_order = len(self.paths) == 1
        for entry in self._counted(self._as_written()) if in_order else ():
            if before is not None and entry.ts_ms < before:
                in_order = False
                break
            before = entry.ts_ms
            self._note(entry)
            if self.count == self.limit:
                break
        if not in_order:
            self._sort()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def lines(self) -> Iterator[Timed]:
        """The events in time order; those of one time in the order they were written in."""
        entries = heapq.merge(*map(_read_run, self._runs)) if self.sorted else self._as_written()
        return islice(entries, self.limit)

    def _counted(self, entries: Iterator[Timed]) -> Iterator[Timed]:
        read = 0
        for entry in entries:
            read += 1
            if read == _TOLD_EVERY:
                self.on_read(read)
                read = 0
            yield entry
        self.on_read(read)

    def _is_wanted(self, at_ms: int) -> bool:
        return (self.since_ms is None or at_ms >= self.since_ms) and (self.until_ms is None or at_ms < self.until_ms)

    def _as_written(self) -> Iterator[Timed]:
        for number, path in enumerate(self.paths):
            at_ms = 0
            for line in read_file(path):
                ts_ms = time_of(line.body)
                at_ms = at_ms if ts_ms is None else ts_ms
                if self._is_wanted(at_ms):
                    yield Timed(at_ms, number, line)

    def _sort(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="interests-replay-")
        run: list[Timed] = []
        size = 0
        for entry in self._counted(self._as_written()):
            run.append(entry)
            size += len(entry.line.body) + 200  # the objects around the bytes
            if size > self.run_bytes:
                self._write_run(run)
                run, size = [], 0
        self._write_run(run)
        self.sorted, self.count, self.first_ms, self.last_ms = True, 0, None, None
        for entry in self.lines():
            self._note(entry)

    def _write_run(self, run: list[Timed]) -> None:
        assert self._folder is not None  # noqa: S101  # _sort made it
        path = Path(self._folder.name) / str(len(self._runs))
        with path.open("wb") as file:
            for ts_ms, number, line in sorted(run):
                file.write(b"%d %d %d %b\n" % (ts_ms, number, line.number, line.body))
        self._runs.append(path)

    def _note(self, entry: Timed) -> None:
        self.count += 1
        if entry.ts_ms:  # 0: no line has had a time yet
            self.first_ms = entry.ts_ms if self.first_ms is None else min(self.first_ms, entry.ts_ms)
            self.last_ms = entry.ts_ms if self.last_ms is None else max(self.last_ms, entry.ts_ms)


def _read_run(path: Path) -> Iterator[Timed]:
    with path.open("rb") as file:
        for raw in file:
            ts_ms, number, line, body = raw[:-1].split(b" ", 3)
            yield Timed(int(ts_ms), int(number), Line(int(line), body))


def time_of(body: bytes) -> int | None:
    """When an event says it happened, in ms; None where it does not say, or not so that it can be read."""
    try:
        ts = _STAMP.decode(body).ts
        return None if ts is None else times.milliseconds(ts, "ts", MIN_EVENT_TS_MS)
    except (msgspec.DecodeError, UnicodeDecodeError, PoisonError):
        return None


def moved(body: bytes, shift_ms: int) -> bytes:
    """The same event or item with its `ts`, and its inline item's, later by `shift_ms`; the rest byte for byte.

    What cannot be read is given back as it is: the parser says why.
    """
    try:
        fields = _FIELDS.decode(body)
        _move(fields, shift_ms)
        inner = bytes(fields.get("item", b""))
        if inner.startswith(b"{"):
            inline = _FIELDS.decode(inner)
            _move(inline, shift_ms)
            fields["item"] = msgspec.Raw(_ENCODE.encode(inline))
        return _ENCODE.encode(fields)
    except (msgspec.DecodeError, UnicodeDecodeError, PoisonError):
        return body


def _move(fields: dict[str, msgspec.Raw], shift_ms: int) -> None:
    if "ts" not in fields:
        return
    ts = _TIME.decode(fields["ts"])
    if ts is not None:
        fields["ts"] = msgspec.Raw(b"%d" % (times.milliseconds(ts, "ts", MIN_ITEM_TS_MS) + shift_ms))
