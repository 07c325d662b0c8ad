"""The JSON Schemas: their files are those of the code, and they judge as the parser does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from streams.events.event import EventType
from streams.events.parse import parse_events, parse_items
from streams.events.schemas import DRAFT, schemas, text_of
from streams.events.wire import WireEvent, WireItem
from tests.fixtures.records import NOW_MS, click, item, record
from tests.unit.test_events import NEEDED

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


def valid(name: str, body: Any) -> bool:
    jsonschema = pytest.importorskip("jsonschema", reason="an independent validator: pip install jsonschema")
    return bool(jsonschema.Draft202012Validator(schemas()[name]).is_valid(body))


@pytest.mark.parametrize("name", ["event.json", "item.json"])
def test_the_files_are_those_of_the_code(name: str) -> None:
    # `python -m streams.events.schemas` writes them anew.
    assert (FOLDER / name).read_text(encoding="utf-8") == text_of(schemas()[name])


def test_there_are_no_other_files() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(schemas())


@pytest.mark.parametrize(("name", "wire"), [("event.json", WireEvent), ("item.json", WireItem)])
def test_every_field_is_there_and_described(name: str, wire: Any) -> None:
    schema = schemas()[name]
    assert (schema["$schema"], schema["type"]) == (DRAFT, "object")
    assert set(schema["properties"]) == set(wire.__struct_fields__)
    assert all(len(each["description"]) > 5 for each in schema["properties"].values())
    assert "additionalProperties" not in schema


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("event.json/properties/user_id/maxLength", 256),
        ("event.json/properties/user_id/minLength", 1),
        ("event.json/properties/text/anyOf/0/maxLength", 8_000),
        ("event.json/properties/rating/anyOf/0/minimum", 0.5),
        ("event.json/properties/rating/anyOf/0/maximum", 5),
        ("event.json/properties/dwell_ms/anyOf/0/minimum", 0),
        ("event.json/properties/dwell_ms/anyOf/0/type", "integer"),
        ("event.json/properties/items/anyOf/0/maxItems", 500),
        ("event.json/properties/context/anyOf/0/maxProperties", 16),
        ("event.json/properties/type/enum", sorted(get_args(EventType))),
        ("event.json/required", ["user_id", "type"]),
        ("event.json/$id", "urn:interest-streams:schema:event"),
        ("item.json/properties/tags/anyOf/0/maxItems", 64),
        ("item.json/properties/categories/anyOf/0/maxItems", 16),
        ("item.json/required", ["item_id"]),
    ],
)
def test_limits_are_in_the_schema(path: str, expected: Any) -> None:
    node: Any = schemas()
    for step in path.split("/"):
        node = node[int(step)] if isinstance(node, list) else node[step]
    assert node == expected


@pytest.mark.parametrize("name", ["event.json", "item.json"])
def test_they_are_schemas(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="an independent validator: pip install jsonschema")
    jsonschema.Draft202012Validator.check_schema(schemas()[name])


VALUES: dict[str, list[Any]] = {
    "event_id": ["e", "e" * 128, "e" * 129, "", "e\x00", "e\n", None, 1],
    "user_id": ["u", "u" * 256, "u" * 257, "", "u\u202e", 7],
    "type": ["view", "Click", "", 1],
    "ts": [NOW_MS, float(NOW_MS), NOW_MS // 1_000, -1, 4_102_444_799_999, 4_102_444_800_000, True, [], None],
    "item_id": ["i", "i" * 257, "", "i\u2028", None, {}],
    "text": ["", "x" * 8_000, "x" * 8_001, "é" * 8_000, 5],
    "rating": [0.5, 5, 0.49, 5.01, "5", True, None],
    "dwell_ms": [0, 7.0, 7.5, -1, 2**53, 2**53 + 1, None, False],
    "items": [[], None, ["i"], "i"],
    "clicked": [[], None, ["i"]],
    "item": [
        {"title": "x"}, {}, None, [], {"title": 1}, {"item_id": "i1"}, {"item_id": ""}, {"tags": ["x"] * 65},
        {"deleted": True}, {"deleted": False}, {"ts": 31_536_000_000}, {"ts": 31_535_999_999},
        {"media": [{"kind": "image", "uri": "u"}]}, {"media": [{"kind": "image"}]},
        {"media": [{"kind": "x", "uri": "u"}]}, {"media": [{"kind": "image", "uri": "u", "data": "d"}]}, {"unknown": 1},
    ],
    "context": [
        {}, None, {"a": 1}, {"a": None}, {"a": []}, {"a": "x" * 257}, {"": 1},
        {"k" * 65: 1}, dict.fromkeys("abcdefghijklmnopq", 1),
    ],
    "unknown": [1, {"deep": [1]}],
}  # fmt: skip
CASES = [click(**{name: value}) for name, values in VALUES.items() for value in values]
CASES += [
    click(user_id=...),
    click(type=...),
    click(item_id=...),
    click(item_id=..., item={"item_id": "i", "title": "x"}),
]
CASES += [click(type=each, **NEEDED.get(each, {})) for each in get_args(EventType)]
CASES += [click(type=each, item_id=...) for each in get_args(EventType)]
CASES += [
    click(type="rating", rating=None),
    click(type="search", item_id=..., item={"item_id": "i"}),
    click(type="search", item_id=..., text=None),
    click(type="impression", items=[]),
    click(type="impression", items=None),
    click(type="impression", items=["i"] * 500),
    click(type="impression", items=["i"] * 501),
    click(type="impression", items=["i", ""]),
    click(type="impression", items=["i"], clicked=None),
]


@pytest.mark.parametrize("body", CASES, ids=[str(body)[60:140] for body in CASES])
def test_an_event_is_valid_to_the_schema_where_it_is_to_the_parser(body: dict[str, Any]) -> None:
    parsed = parse_events([record(body, key=str(body.get("user_id")).encode())], now_ms=NOW_MS)
    assert valid("event.json", body) == (len(parsed.events) == 1), [dead.message for dead in parsed.dead]


ITEMS = [
    item(), item(title=...), item(title=None), item(title=..., tags=["x"]), item(item_id=...), item(item_id=""),
    item(title="x" * 2_001), item(description="x" * 50_000), item(description="x" * 50_001), item(brand=7),
    item(categories=["c"] * 17), item(categories="c"), item(lang="zh-Hant"), item(lang="x" * 36), item(ts=0),
    item(deleted=True), item(title=..., deleted=True), item(title=..., deleted=False), item(deleted="yes"),
    item(media=[{"kind": "audio", "data": "AAAA"}]), item(media=[{"kind": "audio"}]), item(media={}), item(price=1),
]  # fmt: skip


@pytest.mark.parametrize("body", ITEMS, ids=[str(body)[:80] for body in ITEMS])
def test_an_item_is_valid_to_the_schema_where_it_is_to_the_parser(body: dict[str, Any]) -> None:
    parsed = parse_items([record(body, key=str(body.get("item_id")).encode())], now_ms=NOW_MS)
    assert valid("item.json", body) == (not parsed.dead), [dead.message for dead in parsed.dead]
