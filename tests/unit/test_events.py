"""Valid events: every type, every field, and what normalising makes of them."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from streams.base.errors import PoisonError
from streams.events.event import WITHOUT_ITEM, Event, EventType, Source
from streams.events.items import Item
from streams.events.parse import ParseLimits, parse_events
from tests.fixtures.records import NOW_MS, click, record

NEEDED: dict[str, dict[str, Any]] = {
    "search": {"text": "rain bicycle", "item_id": ...},
    "impression": {"items": ["i1", "i2"], "clicked": ["i2"], "item_id": ...},
    "erase": {"item_id": ...},
    "rating": {"rating": 4.5},
    "comment": {"text": "It rattles."},
    "post": {"text": "How do I mend it?"},
}


def parse_one(body: Any = None, **record_fields: Any) -> Event:
    parsed = parse_events([record(body, **record_fields)], now_ms=NOW_MS)
    assert [(dead.reason, dead.message) for dead in parsed.dead] == []
    return parsed.events[0]


@pytest.mark.parametrize("event_type", get_args(EventType))
def test_every_type_of_the_contract_is_read(event_type: str) -> None:
    event = parse_one(click(type=event_type, **NEEDED.get(event_type, {})))
    assert event.type == event_type
    assert (event.item_id is None) == (event_type in WITHOUT_ITEM)


def test_a_plain_click_is_read_whole() -> None:
    assert parse_one(click()) == Event(
        event_id="e1",
        user_id="u1",
        type="click",
        ts_ms=NOW_MS - 5_000,
        item_id="i1",
        text=None,
        rating=None,
        dwell_ms=None,
        items=(),
        clicked=(),
        item=None,
        context={},
        source=Source("clicks", 3, 17),
    )


def test_every_field_arrives() -> None:
    context = {"device": "mobile", "hour": 21, "wifi": True, "place": None}
    event = parse_one(click(type="comment", text=" fine ", rating=4, dwell_ms=5_000, context=context))
    assert (event.text, event.rating, event.dwell_ms) == ("fine", 4.0, 5_000)
    assert event.context == {"device": "mobile", "hour": 21.0, "wifi": True}
    assert event.context["wifi"] is True


def test_impression_keeps_what_was_shown_in_order() -> None:
    event = parse_one(click(type="impression", item_id=..., items=["b", "a", "c"], clicked=["c"]))
    assert (event.items, event.clicked) == (("b", "a", "c"), ("c",))


def test_without_an_event_id_the_position_serves() -> None:
    assert parse_one(click(event_id=...)).event_id == "clicks-3-17"
    assert parse_one(click(event_id=None)).event_id == "clicks-3-17"


def test_null_counts_as_absent() -> None:
    optional = ("ts", "text", "rating", "dwell_ms", "items", "clicked", "item", "context")
    assert parse_one(click(**dict.fromkeys(optional))) == parse_one(click(ts=...))


def test_whole_numbers_may_be_written_with_a_point() -> None:
    body = json.dumps(click(dwell_ms=7.0)).replace(str(NOW_MS - 5_000), f"{NOW_MS - 5_000}.0")
    event = parse_one(value=body.encode())
    assert (event.ts_ms, event.dwell_ms) == (NOW_MS - 5_000, 7)
    assert type(event.ts_ms) is int
    assert type(event.dwell_ms) is int


def test_text_is_normalised_and_blank_text_is_none() -> None:
    assert parse_one(click(type="comment", text="a\u202e\x00b\n\u0065\u0301")).text == "ab \u00e9"
    assert parse_one(click(type="comment", text=" \t\u200e ")).text is None


def test_ids_are_taken_as_they_are() -> None:
    event = parse_one(click(user_id=" Ünïcode/用戶 ", item_id="e\u0301", event_id="👩‍👩‍👧"))
    assert (event.user_id, event.item_id, event.event_id) == (" Ünïcode/用戶 ", "e\u0301", "👩‍👩‍👧")


@pytest.mark.parametrize("outer", ["i1", ...])
@pytest.mark.parametrize("inner", ["i1", ...])
def test_inline_item_and_event_share_an_item_id(outer: Any, inner: Any) -> None:
    content = {name: value for name, value in {"item_id": inner, "title": "Bicycle"}.items() if value is not ...}
    parsed = parse_events([record(click(item_id=outer, item=content))], now_ms=NOW_MS)
    if outer is ... and inner is ...:
        assert [dead.reason for dead in parsed.dead] == ["missing_field"]
        return
    assert (parsed.events[0].item_id, parsed.events[0].item) == ("i1", Item(item_id="i1", title="Bicycle"))


def test_inline_item_without_content_is_only_an_id() -> None:
    event = parse_one(click(item={"title": " \x07", "lang": "en"}))
    assert (event.item_id, event.item) == ("i1", None)


def test_inline_item_is_not_younger_than_its_event() -> None:
    event = parse_one(click(item={"title": "Bicycle", "ts": NOW_MS + 10**9}))
    assert event.item is not None
    assert event.item.ts_ms == event.ts_ms


def test_unknown_fields_are_ignored_and_counted() -> None:
    bodies = [
        click(),
        click(bucket="b", nested={"deep": [1, {"x": None}]}),
        click(item={"title": "Bicycle", "colour": "red"}, bucket="b"),
        click(item={"title": "Bicycle", "media": [{"kind": "image", "uri": "u", "alt": "x"}]}),
    ]
    parsed = parse_events([record(body) for body in bodies], now_ms=NOW_MS)
    assert parsed.dead == []
    assert parsed.unknown_fields == 0 + 2 + 2 + 1
    assert parsed.events[1] == parsed.events[0]


def test_unknown_fields_of_a_dead_letter_are_not_counted() -> None:
    parsed = parse_events([record(click(bucket="b", type="rating"))], now_ms=NOW_MS)
    assert (len(parsed.dead), parsed.unknown_fields) == (1, 0)


def test_of_repeated_keys_the_last_wins() -> None:
    assert parse_one(value=b'{"user_id":"u0","type":"view","item_id":"i1","user_id":"u1"}').user_id == "u1"


def test_poison_between_good_events_costs_nothing_else() -> None:
    records = [
        record(value=b"{", offset=1) if offset % 3 == 0 else record(click(), offset=offset) for offset in range(30)
    ]
    parsed = parse_events(records, now_ms=NOW_MS)
    assert [event.source.offset for event in parsed.events] == [offset for offset in range(30) if offset % 3]
    assert [dead.record for dead in parsed.dead] == records[::3]


def test_limit_of_bytes_is_inclusive() -> None:
    body = json.dumps(click()).encode()
    limits = ParseLimits(max_value_bytes=len(body))
    records = [record(value=body), record(value=body + b" ")]
    parsed = parse_events(records, now_ms=NOW_MS, limits=limits)
    assert (len(parsed.events), [dead.reason for dead in parsed.dead]) == (1, ["too_large"])


def test_poison_error_is_the_only_way_out() -> None:
    # What a record cannot cause is a programming error and must not be swallowed as a dead letter.
    with pytest.raises(AttributeError):
        parse_events([object()], now_ms=NOW_MS)  # type: ignore[list-item]  # deliberately not a record
    assert not issubclass(AttributeError, PoisonError)
