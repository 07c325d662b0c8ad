"""Conditions on points and selections of what is read of them, as raw protobuf: each is defined here alone."""

from __future__ import annotations

from collections.abc import Iterable

from streams.interests.nodes import Vector
from streams.store import codec
from streams.store.base import Fence
from streams.store.consistency import Ordering, Reads
from streams.store.messages import grpc
from streams.store.versions import FIELD

ALL_PAYLOAD = grpc.WithPayloadSelector(enable=True)
NO_PAYLOAD = grpc.WithPayloadSelector(enable=False)
VECTORS = grpc.WithVectorsSelector(enable=True)

_ORDERINGS = {
    "weak": grpc.WriteOrderingType.Weak, "medium": grpc.WriteOrderingType.Medium,
    "strong": grpc.WriteOrderingType.Strong,
}  # fmt: skip
_READS = {
    "majority": grpc.ReadConsistencyType.Majority, "quorum": grpc.ReadConsistencyType.Quorum,
    "all": grpc.ReadConsistencyType.All,
}  # fmt: skip


def fields(*names: str) -> grpc.WithPayloadSelector:
    """A selection of payload fields; the version is always among them."""
    return grpc.WithPayloadSelector(include=grpc.PayloadIncludeSelector(fields=(*names, FIELD)))


def any_of(key: str, values: Iterable[str]) -> grpc.Condition:
    """A keyword field that is one of `values`."""
    match = grpc.Match(keywords=grpc.RepeatedStrings(strings=values))
    return grpc.Condition(field=grpc.FieldCondition(key=key, match=match))


def in_range(
    key: str, *, gt: float | None = None, gte: float | None = None, lte: float | None = None
) -> grpc.Condition:  # fmt: skip
    """A number field within bounds; a bound that is None does not hold."""
    return grpc.Condition(field=grpc.FieldCondition(key=key, range=grpc.Range(gt=gt, gte=gte, lte=lte)))


def one_of(point_ids: Iterable[str]) -> grpc.Condition:
    """A point that has one of these ids."""
    return grpc.Condition(has_id=grpc.HasIdCondition(has_id=codec.uuids(list(point_ids))))


def all_of(*conditions: grpc.Condition) -> grpc.Filter:
    """Points that meet every condition."""
    return grpc.Filter(must=conditions)


def alive(at_ms: int) -> grpc.Condition:
    """What has not expired by `at_ms`: as `nodes.is_alive` says at every moment from a node's t0 on."""
    return in_range("expires_at", gt=at_ms)


def expired(now_ms: int) -> grpc.Condition:
    """What has expired by `now_ms`: all that is not `alive` then."""
    return in_range("expires_at", lte=now_ms)


def spent(now_ms: int, tombstone_ms: int) -> grpc.Filter:
    """What may be deleted by `now_ms`, as `nodes.is_spent` says: all that has expired, but for tombstones."""
    return grpc.Filter(must=[expired(now_ms)], must_not=[in_range("erased_at", gt=now_ms - tombstone_ms)])


def put_back(user_id: str, erased_at_ms: int) -> grpc.Condition:
    """A user's nodes that were put back after an erasure of theirs, as `nodes.is_put_back` says."""
    theirs = [any_of("user_id", [user_id]), in_range("first", lte=erased_at_ms)]
    return grpc.Condition(filter=grpc.Filter(must=theirs, must_not=[any_of("level", ["profile"])]))


def not_newer(fence: Fence) -> grpc.Condition:
    """The condition of a fenced write: what is stored was written under no newer fence."""
    return in_range("fence", lte=fence.number)


def ordered(ordering: Ordering) -> grpc.WriteOrdering:
    """The order of a write among those of others."""
    return grpc.WriteOrdering(type=_ORDERINGS[ordering])


def agreed(reads: Reads) -> grpc.ReadConsistency | None:
    """How many replicas a read asks; None: one, as Qdrant does unless told."""
    if isinstance(reads, str):
        return grpc.ReadConsistency(type=_READS[reads])
    return grpc.ReadConsistency(factor=reads) if reads > 1 else None


def nearest(vector: Vector) -> grpc.Query:
    """A query for the points nearest to a vector."""
    return grpc.Query(nearest=grpc.VectorInput(dense=codec.dense(vector)))
