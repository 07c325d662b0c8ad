"""The OpenAPI document beyond the routes: introduction, tags, the schemas of events and items, problems."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

from streams.api.receipts import Problem
from streams.events.schemas import event_schema, item_schema

ABOUT: Final = """Every user's interests as live vectors: trees, recommendations, explanations, audiences.

Times are milliseconds since 1970. Ids in paths are percent-encoded UTF-8 and may hold slashes (`a%2Fb`). Errors are
problem documents (RFC 9457, `application/problem+json`). Every answer has `X-Request-ID`. See docs/api.md.
"""
TAGS: Final = [
    {"name": "people", "description": "A person's interests and what follows from them."},
    {"name": "audiences", "description": "Who is interested in something."},
    {"name": "items", "description": "The catalogue."},
    {"name": "ingest", "description": "Events and items in; 202 once the broker has acknowledged."},
    {"name": "erasure", "description": "Forgetting a person."},
    {"name": "health", "description": "For operators."},
]
_REFS: Final = "#/components/schemas/"


def extend_openapi(app: FastAPI) -> None:
    """Add to the application's document what the routes cannot declare; made at its first request and kept."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            _add(schemas, Problem.__name__, Problem.model_json_schema(ref_template=f"{_REFS}{{model}}"))
            _add(schemas, "Event", event_schema())
            _add(schemas, "Item", item_schema())
            content = item_schema()
            content["required"] = [name for name in content["required"] if name != "item_id"]
            _add(schemas, "ItemContent", content | {"title": "ItemContent"})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents for changing its document


def _add(schemas: dict[str, Any], name: str, schema: dict[str, Any]) -> None:
    """A schema and its definitions among the document's components."""
    for inner, definition in schema.pop("$defs", {}).items():
        schemas.setdefault(inner, _relinked(definition))
    schema.pop("$schema", None)
    schema.pop("$id", None)
    schemas[name] = _relinked(schema)


def _relinked(node: Any) -> Any:
    if isinstance(node, list):
        return [_relinked(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {key: value.replace("#/$defs/", _REFS) if key == "$ref" else _relinked(value) for key, value in node.items()}
