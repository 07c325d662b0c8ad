"""The parts of the embedded Qdrant that need no server: conversions, groups, configurations, keys."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge as edge
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import grpc as pb

from deploy.embedded.qdrant import qdrant_process, wire
from deploy.embedded.qdrant.config import check_name, engine_config, info_config, updated_config
from deploy.embedded.qdrant.errors import QdrantError, from_engine
from deploy.embedded.qdrant.filters import filter_in
from deploy.embedded.qdrant.groups import group_keys
from deploy.embedded.qdrant.points_in import VectorLayout, points_in
from deploy.embedded.qdrant.security import authorise
from deploy.embedded.qdrant.values import payload_in, payload_out

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
PLAIN = pb.VectorParams(size=3, distance=pb.Distance.Cosine)


def _create(name: str = "c", **more: Any) -> Any:
    return pb.CreateCollection(collection_name=name, vectors_config=pb.VectorsConfig(params=PLAIN), **more)


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4))
@settings(max_examples=150, deadline=None)
def test_payloads_pass_through_messages_unchanged(payload: dict[str, Any]) -> None:
    message = wire.message_class("RetrievedPoint")()
    payload_out(message.payload, payload)
    again = wire.message_class("RetrievedPoint").FromString(message.SerializeToString())
    assert payload_in(again.payload) == payload


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40))
@settings(max_examples=50, deadline=None)
def test_packed_floats_are_the_same_bytes_in_both_schemas(numbers: list[float]) -> None:
    official = pb.DenseVector(data=numbers).SerializeToString()
    fast = wire.message_class("DenseVector").FromString(official)
    assert fast.data == struct.pack(f"<{len(numbers)}f", *numbers)
    assert fast.SerializeToString() == official


def test_points_are_checked_before_the_engine_sees_them() -> None:
    layout = VectorLayout({"": PLAIN}, set())

    def read(*vectors: list[float]) -> list[edge.Point]:
        request = pb.UpsertPoints(
            points=[
                pb.PointStruct(id=pb.PointId(num=i), vectors=pb.Vectors(vector=pb.Vector(dense=pb.DenseVector(data=v))))
                for i, v in enumerate(vectors)
            ]
        )
        return points_in(wire.rewrap(request, wire.message_class("UpsertPoints")).points, layout)

    assert [point.vector for point in read([1, 2, 3], [4, 5, 6])] == [[1, 2, 3], [4, 5, 6]]
    for bad in ([1, 2], [1, 2, 3, 4], [], [1, math.nan, 2], [math.inf, 1, 1]):
        with pytest.raises(QdrantError):
            read([1, 2, 3], bad)


def test_filters_have_a_bound_on_their_depth() -> None:
    deep = pb.Filter()
    for _ in range(40):
        deep = pb.Filter(must=[pb.Condition(filter=deep)])
    with pytest.raises(QdrantError, match="nested deeper"):
        filter_in(deep)


def test_a_boolean_match_is_no_integer_match() -> None:
    """The engine's binding reads True as 1; should a release read it right, the detour can go."""
    chosen = filter_in(pb.Filter(must=[pb.Condition(field=pb.FieldCondition(key="a", match=pb.Match(boolean=True)))]))
    assert chosen is not None
    assert chosen.must is not None
    condition = chosen.must[0]
    assert isinstance(condition, edge.FieldCondition)
    assert isinstance(condition.match, edge.MatchValue)
    assert condition.match.value is True
    assert edge.MatchValue(True).value is not True


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a", ["x"]),
        ("b", [1, 2]),
        ("c.d", [3]),
        ("e[].f", ["p", "q"]),
        ("g", []),
        ("h", []),
        ("missing", []),
    ],
)
def test_group_keys_are_strings_and_integers(path: str, expected: list[Any]) -> None:
    payload = {
        "a": "x",
        "b": [1, 2, 1, True, 0.5],
        "c": {"d": 3},
        "e": [{"f": "p"}, {"f": "q"}, {}],
        "g": 1.5,
        "h": None,
    }
    assert group_keys(payload, path) == expected


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 256, "a\x00b", 'a"b'])
def test_names_that_cannot_be_files_are_refused(name: str) -> None:
    with pytest.raises(QdrantError):
        check_name(name)


@pytest.mark.parametrize(
    "request_",
    [
        pb.CreateCollection(collection_name="c"),
        pb.CreateCollection(
            collection_name="c", vectors_config=pb.VectorsConfig(params=pb.VectorParams(size=0, distance=1))
        ),
        pb.CreateCollection(collection_name="c", vectors_config=pb.VectorsConfig(params=pb.VectorParams(size=4))),
    ],
)
def test_collections_need_vectors_that_make_sense(request_: Any) -> None:
    with pytest.raises(QdrantError):
        engine_config(request_)


def test_updates_change_what_they_name_and_nothing_else() -> None:
    config = _create(hnsw_config=pb.HnswConfigDiff(m=8))
    change = pb.UpdateCollection(
        optimizers_config=pb.OptimizersConfigDiff(indexing_threshold=5),
        vectors_config=pb.VectorsConfigDiff(
            params=pb.VectorParamsDiff(hnsw_config=pb.HnswConfigDiff(m=4), on_disk=True)
        ),
        quantization_config=pb.QuantizationConfigDiff(
            scalar=pb.ScalarQuantization(type=pb.QuantizationType.Int8, always_ram=True)
        ),
    )
    fresh = updated_config(config, change)
    assert info_config(fresh).hnsw_config.m == 8
    assert fresh.vectors_config.params.hnsw_config.m == 4
    assert fresh.vectors_config.params.on_disk
    assert fresh.optimizers_config.indexing_threshold == 5
    assert fresh.quantization_config.scalar.always_ram
    assert not config.HasField("optimizers_config"), "the former parameters stay as they were"
    disabled = pb.UpdateCollection(quantization_config=pb.QuantizationConfigDiff(disabled=pb.Disabled()))
    assert not updated_config(fresh, disabled).HasField("quantization_config")
    missing = pb.VectorsConfigDiff(params_map=pb.VectorParamsDiffMap(map={"no": pb.VectorParamsDiff(on_disk=True)}))
    with pytest.raises(QdrantError, match="Not existing vector name"):
        updated_config(config, pb.UpdateCollection(vectors_config=missing))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("No point with id 7", 404),
        ("Vector dimension error: expected dim: 4, got 2", 400),
        ("Service runtime error: disk is full", 500),
    ],
)
def test_the_engines_words_become_qdrants_codes(text: str, status: int) -> None:
    assert from_engine(Exception(text)).status == status


def test_keys_come_in_two_headers() -> None:
    authorise(None, None, None)
    authorise("k", None, "k")
    authorise(None, "Bearer k", "k")
    for header, bearer in ((None, None), ("", None), ("K", None), (None, "Bearer"), ("x", "Bearer k")):
        with pytest.raises(QdrantError):
            authorise(header, bearer, "k")


def test_the_command_names_the_module_and_its_ports(tmp_path: Path) -> None:
    command = qdrant_process(tmp_path, 1, 2, tmp_path / "key")
    assert command[1:] == [
        *("-m", "deploy.embedded.qdrant", "--data", str(tmp_path), "--grpc-port", "1", "--http-port", "2"),
        *("--api-key-file", str(tmp_path / "key")),
    ]
