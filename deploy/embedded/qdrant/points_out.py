"""Points the engine returned to Qdrant's messages, and the selectors that say what of them is wanted."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from deploy.embedded.qdrant.values import id_out, payload_out, vectors_out


def payload_selector(request: Any, *, default: bool) -> Any:
    """Return the engine's payload selection of a request."""
    if not request.HasField("with_payload"):
        return default
    selector = request.with_payload
    kind = selector.WhichOneof("selector_options")
    if kind == "include":
        return edge.PayloadSelector.Include(list(selector.include.fields))
    if kind == "exclude":
        return edge.PayloadSelector.Exclude(list(selector.exclude.fields))
    return bool(selector.enable)


def vector_selector(request: Any) -> bool | list[str]:
    """Return the engine's vector selection of a request: none unless asked for."""
    if not request.HasField("with_vectors"):
        return False
    selector = request.with_vectors
    if selector.WhichOneof("selector_options") == "include":
        return list(selector.include.names)
    return bool(selector.enable)


def record_out(target: Any, record: edge.Record) -> None:
    """Write a record into a RetrievedPoint message."""
    id_out(target.id, record.id)
    payload = record.payload
    if payload:
        payload_out(target.payload, payload)
    vectors_out(target.vectors, record.vector)
    order_out(target, record.order_value)


def scored_out(target: Any, point: edge.ScoredPoint, *, vectors: bool) -> None:
    """Write a scored point into a ScoredPoint message. MMR brings vectors along unasked: `vectors` says if wanted."""
    id_out(target.id, point.id)
    target.score = point.score
    target.version = point.version
    payload = point.payload
    if payload:
        payload_out(target.payload, payload)
    if vectors:
        vectors_out(target.vectors, point.vector)
    order_out(target, point.order_value)


def order_out(target: Any, value: Any) -> None:
    """Write the value a point was ordered by, if it was."""
    if isinstance(value, int):
        target.order_value.int = value
    elif isinstance(value, float):
        target.order_value.float = value
