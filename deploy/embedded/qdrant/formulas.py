"""Qdrant's score formulas to the engine's expressions."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from deploy.embedded.qdrant.errors import wrong_input
from deploy.embedded.qdrant.filters import condition_in, geo_point
from deploy.embedded.qdrant.values import value_in

_E = edge.Expression
_LEAVES: dict[str, Any] = {
    "constant": _E.Constant,
    "variable": _E.Variable,
    "datetime": _E.Datetime,
    "datetime_key": _E.DatetimeKey,
}
_UNARY: dict[str, Any] = {
    "neg": _E.Neg,
    "abs": _E.Abs,
    "sqrt": _E.Sqrt,
    "exp": _E.Exp,
    "log10": _E.Log10,
    "ln": _E.Ln,
    "acosh": _E.Acosh,
}
_LISTS: dict[str, Any] = {"mult": _E.Mult, "sum": _E.Sum, "max": _E.Max, "min": _E.Min}
_DECAYS = {
    "exp_decay": edge.DecayKind.Exp,
    "gauss_decay": edge.DecayKind.Gauss,
    "lin_decay": edge.DecayKind.Lin,
}
_MAX_DEPTH = 32


def formula_in(message: Any) -> edge.Formula:
    """Return the engine's formula. Raises QdrantError where it is malformed."""
    defaults = {key: value_in(value) for key, value in message.defaults.items()}
    return edge.Formula(_expression(message.expression, 0), defaults)


def _expression(message: Any, depth: int) -> edge.Expression:
    kind = message.WhichOneof("variant")
    if kind is None or depth > _MAX_DEPTH:
        raise wrong_input(f"Malformed formula: expected known expressions, at most {_MAX_DEPTH} deep")
    part = getattr(message, kind)
    built: edge.Expression
    if kind in _LEAVES:
        built = _LEAVES[kind](part)
    elif kind in _UNARY:
        built = _UNARY[kind](_expression(part, depth + 1))
    elif kind in _LISTS:
        terms = getattr(part, kind)
        built = _LISTS[kind]([_expression(term, depth + 1) for term in terms])
    elif kind in _DECAYS:
        built = _decay(part, _DECAYS[kind], depth + 1)
    else:
        built = _other(kind, part, depth + 1)
    return built


def _decay(part: Any, kind: edge.DecayKind, depth: int) -> edge.Expression:
    return _E.Decay(
        kind,
        _expression(part.x, depth),
        target=_expression(part.target, depth) if part.HasField("target") else None,
        midpoint=part.midpoint if part.HasField("midpoint") else None,
        scale=part.scale if part.HasField("scale") else None,
    )


def _other(kind: str, part: Any, depth: int) -> edge.Expression:
    if kind == "condition":
        return _E.Condition(condition_in(part))
    if kind == "geo_distance":
        return _E.GeoDistance(geo_point(part.origin), part.to)
    if kind == "div":
        default = part.by_zero_default if part.HasField("by_zero_default") else None
        return _E.Div(_expression(part.left, depth), _expression(part.right, depth), default)
    if kind == "pow":
        return _E.Pow(_expression(part.base, depth), _expression(part.exponent, depth))
    raise wrong_input(f"Malformed formula: unknown expression `{kind}`")
