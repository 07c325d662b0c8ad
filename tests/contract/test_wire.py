"""Points as bytes are what qdrant-client's own messages are, to the byte where a message has one order only."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import grpc

from streams.interests.applied import Applied, pack_applied
from streams.interests.ballot import pack_standing, standing_vote
from streams.interests.evidence import Began, Evidence, Mark, SentFirst, pack_evidence, pack_firsts, pack_marks
from streams.interests.nodes import LearnedPart, Node, NodeKey, expires_at_ms
from streams.interests.recents import Recent, pack_recents
from streams.settings.policies import NodeSettings
from streams.store.base import Fence
from streams.store.codec import node_of
from streams.store.node_wire import nodes_bytes
from streams.store.wire import Point, point_bytes, points_bytes, varint

POLICY = NodeSettings().policy()
_FIELDS = {field.name for field in fields(Node)}
_MS = st.integers(0, 2**55)  # a node expires later
_SUM = st.floats(-1e15, 1e15)
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


_LEVELS = st.sampled_from(["topic", "profile", "learned"])


@given(
    st.lists(st.tuples(_SUM, _SUM, _SUM, _MS, _MS, st.integers(-3, 2**40), _LEVELS), min_size=1, max_size=5),
    st.integers(0, 2**53),
)
def test_nodes_are_what_their_payloads_say(rows: list[tuple[Any, ...]], fence: int) -> None:
    nodes = [_node(at, *row) for at, row in enumerate(rows)]
    request = grpc.UpsertPoints.FromString(nodes_bytes(nodes, POLICY, Fence(0, fence)))
    assert list(request.points) == [_message(_point(node, fence)) for node in nodes]
    for node, point in zip(nodes, request.points, strict=True):
        row = np.array(point.vectors.vector.dense.data, np.float32)
        back = node_of(point.payload, row)
        same = {name: getattr(node, name) == getattr(back, name) for name in _FIELDS - {"direction", "evidence"}}
        assert all(same.values()), same
        assert back.evidence == node.evidence
        assert (row == node.direction).all()


def test_a_time_out_of_range_is_refused() -> None:
    for ms in (-1, 2**56):
        with pytest.raises(ValueError, match="out of range"):
            nodes_bytes([_node(0, 1.0, 1.0, 1.0, ms, 0, 1, "topic")], POLICY, Fence(1, 1))
    assert nodes_bytes([], POLICY, Fence(1, 1)) == b""


def _node(at: int, mass: float, net: float, norm: float, t0_ms: int, last_ms: int, count: int, level: Any) -> Node:
    marks = (Mark("i", "like", False, 3, 0.1, "e", "ff"),)
    own: dict[str, Any] = {
        "ring": b"0123456789", "seen": b"012345", "began": Began(5, "/t"), "marks": marks,
        "votes": (standing_vote("clicks", "i", 7, 1.5, True),), "firsts": (SentFirst(("*",), "i", "/t", 9, 0.3),),
        "recents": pack_recents([Recent("i/é", 2**40, -0.1, "hide")]), "erased_at_ms": 1 + last_ms // 2, "reread": True,
    }  # fmt: skip
    more = own if level == "profile" else {}
    if level == "learned":
        more = {"learned": LearnedPart("interest-é-0a", 0.5 + at, net, at / 3, 0.1 * at, 1_700_000_000_000 * (at % 2))}
    return Node(
        key=NodeKey(f"u{at}é", level, "/茶" if level == "topic" else "/"),
        direction=np.linspace(-1, at, 5, dtype=np.float32), mass=abs(mass), net=net, norm=norm, t0_ms=t0_ms,
        first_ms=last_ms // 3, last_ms=last_ms, count=count, applied=Applied(at, {"clicks/0": at, "b/1": 2**50}),
        evidence=(Evidence("e=1;|", "i/1", 5, -1.5, "hide"), Evidence("é", "", 2**40, 1e-9)), **more,
    )  # fmt: skip


def _point(node: Node, fence: int) -> Point:
    """What a node's payload holds, field by field."""
    payload: dict[str, Any] = {
        "user_id": node.key.user_id, "level": node.key.level, "path": node.key.path, "mass": node.mass,
        "net": node.net, "norm": node.norm, "t0": node.t0_ms, "first": node.first_ms, "last": node.last_ms,
        "count": node.count, "expires_at": expires_at_ms(node, POLICY), "applied": pack_applied(node.applied),
        "evidence": pack_evidence(node.evidence), "fence": fence, "v": 3,
    }  # fmt: skip
    if node.key.level == "profile":
        payload |= {
            "ring": "MDEyMzQ1Njc4OQ==", "seen": "MDEyMzQ1", "began": "5;/t", "marks": pack_marks(node.marks),
            "votes": pack_standing(node.votes), "firsts": pack_firsts(node.firsts), "recents": node.recents,
            "erased_at": node.erased_at_ms, "reread": True,
        }  # fmt: skip
    if node.learned is not None:
        model, scale, bias, variance, mean, made_ms = node.learned
        rate = ({"made": made_ms} if made_ms else {}) | ({"variance": variance, "mean": mean} if variance else {})
        payload |= {"model": model, "scale": scale, "bias": bias} | rate
    return Point(node.id, node.direction, payload)
