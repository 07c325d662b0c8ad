"""REST bodies to the protobuf requests of the same calls: one implementation serves both fronts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from qdrant_client.conversions.conversion import RestToGrpc, grpc_payload_schema_to_field_type
from qdrant_client.http import models as m

from deploy.embedded.qdrant.errors import wrong_input
from streams.store.messages import grpc as pb

Maker = Callable[[dict[str, str], Any, bool], Any]  # path parameters, body, wait -> protobuf request


def _maybe(convert: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else convert(value)


def _name(path: dict[str, str]) -> str:
    return path["collection_name"]


def _filter(body: Any) -> Any:
    return _maybe(RestToGrpc.convert_filter, body.filter)


def _payload_choice(body: Any) -> Any:
    return _maybe(RestToGrpc.convert_with_payload_interface, body.with_payload)


def _vector_choice(body: Any) -> Any:
    return _maybe(RestToGrpc.convert_with_vectors, body.with_vector)


def _selector(body: Any) -> Any:
    """The points of a body that names them by ids or by filter."""
    if body.points is not None:
        return RestToGrpc.convert_points_selector(m.PointIdsList(points=body.points))
    if body.filter is not None:
        return RestToGrpc.convert_points_selector(m.FilterSelector(filter=body.filter))
    raise wrong_input("Either list of point ids or filter must be provided")


def upsert(path: dict[str, str], body: Any, wait: bool) -> Any:
    """PUT points: a list of points or a column-wise batch."""
    return pb.UpsertPoints(
        collection_name=_name(path),
        wait=wait,
        points=RestToGrpc.convert_point_insert_operation(body),
        update_filter=_maybe(RestToGrpc.convert_filter, body.update_filter),
        update_mode=_maybe(RestToGrpc.convert_update_mode, body.update_mode),
    )


def delete(path: dict[str, str], body: Any, wait: bool) -> Any:
    """POST points/delete."""
    return pb.DeletePoints(collection_name=_name(path), wait=wait, points=RestToGrpc.convert_points_selector(body))


def clear_payload(path: dict[str, str], body: Any, wait: bool) -> Any:
    """POST points/payload/clear."""
    selector = RestToGrpc.convert_points_selector(body)
    return pb.ClearPayloadPoints(collection_name=_name(path), wait=wait, points=selector)


def set_payload(path: dict[str, str], body: Any, wait: bool) -> Any:
    """POST and PUT points/payload."""
    return pb.SetPayloadPoints(
        collection_name=_name(path),
        wait=wait,
        payload=RestToGrpc.convert_payload(body.payload),
        points_selector=_selector(body),
        key=body.key,
    )


def delete_payload(path: dict[str, str], body: Any, wait: bool) -> Any:
    """POST points/payload/delete."""
    selector = _selector(body)
    return pb.DeletePayloadPoints(collection_name=_name(path), wait=wait, keys=body.keys, points_selector=selector)


def update_vectors(path: dict[str, str], body: Any, wait: bool) -> Any:
    """PUT points/vectors."""
    return pb.UpdatePointVectors(
        collection_name=_name(path),
        wait=wait,
        points=[RestToGrpc.convert_point_vectors(point) for point in body.points],
        update_filter=_maybe(RestToGrpc.convert_filter, body.update_filter),
    )


def delete_vectors(path: dict[str, str], body: Any, wait: bool) -> Any:
    """POST points/vectors/delete."""
    return pb.DeletePointVectors(
        collection_name=_name(path),
        wait=wait,
        points_selector=_selector(body),
        vectors=pb.VectorsSelector(names=body.vector),
    )


def update_batch(path: dict[str, str], body: Any, wait: bool) -> Any:
    """POST points/batch."""
    operations = [RestToGrpc.convert_update_operation(operation) for operation in body.operations]
    return pb.UpdateBatchPoints(collection_name=_name(path), wait=wait, operations=operations)


def get(path: dict[str, str], body: Any, _wait: bool) -> Any:
    """POST points: retrieve."""
    return pb.GetPoints(
        collection_name=_name(path),
        ids=[RestToGrpc.convert_extended_point_id(item) for item in body.ids],
        with_payload=_payload_choice(body),
        with_vectors=_vector_choice(body),
    )


def get_one(path: dict[str, str], _body: Any, _wait: bool) -> Any:
    """GET points/{id}: payload and vectors of one point."""
    text = path["id"]
    point_id = pb.PointId(num=int(text)) if text.isdigit() else pb.PointId(uuid=text)
    everything = pb.WithVectorsSelector(enable=True)
    return pb.GetPoints(collection_name=_name(path), ids=[point_id], with_vectors=everything)


def scroll(path: dict[str, str], body: Any, _wait: bool) -> Any:
    """POST points/scroll."""
    return pb.ScrollPoints(
        collection_name=_name(path),
        filter=_filter(body),
        offset=_maybe(RestToGrpc.convert_extended_point_id, body.offset),
        limit=body.limit,
        with_payload=_payload_choice(body),
        with_vectors=_vector_choice(body),
        order_by=_maybe(RestToGrpc.convert_order_by_interface, body.order_by),
    )


def count(path: dict[str, str], body: Any, _wait: bool) -> Any:
    """POST points/count."""
    return pb.CountPoints(collection_name=_name(path), filter=_filter(body), exact=body.exact)


def facet(path: dict[str, str], body: Any, _wait: bool) -> Any:
    """POST facet."""
    return pb.FacetCounts(
        collection_name=_name(path), key=body.key, filter=_filter(body), limit=body.limit, exact=body.exact
    )


def query(path: dict[str, str], body: Any, _wait: bool) -> Any:
    """POST points/query."""
    return RestToGrpc.convert_query_request(body, _name(path))


def query_batch(path: dict[str, str], body: Any, _wait: bool) -> Any:
    """POST points/query/batch."""
    queries = [RestToGrpc.convert_query_request(search, _name(path)) for search in body.searches]
    return pb.QueryBatchPoints(collection_name=_name(path), query_points=queries)


def query_groups(path: dict[str, str], body: Any, _wait: bool) -> Any:
    """POST points/query/groups."""
    prefetch = [body.prefetch] if isinstance(body.prefetch, m.Prefetch) else body.prefetch or []
    lookup = m.WithLookup(collection=body.with_lookup) if isinstance(body.with_lookup, str) else body.with_lookup
    return pb.QueryPointGroups(
        collection_name=_name(path),
        prefetch=[RestToGrpc.convert_prefetch_query(item) for item in prefetch],
        query=_maybe(RestToGrpc.convert_query_interface, body.query),
        using=body.using,
        filter=_filter(body),
        params=_maybe(RestToGrpc.convert_search_params, body.params),
        score_threshold=body.score_threshold,
        with_payload=_payload_choice(body),
        with_vectors=_vector_choice(body),
        lookup_from=_maybe(RestToGrpc.convert_lookup_location, body.lookup_from),
        limit=body.limit,
        group_size=body.group_size,
        group_by=body.group_by,
        with_lookup=_maybe(RestToGrpc.convert_with_lookup, lookup),
    )


def create_index(path: dict[str, str], body: Any, wait: bool) -> Any:
    """PUT index: a type's name, or parameters."""
    request = pb.CreateFieldIndexCollection(collection_name=_name(path), wait=wait, field_name=body.field_name)
    if body.field_schema is None:
        raise wrong_input("Field schema is missing: expected a type or index parameters")
    if isinstance(body.field_schema, m.PayloadSchemaType):
        kind = RestToGrpc.convert_payload_schema_type(body.field_schema)
        request.field_type = cast(Any, grpc_payload_schema_to_field_type(kind))
    else:
        request.field_index_params.CopyFrom(RestToGrpc.convert_payload_schema_params(body.field_schema))
    return request


