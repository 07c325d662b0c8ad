"""Laws of the parser: nothing raises, nothing is lost, nothing leaks, and a redelivery decides the same."""

from __future__ import annotations

import json
import unicodedata
from typing import Any, get_args

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.events.dead_letters import DeadLetterReason, headers
from streams.events.event import WITHOUT_ITEM, EventType, Source
from streams.events.items import item_text
from streams.events.parse import Parsed, ParsedItems, parse_events, parse_items
from streams.events.text import has_invisible, normalise_text, shorten
from streams.events.unresolved import RetryPolicy, next_attempt, read
from tests.fixtures.records import NOW_MS, record

# No deadline: the machine is shared, and the suite's own time limit holds.
law = settings(deadline=None, max_examples=60)

POLICY = RetryPolicy(base_ms=1_000, cap_ms=60_000, deadline_ms=86_400_000)
SECRET = "zq9secret"

any_text = st.text(max_size=12)  # no surrogates: they cannot be written as UTF-8
ids = st.text(min_size=1, max_size=12).filter(lambda text: not has_invisible(text))
times = st.integers(631_152_000_000, NOW_MS + 200_000)
stamps = st.none() | st.integers(-1, 2 * NOW_MS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=6,
)
any_headers = st.lists(
    st.tuples(st.sampled_from(["trace", "unresolved-attempt", "dead-letter-topic"]), st.binary(max_size=9)), max_size=2
)
event_fields = (
    "event_id",
    "user_id",
    "type",
    "ts",
    "item_id",
    "text",
    "rating",
    "dwell_ms",
    "items",
    "clicked",
    "item",
)
item_fields = ("item_id", "title", "description", "categories", "tags", "brand", "lang", "ts", "media", "deleted")


