"""What the demo plays, as files that `interests replay` reads too: its own invented day, or a folder's real log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from deploy.demo.traffic import READERS, catalogue, generate
from streams.commands.eventlog import EventLog
from streams.commands.reading import read_lines
from streams.errors import ConfigurationError

#: Whose trees are shown of the invented readers, and a sentence to ask with.
_SHOWN = ("ana", "bo")
_SENTENCE = "A light tent, a map and a night under the stars"
_DAY_START_MS = 1_700_006_400_000  # any midnight: all times are moved so that the last event is now


@dataclass(frozen=True, slots=True)
class Data:
    """Files of items and events, whose trees to show (user ids with a line about each), and a sentence to ask with."""

    items: Path
    events: Path
    shown: Mapping[str, str]
    sentence: str
    invented: bool


class _Head(msgspec.Struct, gc=False):
    user_id: str | None = None
    item_id: str | None = None
    title: str | None = None


_HEAD = msgspec.json.Decoder(_Head)


def invented(folder: Path) -> Data:
    """The demo's own catalogue and the day of its six invented readers, written to `folder`."""
    items, events = folder / "items.jsonl", folder / "events.jsonl"
    _write(items, catalogue(_DAY_START_MS))
    _write(events, generate(_DAY_START_MS))
    shown = {reader.id: reader.portrait for reader in READERS if reader.name in _SHOWN}
    return Data(items, events, shown, _SENTENCE, invented=True)


def real(folder: Path) -> Data:
    """A folder with items.jsonl[.gz] and events.jsonl[.gz]; shown are the two users with most events.

    The sentence to ask with is the title of the item that most events are about. ConfigurationError where a file
    is missing.
    """
    items, events = _file(folder, "items"), _file(folder, "events")
    users: Counter[str] = Counter()
    about: Counter[str] = Counter()
    for line in read_lines(events):
        head = _head(line.body)
        users.update([head.user_id] if head.user_id else [])
        about.update([head.item_id] if head.item_id else [])
    wanted = {item_id for item_id, _ in about.most_common(50)}
    titles = {head.item_id: head.title for head in map(_head, (line.body for line in read_lines(items)))
              if head.item_id in wanted and head.title}  # fmt: skip
    sentence = next((titles[item_id] for item_id, _ in about.most_common(50) if item_id in titles), "something new")
    shown = {user: f"{count:,} events" for user, count in users.most_common(2)}
    return Data(items, events, shown, str(sentence), invented=False)


def open_log(data: Data) -> EventLog:
    """The events in time order. ConfigurationError, once entered, where the file cannot be read."""
    return EventLog([data.events])


def _file(folder: Path, name: str) -> Path:
    for candidate in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz"):
        if candidate.is_file():
            return candidate
    raise ConfigurationError(f"{folder} has no {name}.jsonl or {name}.jsonl.gz: expected both items and events")


def _head(body: bytes) -> _Head:
    try:
        return _HEAD.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Head()


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
