"""From records to events and items. Pure: no clock, no I/O; every record ends as exactly one result or dead letter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from streams.base.errors import PoisonError
from streams.events import decode, times, unresolved
from streams.events.dead_letters import DeadLetter
from streams.events.event import WITHOUT_ITEM, Event, RecordLike, Source
from streams.events.items import Item, item_of
from streams.events.text import has_invisible, normalise_text
from streams.events.wire import MIN_ITEM_TS_MS, WireEvent, WireInlineItem, WireItem

# Types that ask for a field of their own even where there is an item.
_ASK_MORE: Final = frozenset({"rating", "impression"})


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """Bounds that are not part of the schema: a value's bytes, and how far ahead (ms) a clock may be.

    Headers of waiting events count on `unresolved_topic` only.
    """

    max_value_bytes: int = 262_144
    future_ms: int = times.FUTURE_MS
    unresolved_topic: str = "events.unresolved"


DEFAULT: Final = ParseLimits()


@dataclass(slots=True, kw_only=True)
class Parsed:
    """Events and dead letters of a batch, each in the records' order.

    `unknown_fields` counts fields that were ignored, `clamped` events whose time lay in the future.
    """

    events: list[Event] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    unknown_fields: int = 0
    clamped: int = 0


@dataclass(slots=True, kw_only=True)
class ParsedItems:
    """Items to write, ids to delete and dead letters of a batch, each in the records' order."""

    upserts: list[tuple[Item, Source]] = field(default_factory=list)
    deletions: list[tuple[str, Source]] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    unknown_fields: int = 0
    clamped: int = 0

    def latest(self) -> dict[str, tuple[Item | None, Source]]:
        """Give each item's last word (None: deleted), for one write a batch.

        An item's records lie in one partition, so the highest offset is the last. Linear, but for sorting the records.
        """
        last: dict[str, tuple[Item | None, Source]] = {}
        writes: list[tuple[str, Item | None, Source]] = [(item.item_id, item, source) for item, source in self.upserts]
        writes += [(item_id, None, source) for item_id, source in self.deletions]
        for item_id, item, source in sorted(writes, key=lambda write: write[2].offset):
            last[item_id] = (item, source)
        return last


def parse_events(records: Sequence[RecordLike], *, now_ms: int, limits: ParseLimits = DEFAULT) -> Parsed:
    """Validate and normalise a batch of event records; `now_ms` is milliseconds since 1970.

    Never raises for what a record holds: each becomes one event or one dead letter of stage `parse`. Linear
    in the records' bytes, of which `limits` bounds those of each.
    """
    parsed = Parsed()
    events = parsed.events
    for record in records:
        try:
            events.append(_event(record, parsed, now_ms, limits))
        except PoisonError as error:
            parsed.dead.append(DeadLetter.of(record, error))
    return parsed


def parse_items(records: Sequence[RecordLike], *, now_ms: int, limits: ParseLimits = DEFAULT) -> ParsedItems:
    """Validate and normalise a batch of catalogue records; a null value or `deleted` takes the item out.

    Never raises for what a record holds: each becomes one upsert, one deletion or one dead letter. Linear in
    the records' bytes, of which `limits` bounds those of each.
    """
    parsed = ParsedItems()
    for record in records:
        try:
            _add_item(record, parsed, now_ms, limits)
        except PoisonError as error:
            parsed.dead.append(DeadLetter.of(record, error))
    return parsed


def _event(record: RecordLike, parsed: Parsed, now_ms: int, limits: ParseLimits) -> Event:
    value = _value(record, limits)
    try:
        wire: WireEvent = decode.STRICT_EVENT.decode(value)
        unknown = 0
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        wire, unknown = decode.tolerant_event(value, error)
    user_id = wire.user_id
    if record.key != user_id.encode():
        raise decode.key_error(record.key, "user_id")
    wait = unresolved.read(record, limits.unresolved_topic) if record.headers else None
    # Half of what Source() takes.
    source: Source = tuple.__new__(Source, (record.topic, record.partition, record.offset))
    timestamp_ms = wait.timestamp_ms if wait else record.timestamp
    ts_ms, clamped = wire.ts, False
    # Most events are no younger than their record, and that is no younger than now: nothing to settle.
    if type(ts_ms) is not int or timestamp_ms is None or not ts_ms <= timestamp_ms <= now_ms:
        ts_ms, clamped = times.event_time(ts_ms, timestamp_ms, now_ms, limits.future_ms)
    item_id, item = (wire.item_id, None) if wire.item is None else _inline(wire.item, wire.item_id, ts_ms)
    event_id = wire.event_id or str(wait.origin if wait else source)
    if not (user_id.isprintable() and event_id.isprintable() and (item_id is None or item_id.isprintable())):
        _check_ids(user_id=user_id, event_id=event_id, item_id=item_id)
    text = (normalise_text(wire.text) or None) if wire.text else None
    items, clicked = wire.items or (), wire.clicked or ()
    if items or clicked or item_id is None or wire.type in _ASK_MORE:
        try:
            _check_type(wire, item_id, text, items, clicked)
        except PoisonError as error:
            if unknown and error.reason == "missing_field":
                raise PoisonError(str(error) + decode.nearly_event(value), reason=error.reason) from error
            raise
    event = Event(
        event_id,
        user_id,
        wire.type,
        ts_ms,
        item_id,
        text,
        wire.rating,
        _whole(wire.dwell_ms, "dwell_ms"),
        items,
        clicked,
        item,
        _context(wire.context) if wire.context else {},
        source,
        bool(wire.event_id),
    )
    # Counted last: a record that turns out to be poison counts as a dead letter only.
    parsed.unknown_fields += unknown
    parsed.clamped += clamped
    return event


