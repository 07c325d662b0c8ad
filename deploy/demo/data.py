"""What the demo plays, as files that `interests replay` reads too: its own invented day, or a folder's real log."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from deploy.demo.traffic import READERS, catalogue, generate
from streams.base.errors import ConfigurationError
from streams.commands.event_log import EventLog
from streams.commands.json_lines import read_lines

#: Events of a real log that are played, at most: what a small machine encodes in two minutes.
LIMIT = 5_000
#: Whose trees are shown of the invented readers, and a sentence to ask with.
_SHOWN = ("ana", "bo")
_SENTENCE = "A light tent, a map and a night under the stars"
_BUSY_ITEMS = 50
_DAY_START_MS = 1_700_006_400_000  # any midnight: all times are moved so that the last event is now


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoLog:
    """Files of items and events, whose trees to show (user ids with a line about each), and a sentence to ask with.

    `of` is how many events the log holds of which these are the last; 0 where it is all of them.
    """

    items: Path
    events: Path
    shown: Mapping[str, str]
    sentence: str
    invented: bool
    of: int = 0


class _RowHead(msgspec.Struct, gc=False):
    user_id: str | None = None
    item_id: str | None = None
    title: str | None = None
    items: list[str] | None = None


_ROW_HEAD = msgspec.json.Decoder(_RowHead)


def invented(folder: Path) -> DemoLog:
    """The demo's own catalogue and the day of its six invented readers, written to `folder`."""
    items, events = folder / "items.jsonl", folder / "events.jsonl"
    _write(items, catalogue(_DAY_START_MS))
    _write(events, generate(_DAY_START_MS))
    shown = {reader.id: reader.portrait for reader in READERS if reader.name in _SHOWN}
    return DemoLog(items=items, events=events, shown=shown, sentence=_SENTENCE, invented=True)


def real(folder: Path, work: Path, limit: int = LIMIT) -> DemoLog:
    """A folder with items.jsonl[.gz] and events.jsonl[.gz]; of a longer log its last `limit` events, cut into `work`.

    Shown are the two users with most events in both halves; the sentence to ask with is the title of the item that
    most events are about. ConfigurationError where a file is missing, cannot be read, or holds no event.
    """
    items, events = _file(folder, "items"), _file(folder, "events")
    with EventLog([events]) as log:
        total = log.count
        last = deque(log.lines(), limit)
        bodies = [entry.line.body for entry in last]
    if not bodies:
        raise ConfigurationError(f"{events} holds no events")
    heads = [_head(body) for body in bodies]
    if total > limit:
        mentioned = {item_id for head in heads for item_id in (head.item_id, *(head.items or ())) if item_id}
        items = _cut(items, work / "items.jsonl", lambda body: _head(body).item_id in mentioned)
        events = work / "events.jsonl"
        events.write_bytes(b"\n".join(bodies) + b"\n")
    return DemoLog(
        items=items, events=events, shown=_busiest(heads), sentence=_sentence(heads, items), invented=False,
        of=total if total > limit else 0,
    )  # fmt: skip


def _busiest(heads: Sequence[_RowHead]) -> dict[str, str]:
    half = len(heads) // 2
    first, second = (Counter(head.user_id for head in part if head.user_id) for part in (heads[:half], heads[half:]))
    both = first + second
    order = sorted(both, key=lambda user: (-min(first[user], second[user]), -both[user], user))
    return {user: f"{first[user]:,} events in the first half, {second[user]:,} in the second" for user in order[:2]}


def _sentence(heads: Sequence[_RowHead], items: Path) -> str:
    about = [item_id for item_id, _ in Counter(head.item_id for head in heads if head.item_id).most_common(_BUSY_ITEMS)]
    described = (_head(line.body) for line in read_lines(items))
    titles = {head.item_id: head.title for head in described if head.item_id in about and head.title}
    return next((title for item_id in about if (title := titles.get(item_id))), "something new")


def _cut(source: Path, target: Path, keep: Callable[[bytes], bool]) -> Path:
    with target.open("wb") as file:
        for line in read_lines(source):
            if keep(line.body):
                file.write(line.body + b"\n")
    return target


def _file(folder: Path, name: str) -> Path:
    for candidate in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz"):
        if candidate.is_file():
            return candidate
    raise ConfigurationError(f"{folder} has no {name}.jsonl or {name}.jsonl.gz: expected both items and events")


def _head(body: bytes) -> _RowHead:
    try:
        return _ROW_HEAD.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _RowHead()


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
