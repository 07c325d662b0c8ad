"""Items of the catalogue: upserts, deletions, dead letters."""

from __future__ import annotations

from typing import Any

import pytest

from streams.events.event import Source
from streams.events.items import Item, Media
from streams.events.parse import parse_items
from tests.fixtures.records import NOW_MS, item, record


def parse(*bodies: Any) -> Any:
    records = [record(body, topic="items", offset=offset) for offset, body in enumerate(bodies)]
    return parse_items(records, now_ms=NOW_MS)


def test_every_field_arrives_normalised() -> None:
    parsed = parse(
        item(
            title=" A bicycle\n",
            description="For\u202e rain.",
            categories=["Sports", " ", "Cycling"],
            tags=["e\u0301t\u00e9", ""],
            brand="Velo\x00",
            lang="en",
            ts="2025-01-01T00:00:00Z",
            media=[{"kind": "image", "uri": "https://example.org/1.jpg"}, {"kind": "audio", "data": "AAAA", "uri": ""}],
        )
    )
    expected = Item(
        item_id="i1",
        title="A bicycle",
        description="For rain.",
        categories=("Sports", "Cycling"),
        tags=("\u00e9t\u00e9",),
        brand="Velo",
        lang="en",
        ts_ms=1_735_689_600_000,
        media=(Media("image", "https://example.org/1.jpg", None), Media("audio", None, "AAAA")),
    )
    assert parsed.upserts == [(expected, Source("items", 3, 0))]
    assert (parsed.deletions, parsed.dead, parsed.unknown_fields, parsed.clamped) == ([], [], 0, 0)


def test_null_fields_count_as_absent() -> None:
    optional = ("description", "categories", "tags", "brand", "lang", "ts", "media", "deleted")
    assert parse(item(**dict.fromkeys(optional))).upserts[0][0] == Item(item_id="i1", title="A bicycle for rain")


def test_null_value_and_deleted_both_delete() -> None:
    records = [
        record(key=b"i1", value=None, topic="items", offset=0),
        record({"item_id": "i2", "deleted": True}, topic="items", offset=1),
        record(item(item_id="i3", deleted=False), topic="items", offset=2),
    ]
    parsed = parse_items(records, now_ms=NOW_MS)
    assert parsed.deletions == [("i1", Source("items", 3, 0)), ("i2", Source("items", 3, 1))]
    assert [found.item_id for found, _ in parsed.upserts] == ["i3"]


@pytest.mark.parametrize("name", ["title", "description", "categories", "tags", "brand"])
def test_one_readable_field_is_content_enough(name: str) -> None:
    value = ["x"] if name in {"categories", "tags"} else "x"
    assert len(parse(item(**{"title": ..., name: value})).upserts) == 1
    blank = [" "] if name in {"categories", "tags"} else "\u200e"
    assert [dead.reason for dead in parse(item(**{"title": ..., name: blank})).dead] == ["no_content"]


def test_media_alone_is_not_content() -> None:
    parsed = parse(item(title=..., lang="en", media=[{"kind": "image", "uri": "u"}]))
    assert [dead.reason for dead in parsed.dead] == ["no_content"]


def test_items_may_be_older_than_events_may() -> None:
    assert parse(item(ts="1971-01-01T00:00:00Z")).upserts[0][0].ts_ms == 31_536_000_000
    assert [dead.reason for dead in parse(item(ts=NOW_MS // 1_000)).dead] == ["bad_timestamp"]


def test_publication_in_the_future_is_clamped_and_counted() -> None:
    parsed = parse(item(ts=NOW_MS + 10**9))
    assert (parsed.upserts[0][0].ts_ms, parsed.clamped) == (NOW_MS - 1_000, 1)


def test_unknown_fields_are_ignored_and_counted() -> None:
    parsed = parse(item(price=9.5, item={"x": 1}), item(media=[{"kind": "image", "uri": "u", "alt": "x"}]))
    assert (len(parsed.upserts), parsed.unknown_fields) == (2, 2 + 1)


POISON: list[tuple[str, dict[str, Any]]] = [
    ("empty_value", {"value": b""}),
    ("too_large", {"body": item(extra="x" * 263_168)}),
    ("bad_json", {"value": b"{"}),
    ("not_utf8", {"value": b'{"item_id":"i1","title":"\xff"}'}),
    ("wrong_type", {"body": [item()]}),
    ("wrong_type", {"body": item(tags="rain")}),
    ("missing_field", {"body": item(item_id=...)}),
    ("out_of_range", {"body": item(item_id="")}),
    ("out_of_range", {"body": item(title="x" * 2_001)}),
    ("out_of_range", {"body": item(description="x" * 50_001)}),
    ("out_of_range", {"body": item(categories=["c"] * 17)}),
    ("out_of_range", {"body": item(tags=["t"] * 65)}),
    ("out_of_range", {"body": item(lang="x" * 36)}),
    ("bad_id", {"body": item(item_id="i\u200f1")}),
    ("bad_media", {"body": item(media=[{"kind": "video", "uri": "u"}])}),
    ("bad_media", {"body": item(media=[{"kind": "image", "uri": "u", "data": "AAAA"}])}),
    ("too_deep", {"value": b'{"item_id":"i1","title":"x","y":' + b"[" * 5_000}),
    ("empty_key", {"body": item(), "key": None}),
    ("empty_key", {"key": None, "value": None}),
    ("empty_key", {"key": b"", "value": None}),
    ("not_utf8", {"key": b"\xff", "value": None}),
    ("key_mismatch", {"body": item(), "key": b"i2"}),
    ("key_mismatch", {"body": item(deleted=True), "key": b"i2"}),
]


@pytest.mark.parametrize(("reason", "fields"), POISON)
def test_poison_is_dead_lettered_and_the_rest_goes_on(reason: str, fields: dict[str, Any]) -> None:
    poison = record(topic="items", **fields)
    parsed = parse_items([record(item()), poison, record(item(item_id="i2"))], now_ms=NOW_MS)
    assert [found.item_id for found, _ in parsed.upserts] == ["i1", "i2"]
    assert [(dead.record, dead.stage, dead.reason) for dead in parsed.dead] == [(poison, "parse", reason)]
    assert parsed.deletions == []


def test_the_last_word_on_an_item_wins() -> None:
    steps = [("a", "one"), ("b", "one"), ("a", None), ("b", None), ("b", "two"), ("c", "one")]
    records = [
        record(item(item_id=name, title=title), topic="items", offset=offset)
        if title
        else record(key=name.encode(), topic="items", offset=offset)
        for offset, (name, title) in enumerate(steps)
    ]
    latest = parse_items(records, now_ms=NOW_MS).latest()
    said = {name: (found and found.title, source.offset) for name, (found, source) in latest.items()}
    assert said == {"a": (None, 2), "b": ("two", 4), "c": ("one", 5)}