def _add_item(record: RecordLike, parsed: ParsedItems, now_ms: int, limits: ParseLimits) -> None:
    source = Source(record.topic, record.partition, record.offset)
    if record.value is None:
        parsed.deletions.append((decode.key(record.key, "item_id"), source))
        return
    value = _value(record, limits)
    try:
        wire: WireItem = decode.STRICT_ITEM.decode(value)
        unknown = 0
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        wire, unknown = decode.tolerant_item(value, error)
    if record.key != wire.item_id.encode():
        raise decode.key_error(record.key, "item_id")
    _check_ids(item_id=wire.item_id)
    if wire.deleted:
        parsed.deletions.append((wire.item_id, source))
        parsed.unknown_fields += unknown
        return
    ts_ms, clamped = None, False
    if wire.ts is not None:
        ts_ms = times.milliseconds(wire.ts, "ts", MIN_ITEM_TS_MS)
        reference_ms = times.reference_ms(record.timestamp, now_ms, limits.future_ms)
        ts_ms, clamped = times.clamp(ts_ms, reference_ms, limits.future_ms)
    item = item_of(wire, wire.item_id, ts_ms)
    if not item.has_content:
        raise PoisonError(
            "expected at least one of title, description, categories, tags and brand with text in it; "
            f"media alone cannot be encoded{decode.nearly(value) if unknown else ''}",
            reason="no_content",
        )
    parsed.upserts.append((item, source))
    parsed.unknown_fields += unknown
    parsed.clamped += clamped


def _value(record: RecordLike, limits: ParseLimits) -> bytes:
    value = record.value
    if not value:
        raise PoisonError("the record has no value; expected a JSON object", reason="empty_value")
    if len(value) > limits.max_value_bytes:
        raise PoisonError(
            f"the value has {len(value)} bytes; expected at most {limits.max_value_bytes}", reason="too_large"
        )
    return value


def _check_ids(**ids: str | None) -> None:
    for name, text in ids.items():
        if text is not None and has_invisible(text):
            raise PoisonError(f"{name}: expected no control, separator or bidi characters", reason="bad_id")


def _check_type(
    wire: WireEvent, item_id: str | None, text: str | None, items: tuple[str, ...], clicked: tuple[str, ...]
) -> None:
    """Hold an event to what its type asks for; plain events with an item never come here."""
    if wire.type == "impression":
        if not items:
            raise PoisonError("items: an impression needs at least one", reason="missing_field")
        _check_ids(items="".join(items))
        if clicked and not set(items).issuperset(clicked):
            raise PoisonError("clicked: expected only ids that are in items", reason="out_of_range")
        return
    if items or clicked:
        raise PoisonError("items, clicked: expected with type impression only", reason="unexpected_field")
    if item_id is None and wire.type not in WITHOUT_ITEM:
        raise PoisonError("item_id: required for this type", reason="missing_field")
    if wire.type == "rating" and wire.rating is None:
        raise PoisonError("rating: required for type rating", reason="missing_field")
    if wire.type == "search" and item_id is None and text is None:
        raise PoisonError("text: required for type search, with something to see in it", reason="missing_field")


def _inline(wire: WireInlineItem, item_id: str | None, event_ts_ms: int) -> tuple[str | None, Item | None]:
    """Give the event's item id and its inline content; an inline item without content is only an id."""
    if wire.item_id is not None:
        if item_id is not None and item_id != wire.item_id:
            raise PoisonError("item.item_id: expected the same as item_id", reason="item_mismatch")
        item_id = wire.item_id
    if wire.deleted:
        raise PoisonError("item.deleted: expected in the items topic only", reason="unexpected_field")
    if item_id is None:
        return None, None
    # Content cannot be younger than the event that carries it.
    ts_ms = None if wire.ts is None else min(times.milliseconds(wire.ts, "item.ts", MIN_ITEM_TS_MS), event_ts_ms)
    item = item_of(wire, item_id, ts_ms)
    return item_id, item if item.has_content else None


def _context(wire: dict[str, str | float | bool | None]) -> dict[str, str | float | bool]:
    context: dict[str, str | float | bool] = {}
    for name, value in wire.items():
        if has_invisible(name):
            raise PoisonError("context: expected no control, separator or bidi characters in keys", reason="bad_id")
        if isinstance(value, str):
            context[name] = normalise_text(value)
        elif value is not None:
            context[name] = value
    return context


def _whole(number: int | float | None, name: str) -> int | None:
    if isinstance(number, float):
        if not number.is_integer():
            raise PoisonError(f"{name}: expected a whole number", reason="wrong_type")
        return int(number)
    return number