def delete_index(path: dict[str, str], _body: Any, wait: bool) -> Any:
    """DELETE index/{field_name}."""
    return pb.DeleteFieldIndexCollection(collection_name=_name(path), wait=wait, field_name=path["field_name"])


def create_vector_name(path: dict[str, str], body: Any, wait: bool) -> Any:
    """PUT vectors/{vector_name}."""
    request = pb.CreateVectorNameRequest(collection_name=_name(path), wait=wait, vector_name=path["vector_name"])
    if isinstance(body, m.DenseVectorNameConfig):
        dense = pb.DenseVectorCreationConfig(
            size=body.dense.size,
            distance=RestToGrpc.convert_distance(body.dense.distance),
            multivector_config=_maybe(RestToGrpc.convert_multivector_config, body.dense.multivector_config),
            datatype=_maybe(RestToGrpc.convert_datatype, body.dense.datatype),
        )
        request.dense_config.CopyFrom(dense)
    else:
        sparse = pb.SparseVectorCreationConfig(
            modifier=_maybe(RestToGrpc.convert_modifier, body.sparse.modifier),
            datatype=_maybe(RestToGrpc.convert_datatype, body.sparse.datatype),
        )
        request.sparse_config.CopyFrom(sparse)
    return request


def delete_vector_name(path: dict[str, str], _body: Any, wait: bool) -> Any:
    """DELETE vectors/{vector_name}."""
    return pb.DeleteVectorNameRequest(collection_name=_name(path), wait=wait, vector_name=path["vector_name"])


def create_collection(path: dict[str, str], body: Any, _wait: bool) -> Any:
    """PUT collections/{name}."""
    return pb.CreateCollection(
        collection_name=_name(path),
        vectors_config=_maybe(RestToGrpc.convert_vectors_config, body.vectors),
        sparse_vectors_config=_maybe(RestToGrpc.convert_sparse_vector_config, body.sparse_vectors),
        hnsw_config=_maybe(RestToGrpc.convert_hnsw_config_diff, body.hnsw_config),
        wal_config=_maybe(RestToGrpc.convert_wal_config_diff, body.wal_config),
        optimizers_config=_maybe(RestToGrpc.convert_optimizers_config_diff, body.optimizers_config),
        quantization_config=_maybe(RestToGrpc.convert_quantization_config, body.quantization_config),
        on_disk_payload=body.on_disk_payload,
        shard_number=body.shard_number,
        replication_factor=body.replication_factor,
        sharding_method=_maybe(RestToGrpc.convert_sharding_method, body.sharding_method),
        metadata=_maybe(RestToGrpc.convert_payload, body.metadata),
    )


def update_collection(path: dict[str, str], body: Any, _wait: bool) -> Any:
    """PATCH collections/{name}."""
    return RestToGrpc.convert_update_collection(body, _name(path))


def collection(message: type[Any]) -> Maker:
    """Return a maker for requests that hold a collection's name and nothing else."""
    return lambda path, _body, _wait: message(collection_name=_name(path))


def nothing(message: type[Any]) -> Maker:
    """Return a maker for requests without fields."""
    return lambda _path, _body, _wait: message()


def change_aliases(_path: dict[str, str], body: Any, _wait: bool) -> Any:
    """POST collections/aliases."""
    return pb.ChangeAliases(actions=[RestToGrpc.convert_alias_operations(action) for action in body.actions])
