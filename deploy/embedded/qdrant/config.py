"""Collection parameters: CreateCollection messages to the engine's configuration, and to what `info` answers."""

from __future__ import annotations

import re
from typing import Any

import qdrant_edge as edge

from deploy.embedded.qdrant.errors import not_implemented, wrong_input
from streams.store.messages import grpc as pb

INDEXING_THRESHOLD_KB = 10_000
_MAX_NAME = 255
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_MAX_SIZE = 65_536

_DISTANCES = {
    pb.Distance.Cosine: edge.Distance.Cosine,
    pb.Distance.Euclid: edge.Distance.Euclid,
    pb.Distance.Dot: edge.Distance.Dot,
    pb.Distance.Manhattan: edge.Distance.Manhattan,
}
_DATATYPES = {
    pb.Datatype.Float32: edge.VectorStorageDatatype.Float32,
    pb.Datatype.Float16: edge.VectorStorageDatatype.Float16,
    pb.Datatype.Uint8: edge.VectorStorageDatatype.Uint8,
}


def check_name(name: str) -> None:
    """Raise QdrantError where Qdrant would not take `name` for a collection."""
    if not name or len(name) > _MAX_NAME:
        raise wrong_input(f"Collection name of {len(name)} characters: expected 1 to {_MAX_NAME}")
    if _FORBIDDEN.search(name) or name in (".", ".."):
        raise wrong_input("Collection name holds a character that file names cannot hold")


def engine_config(request: Any) -> edge.EdgeConfig:
    """Return the engine's configuration for a CreateCollection message. Raises QdrantError."""
    if not dense_params(request) and not request.sparse_vectors_config.map:
        raise wrong_input("Collection has no vectors: expected at least one dense or sparse vector")
    return edge.EdgeConfig(
        vectors={name: _dense(params) for name, params in dense_params(request).items()} or None,
        sparse_vectors={name: sparse_config(params) for name, params in request.sparse_vectors_config.map.items()}
        or None,
        on_disk_payload=request.on_disk_payload if request.HasField("on_disk_payload") else None,
        hnsw_config=hnsw(request.hnsw_config) if request.HasField("hnsw_config") else None,
        quantization_config=quantization(request.quantization_config),
        optimizers=optimizers(request.optimizers_config),
    )


def dense_params(request: Any) -> dict[str, Any]:
    """Return the dense vectors' parameters by name; the unnamed vector's name is empty."""
    kind = request.vectors_config.WhichOneof("config")
    if kind == "params":
        return {"": request.vectors_config.params}
    if kind == "params_map":
        return dict(request.vectors_config.params_map.map)
    return {}


def _dense(params: Any) -> edge.EdgeVectorParams:
    return edge.EdgeVectorParams(
        size=checked_size(params.size),
        distance=distance(params.distance),
        on_disk=params.on_disk if params.HasField("on_disk") else None,
        multivector_config=multivector(params),
        datatype=datatype(params),
        quantization_config=quantization(params.quantization_config),
        hnsw_config=hnsw(params.hnsw_config) if params.HasField("hnsw_config") else None,
    )


def checked_size(size: int) -> int:
    """Return a vector's size if Qdrant takes it."""
    if not 1 <= size <= _MAX_SIZE:
        raise wrong_input(f"Vector size is {size}: expected 1 to {_MAX_SIZE}")
    return size


def distance(value: Any) -> edge.Distance:
    """Return the engine's distance."""
    if value not in _DISTANCES:
        raise wrong_input(f"Distance {value} is unknown: expected Cosine, Euclid, Dot or Manhattan")
    return _DISTANCES[value]


def datatype(params: Any) -> edge.VectorStorageDatatype | None:
    """Return the storage type of a message that has one, or None for the default (float32)."""
    if not params.HasField("datatype") or params.datatype == pb.Datatype.Default:
        return None
    if params.datatype not in _DATATYPES:
        raise not_implemented(f"datatype {pb.Datatype.Name(params.datatype)}")
    return _DATATYPES[params.datatype]


def multivector(params: Any) -> edge.MultiVectorConfig | None:
    """Return the multi-vector setting of a message, if it has one."""
    return edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if params.HasField("multivector_config") else None


def sparse_config(params: Any) -> edge.EdgeSparseVectorParams:
    """Return the engine's sparse vector parameters."""
    index = params.index
    return edge.EdgeSparseVectorParams(
        full_scan_threshold=index.full_scan_threshold if index.HasField("full_scan_threshold") else None,
        on_disk=index.on_disk if index.HasField("on_disk") else None,
        modifier=edge.Modifier.Idf if params.modifier == pb.Modifier.Idf else None,
        datatype=datatype(index),
    )


def hnsw(diff: Any) -> edge.HnswIndexConfig:
    """Return the engine's HNSW settings, Qdrant's defaults filled in."""
    full = hnsw_with_defaults(diff)
    return edge.HnswIndexConfig(
        m=full.m,
        ef_construct=full.ef_construct,
        full_scan_threshold=full.full_scan_threshold,
        max_indexing_threads=full.max_indexing_threads,
        on_disk=full.on_disk,
        payload_m=full.payload_m if full.HasField("payload_m") else None,
    )


