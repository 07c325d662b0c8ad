"""What a refusal says: the accident by name, the field that was meant, and nothing that the record holds."""

from __future__ import annotations

import pytest

from streams.events.items import item_of
from streams.events.parse import parse_events, parse_items
from streams.events.text import normalise_text
from streams.events.wire import WireItemContent
from tests.fixtures.records import NOW_MS, record

UNSEEN = [
    "\u200b",
    "\u2060\u200d\u00ad",
    "\u3164",
    "\u2800 \u00a0",
    "\ufe0f\U000e0041",
    "\u115f\u1160",
    "\u200b \n\u180e",
]


def refusal(value: bytes) -> tuple[str, str]:
    [dead] = parse_events([record(value=value)], now_ms=NOW_MS).dead
    return dead.reason, dead.message


@pytest.mark.parametrize(
    ("value", "reason", "message"),
    [
        (b'\xef\xbb\xbf{"user_id": "u1"}', "bad_json", "begins with a byte order mark"),
        ('{"user_id": "u1"}'.encode("utf-16"), "not_utf8", "byte order mark of UTF-16"),
        (b'{"user_id": "u1", "text": "\\ud800"}', "bad_json", "half a surrogate pair"),
        (b'{"user_id": "u1", "text": "\\ud83d\\ude00\\uDC00"}', "bad_json", "half a surrogate pair"),
        (b'{"user_id": "u1", "text": "\xed\xa0\x80"}', "not_utf8", "half a surrogate pair"),
        (b'{"user_id": "u1", "text": "\\\\ud800"', "bad_json", "no JSON: Input data was truncated"),
        (b'{"user_id": "u1", "text": "\xff"}', "not_utf8", "is not UTF-8"),
    ],
)
def test_what_is_no_json_is_told_by_name(value: bytes, reason: str, message: str) -> None:
    assert refusal(value)[0] == reason
    assert message in refusal(value)[1]


def test_a_field_that_is_nearly_one_that_is_known_is_hinted_at_without_its_name() -> None:
    for body, field in (
        ({"titel": "x"}, "title"),
        ({"Descripton": "x"}, "description"),
        ({"catgories": ["x"]}, "categ"),
    ):
        [dead] = parse_items([record({"item_id": "i1", **body})], now_ms=NOW_MS).dead
        assert dead.reason == "no_content"
        assert f"nearly the name {field}" in dead.message
        assert next(iter(body)) not in dead.message
    [dead] = parse_items([record({"itemid": "i1", "title": "x"}, key=b"i1")], now_ms=NOW_MS).dead
    assert "nearly the name item_id" in dead.message
    assert "nearly the name type" in refusal(b'{"user_id": "u1", "tpye": "click"}')[1]
    [dead] = parse_items([record({"item_id": "i1", "secret": "x"})], now_ms=NOW_MS).dead
    assert "nearly" not in dead.message


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "click", "itemId": "i1"}, "item_id"),
        ({"type": "click", "item-id": "i1"}, "item_id"),
        ({"type": "rating", "item_id": "i1", "ratting": 4}, "rating"),
        ({"type": "search", "txt": "tea"}, "text"),
        ({"type": "impression", "itemss": ["i1"]}, "items"),
    ],
)
def test_a_field_that_a_type_asks_for_is_hinted_at_too(body: dict[str, object], field: str) -> None:
    [dead] = parse_events([record({"user_id": "u1", **body})], now_ms=NOW_MS).dead
    assert dead.reason == "missing_field"
    assert f"nearly the name {field}:" in dead.message
    [dead] = parse_events([record({"userid": "u1", "type": "click"})], now_ms=NOW_MS).dead
    assert "nearly the name user_id:" in dead.message
    [dead] = parse_events([record({"user_id": "u1", "type": "click", "secret": "x"})], now_ms=NOW_MS).dead
    assert dead.message == "item_id: required for this type"


@pytest.mark.parametrize("text", UNSEEN)
def test_a_text_of_nothing_that_can_be_seen_is_none(text: str) -> None:
    assert normalise_text(text) == ""
    assert normalise_text(f"{text}a") != ""
    [dead] = parse_events([record({"user_id": "u1", "type": "search", "text": text})], now_ms=NOW_MS).dead
    assert dead.reason == "missing_field"
    body = {"user_id": "u1", "type": "comment", "item_id": "i1", "text": text, "rating": 4}
    [event] = parse_events([record(body)], now_ms=NOW_MS).events
    assert event.text is None
    assert item_of(WireItemContent(title=text, tags=(text,)), "i1", None).has_content is False


@pytest.mark.parametrize("text", ["👩\u200d👩", "क्\u200dष", "❤\ufe0f", "한글", "a\u00adb"])
def test_a_text_with_something_to_see_keeps_what_joins_it(text: str) -> None:
    assert normalise_text(text)
