"""Points as bytes are what qdrant-client's own messages are, to the byte where a message has one order only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import grpc

from streams.store.wire import Point, point_bytes, points_bytes, varint

_WHOLE = st.integers(min_value=-(2**63), max_value=2**63 - 1)
_PLAIN = st.one_of(
    st.text(max_size=20), _WHOLE, st.booleans(), st.floats(allow_nan=False), st.lists(st.text(max_size=9), max_size=4)
)


def _message(point: Point) -> grpc.PointStruct:
    """The same through qdrant-client's messages."""
    dense = grpc.DenseVector(data=point.row.tolist())
    message = grpc.PointStruct(id=grpc.PointId(uuid=point.id), vectors=grpc.Vectors(vector=grpc.Vector(dense=dense)))
    for name, plain in point.payload.items():
        message.payload[name].CopyFrom(_as_value(plain))
    return message


def _as_value(plain: Any) -> grpc.Value:
    match plain:
        case bool():
            return grpc.Value(bool_value=plain)
        case int():
            return grpc.Value(integer_value=plain)
        case float():
            return grpc.Value(double_value=plain)
        case str():
            return grpc.Value(string_value=plain)
    value = grpc.Value()
    value.list_value.SetInParent()
    value.list_value.values.extend(grpc.Value(string_value=one) for one in plain)
    return value


@given(st.dictionaries(st.text(max_size=9), _PLAIN, max_size=6), st.integers(0, 5000), st.text(max_size=40))
def test_a_request_is_what_the_clients_own_messages_are(payload: dict[str, Any], dim: int, name: str) -> None:
    row = np.linspace(-1, 1, dim, dtype=np.float32)
    points = [Point("6d2f6f0e-5c1b-5a43-9f5e-2f0b6b1c7a11", row, payload), Point("", row[:1], {name: "only"})]
    head = grpc.UpsertPoints(collection_name="c", wait=True)
    request = grpc.UpsertPoints.FromString(head.SerializeToString() + points_bytes(points))
    assert request == grpc.UpsertPoints(collection_name="c", wait=True, points=map(_message, points))


@pytest.mark.parametrize("payload", [{}, {"a": ""}, {"a": 0.0}, {"a": -0.0}, {"a": []}, {"a": -1}, {"é": ["", "茶"]}])
def test_a_point_with_one_entry_is_the_same_bytes(payload: dict[str, Any]) -> None:
    point = Point("x", np.ones(3, np.float32), payload)
    own = _message(point).SerializeToString(deterministic=True)
    assert point_bytes(point) == b"\x1a" + varint(len(own)) + own


def test_a_row_that_is_not_in_one_piece_is_copied() -> None:
    rows = np.arange(12, dtype=np.float64).reshape(3, 4).T
    request = grpc.UpsertPoints.FromString(point_bytes(Point("x", rows[1], {})))
    assert list(request.points[0].vectors.vector.dense.data) == [1.0, 5.0, 9.0]


def test_what_is_no_payload_is_refused() -> None:
    with pytest.raises(TypeError):
        point_bytes(Point("x", np.ones(1, np.float32), {"a": None}))
