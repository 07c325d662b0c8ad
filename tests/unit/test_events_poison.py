"""Everything that is wrong with a record becomes a dead letter with its reason, and the message names no values."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from streams.events.dead_letters import DeadLetterReason
from streams.events.parse import parse_events
from tests.fixtures.records import NOW_MS, click, record

SECRET = "zq9secret"  # stands for what a user wrote


def raw(text: bytes) -> dict[str, Any]:
    return {"value": text}


def deep(levels: int) -> bytes:
    return json.dumps(click()).encode()[:-1] + b', "x": ' + b"[" * levels + b"]" * levels + b"}"


def with_literal(name: str, literal: bytes) -> dict[str, Any]:
    return raw(json.dumps(click(**{name: "@"})).encode().replace(b'"@"', literal))


CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("null value", "empty_value", raw(None)),  # type: ignore[arg-type]  # a null value is the case
    ("empty value", "empty_value", raw(b"")),
    ("257 KiB", "too_large", {"body": click(text="x" * 263_168)}),
    ("not JSON", "bad_json", raw(SECRET.encode())),
    ("blank", "bad_json", raw(b"  ")),
    ("cut short", "bad_json", raw(b'{"user_id": "u1", "type": "cl')),
    ("two documents", "bad_json", raw(b'{"user_id":"u1","type":"erase"}{}')),
    ("byte order mark", "bad_json", raw(b"\xef\xbb\xbf" + json.dumps(click()).encode())),
    ("UTF-16", "not_utf8", raw(json.dumps(click()).encode("utf-16"))),
    ("Latin-1 text", "not_utf8", raw(b'{"user_id":"u1","type":"comment","item_id":"i","text":"caf\xe9"}')),
    ("Latin-1 in an unknown field", "not_utf8", raw(json.dumps(click()).encode()[:-1] + b', "x": "\xe9"}')),
    ("Latin-1 in an unknown name", "not_utf8", raw(json.dumps(click()).encode()[:-1] + b', "\xe9": 1}')),
    ("encoded surrogate", "not_utf8", raw(b'{"user_id":"u1","type":"comment","item_id":"i","text":"\xed\xa0\x80"}')),
    ("lone high surrogate", "bad_json", with_literal("text", b'"\\ud800x"')),
    ("lone low surrogate", "bad_json", with_literal("text", b'"\\udc00"')),
    ("NaN", "bad_json", with_literal("rating", b"NaN")),
    ("Infinity", "bad_json", with_literal("rating", b"-Infinity")),
    ("NaN in an unknown field", "bad_json", with_literal("unknown", b"NaN")),
    ("NaN in context", "bad_json", with_literal("context", b'{"a": NaN}')),
    ("NaN as time", "bad_json", with_literal("ts", b"NaN")),
    ("number beyond double", "out_of_range", with_literal("rating", b"1e400")),
    ("5,000 digits", "out_of_range", with_literal("dwell_ms", b"9" * 5_000)),
    ("nested 65 deep", "too_deep", raw(deep(64))),
    ("nested 100,000 deep", "too_deep", raw(deep(100_000))),
    ("nested, where a string belongs", "wrong_type", with_literal("text", b"[" * 100_000)),
    ("an array", "wrong_type", raw(b'[{"user_id": "u1"}]')),
    ("a string", "wrong_type", {"body": SECRET}),
    ("user_id is a number", "wrong_type", {"body": click(user_id=7)}),
    ("user_id is null", "wrong_type", {"body": click(user_id=None)}),
    ("rating is a string", "wrong_type", {"body": click(rating="5")}),
    ("rating is a boolean", "wrong_type", {"body": click(rating=True)}),
    ("half a millisecond", "wrong_type", {"body": click(dwell_ms=0.5)}),
    ("context holds a list", "wrong_type", {"body": click(context={SECRET: [SECRET]})}),
    ("items is a string", "wrong_type", {"body": click(type="impression", items="i1")}),
    ("no user_id", "missing_field", {"body": click(user_id=...)}),
    ("no type", "missing_field", {"body": click(type=...)}),
    ("no item_id", "missing_field", {"body": click(item_id=...)}),
    ("rating without rating", "missing_field", {"body": click(type="rating")}),
    ("search for nothing", "missing_field", {"body": click(type="search", item_id=..., text=" ")}),
    ("impression of nothing", "missing_field", {"body": click(type="impression", items=[])}),
    ("items on a click", "unexpected_field", {"body": click(items=["i1"])}),
    ("clicked on a click", "unexpected_field", {"body": click(clicked=["i1"])}),
    ("inline item deleted", "unexpected_field", {"body": click(item={"title": "x", "deleted": True})}),
    ("unknown type", "unknown_type", {"body": click(type=SECRET)}),
    ("type in capitals", "unknown_type", {"body": click(type="Click")}),
    ("empty user_id", "out_of_range", {"body": click(user_id=""), "key": b"u1"}),
    ("long user_id", "out_of_range", {"body": click(user_id="u" * 257)}),
    ("long event_id", "out_of_range", {"body": click(event_id="e" * 129)}),
    ("empty event_id", "out_of_range", {"body": click(event_id="")}),
    ("long item_id", "out_of_range", {"body": click(item_id="i" * 257)}),
    ("long text", "out_of_range", {"body": click(text="x" * 8_001)}),
    ("rating 0", "out_of_range", {"body": click(rating=0)}),
    ("rating 5.1", "out_of_range", {"body": click(rating=5.1)}),
    ("dwell below 0", "out_of_range", {"body": click(dwell_ms=-1)}),
    ("17 context keys", "out_of_range", {"body": click(context={f"k{n}": n for n in range(17)})}),
    ("long context value", "out_of_range", {"body": click(context={SECRET: "x" * 257})}),
    ("long context key", "out_of_range", {"body": click(context={SECRET + "x" * 64: 1})}),
    ("501 shown", "out_of_range", {"body": click(type="impression", items=[f"i{n}" for n in range(501)])}),
    ("clicked but not shown", "out_of_range", {"body": click(type="impression", items=["i"], clicked=[SECRET])}),
    ("control in user_id", "bad_id", {"body": click(user_id="u\x001")}),
    ("bidi in event_id", "bad_id", {"body": click(event_id="e\u202e1")}),
    ("newline in item_id", "bad_id", {"body": click(item_id="i\n")}),
    ("newline in inline item_id", "bad_id", {"body": click(item_id=..., item={"item_id": "i\n", "title": "x"})}),
    ("control in shown", "bad_id", {"body": click(type="impression", items=["i1", "i\x7f"])}),
    ("control in context key", "bad_id", {"body": click(context={"a\x00": 1})}),
    ("item of two ids", "item_mismatch", {"body": click(item={"item_id": SECRET, "title": "x"})}),
    ("medium nowhere", "bad_media", {"body": click(item={"title": "x", "media": [{"kind": "image"}]})}),
    ("medium of no kind", "bad_media", {"body": click(item={"media": [{"kind": SECRET, "uri": "u"}]})}),
    ("no key", "empty_key", {"body": click(), "key": None}),
    ("empty key", "empty_key", {"body": click(), "key": b""}),
    ("key of another", "key_mismatch", {"body": click(), "key": SECRET.encode()}),
    ("key not UTF-8", "not_utf8", {"body": click(), "key": b"\xff"}),
    ("time is true", "bad_timestamp", {"body": click(ts=True)}),
    ("time in seconds", "bad_timestamp", {"body": click(ts=NOW_MS // 1_000)}),
    ("time below 0", "bad_timestamp", {"body": click(ts=-1)}),
    ("time in microseconds", "bad_timestamp", {"body": click(ts=NOW_MS * 1_000)}),
    ("time beyond 64 bits", "bad_timestamp", {"body": click(ts=2**70)}),
    ("time beyond double", "bad_timestamp", with_literal("ts", b"1e400")),
    ("time of 5,000 digits", "bad_timestamp", with_literal("ts", b"9" * 5_000)),
    ("time with a fraction", "bad_timestamp", {"body": click(ts=NOW_MS + 0.5)}),
    ("time without an offset", "bad_timestamp", {"body": click(ts="2025-10-09T08:53:20")}),
    ("date alone", "bad_timestamp", {"body": click(ts="2025-10-09")}),
    ("digits as text", "bad_timestamp", {"body": click(ts=str(NOW_MS))}),
    ("words as time", "bad_timestamp", {"body": click(ts=SECRET)}),
    ("month 13", "bad_timestamp", {"body": click(ts="2025-13-09T08:53:20Z")}),
    ("year 1", "bad_timestamp", {"body": click(ts="0001-01-01T00:00:00+14:00")}),
    ("year 9999", "bad_timestamp", {"body": click(ts="9999-12-31T23:59:59-14:00")}),
    ("item's time in seconds", "bad_timestamp", {"body": click(item={"title": "x", "ts": NOW_MS // 1_000})}),
]


@pytest.mark.parametrize(("reason", "fields"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_poison_is_dead_lettered_with_its_reason(reason: str, fields: dict[str, Any]) -> None:
    poison = record(**fields)
    parsed = parse_events([record(click()), poison, record(click())], now_ms=NOW_MS)
    assert len(parsed.events) == 2
    (dead,) = parsed.dead
    assert (dead.stage, dead.reason) == ("parse", reason), dead.message
    assert dead.record is poison
    assert SECRET not in dead.message
    assert 0 < len(dead.message) <= 300


# Found before parsing, of batches and single records; and after it: by the encoder, and while waiting for an item.
LATER = {
    "batch_too_large", "batch_unreadable", "record_unreadable", "no_content", "bad_header", "bad_source", "unresolved",
    "bad_utf8", "refused", "wrong_output", "crashes", "raised", "killed",
}  # fmt: skip


def test_every_reason_is_in_the_closed_list_and_has_a_case() -> None:
    # Tested where they belong: no_content to items, bad_header and unresolved to waiting events, bad_source to derived.
    assert {reason for _, reason, _ in CASES} == set(get_args(DeadLetterReason)) - LATER


def test_depth_is_counted_outside_strings_only() -> None:
    body = click(note='[{"' * 500, items=None)
    parsed = parse_events([record(body), record(value=deep(63)), record(click(wide=[[]] * 5_000))], now_ms=NOW_MS)
    assert [dead.reason for dead in parsed.dead] == []
