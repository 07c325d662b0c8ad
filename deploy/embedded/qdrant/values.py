"""Ids, payloads and vectors between Qdrant's protobuf messages and the engine's Python values."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import qdrant_edge as edge

from deploy.embedded.qdrant.errors import wrong_input

PointId = int | str
FLOAT_BYTES = 4
_SCALARS = frozenset({"string_value", "integer_value", "double_value", "bool_value"})
_MAX_DEPTH = 64


def id_in(point_id: Any) -> PointId:
    """Return an id as an int or as UUID text, which the engine parses itself. Raises QdrantError where it is unset."""
    kind = point_id.WhichOneof("point_id_options")
    if kind == "uuid":
        return str(point_id.uuid)
    if kind == "num":
        return int(point_id.num)
    raise wrong_input("Point id is missing: expected an unsigned integer or a UUID")


def id_out(target: Any, point_id: Any) -> None:
    """Write an engine id into a PointId message."""
    if isinstance(point_id, int):
        target.num = point_id
    else:
        target.uuid = str(point_id)


def value_in(value: Any, depth: int = 0) -> Any:
    """Return a payload value as plain Python."""
    kind = value.WhichOneof("kind")
    if kind in _SCALARS:
        return getattr(value, kind)
    if depth >= _MAX_DEPTH:
        raise wrong_input(f"Payload is nested deeper than {_MAX_DEPTH} levels")
    if kind == "struct_value":
        return {key: value_in(item, depth + 1) for key, item in value.struct_value.fields.items()}
    if kind == "list_value":
        return [value_in(item, depth + 1) for item in value.list_value.values]
    return None


def payload_in(fields: Any) -> dict[str, Any]:
    """Return a payload map as a dict.

    Scalars that are neither empty nor zero take a short way, a third cheaper: only one of the three is ever set.
    """
    payload = {}
    for key in fields:
        value = fields[key]
        scalar = value.string_value or value.integer_value or value.double_value
        payload[key] = scalar or value_in(value)
    return payload


def value_out(target: Any, value: Any) -> None:
    """Write plain Python into a payload value message."""
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        if value < 2**63:
            target.integer_value = value
        else:
            target.double_value = float(value)  # the protocol has signed 64-bit integers only
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, dict):
        target.struct_value.SetInParent()
        payload_out(target.struct_value.fields, value)
    elif isinstance(value, list):
        target.list_value.SetInParent()
        for item in value:
            value_out(target.list_value.values.add(), item)
    else:
        target.null_value = 0


def payload_out(target: Any, payload: dict[str, Any]) -> None:
    """Write a dict into a payload map."""
    for key, value in payload.items():
        value_out(target[key], value)


class FiniteCheck:
    """Collects the bytes of a batch's vectors and looks once for NaN and infinity.

    The real server takes them over gRPC and ranks them first; here they are refused.
    """

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def add(self, data: bytes) -> None:
        """Remember one vector's little-endian float32 bytes."""
        self._chunks.append(data)

    def require(self) -> None:
        """Raise QdrantError when a collected vector holds a value that is not finite."""
        if not np.isfinite(np.frombuffer(b"".join(self._chunks), dtype="<f4")).all():
            raise wrong_input("Vector holds NaN or infinity: expected finite numbers only")


def floats_in(data: bytes, check: FiniteCheck) -> array[float]:
    """Return packed float32 bytes as an array the engine reads."""
    check.add(data)
    if len(data) % FLOAT_BYTES:
        raise wrong_input(f"Vector of {len(data)} bytes: expected packed 32-bit floats")
    return array("f", data)


def vector_in(vector: Any, check: FiniteCheck) -> Any:
    """Return one Vector message as the engine's value: array, SparseVector or list of lists."""
    kind = vector.WhichOneof("vector")
    if kind == "dense":
        return floats_in(vector.dense.data, check)
    if kind == "sparse":
        return sparse_in(vector.sparse, check)
    if kind == "multi_dense":
        return [floats_in(row.data, check).tolist() for row in vector.multi_dense.vectors]
    if kind is not None:
        raise wrong_input(f"Inference of `{kind}` needs a model: send vectors")
    return _deprecated_vector_in(vector, check)


def sparse_in(sparse: Any, check: FiniteCheck) -> edge.SparseVector:
    """Return a sparse vector with its indices sorted, as the engine keeps it."""
    values = floats_in(sparse.values, check)
    return sparse_vector(list(sparse.indices), values.tolist())


def sparse_vector(indices: list[int], values: list[float]) -> edge.SparseVector:
    """Build a sparse vector. Raises QdrantError for duplicates or unequal lengths."""
    if len(indices) != len(values):
        raise wrong_input(f"Sparse vector has {len(indices)} indices and {len(values)} values: expected as many")
    if len(set(indices)) != len(indices):
        raise wrong_input("Sparse vector indices: must be unique")
    order = sorted(range(len(indices)), key=indices.__getitem__)
    return edge.SparseVector([indices[i] for i in order], [values[i] for i in order])


def _deprecated_vector_in(vector: Any, check: FiniteCheck) -> Any:
    """Read the older form of a Vector message: data, optional indices, optional count."""
    values = floats_in(vector.data, check)
    if vector.HasField("indices"):
        return sparse_vector(list(vector.indices.data), values.tolist())
    if vector.HasField("vectors_count") and vector.vectors_count:
        width = len(values) // vector.vectors_count
        flat = values.tolist()
        return [flat[start : start + width] for start in range(0, len(flat), width)]
    return values


def vector_out(target: Any, vector: Any) -> None:
    """Write an engine vector into a VectorOutput message."""
    if isinstance(vector, edge.SparseVector):
        target.sparse.indices.extend(vector.indices)
        target.sparse.values = array("f", vector.values).tobytes()
    elif vector and isinstance(vector[0], list):
        for row in vector:
            target.multi_dense.vectors.add().data = array("f", row).tobytes()
    else:
        target.dense.data = array("f", vector).tobytes()


def vectors_out(target: Any, vector: Any) -> None:
    """Write what the engine returned for a point into a VectorsOutput message, if anything."""
    if vector is None:
        return
    if isinstance(vector, dict):
        named = target.vectors.vectors
        target.vectors.SetInParent()
        for name, item in vector.items():
            vector_out(named[name], item)
    else:
        vector_out(target.vector, vector)
