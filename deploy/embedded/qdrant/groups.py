"""Query results grouped by a payload key: the engine has no groups, so they are gathered from its ranked results."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from deploy.embedded.qdrant import wire
from deploy.embedded.qdrant.filters import optional_filter
from deploy.embedded.qdrant.points_out import payload_selector, record_out, scored_out, vector_selector
from deploy.embedded.qdrant.queries import QueryReader

DEFAULT_GROUPS = 3
DEFAULT_GROUP_SIZE = 3
FIRST_FETCH = 4  # times what full groups would hold
GROWTH = 4

GroupKey = int | str


def query_groups(shard: edge.EdgeShard, request: Any, reader: QueryReader) -> Any:
    """Answer QueryPointGroups: the groups whose best hits rank highest, each with its best hits.

    Ranked results are fetched in growing numbers until as many groups as asked for are full or the results end, so
    the groups are those of the full ranking. A point whose key holds a list belongs to each of its groups.
    """
    limit = request.limit if request.HasField("limit") else DEFAULT_GROUPS
    size = request.group_size if request.HasField("group_size") else DEFAULT_GROUP_SIZE
    groups = _gather(shard, request, reader, limit, size)
    response = wire.QueryGroupsResponse()
    wanted = vector_selector(request)
    full = _full_points(shard, request, [hit.id for hits in groups.values() for hit in hits], wanted)
    for key, hits in groups.items():
        group = response.result.groups.add()
        _key_out(group.id, key)
        for hit in hits:
            target = group.hits.add()
            scored_out(target, hit, vectors=False)
            target.ClearField("payload")
            if (record := full.get(hit.id)) is not None:
                record_out(target, record)
    return response


def _gather(
    shard: edge.EdgeShard, request: Any, reader: QueryReader, limit: int, size: int
) -> dict[GroupKey, list[edge.ScoredPoint]]:
    total = shard.count(edge.CountRequest(exact=True, filter=optional_filter(request)))
    fetch = max(1, FIRST_FETCH * limit * size)
    while True:
        asked = reader.request(request, limit=min(fetch, max(total, 1)), payload=[request.group_by], vector=False)
        points = shard.query(asked)
        groups = _fill(points, request.group_by, limit, size)
        full = len(groups) == limit and all(len(hits) == size for hits in groups.values())
        if full or len(points) < fetch or fetch >= total:
            return groups
        fetch *= GROWTH


def _fill(points: list[edge.ScoredPoint], path: str, limit: int, size: int) -> dict[GroupKey, list[edge.ScoredPoint]]:
    groups: dict[GroupKey, list[edge.ScoredPoint]] = {}
    for point in points:
        for key in group_keys(point.payload or {}, path):
            if key not in groups and len(groups) == limit:
                continue
            hits = groups.setdefault(key, [])
            if len(hits) < size:
                hits.append(point)
    return groups


def group_keys(payload: dict[str, Any], path: str) -> list[GroupKey]:
    """Return the distinct strings and integers a payload holds at a dotted path; other values make no group."""
    found: list[Any] = [payload]
    for part in path.split("."):
        name, spread = part.removesuffix("[]"), part.endswith("[]")
        found = [item[name] for item in found if isinstance(item, dict) and name in item]
        if spread:
            found = [entry for item in found if isinstance(item, list) for entry in item]
    flat = [entry for item in found for entry in (item if isinstance(item, list) else [item])]
    keys = [entry for entry in flat if isinstance(entry, str | int) and not isinstance(entry, bool)]
    return list(dict.fromkeys(keys))


def _full_points(shard: edge.EdgeShard, request: Any, ids: list[Any], vectors: Any) -> dict[Any, edge.Record]:
    payload = payload_selector(request, default=False)
    if not ids or (payload is False and vectors is False):
        return {}
    return {record.id: record for record in shard.retrieve(list(dict.fromkeys(ids)), payload, vectors)}


def _key_out(target: Any, key: GroupKey) -> None:
    if isinstance(key, str):
        target.string_value = key
    elif key >= 0:
        target.unsigned_value = key
    else:
        target.integer_value = key


def look_up(others: edge.EdgeShard, lookup: Any, response: Any) -> None:
    """Add to each group the point of another collection whose id is the group's key, where there is one."""
    payload = payload_selector(lookup, default=True)
    for group in response.result.groups:
        key = getattr(group.id, group.id.WhichOneof("kind"))
        try:
            found = others.retrieve([key], payload, vector_selector(lookup))
        except (TypeError, ValueError):  # a key that is no point id has no point
            continue
        for record in found:
            record_out(group.lookup, record)
