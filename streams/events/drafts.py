"""From lines of JSON to records: which topic, which key, and whether the parser would take them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from streams.events.dead_letters import DeadLetter
from streams.events.parse import parse_events, parse_items
from streams.events.wire import EventType

#: The topic each type of event goes to by default; every other type goes to `events`.
TOPIC_OF_TYPE: Final = {"click": "clicks", "view": "clicks", "comment": "comments", "post": "comments"}
OTHER_TYPES: Final = "events"


class Line(NamedTuple):
    """A line of a file: its number, from 1, and its bytes without the line's end."""

    number: int
    body: bytes


class Draft(NamedTuple):
    """A record that is not sent yet; `offset` is its line's number. Fits `streams.events.event.RecordLike`."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class RefusedLine(NamedTuple):
    """A line that the parser would not take."""

    number: int
    reason: str
    message: str


class _Head(msgspec.Struct, gc=False):
    user_id: str | None = None
    item_id: str | None = None
    type: str | None = None


_HEAD: Final = msgspec.json.Decoder(_Head)


@dataclass(frozen=True, slots=True)
class Drafts:
    """What is to be sent, in the lines' order, what was refused, and of events that were checked each one's type.

    `unnamed` are how many of these bring no `event_id`: sent again, they count again.
    """

    ready: list[Draft]
    refused: list[RefusedLine]
    types: Mapping[int, EventType] = field(default_factory=dict)
    unnamed: int = 0


def topic_of_type(event_type: str | None, topics: Sequence[str]) -> str:
    """The topic of an event among the settings' event topics: its type's own, else `events`, else the first.

    A prefix counts as part of the name: `prod.clicks` and `prod-clicks` are `clicks`.
    """
    for wanted in (TOPIC_OF_TYPE.get(event_type or "", OTHER_TYPES), OTHER_TYPES):
        for name in topics:
            if name == wanted or name.endswith((f".{wanted}", f"-{wanted}", f"_{wanted}")):
                return name
    return topics[0]


def draft_events(lines: Sequence[Line], choose: Callable[[str | None], str], now_ms: int, *, check: bool) -> Drafts:
    """Make event records keyed by user; `choose` gives the topic of a type. With `check` the parser judges each."""
    drafts = []
    for line in lines:
        head = _head(line.body)
        drafts.append(Draft(choose(head.type), 0, line.number, now_ms, _key(head.user_id), line.body))
    if not check:
        return Drafts(drafts, [])
    parsed = parse_events(drafts, now_ms=now_ms)
    types = {event.source.offset: event.type for event in parsed.events}
    return _judged(drafts, parsed.dead, types, sum(not event.named for event in parsed.events))


def draft_items(lines: Sequence[Line], topic: str, now_ms: int, *, check: bool) -> Drafts:
    """Make item records keyed by item. With `check` the parser judges each."""
    drafts = [Draft(topic, 0, line.number, now_ms, _key(_head(line.body).item_id), line.body) for line in lines]
    return _judged(drafts, parse_items(drafts, now_ms=now_ms).dead, {}) if check else Drafts(drafts, [])


def _judged(
    drafts: list[Draft], dead: Sequence[DeadLetter], types: Mapping[int, EventType], unnamed: int = 0
) -> Drafts:  # fmt: skip
    if not dead:
        return Drafts(drafts, [], types, unnamed)
    refused = [RefusedLine(one.record.offset, one.reason, one.message) for one in dead]
    numbers = {one.number for one in refused}
    return Drafts([draft for draft in drafts if draft.offset not in numbers], refused, types, unnamed)


def _head(body: bytes) -> _Head:
    try:
        return _HEAD.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Head()  # the parser says why; unchecked, it is sent without a key


def _key(name: str | None) -> bytes | None:
    return name.encode() if name else None
