"""Update requests to the engine's operations, checked before the engine writes them to its log."""

from __future__ import annotations

from array import array
from typing import Any

import qdrant_edge as edge

from deploy.embedded.qdrant.errors import wrong_input
from deploy.embedded.qdrant.filters import filter_in, optional_filter
from deploy.embedded.qdrant.values import FLOAT_BYTES, FiniteCheck, id_in, payload_in, vector_in
from streams.store.messages import grpc as pb

Operations = list[edge.UpdateOperation]
_MODES = {
    pb.UpdateMode.Upsert: edge.UpdateMode.Upsert,
    pb.UpdateMode.InsertOnly: edge.UpdateMode.InsertOnly,
    pb.UpdateMode.UpdateOnly: edge.UpdateMode.UpdateOnly,
}


class VectorLayout:
    """Which vectors a collection has: dense ones with their size, sparse ones by name."""

    def __init__(self, dense: dict[str, Any], sparse: set[str]) -> None:
        self.dense = dense
        self.sparse = sparse
        plain = dense.get("")
        simple = plain is not None and not plain.HasField("multivector_config")
        self.plain_bytes = plain.size * FLOAT_BYTES if simple and plain is not None else -1

    def check(self, name: str, vector: Any) -> None:
        """Raise QdrantError where `vector` does not fit the vector called `name`."""
        if name in self.sparse:
            if not isinstance(vector, edge.SparseVector):
                raise wrong_input(f"Vector `{name}` is sparse: expected indices and values")
            return
        params = self.dense.get(name)
        if params is None:
            raise wrong_input(f"Not existing vector name error: {name}")
        if isinstance(vector, edge.SparseVector):
            raise wrong_input(f"Vector `{name}` is dense: expected a list of numbers")
        rows = vector if isinstance(vector, list) else [vector]
        if len(rows) != 1 and not params.HasField("multivector_config"):
            raise wrong_input(f"Vector `{name}` takes one vector a point: got {len(rows)}")
        for row in rows:
            if len(row) != params.size:
                raise wrong_input(f"Vector dimension error: expected dim: {params.size}, got {len(row)}")


def points_in(messages: Any, layout: VectorLayout) -> list[edge.Point]:
    """Return PointStruct messages as the engine's points."""
    check = FiniteCheck()
    points = []
    plain_bytes = layout.plain_bytes
    for message in messages:
        data = message.vectors.vector.dense.data
        vector: Any
        if len(data) == plain_bytes:  # the usual point takes the short way
            check.add(data)
            vector = array("f", data)
        else:
            vector = vectors_in(message.vectors, layout, check)
        points.append(edge.Point(id_in(message.id), vector, payload_in(message.payload)))
    check.require()
    return points


def vectors_in(vectors: Any, layout: VectorLayout, check: FiniteCheck) -> Any:
    """Return a Vectors message as the engine's value: one vector, or a dict of named ones."""
    kind = vectors.WhichOneof("vectors_options")
    if kind is None:
        raise wrong_input("Expected some vectors")
    if kind == "vector":
        named = {"": vector_in(vectors.vector, check)}
    else:
        named = {name: vector_in(item, check) for name, item in vectors.vectors.vectors.items()}
    for name, vector in named.items():
        layout.check(name, vector)
    return named[""] if kind == "vector" else named


def upsert(request: Any, layout: VectorLayout) -> Operations:
    """UpsertPoints: existing points are overwritten only where `update_filter` matches them; new ones always go in."""
    points = points_in(request.points, layout)
    if not points:
        return []
    mode = _MODES[request.update_mode] if request.HasField("update_mode") else None
    condition = optional_filter(request, "update_filter")
    return [edge.UpdateOperation.upsert_points(points, condition=condition, update_mode=mode)]


def update_vectors(request: Any, layout: VectorLayout) -> Operations:
    """UpdatePointVectors: replace the given vectors of points that exist."""
    check = FiniteCheck()
    points = [edge.PointVectors(id_in(item.id), vectors_in(item.vectors, layout, check)) for item in request.points]
    check.require()
    condition = (
        optional_filter(request, "update_filter") if "update_filter" in request.DESCRIPTOR.fields_by_name else None
    )
    return [edge.UpdateOperation.update_vectors(points, condition=condition)] if points else []


def selected(selector: Any, by_ids: Any, by_filter: Any, *args: Any) -> Operations:
    """Return one operation on the points of a selector: by ids or by filter."""
    kind = selector.WhichOneof("points_selector_one_of")
    if kind == "points":
        ids = [id_in(item) for item in selector.points.ids]
        return [by_ids(ids, *args)] if ids else []
    if kind == "filter":
        return [by_filter(filter_in(selector.filter) or edge.Filter(), *args)]
    raise wrong_input("Points selector is missing: expected ids or a filter")


def delete(selector: Any) -> Operations:
    """Delete the selected points."""
    operation = edge.UpdateOperation
    return selected(selector, operation.delete_points, operation.delete_points_by_filter)


def delete_vectors(request: Any, layout: VectorLayout) -> Operations:
    """Delete named vectors from the selected points."""
    operation = edge.UpdateOperation
    names = list(request.vectors.names)
    for name in names:
        if name not in layout.dense and name not in layout.sparse:
            raise wrong_input(f"Not existing vector name error: {name}")
    return selected(request.points_selector, operation.delete_vectors, operation.delete_vectors_by_filter, names)


def set_payload(request: Any) -> Operations:
    """Merge keys into the payload of the selected points."""
    operation = edge.UpdateOperation
    key = request.key if request.HasField("key") else None
    args = (payload_in(request.payload), key)
    return selected(request.points_selector, operation.set_payload, operation.set_payload_by_filter, *args)


def overwrite_payload(request: Any) -> Operations:
    """Replace the payload of the selected points."""
    operation = edge.UpdateOperation
    key = request.key if request.HasField("key") else None
    args = (payload_in(request.payload), key)
    return selected(request.points_selector, operation.overwrite_payload, operation.overwrite_payload_by_filter, *args)


def delete_payload(request: Any) -> Operations:
    """Delete keys from the payload of the selected points."""
    operation = edge.UpdateOperation
    keys = list(request.keys)
    return selected(request.points_selector, operation.delete_payload, operation.delete_payload_by_filter, keys)


def clear_payload(selector: Any) -> Operations:
    """Delete the whole payload of the selected points."""
    operation = edge.UpdateOperation
    return selected(selector, operation.clear_payload, operation.clear_payload_by_filter)


def batch(operations: Any, layout: VectorLayout) -> list[Operations]:
    """PointsUpdateOperation messages, in order."""
    return [_batch_part(operation, layout) for operation in operations]


def _batch_part(operation: Any, layout: VectorLayout) -> Operations:
    kind = operation.WhichOneof("operation")
    if kind is None:
        raise wrong_input("Malformed update operation: none of its kinds is set")
    part = getattr(operation, kind)
    if kind in ("delete_deprecated", "clear_payload_deprecated"):
        return delete(part) if kind == "delete_deprecated" else clear_payload(part)
    if kind in ("delete_points", "clear_payload"):
        return delete(part.points) if kind == "delete_points" else clear_payload(part.points)
    if kind in ("upsert", "update_vectors", "delete_vectors"):
        with_layout: dict[str, Any] = {
            "upsert": upsert,
            "update_vectors": update_vectors,
            "delete_vectors": delete_vectors,
        }
        return list(with_layout[kind](part, layout))
    plain: dict[str, Any] = {
        "set_payload": set_payload,
        "overwrite_payload": overwrite_payload,
        "delete_payload": delete_payload,
    }
    return list(plain[kind](part))