@st.composite
def valid_events(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an event that breaks no rule, every field of it in its normal form."""
    kind = draw(st.sampled_from(get_args(EventType)))
    text = st.text(max_size=60).map(normalise_text)
    body: dict[str, Any] = {"user_id": draw(ids), "type": kind}
    wanted = {
        "event_id": ids,
        "ts": times,
        "item_id": ids,
        "text": text,
        "rating": st.floats(0.5, 5),
        "dwell_ms": st.integers(0, 2**53),
        "context": st.dictionaries(
            ids, text | st.floats(allow_nan=False, allow_infinity=False) | st.booleans(), max_size=3
        ),
    }
    required = {"rating": {"rating"}, "search": {"text"}}.get(kind, set()) | (
        set() if kind in WITHOUT_ITEM else {"item_id"}
    )
    for name, values in wanted.items():
        if name in required or draw(st.booleans()):
            body[name] = draw(values)
    if kind == "impression":
        body["items"] = draw(st.lists(ids, min_size=1, max_size=8))
        body["clicked"] = draw(st.lists(st.sampled_from(body["items"]), max_size=3))
    if kind == "search" and not body["text"]:
        body["text"] = "x"
    return body


@st.composite
def valid_items(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an item that breaks no rule."""
    words = st.lists(any_text, max_size=4)
    optional = {
        "title": any_text,
        "description": any_text,
        "categories": words,
        "tags": words,
        "brand": any_text,
        "lang": st.sampled_from(["en", "zh-Hant"]),
        "ts": times,
        "media": st.just([{"kind": "image", "uri": "u"}]),
        "deleted": st.booleans(),
    }
    return {"item_id": draw(ids), **draw(st.fixed_dictionaries({}, optional=optional))}


def junk(names: tuple[str, ...], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw what replaces up to two fields of a valid body: it gets further into the parser than noise does."""
    return st.dictionaries(st.sampled_from(names), values, max_size=2)


@st.composite
def records_of(draw: st.DrawFn, valid: st.SearchStrategy[dict[str, Any]], names: tuple[str, ...]) -> list[Any]:
    """Draw up to four records: whole, spoiled in a field or a byte, or noise; most under their right key."""
    records = []
    for offset in range(draw(st.integers(0, 4))):
        body = draw(valid)
        right_key = (body["user_id"] if "user_id" in body else body["item_id"]).encode()
        value = json.dumps(body | draw(st.just({}) | junk(names, json_values))).encode()
        at = draw(st.integers(0, len(value)))
        damaged = value[:at] + draw(st.binary(max_size=2)) + value[at + 1 :]
        noise = draw(st.binary(max_size=60) | json_values.map(lambda each: json.dumps(each).encode()))
        records.append(
            record(
                value=draw(st.sampled_from([value, value, value, value, damaged, noise, None])),
                key=draw(st.sampled_from([right_key, right_key, right_key, right_key, None, b"", b"u1", b"\xff"])),
                offset=offset,
                timestamp=draw(stamps),
                headers=draw(st.just([]) | any_headers),
            )
        )
    return records


event_records = records_of(valid_events(), (*event_fields, "context", "x"))
item_records = records_of(valid_items(), (*item_fields, "x"))


def places(parsed: Parsed | ParsedItems) -> list[int]:
    offsets = [dead.record.offset for dead in parsed.dead]
    if isinstance(parsed, Parsed):
        return offsets + [event.source.offset for event in parsed.events]
    return offsets + [source.offset for _, source in [*parsed.upserts, *parsed.deletions]]


@law
@given(event_records)
@example([record(value=b'{"user_id":"u1","type":"erase","x":' + b"[" * 90, offset=0)])
def test_every_event_record_ends_in_exactly_one_place(records: list[Any]) -> None:
    parsed = parse_events(records, now_ms=NOW_MS)
    assert sorted(places(parsed)) == list(range(len(records)))
    assert {dead.reason for dead in parsed.dead} <= set(get_args(DeadLetterReason))
    assert parsed == parse_events(records, now_ms=NOW_MS)


@law
@given(item_records)
def test_every_item_record_ends_in_exactly_one_place(records: list[Any]) -> None:
    parsed = parse_items(records, now_ms=NOW_MS)
    assert sorted(places(parsed)) == list(range(len(records)))
    assert {dead.reason for dead in parsed.dead} <= set(get_args(DeadLetterReason))
    assert {item.item_id for item, _ in parsed.upserts} | {name for name, _ in parsed.deletions} == set(parsed.latest())


@law
@given(event_records, st.integers(0, 4))
def test_a_record_is_judged_alone(records: list[Any], at: int) -> None:
    whole = parse_events(records, now_ms=NOW_MS)
    first, second = (parse_events(part, now_ms=NOW_MS) for part in (records[:at], records[at:]))
    assert whole.events == first.events + second.events
    assert whole.dead == first.dead + second.dead
    assert whole.unknown_fields == first.unknown_fields + second.unknown_fields
    assert whole.clamped == first.clamped + second.clamped


@law
@given(valid_events())
def test_a_valid_event_arrives_as_it_was_sent(body: dict[str, Any]) -> None:
    parsed = parse_events([record(body)], now_ms=NOW_MS)
    assert [dead.message for dead in parsed.dead] == []
    event = parsed.events[0]
    sent = {"event_id": "clicks-3-17", "ts": NOW_MS - 1_000, "item_id": None, "rating": None, "dwell_ms": None} | body
    for name in ("event_id", "user_id", "type", "item_id", "rating", "dwell_ms"):
        assert getattr(event, name) == sent[name]
    assert event.ts_ms == sent["ts"]
    assert event.text == (sent.get("text") or None)
    assert (list(event.items), list(event.clicked)) == (sent.get("items", []), sent.get("clicked", []))
    assert event.context == sent.get("context", {})
    assert event.source == Source("clicks", 3, 17)
    assert (parsed.unknown_fields, parsed.clamped) == (0, 0)


@law
@given(valid_events(), st.integers(631_152_000_000, 4_102_444_799_999), times, st.integers(0, 10**11))
def test_a_redelivery_settles_on_the_same_time(body: dict[str, Any], ts: int, stamp: int, later_ms: int) -> None:
    records = [record(body | {"ts": ts}, timestamp=stamp), record(body, timestamp=stamp)]
    first = parse_events(records, now_ms=NOW_MS)
    assert first == parse_events(records, now_ms=NOW_MS + later_ms)
    assert all(event.ts_ms <= stamp + 300_000 for event in first.events)
    # Settling is idempotent: an event sent on with its settled time keeps it.
    settled = [record(body | {"ts": event.ts_ms}, timestamp=stamp) for event in first.events]
    assert [event.ts_ms for event in parse_events(settled, now_ms=NOW_MS).events] == [e.ts_ms for e in first.events]


@law
@given(valid_events(), st.none() | times, st.lists(st.integers(0, 10**6), max_size=5))
def test_an_event_stays_itself_however_often_it_waits(
    body: dict[str, Any], stamp: int | None, gaps_ms: list[int]
) -> None:
    waiting, now_ms = record(body, timestamp=stamp), NOW_MS
    before = parse_events([waiting], now_ms=NOW_MS).events[0]
    for offset, gap_ms in enumerate(gaps_ms):
        now_ms += gap_ms
        found = next_attempt(waiting, now_ms=now_ms, policy=POLICY)
        assert found is not None
        wait = read(record(topic=POLICY.topic, headers=found), POLICY.topic)
        assert wait is not None
        assert now_ms < wait.not_before_ms <= NOW_MS + gaps_ms[0] + POLICY.deadline_ms
        waiting = record(
            value=waiting.value,
            key=waiting.key,
            topic="events.unresolved",
            offset=offset,
            timestamp=now_ms,
            headers=found,
        )
    after = parse_events([waiting], now_ms=NOW_MS).events[0]
    assert (after.event_id, after.ts_ms, after.text) == (before.event_id, before.ts_ms, before.text)


@st.composite
def secretive(draw: st.DrawFn) -> Any:
    """Draw a record whose texts, names and ids hold a word that must not come out, most of them spoiled."""
    secret = st.sampled_from([SECRET, SECRET * 60, f"\x00{SECRET}", f"{SECRET}\u202e"])
    value: st.SearchStrategy[Any] = st.recursive(
        secret | st.integers() | st.none() | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(secret, inner, max_size=3),
        max_leaves=6,
    )
    content = st.fixed_dictionaries({}, optional=dict.fromkeys(item_fields, value))
    body = draw(valid_events()) | {"user_id": SECRET, "event_id": SECRET, "item_id": SECRET, "text": SECRET, SECRET: 1}
    body |= draw(junk((*event_fields, "context"), value)) | draw(st.just({}) | st.fixed_dictionaries({"item": content}))
    text = json.dumps(body).encode()
    cut = draw(st.sampled_from([len(text), len(text), draw(st.integers(0, len(text)))]))
    key = draw(st.sampled_from([SECRET.encode(), SECRET.encode(), None, SECRET.encode() + b"\xff", b"other"]))
    return record(value=text[:cut] + draw(st.sampled_from([b"", b"", SECRET.encode(), b"\xff"])), key=key)


@law
@given(secretive())
def test_dead_letters_tell_nothing_of_what_the_record_holds(poison: Any) -> None:
    for dead in parse_events([poison], now_ms=NOW_MS).dead + parse_items([poison], now_ms=NOW_MS).dead:
        assert SECRET not in dead.message
        for name, value in headers(dead):
            assert value is not None
            assert SECRET.encode() not in value, name
            value.decode()


@law
@given(st.text(max_size=80))
def test_normalising_is_idempotent_and_leaves_nothing_invisible(text: str) -> None:
    once = normalise_text(text)
    assert normalise_text(once) == once
    assert not has_invisible(once)
    assert unicodedata.is_normalized("NFC", once)
    assert once == once.strip()
    assert normalise_text(unicodedata.normalize("NFD", text)) == once


@law
@given(st.text(max_size=80), st.integers(0, 90))
def test_cutting_gives_a_start_within_the_limit(text: str, limit: int) -> None:
    cut = shorten(text, limit)
    assert len(cut) <= limit or cut == text
    assert text.startswith(cut)


@law
@given(
    st.fixed_dictionaries(
        {"item_id": ids},
        optional=dict.fromkeys(("title", "description", "brand"), any_text)
        | {"tags": st.lists(any_text, max_size=5), "categories": st.lists(any_text, max_size=5)},
    ),
    st.integers(16, 200),
)
def test_the_text_of_an_item_is_bounded_and_there_where_it_has_content(body: dict[str, Any], limit: int) -> None:
    parsed = parse_items([record(body, topic="items")], now_ms=NOW_MS)
    for item, _ in parsed.upserts:
        text = item_text(item, limit)
        assert text is not None
        assert 0 < len(text) <= limit
    assert len(parsed.upserts) + len(parsed.dead) == 1
