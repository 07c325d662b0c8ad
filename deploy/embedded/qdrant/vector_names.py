"""Named vectors that come and go while a collection lives."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from deploy.embedded.qdrant.config import checked_size, datatype, dense_params, distance, multivector
from deploy.embedded.qdrant.errors import wrong_input
from streams.store.messages import grpc as pb


def added(config: Any, request: Any) -> Any:
    """Return the collection's CreateCollection message with the requested vector in it."""
    fresh, name = _copy(config), request.vector_name
    if not name:
        raise wrong_input("Vector name is empty: expected a name")
    if request.WhichOneof("vector_config") == "dense_config":
        wanted = request.dense_config
        params = pb.VectorParams(size=checked_size(wanted.size), distance=wanted.distance)
        if wanted.HasField("multivector_config"):
            params.multivector_config.comparator = wanted.multivector_config.comparator
        if wanted.HasField("datatype"):
            params.datatype = wanted.datatype
        _as_map(fresh)[name].CopyFrom(params)
    elif request.WhichOneof("vector_config") == "sparse_config":
        sparse = pb.SparseVectorParams()
        if request.sparse_config.HasField("modifier"):
            sparse.modifier = request.sparse_config.modifier
        fresh.sparse_vectors_config.map[name].CopyFrom(sparse)
    else:
        raise wrong_input("Vector parameters are missing: expected a dense or a sparse configuration")
    return fresh


def removed(config: Any, request: Any) -> Any:
    """Return the collection's CreateCollection message without the named vector."""
    fresh, name = _copy(config), request.vector_name
    if name in fresh.sparse_vectors_config.map:
        del fresh.sparse_vectors_config.map[name]
    elif name in dense_params(fresh):
        del _as_map(fresh)[name]
    else:
        raise wrong_input(f"Not existing vector name error: {name}")
    return fresh


def create(request: Any) -> list[edge.UpdateOperation]:
    """CreateVectorNameRequest as the engine's operation."""
    if request.WhichOneof("vector_config") == "sparse_config":
        wanted = request.sparse_config
        modifier = edge.Modifier.Idf if wanted.modifier == pb.Modifier.Idf else None
        return [edge.UpdateOperation.create_sparse_vector(request.vector_name, modifier, datatype(wanted))]
    wanted = request.dense_config
    operation = edge.UpdateOperation.create_dense_vector(
        request.vector_name, wanted.size, distance(wanted.distance), multivector(wanted), datatype(wanted)
    )
    return [operation]


def delete(request: Any) -> list[edge.UpdateOperation]:
    """DeleteVectorNameRequest as the engine's operation."""
    return [edge.UpdateOperation.delete_vector_name(request.vector_name)]


def _copy(config: Any) -> Any:
    fresh = pb.CreateCollection()
    fresh.CopyFrom(config)
    return fresh


def _as_map(config: Any) -> Any:
    """Return the map of named dense vectors, the unnamed one moved into it."""
    if config.vectors_config.WhichOneof("config") == "params":
        plain = pb.VectorParams()
        plain.CopyFrom(config.vectors_config.params)
        config.vectors_config.params_map.map[""].CopyFrom(plain)
    return config.vectors_config.params_map.map