def hnsw_with_defaults(diff: Any) -> Any:
    """Return an HnswConfigDiff with Qdrant's defaults where `diff` is silent."""
    full = pb.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=10_000, max_indexing_threads=0, on_disk=False)
    full.MergeFrom(diff)
    return full


def optimizers(diff: Any) -> edge.EdgeOptimizersConfig:
    """Return the engine's optimiser settings. A threshold of 0 means never, as in Qdrant."""

    def given(name: str) -> Any:
        return getattr(diff, name) if diff.HasField(name) else None

    return edge.EdgeOptimizersConfig(
        deleted_threshold=given("deleted_threshold"),
        vacuum_min_vector_number=given("vacuum_min_vector_number"),
        default_segment_number=given("default_segment_number") or None,
        max_segment_size=given("max_segment_size"),
        indexing_threshold=indexing_threshold_kb(diff),
    )


def indexing_threshold_kb(diff: Any) -> int:
    """Return from how many KB of unindexed vectors an HNSW index is built; 0 for never."""
    return int(diff.indexing_threshold) if diff.HasField("indexing_threshold") else INDEXING_THRESHOLD_KB


def quantization(config: Any) -> Any:
    """Return the engine's quantisation, or None where the message names none."""
    kind = config.WhichOneof("quantization")
    if kind is None:
        return None
    params = getattr(config, kind)
    always_ram = params.always_ram if params.HasField("always_ram") else None
    if kind == "scalar":
        quantile = params.quantile if params.HasField("quantile") else None
        return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=quantile, always_ram=always_ram)
    if kind == "product":
        ratios = edge.CompressionRatio
        ratio = (ratios.X4, ratios.X8, ratios.X16, ratios.X32, ratios.X64)[params.compression]
        return edge.ProductQuantizationConfig(ratio, always_ram=always_ram)
    if kind == "binary":
        return edge.BinaryQuantizationConfig(always_ram=always_ram)
    raise not_implemented(f"quantization `{kind}`")


def info_config(request: Any) -> Any:
    """Return the CollectionConfig that `info` answers for the CreateCollection message a collection was made with."""
    config = pb.CollectionConfig()
    params = config.params
    params.shard_number = 1
    params.on_disk_payload = request.on_disk_payload if request.HasField("on_disk_payload") else True
    params.replication_factor = 1
    params.write_consistency_factor = 1
    if request.HasField("vectors_config"):
        params.vectors_config.CopyFrom(request.vectors_config)
    if request.HasField("sparse_vectors_config"):
        params.sparse_vectors_config.CopyFrom(request.sparse_vectors_config)
    config.hnsw_config.CopyFrom(hnsw_with_defaults(request.hnsw_config))
    config.optimizer_config.CopyFrom(
        pb.OptimizersConfigDiff(
            deleted_threshold=0.2,
            vacuum_min_vector_number=1000,
            default_segment_number=0,
            indexing_threshold=INDEXING_THRESHOLD_KB,
            flush_interval_sec=5,
        )
    )
    config.optimizer_config.MergeFrom(request.optimizers_config)
    config.wal_config.CopyFrom(pb.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0))
    if request.HasField("quantization_config"):
        config.quantization_config.CopyFrom(request.quantization_config)
    for key, value in request.metadata.items():
        config.metadata[key].CopyFrom(value)
    return config


def updated_config(config: Any, request: Any) -> Any:
    """Return the CreateCollection message that an UpdateCollection turns `config` into. Raises QdrantError."""
    fresh = pb.CreateCollection()
    fresh.CopyFrom(config)
    for field in ("optimizers_config", "hnsw_config"):
        if request.HasField(field):
            getattr(fresh, field).MergeFrom(getattr(request, field))
    if request.HasField("params") and request.params.HasField("on_disk_payload"):
        fresh.on_disk_payload = request.params.on_disk_payload
    if request.HasField("quantization_config"):
        _set_quantization(fresh, request.quantization_config)
    if request.HasField("sparse_vectors_config"):
        for name, params in request.sparse_vectors_config.map.items():
            if name not in fresh.sparse_vectors_config.map:
                raise wrong_input(f"Not existing vector name error: {name}")
            fresh.sparse_vectors_config.map[name].MergeFrom(params)
    if request.HasField("vectors_config"):
        _update_vectors(dense_params(fresh), request.vectors_config)
    for key, value in request.metadata.items():
        fresh.metadata[key].CopyFrom(value)
    engine_config(fresh)
    return fresh


def _set_quantization(target: Any, diff: Any) -> None:
    """Take over a quantisation, or drop it where the change says disabled."""
    target.ClearField("quantization_config")
    kind = diff.WhichOneof("quantization")
    if kind is not None and kind != "disabled":
        getattr(target.quantization_config, kind).CopyFrom(getattr(diff, kind))


def _update_vectors(dense: dict[str, Any], diff: Any) -> None:
    kind = diff.WhichOneof("config")
    changes = {"": diff.params} if kind == "params" else dict(diff.params_map.map)
    for name, change in changes.items():
        if name not in dense:
            raise wrong_input(f"Not existing vector name error: {name}")
        if change.HasField("hnsw_config"):
            dense[name].hnsw_config.MergeFrom(change.hnsw_config)
        if change.HasField("on_disk"):
            dense[name].on_disk = change.on_disk
        if change.HasField("quantization_config"):
            _set_quantization(dense[name], change.quantization_config)
