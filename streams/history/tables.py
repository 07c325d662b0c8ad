"""The tables of an export: their columns, and rows of nodes, events, items and popularity and features as Arrow tables.

`docs/export.md` describes every column; a test holds it to these schemas. Needs the extra `parquet`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from streams.history.refold import FoldedEvent
from streams.interests.decay import decayed
from streams.interests.nodes import Node, NodePolicy, Vector, expires_at_ms
from streams.interests.popularity import SHORTER_S, ItemPopularity, half_lives_s
from streams.ranking.rows import NAMES, PastRow
from streams.store.cards import Card

#: Goes up when a column changes its name, type or meaning; new columns at the end leave it as it is.
SCHEMA_VERSION: Final = 1

_TIME: Final = pa.timestamp("ms", tz="UTC")
_WORDS: Final = pa.list_(pa.string())
_EVIDENCE: Final = pa.list_(
    pa.struct([
        ("event_id", pa.string()), ("item_id", pa.string()), ("ts", _TIME), ("weight", pa.float64()),
        ("type", pa.string()),
    ])
)  # fmt: skip


def trees_schema(dim: int) -> pa.Schema:
    """One row a node."""
    return pa.schema([
        ("user_id", pa.string()), ("level", pa.string()), ("path", pa.string()), ("mass", pa.float64()),
        ("net", pa.float64()), ("norm", pa.float64()), ("direction", pa.list_(pa.float32(), dim)),
        ("count", pa.int64()), ("first", _TIME), ("last", _TIME), ("expires", _TIME), ("evidence", _EVIDENCE),
    ])  # fmt: skip


def items_schema(dim: int) -> pa.Schema:
    """One row an item."""
    return pa.schema([
        ("item_id", pa.string()), ("title", pa.string()), ("description", pa.string()), ("categories", _WORDS),
        ("tags", _WORDS), ("brand", pa.string()), ("lang", pa.string()), ("ts", _TIME), ("path", pa.string()),
        ("confidence", pa.float64()), ("vector", pa.list_(pa.float32(), dim)),
    ])  # fmt: skip


POPULARITY_SCHEMA: Final = pa.schema([
    ("item_id", pa.string()), ("mass", pa.float64()), *((f"mass_{name}", pa.float64()) for name in SHORTER_S),
    ("count", pa.int64()), ("last", _TIME),
])  # fmt: skip
EVENTS_SCHEMA: Final = pa.schema([
    ("event_id", pa.string()), ("user_id", pa.string()), ("type", pa.string()), ("ts", _TIME), ("arrived", _TIME),
    ("item_id", pa.string()), ("rating", pa.float64()), ("dwell_ms", pa.int64()), ("items", _WORDS),
    ("clicked", _WORDS), ("context", pa.string()), ("text", pa.string()), ("folded", pa.bool_()),
    ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()),
])  # fmt: skip
FEATURES_SCHEMA: Final = pa.schema([
    ("row", pa.int64()), ("user_id", pa.string()), ("item_id", pa.string()), ("ts", _TIME), ("known", pa.bool_()),
    ("events", pa.int64()), *((name, pa.float64()) for name in NAMES),
])  # fmt: skip


def trees_table(nodes: Sequence[Node], at_ms: int, policy: NodePolicy, dim: int) -> pa.Table:
    """Nodes with their sums decayed to a moment."""

    def at(one: Node, value: float) -> float:
        return decayed(value, one.t0_ms, at_ms, policy.half_life_ms(one.key.level))

    columns: dict[str, Any] = {
        "user_id": [one.key.user_id for one in nodes],
        "level": [one.key.level for one in nodes],
        "path": [one.key.path for one in nodes],
        "mass": [at(one, one.mass) for one in nodes],
        "net": [at(one, one.net) for one in nodes],
        "norm": [at(one, one.norm) for one in nodes],
        "direction": _vectors([one.direction for one in nodes], dim),
        "count": [one.count for one in nodes],
        "first": [one.first_ms for one in nodes],
        "last": [one.last_ms for one in nodes],
        "expires": [expires_at_ms(one, policy) for one in nodes],
        "evidence": [
            [{"event_id": e.event_id, "item_id": e.item_id or None, "ts": e.ts_ms, "weight": e.weight,
              "type": e.type or None} for e in one.evidence]
            for one in nodes
        ],
    }  # fmt: skip
    return _table(columns, trees_schema(dim))


def items_table(cards: Sequence[Card], dim: int) -> pa.Table:
    """Items as they are described now."""
    columns = {
        name: [getattr(card, name) for card in cards]
        for name in ("item_id", "title", "description", "categories", "tags", "brand", "lang", "path", "confidence")
    }
    columns["ts"] = [card.ts_ms for card in cards]
    return _table({**columns, "vector": _vectors([card.vector for card in cards], dim)}, items_schema(dim))


def popularity_table(items: Sequence[ItemPopularity], at_ms: int, half_life_s: float) -> pa.Table:
    """Items' masses decayed to a moment, at the half-life of the settings and the shorter ones."""
    names = ("mass", *(f"mass_{name}" for name in SHORTER_S))
    columns: dict[str, Any] = {
        name: [decayed(one.masses[at], one.t0_ms, at_ms, life_s * 1000.0) for one in items]
        for at, (name, life_s) in enumerate(zip(names, half_lives_s(half_life_s), strict=True))
    }
    columns["item_id"] = [one.item_id for one in items]
    columns["count"] = [one.count for one in items]
    columns["last"] = [one.last_ms or None for one in items]
    return _table(columns, POPULARITY_SCHEMA)


