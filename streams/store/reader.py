"""What the API reads of Qdrant: whole trees, people near a vector, and who there is. Raw gRPC, nothing kept here.

Who reads people reads them here, without what was put back after an erasure; `tests/contract/test_store_erased.py`
holds every method to it.

Collections are found through their aliases, so a switch to another encoder is followed without a restart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple

from grpc import RpcError, StatusCode

from streams.base.errors import StoreUnavailable
from streams.interests.nodes import Level, Node, Vector, is_put_back, node_id, profile_key, without_erased
from streams.store import codec, versions
from streams.store.collections import AliasMissing, Collections, aliased
from streams.store.connection import QdrantConfig, guarded
from streams.store.filters import ALL_PAYLOAD, VECTORS, alive, all_of, any_of, fields, in_range, nearest
from streams.store.messages import grpc
from streams.store.points import Called, PointsClient, not_counted
from streams.store.tombstones import Tombstones

_NAMES_FOR_S = 5.0
_FACETS_FOR_S = 30.0
_MOST_VALUES = 10_000
_ABSENT = "no worker has made Qdrant's collections yet: start one (interests worker)"


class CollectionMissing(StoreUnavailable):
    """The collection that is read is not there: no worker has made it yet, or it was deleted a moment ago."""


class Hit(NamedTuple):
    """A node near a vector: whose, how near (cosine), and its mass at `t0_ms`."""

    user_id: str
    level: Level
    path: str
    similarity: float
    mass: float
    t0_ms: int
    first_ms: int
    last_ms: int


class Place(NamedTuple):
    """A node that somebody has: where it lies, and when its evidence began."""

    user_id: str
    level: Level
    path: str
    first_ms: int


class ListedUser(NamedTuple):
    """A person as listed."""

    user_id: str
    events: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class UserPage:
    """Some people, and the point to go on from (None: that was the last page)."""

    people: list[ListedUser]
    following: str | None


class StoreReader:
    """Reads of Qdrant with one deadline a call, and the names of the collections that the aliases point at.

    With `collections` these are read whatever the aliases say: a worker reads what it writes.

    Every call raises StoreUnavailable where the server is away, answers late or holds no collections yet, and
    CollectionMissing, which is one, where the collection that is read is not there.
    """

    def __init__(
        self, config: QdrantConfig, called: Called = not_counted, collections: Collections | None = None
    ) -> None:
        self.points = PointsClient(config, called, self._guarded)
        self._tombstones = Tombstones(self.points)
        self._given = collections
        self._names: tuple[float, Collections] | None = None
        self._values: dict[tuple[str, str], tuple[float, tuple[str, ...]]] = {}

    async def close(self) -> None:
        """Close the channels."""
        await self.points.close()

    async def names(self) -> Collections:
        """The collections that the aliases point at, asked anew every few seconds; or those that were given."""
        if self._given is not None:
            return self._given
        if self._names is not None and monotonic() < self._names[0]:
            return self._names[1]
        known = self._names[1] if self._names is not None else None
        try:
            names = await aliased(self.points.collections, f"Qdrant at {self.points.config.address}", known)
        except AliasMissing as error:
            raise StoreUnavailable(_ABSENT, retry_after_s=5.0) from error
        self._names = (monotonic() + _NAMES_FOR_S, names)
        return names

    async def _guarded(self, call: Awaitable[Any], doing: str) -> Any:
        try:
            return await guarded(_found(call), doing)
        except StoreUnavailable:
            self._names = None  # whatever made it fail may have moved the collections too
            raise

    async def tree(self, user_id: str, *, vectors: bool = True) -> list[Node]:
        """All nodes of a user, without those put back after an erasure had ended them.

        What only a fold needs is not read: `norm`, `applied`, `ring` and `marks` are empty, and where `vectors` are
        not wanted either, which cost as much as all else, `direction` has shape (0,).
        """
        return without_erased(await self._nodes_of(user_id, _SHOWN, vectors=VECTORS if vectors else None))

    async def stored(self, user_id: str) -> list[Node]:
        """Every point there is of a user, whole: what an erasure's receipt must answer for."""
        return await self._nodes_of(user_id, ALL_PAYLOAD, vectors=VECTORS)

    async def nodes(self, user_id: str, point_ids: Sequence[str], *, vectors: bool = True) -> list[Node]:
        """The nodes that exist among some points of a user; of each what `tree` reads, and without the same."""
        if not point_ids:
            return []
        wanted, collection = set(point_ids), (await self.names()).interests
        ids = list(wanted | {node_id(profile_key(user_id))})  # the tombstone, should there be one
        found = await self.points.get(
            collection, ids, payload=_SHOWN, vectors=VECTORS if vectors else None, at_once=len(ids)
        )
        nodes = (codec.node_of(point.payload, codec.row_of(point.vectors)) for point in found)
        return [node for node in without_erased(nodes) if node.id in wanted]

    async def _nodes_of(
        self, user_id: str, payload: grpc.WithPayloadSelector, *, vectors: grpc.WithVectorsSelector | None
    ) -> list[Node]:
        collection, theirs = (await self.names()).interests, all_of(any_of("user_id", [user_id]))
        return [
            codec.node_of(point.payload, codec.row_of(point.vectors))
            async for page in self.points.pages(collection, theirs, payload=payload, vectors=vectors)
            for point in page
        ]

    async def profile(self, user_id: str) -> Node | None:
        """The root of a user's tree, or None where nothing is kept of them."""
        found = await self.nodes(user_id, [node_id(profile_key(user_id))])
        return found[0] if found else None

    async def people(self, limit: int, following: str | None) -> UserPage:
        """A page of people, erased ones left out, in no order that means anything."""
        names = await self.names()
        request = grpc.ScrollPoints(
            collection_name=names.interests, limit=limit,
            filter=all_of(any_of("level", ["profile"]), _LIVED),
            offset=grpc.PointId(uuid=following) if following else None,
            with_payload=fields("user_id", "count", "last"),
        )  # fmt: skip
        reply = await self.points.call("Scroll", request, "scroll")
        people = [_person(point.payload) for point in reply.result]
        return UserPage(people, reply.next_page_offset.uuid if reply.HasField("next_page_offset") else None)

    async def alike(self, vector: Vector, user_id: str, limit: int, at_ms: int) -> list[tuple[str, float]]:
        """The users whose whole person is nearest to a vector, but for one and those erased, with the cosine."""
        names = await self.names()
        others = grpc.Filter(
            must=[any_of("level", ["profile"]), alive(at_ms), _LIVED], must_not=[any_of("user_id", [user_id])]
        )
        request = grpc.QueryPoints(
            collection_name=names.interests, query=nearest(vector), filter=others, limit=limit,
            with_payload=fields("user_id"),
        )  # fmt: skip
        reply = await self.points.call("Query", request, "query")
        return [(point.payload["user_id"].string_value, point.score) for point in reply.result]

    async def paths_of(self, users: Sequence[str], at_ms: int) -> dict[str, set[str]]:
        """The paths of the topics and interests that users hold."""
        if not users:
            return {}
        collection = (await self.names()).interests
        theirs = all_of(any_of("user_id", users), any_of("level", ["topic", "interest"]), alive(at_ms))
        pages = self.points.pages(collection, theirs, payload=fields("user_id", "level", "path", "first"))
        found = [_place(point.payload) async for page in pages for point in page]
        erased = await self._tombstones.of(collection, {place.user_id for place in found})
        held: dict[str, set[str]] = {user: set() for user in users}
        for place in found:
            if not is_put_back(place.level, place.first_ms, erased.get(place.user_id, 0)):
                held[place.user_id].add(place.path)
        return held

    async def groups(
        self, vector: Vector, levels: Sequence[Level], paths: Sequence[str] | None, at_ms: int, *,
        users: int, floor: float,
    ) -> list[Hit]:  # fmt: skip
        """The users with the nodes nearest to a vector, each with their nearest one, nearest first."""
        collection = (await self.names()).interests

        async def search(where: grpc.Filter) -> list[Hit]:
            request = grpc.QueryPointGroups(
                collection_name=collection, query=nearest(vector), filter=where, group_by="user_id", limit=users,
                group_size=1, score_threshold=floor, with_payload=_HIT,
            )  # fmt: skip
            reply = await self.points.call("QueryGroups", request, "groups")
            return [_hit(point) for group in reply.result.groups for point in group.hits]

        return await self._tombstones.search(collection, _nodes(levels, paths, at_ms), search)

    async def nodes_near(
        self, vector: Vector, levels: Sequence[Level], paths: Sequence[str] | None, at_ms: int, *,
        users: Sequence[str], limit: int, floor: float,
    ) -> list[Hit]:  # fmt: skip
        """The nodes of some users nearest to a vector, nearest first."""
        if not users:
            return []
        collection = (await self.names()).interests

        async def search(where: grpc.Filter) -> list[Hit]:
            request = grpc.QueryPoints(
                collection_name=collection, query=nearest(vector), filter=where, limit=limit, score_threshold=floor,
                with_payload=_HIT,
            )  # fmt: skip
            reply = await self.points.call("Query", request, "query")
            return [_hit(point) for point in reply.result]

        among = _nodes(levels, paths, at_ms)
        among.must.append(any_of("user_id", users))
        return await self._tombstones.search(collection, among, search)

    async def paths_below(self, collection: str, path: str) -> list[str]:
        """The paths in a collection that are `path`, in any case, or lie below it."""
        above = path.casefold()
        return [
            one for one in await self.values(collection, "path")
            if one.casefold() == above or one.casefold().startswith(f"{above.rstrip('/')}/")
        ]  # fmt: skip

    async def values(self, collection: str, field: str) -> tuple[str, ...]:
        """The values of an indexed field in a collection, as they were known some seconds ago, the frequent first."""
        known = self._values.get((collection, field))
        if known is None or monotonic() >= known[0]:
            request = grpc.FacetCounts(collection_name=collection, key=field, limit=_MOST_VALUES, exact=False)
            reply = await self.points.call("Facet", request, "facet")
            known = (monotonic() + _FACETS_FOR_S, tuple(hit.value.string_value for hit in reply.hits))
            self._values[collection, field] = known
        return known[1]


