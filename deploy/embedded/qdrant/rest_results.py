"""Protobuf answers to what the REST calls return under `result`."""

from __future__ import annotations

from typing import Any

from qdrant_client.conversions.conversion import GrpcToRest

from deploy.embedded.qdrant.errors import not_found
from deploy.embedded.qdrant.wire import rewrap
from streams.store.messages import grpc as pb


def plain(response: Any) -> Any:
    """The result field as it is."""
    return response.result


def update(response: Any) -> Any:
    """UpdateResult."""
    return GrpcToRest.convert_update_result(response.result)


def update_batch(response: Any) -> Any:
    """A list of UpdateResult."""
    return [GrpcToRest.convert_update_result(result) for result in response.result]


def records(response: Any) -> Any:
    """The records of a retrieval."""
    return [GrpcToRest.convert_retrieved_point(point) for point in rewrap(response, pb.GetResponse).result]


def one_record(response: Any) -> Any:
    """The only record of a retrieval, which must be there."""
    found = records(response)
    if not found:
        raise not_found("Point does not exists!")
    return found[0]


def scroll(response: Any) -> Any:
    """A page of records and where the next one starts."""
    page = rewrap(response, pb.ScrollResponse)
    following = GrpcToRest.convert_point_id(page.next_page_offset) if page.HasField("next_page_offset") else None
    return {
        "points": [GrpcToRest.convert_retrieved_point(point) for point in page.result],
        "next_page_offset": following,
    }


def count(response: Any) -> Any:
    """How many."""
    return {"count": response.result.count}


def facet(response: Any) -> Any:
    """Values and their counts."""
    hits = rewrap(response, pb.FacetResponse).hits
    return {"hits": [GrpcToRest.convert_facet_value_hit(hit) for hit in hits]}


def query(response: Any) -> Any:
    """Scored points."""
    found = rewrap(response, pb.QueryResponse).result
    return {"points": [GrpcToRest.convert_scored_point(point) for point in found]}


def query_batch(response: Any) -> Any:
    """Scored points of each query."""
    results = rewrap(response, pb.QueryBatchResponse).result
    return [{"points": [GrpcToRest.convert_scored_point(point) for point in one.result]} for one in results]


def query_groups(response: Any) -> Any:
    """Groups of scored points."""
    return GrpcToRest.convert_groups_result(rewrap(response, pb.QueryGroupsResponse).result)


def info(response: Any) -> Any:
    """CollectionInfo."""
    return GrpcToRest.convert_collection_info(response.result)


def names(response: Any) -> Any:
    """The names of the collections."""
    return {"collections": [{"name": item.name} for item in response.collections]}


def exists(response: Any) -> Any:
    """Whether there is one."""
    return {"exists": response.result.exists}


def aliases(response: Any) -> Any:
    """Aliases and where they lead."""
    pairs = [{"alias_name": item.alias_name, "collection_name": item.collection_name} for item in response.aliases]
    return {"aliases": pairs}
