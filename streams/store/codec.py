"""Items to Qdrant points, and nodes and items from the points of an answer; nodes are written by `node_wire`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streams.interests.applied import unpack_applied
from streams.interests.ballot import unpack_standing
from streams.interests.evidence import (
    NOT_BEGUN,
    Strongest,
    unpack_began,
    unpack_firsts,
    unpack_marks,
    unpack_ring,
)  # fmt: skip
from streams.interests.item_vectors import ItemPoint, StoredItem
from streams.interests.levels import LEARNED
from streams.interests.nodes import NAMESPACE, LearnedPart, Node, NodeKey, Vector
from streams.store import versions
from streams.store.messages import grpc
from streams.store.wire import Point, packed_row


def item_point_id(item_id: str) -> str:
    """The point id of an item: uuid5 of `item` and its id, joined by U+001F."""
    return str(uuid.uuid5(NAMESPACE, f"item\x1f{item_id}"))


def dense(row: Vector) -> grpc.DenseVector:
    """A float32 row as the protobuf message."""
    message: grpc.DenseVector = grpc.DenseVector.FromString(packed_row(row))
    return message


_NO_ROW: Vector = np.zeros(0, np.float32)
#: The vector of points that are only looked up by id.
ONE: Vector = np.ones(1, np.float32)
for _fixed in (_NO_ROW, ONE):
    _fixed.flags.writeable = False


def row_of(output: grpc.VectorsOutput) -> Vector:
    """The float32 row of a retrieved point; of one that was read without its vector, shape (0,)."""
    if not output.HasField("vector"):
        return _NO_ROW
    vector = output.vector
    if vector.HasField("dense"):
        dense = vector.dense
        packed = dense.SerializeToString()
        return np.frombuffer(packed[len(packed) - 4 * len(dense.data) :], dtype="<f4").astype(np.float32)
    return np.array(vector.data, dtype=np.float32)  # servers before 1.16 answer in the older field


def node_of(payload: Mapping[str, grpc.Value], row: Vector) -> Node:
    """A node from its point's payload and vector. NewerPoints as `require_known`."""
    if payload[versions.FIELD].integer_value > versions.NODES:  # 0 where it is missing; a call less for each node
        versions.require_known(payload, versions.NODES, "nodes")
    key = NodeKey(
        payload["user_id"].string_value,
        payload["level"].string_value,  # type: ignore[arg-type]  # only levels are ever written
        payload["path"].string_value,
    )
    return Node(
        key=key,
        direction=row,
        norm=payload["norm"].double_value,
        mass=payload["mass"].double_value,
        net=payload["net"].double_value,
        t0_ms=payload["t0"].integer_value,
        first_ms=payload["first"].integer_value,
        last_ms=payload["last"].integer_value,
        count=payload["count"].integer_value,
        applied=unpack_applied(payload["applied"].string_value),
        evidence=Strongest(payload["evidence"].string_value),
        ring=unpack_ring(payload["ring"].string_value) if "ring" in payload else b"",
        marks=unpack_marks(payload["marks"].string_value) if "marks" in payload else (),
        erased_at_ms=payload["erased_at"].integer_value if "erased_at" in payload else 0,
        seen=unpack_ring(payload["seen"].string_value) if "seen" in payload else b"",
        began=unpack_began(payload["began"].string_value) if "began" in payload else NOT_BEGUN,
        votes=unpack_standing(payload["votes"].string_value) if "votes" in payload else (),
        firsts=unpack_firsts(payload["firsts"].string_value) if "firsts" in payload else (),
        recents=payload["recents"].string_value if "recents" in payload else "",
        reread="reread" in payload,
        learned=_learned(payload) if key.level == LEARNED else None,
    )


def _learned(payload: Mapping[str, grpc.Value]) -> LearnedPart:
    return LearnedPart(
        payload["model"].string_value, payload["scale"].double_value, payload["bias"].double_value,
        payload["variance"].double_value if "variance" in payload else 0.0,
        payload["mean"].double_value if "mean" in payload else 0.0,
        payload["made"].integer_value if "made" in payload else 0,
    )  # fmt: skip


def item_point(point: ItemPoint) -> Point:
    """An item as a point of the collection `items`."""
    item = point.item
    plain: dict[str, Any] = {"item_id": item.item_id, "path": point.path, versions.FIELD: versions.ITEMS}
    optional = {
        "title": item.title, "description": item.description, "categories": list(item.categories),
        "tags": list(item.tags), "brand": item.brand, "lang": item.lang, "ts": item.ts_ms,
    }  # fmt: skip
    plain.update({name: known for name, known in optional.items() if known})
    if point.confidence is not None:
        plain["confidence"] = point.confidence
    return Point(item_point_id(item.item_id), point.vector, plain)


def item_of(payload: Mapping[str, grpc.Value], row: Vector) -> StoredItem:
    """What the fold needs of an item's point. NewerPoints as `require_known`."""
    versions.require_known(payload, versions.ITEMS, "items")
    return StoredItem(payload["item_id"].string_value, row, payload["path"].string_value)


def uuids(ids: Sequence[str]) -> list[grpc.PointId]:
    """Point ids as protobuf messages."""
    return [grpc.PointId(uuid=one) for one in ids]