def events_table(events: Sequence[FoldedEvent], *, with_text: bool) -> pa.Table:
    """Events, each once; what people wrote only `with_text`."""
    rows: Mapping[str, Callable[[FoldedEvent], Any]] = {
        "event_id": lambda one: one.event.event_id,
        "user_id": lambda one: one.event.user_id,
        "type": lambda one: one.event.type,
        "ts": lambda one: one.event.ts_ms,
        "arrived": lambda one: one.record.timestamp,
        "item_id": lambda one: one.event.item_id,
        "rating": lambda one: one.event.rating,
        "dwell_ms": lambda one: one.event.dwell_ms,
        "items": lambda one: one.event.items or None,
        "clicked": lambda one: one.event.clicked if one.event.type == "impression" else None,
        "context": lambda one: msgspec.json.encode(one.event.context).decode() if one.event.context else None,
        "text": lambda one: one.event.text if with_text else None,
        "folded": lambda one: one.folded,
        "topic": lambda one: one.record.topic,
        "partition": lambda one: one.record.partition,
        "offset": lambda one: one.record.offset,
    }
    return _table({name: [of(one) for one in events] for name, of in rows.items()}, EVENTS_SCHEMA)


def features_table(rows: Sequence[PastRow]) -> pa.Table:
    """Feature rows; those of items that nobody has described have no features."""
    unknown = [None] * len(NAMES)
    columns: dict[str, Any] = {
        "row": [one.row for one in rows], "user_id": [one.user_id for one in rows],
        "item_id": [one.item_id for one in rows], "ts": [one.ts_ms for one in rows],
        "known": [one.values is not None for one in rows], "events": [one.events for one in rows],
    }  # fmt: skip
    values = [unknown if one.values is None else one.values for one in rows]
    columns |= {name: [row[at] for row in values] for at, name in enumerate(NAMES)}
    return _table(columns, FEATURES_SCHEMA)


def _table(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    return pa.table([_column(columns[one.name], one.type) for one in schema], schema=schema)


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, kind)


def _vectors(rows: Sequence[Vector], dim: int) -> pa.Array:
    flat = np.concatenate(rows) if rows else np.zeros(0, np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.astype(np.float32, copy=False)), dim)