_HIT = fields("user_id", "level", "path", "mass", "t0", "first", "last")
_SHOWN = fields(
    "user_id", "level", "path", "mass", "net", "t0", "first", "last", "count", "evidence", "seen", "began", "recents",
    "erased_at", "model", "scale", "bias", "variance", "mean", "made",
)  # fmt: skip


# A tombstone counts no events; nor does a profile whose every event was taken back.
_LIVED = in_range("count", gt=0)


def _nodes(levels: Sequence[Level], paths: Sequence[str] | None, at_ms: int) -> grpc.Filter:
    must = [any_of("level", levels), alive(at_ms)]
    if paths is not None:
        must.append(any_of("path", paths))
    if "profile" in levels:
        of_others = grpc.Filter(must_not=[any_of("level", ["profile"])])
        must.append(grpc.Condition(filter=grpc.Filter(should=[_LIVED, grpc.Condition(filter=of_others)])))
    return grpc.Filter(must=must)


async def _found(call: Awaitable[Any]) -> Any:
    """A collection that went away between asking for its name and using it is asked for again, not an error of ours."""
    try:
        return await call
    except RpcError as error:
        if error.code() == StatusCode.NOT_FOUND:
            raise CollectionMissing(_ABSENT) from error
        raise


def _person(payload: Mapping[str, grpc.Value]) -> ListedUser:
    versions.require_known(payload, versions.NODES, "nodes")
    return ListedUser(payload["user_id"].string_value, payload["count"].integer_value, payload["last"].integer_value)


def _place(payload: Mapping[str, grpc.Value]) -> Place:
    versions.require_known(payload, versions.NODES, "nodes")
    return Place(
        payload["user_id"].string_value,
        payload["level"].string_value,  # type: ignore[arg-type]  # only levels are ever written
        payload["path"].string_value,
        payload["first"].integer_value,
    )


def _hit(point: Any) -> Hit:
    payload = point.payload
    versions.require_known(payload, versions.NODES, "nodes")
    return Hit(
        user_id=payload["user_id"].string_value, level=payload["level"].string_value, path=payload["path"].string_value,
        similarity=point.score, mass=payload["mass"].double_value, t0_ms=payload["t0"].integer_value,
        first_ms=payload["first"].integer_value, last_ms=payload["last"].integer_value,
    )  # fmt: skip
