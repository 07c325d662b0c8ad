"""JSON Schemas (draft 2020-12) of what comes in, made from the wire classes: `python -m streams.events.schemas`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from streams.events.event import WITHOUT_ITEM
from streams.events.wire import EventType, WireEvent, WireItem

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "schemas"

_Schema = dict[str, Any]
_PRESENT: Final[_Schema] = {"not": {"type": "null"}}
_CLASS_NAMES: Final = [("title", name) for name in ("WireEvent", "WireItem", "WireInlineItem", "WireMedia")]
_CONTENT: Final = ("title", "description", "categories", "tags", "brand")


def schemas() -> dict[str, _Schema]:
    """Make the schema of each kind of record, by file name."""
    return {"event.json": event_schema(), "item.json": item_schema()}


def event_schema() -> _Schema:
    """Make the schema of an event: the fields of `WireEvent` and what each type asks for."""
    schema = _schema(WireEvent, "event", "Event")
    schema["allOf"] = [
        _when(sorted(set(get_args(EventType)) - WITHOUT_ITEM), {"anyOf": [_has("item_id"), _item_names_itself()]}),
        _when(["rating"], _has("rating")),
        _when(["search"], {"anyOf": [_has("text"), _has("item_id"), _item_names_itself()]}),
        _when(["impression"], _has("items") | {"properties": {"items": {"type": "array", "minItems": 1}}}),
        _when(sorted(set(get_args(EventType)) - {"impression"}), {"properties": {"items": _EMPTY, "clicked": _EMPTY}}),
        {"properties": {"item": {"properties": {"deleted": {"not": {"const": True}}}}}},
    ]
    return schema


def item_schema() -> _Schema:
    """Make the schema of an item: the fields of `WireItem`; there is something to read, or it is deleted."""
    schema = _schema(WireItem, "item", "Item")
    deleted = {"properties": {"deleted": {"const": True}}, "required": ["deleted"]}
    schema["anyOf"] = [deleted, *(_has(name) for name in _CONTENT)]
    return schema


_EMPTY: Final[_Schema] = {"anyOf": [{"type": "null"}, {"maxItems": 0}]}


def _schema(wire: type[WireEvent | WireItem], name: str, title: str) -> _Schema:
    _, parts = msgspec.json.schema_components([wire], ref_template="#/$defs/{name}")
    parts["WireMedia"]["oneOf"] = [_has("uri"), _has("data")]
    body: _Schema = _tidy(parts.pop(wire.__name__))
    head: _Schema = {"$schema": DRAFT, "$id": f"urn:interest-streams:schema:{name}"}
    return head | body | {"title": title, "$defs": _tidy(parts)}


def _tidy(node: Any) -> Any:
    """Say "integer" where the decoder takes whole numbers written either way; drop class names and null defaults."""
    if isinstance(node, list):
        return [_tidy(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: _tidy(value) for key, value in node.items() if key != "default" and (key, value) not in _CLASS_NAMES}
    types = [choice.get("type") for choice in node.get("anyOf", ())]
    if "integer" in types and "number" in types:
        node["anyOf"] = [choice for choice in node["anyOf"] if choice.get("type") != "number"]
    return node


def _has(name: str) -> _Schema:
    return {"properties": {name: _PRESENT}, "required": [name]}


def _item_names_itself() -> _Schema:
    return {"properties": {"item": {"type": "object"} | _has("item_id")}, "required": ["item"]}


def _when(types: list[str], then: _Schema) -> _Schema:
    return {"if": {"properties": {"type": {"enum": types}}}, "then": then}


def text_of(schema: _Schema) -> str:
    """Write a schema as its file holds it."""
    return json.dumps(schema, indent=2, ensure_ascii=True) + "\n"


def main() -> None:
    """Write the schemas' files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (FOLDER / name).write_text(text_of(schema), encoding="utf-8")
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
