"""The log of an evaluation: records as the worker would get them, in time order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from streams.commands.event_log import EventLog, Timed
from streams.commands.log_files import read_file
from streams.events.drafts import Draft

_TOPIC: Final = "events"


class ReplayLog(NamedTuple):
    """Records of items and events; every event's timestamp is its own time. `last_ms` is the last one's."""

    items: list[Draft]
    events: list[Draft]
    last_ms: int


class _EventHead(msgspec.Struct, gc=False):
    user_id: str = ""
    item_id: str | None = None
    type: str = ""
    text: str | None = None
    items: tuple[str, ...] | None = None


_EVENT_HEAD: Final = msgspec.json.Decoder(_EventHead)


def read(
    items: Sequence[Path], events: Sequence[Path], users: int | None, limit: int | None, *, only_met: bool
) -> ReplayLog:
    """Read a log: the events of the first `users` users, at most `limit`, and the items (`only_met`: those met)."""
    with EventLog(events) as log:
        entries = [(entry, _head(entry)) for entry in log.lines()]
    if users is not None:
        chosen = _first_users([head for _, head in entries], users)
        entries = [(entry, head) for entry, head in entries if head.user_id in chosen]
    entries = entries[:limit]
    drafts = [
        Draft(_TOPIC, 0, at, entry.ts_ms or None, head.user_id.encode(), entry.line.body)
        for at, (entry, head) in enumerate(entries)
    ]
    met = {item_id for _, head in entries for item_id in (head.item_id, *(head.items or ())) if item_id}
    last_ms = max((entry.ts_ms for entry, _ in entries), default=0)
    kept = _items(items, met if only_met else None)
    if only_met and not kept:
        kept = _items(items, None)  # no event is about any of them: `judge` says so
    return ReplayLog(kept, drafts, last_ms)


def judge(log: ReplayLog, *, name: str = "the log", people: int = 0, cases: int = 0) -> None:
    """ConfigurationError, with what to do, where a log holds nothing to rank or to learn from.

    `people` are how many have to have done two things, `cases` how many have to be ranked. Nothing is encoded for it.
    """
    from streams.training import parsed_log

    parsed = parsed_log.parse_log(log.items, log.events, now_ms=log.last_ms)
    parsed_log.judge(parsed, name=name, people=people, cases=cases)


def _first_users(heads: Sequence[_EventHead], count: int) -> frozenset[str]:
    """The users of the first impressions, or of the first events where the log has no impressions."""
    users = dict.fromkeys(head.user_id for head in heads if head.type == "impression")
    users = users or dict.fromkeys(head.user_id for head in heads)
    return frozenset(list(users)[:count])


def _items(paths: Sequence[Path], met: set[str] | None) -> list[Draft]:
    drafts: list[Draft] = []
    for path in paths:
        for line in read_file(path):
            item_id = _decoded(line.body).item_id or ""
            if met is None or item_id in met:
                drafts.append(Draft("items", 0, len(drafts), None, item_id.encode(), line.body))
    return drafts


def _head(entry: Timed) -> _EventHead:
    return _decoded(entry.line.body)


def _decoded(body: bytes) -> _EventHead:
    try:
        return _EVENT_HEAD.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _EventHead()  # the parser says why it is no event
