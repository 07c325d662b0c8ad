"""Qdrant's filter messages to the engine's filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import qdrant_edge as edge

from deploy.embedded.qdrant.errors import not_implemented, wrong_input
from deploy.embedded.qdrant.values import id_in

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_DEPTH = 32


def filter_in(message: Any, depth: int = 0) -> edge.Filter | None:
    """Return the engine's filter, or None where the message says nothing."""
    if depth > _MAX_DEPTH:
        raise wrong_input(f"Filter is nested deeper than {_MAX_DEPTH} levels")
    min_should = None
    if message.HasField("min_should"):
        min_should = edge.MinShould(_conditions(message.min_should.conditions, depth), message.min_should.min_count)
    if not (message.must or message.should or message.must_not or min_should):
        return None
    return edge.Filter(
        must=_conditions(message.must, depth) or None,
        should=_conditions(message.should, depth) or None,
        must_not=_conditions(message.must_not, depth) or None,
        min_should=min_should,
    )


def optional_filter(request: Any, field: str = "filter") -> edge.Filter | None:
    """Return the filter of a request's field, or None where it is not set."""
    return filter_in(getattr(request, field)) if request.HasField(field) else None


def without_ids(base: edge.Filter | None, ids: list[Any]) -> edge.Filter | None:
    """Add to a filter that none of these ids may match."""
    if not ids:
        return base
    excluded = edge.Filter(must_not=[edge.HasIdCondition(set(ids))])
    return excluded if base is None else edge.Filter(must=[base, excluded])


def condition_in(condition: Any, depth: int = 0) -> Any:
    """Return one condition as the engine's. Raises QdrantError for kinds the engine does not have."""
    kind = condition.WhichOneof("condition_one_of")
    if kind is None:
        raise wrong_input("Malformed condition: none of its kinds is set")
    if kind not in _CONDITIONS:
        raise not_implemented(f"condition `{kind}`")
    return _CONDITIONS[kind](getattr(condition, kind), depth + 1)


def _nested(message: Any, depth: int) -> edge.NestedCondition:
    return edge.NestedCondition(message.key, filter_in(message.filter, depth) or edge.Filter())


def _conditions(messages: Any, depth: int) -> list[Any]:
    return [condition_in(message, depth) for message in messages]


def _field(field: Any) -> edge.FieldCondition:
    parts: dict[str, Any] = {}
    if field.HasField("match"):
        parts["match"] = _match(field.match)
    if field.HasField("range"):
        parts["range"] = edge.RangeFloat(**_bounds(field.range))
    if field.HasField("datetime_range"):
        bounds = _bounds(field.datetime_range)
        parts["range"] = edge.RangeDateTime(**{name: timestamp_in(bound) for name, bound in bounds.items()})
    if field.HasField("values_count"):
        parts["values_count"] = edge.ValuesCount(**_bounds(field.values_count))
    if field.HasField("geo_bounding_box"):
        box = field.geo_bounding_box
        parts["geo_bounding_box"] = edge.GeoBoundingBox(geo_point(box.top_left), geo_point(box.bottom_right))
    if field.HasField("geo_radius"):
        parts["geo_radius"] = edge.GeoRadius(geo_point(field.geo_radius.center), field.geo_radius.radius)
    if field.HasField("geo_polygon"):
        parts["geo_polygon"] = _polygon(field.geo_polygon)
    for name in ("is_empty", "is_null"):
        if field.HasField(name):
            parts[name] = getattr(field, name)
    if not parts:
        raise wrong_input(f"Condition on field `{field.key}` is empty: expected a match, a range or another test")
    return edge.FieldCondition(field.key, **parts)


def _bounds(message: Any) -> dict[str, Any]:
    return {name: getattr(message, name) for name in ("lt", "gt", "lte", "gte") if message.HasField(name)}


def timestamp_in(stamp: Any) -> str:
    """Return a protobuf timestamp as RFC 3339 text in microseconds, the engine's precision."""
    moment = _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def geo_point(point: Any) -> edge.GeoPoint:
    """Return a point on the globe, in degrees."""
    return edge.GeoPoint(lon=point.lon, lat=point.lat)


def _polygon(polygon: Any) -> edge.GeoPolygon:
    def line(message: Any) -> list[edge.GeoPoint]:
        return [geo_point(point) for point in message.points]

    return edge.GeoPolygon(line(polygon.exterior), [line(hole) for hole in polygon.interiors] or None)


def _match(match: Any) -> Any:
    kind = match.WhichOneof("match_value")
    if kind is None:
        raise wrong_input("Malformed match: none of its kinds is set")
    value = getattr(match, kind)
    if kind in ("keyword", "integer"):
        return edge.MatchValue(value)
    if kind == "boolean":
        return edge.MatchValue(_TRUE if value else _FALSE)
    if kind in ("keywords", "integers"):
        return edge.MatchAny(list(value.strings if kind == "keywords" else value.integers))
    if kind in ("except_keywords", "except_integers"):
        return edge.MatchExcept(list(value.strings if kind == "except_keywords" else value.integers))
    return _TEXT_MATCHES[kind](value)


_CONDITIONS: dict[str, Any] = {
    "field": lambda message, _depth: _field(message),
    "filter": lambda message, depth: filter_in(message, depth) or edge.Filter(),
    "nested": _nested,
    "has_id": lambda message, _depth: edge.HasIdCondition({id_in(item) for item in message.has_id}),
    "has_vector": lambda message, _depth: edge.HasVectorCondition(message.has_vector),
    "is_empty": lambda message, _depth: edge.IsEmptyCondition(message.key),
    "is_null": lambda message, _depth: edge.IsNullCondition(message.key),
}
# The engine's binding (0.9.0) reads Python's True as the integer 1, and 1 matches no boolean. What calls itself
# numpy's boolean and is no integer arrives as a boolean.
_TRUE, _FALSE = (
    cast(Any, type("bool_", (), {"__module__": "numpy", "__bool__": lambda _self, value=value: value}))()
    for value in (True, False)
)
_TEXT_MATCHES: dict[str, Any] = {
    "text": edge.MatchText,
    "text_any": edge.MatchTextAny,
    "phrase": edge.MatchPhrase,
    "prefix": edge.MatchPrefix,
    "substring": edge.MatchSubstring,
}
