"""What the API reads of Qdrant: whole trees, people near a vector, and who there is. Raw gRPC, nothing kept here.

Collections are found through their aliases, so a switch to another encoder is followed without a restart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple

from grpc import RpcError, StatusCode
from qdrant_client import AsyncQdrantClient, grpc

from streams.base.errors import StoreUnavailable
from streams.interests.nodes import Level, Node, Vector, node_id, profile_key, without_erased
from streams.store import codec
from streams.store.collections import ALIASES, Collections
from streams.store.connection import QdrantConfig, connect, guarded

_NAMES_FOR_S = 5.0
_FACETS_FOR_S = 30.0
_PATHS = 10_000
_PAGE = 1000
_ABSENT = "no worker has made Qdrant's collections yet: start one (interests worker)"


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

    Every call raises StoreUnavailable where the server is away, answers late or holds no collections yet.
    """

    def __init__(self, config: QdrantConfig, called: Callable[[str, float], None] = lambda call, seconds: None) -> None:
        self._config, self._called = config, called
        self._client: AsyncQdrantClient | None = None
        self._names: tuple[float, Collections] | None = None
        self._paths: dict[str, tuple[float, tuple[str, ...]]] = {}

    @property
    def client(self) -> AsyncQdrantClient:
        """The connection; made at the first call, inside the loop that uses it."""
        if self._client is None:
            self._client = connect(self._config)
        return self._client

    async def close(self) -> None:
        """Close the channels."""
        if self._client is not None:
            await self._client.close()

    async def names(self) -> Collections:
        """The collections that the aliases point at, asked anew every few seconds."""
        if self._names is not None and monotonic() < self._names[0]:
            return self._names[1]
        listed = await guarded(self.client.get_aliases(), "listing aliases")
        aliases = {alias.alias_name: alias.collection_name for alias in listed.aliases}
        interests = aliases.get(ALIASES[0], "")
        if not interests.startswith(f"{ALIASES[0]}__"):
            raise StoreUnavailable(_ABSENT, retry_after_s=5.0)
        if self._names is None or self._names[1].interests != interests:
            info = await guarded(self.client.get_collection(interests), "describing a collection")
            names = Collections(interests.removeprefix(f"{ALIASES[0]}__"), info.config.params.vectors.size)  # type: ignore[union-attr]  # unnamed vectors, as Collections makes them
        else:
            names = self._names[1]
        self._names = (monotonic() + _NAMES_FOR_S, names)
        return names

    async def call(
        self, method: Callable[..., Awaitable[Any]], request: Any, doing: str, *, may_be_absent: bool = False
    ) -> Any:
        """Make one call of the points service; None where the collection is not there and need not be."""
        started = monotonic()
        call = method(request, timeout=self._config.deadline_s)
        try:
            reply = await guarded(_or_none(call) if may_be_absent else _found(call), doing)
        except StoreUnavailable:
            self._names = None  # whatever made it fail may have moved the collections too
            raise
        self._called(doing, monotonic() - started)
        return reply

    async def tree(self, user_id: str, *, vectors: bool = True) -> list[Node]:
        """All nodes of a user, without those put back after an erasure had ended them.

        What only a fold needs is not read: `norm`, `applied`, `ring` and `marks` are empty, and where `vectors` are
        not wanted either, which cost as much as all else, `direction` has shape (0,).
        """
        return without_erased(await self._scroll(user_id, _SHOWN, with_vectors=VECTORS if vectors else None))

    async def stored(self, user_id: str) -> list[Node]:
        """Every point there is of a user, whole: what an erasure's receipt must answer for."""
        return await self._scroll(user_id, ALL_PAYLOAD, with_vectors=VECTORS)

    async def nodes(self, point_ids: Sequence[str], *, vectors: bool = True) -> list[Node]:
        """The nodes that exist among some points; of each what `tree` reads."""
        if not point_ids:
            return []
        names = await self.names()
        request = grpc.GetPoints(
            collection_name=names.interests, ids=codec.uuids(point_ids), with_payload=_SHOWN,
            with_vectors=VECTORS if vectors else None,
        )  # fmt: skip
        found = (await self.call(self.client.grpc_points.Get, request, "get")).result
        return [codec.node_of(point.payload, codec.row_of(point.vectors)) for point in found]

    async def _scroll(
        self, user_id: str, with_payload: grpc.WithPayloadSelector, *, with_vectors: grpc.WithVectorsSelector | None
    ) -> list[Node]:
        names = await self.names()
        nodes: list[Node] = []
        offset: grpc.PointId | None = None
        while True:
            request = grpc.ScrollPoints(
                collection_name=names.interests, filter=grpc.Filter(must=[any_of("user_id", [user_id])]),
                limit=_PAGE, offset=offset, with_payload=with_payload, with_vectors=with_vectors,
            )  # fmt: skip
            reply = await self.call(self.client.grpc_points.Scroll, request, "scroll")
            nodes += [codec.node_of(point.payload, codec.row_of(point.vectors)) for point in reply.result]
            if not reply.HasField("next_page_offset"):
                return nodes
            offset = reply.next_page_offset

    async def profile(self, user_id: str) -> Node | None:
        """The root of a user's tree, or None where nothing is kept of them."""
        found = await self.nodes([node_id(profile_key(user_id))])
        return found[0] if found else None

    async def people(self, limit: int, following: str | None) -> UserPage:
        """A page of people, erased ones left out, in no order that means anything."""
        names = await self.names()
        request = grpc.ScrollPoints(
            collection_name=names.interests, limit=limit,
            filter=grpc.Filter(must=[any_of("level", ["profile"]), _LIVED]),
            offset=grpc.PointId(uuid=following) if following else None,
            with_payload=fields("user_id", "count", "last"),
        )  # fmt: skip
        reply = await self.call(self.client.grpc_points.Scroll, request, "scroll")
        people = [_person(point.payload) for point in reply.result]
        return UserPage(people, reply.next_page_offset.uuid if reply.HasField("next_page_offset") else None)

    async def alike(self, vector: Vector, user_id: str, limit: int, at_ms: int) -> list[tuple[str, float]]:
        """The users whose whole person is nearest to a vector, but for one, with the cosine."""
        names = await self.names()
        alive = grpc.Filter(must=[any_of("level", ["profile"]), _alive(at_ms)], must_not=[any_of("user_id", [user_id])])
        request = grpc.QueryPoints(
            collection_name=names.interests, query=nearest(vector), filter=alive, limit=limit,
            with_payload=fields("user_id"),
        )  # fmt: skip
        reply = await self.call(self.client.grpc_points.Query, request, "query")
        return [(point.payload["user_id"].string_value, point.score) for point in reply.result]

    async def paths_of(self, users: Sequence[str], at_ms: int) -> dict[str, set[str]]:
        """The paths of the topics and interests that users hold."""
        held: dict[str, set[str]] = {user: set() for user in users}
        if not users:
            return held
        names = await self.names()
        theirs = grpc.Filter(must=[any_of("user_id", users), any_of("level", ["topic", "interest"]), _alive(at_ms)])
        request = grpc.ScrollPoints(
            collection_name=names.interests, filter=theirs, limit=_PAGE * 4, with_payload=fields("user_id", "path")
        )
        for point in (await self.call(self.client.grpc_points.Scroll, request, "scroll")).result:
            held[point.payload["user_id"].string_value].add(point.payload["path"].string_value)
        return held

    async def groups(
        self, vector: Vector, levels: Sequence[Level], paths: Sequence[str] | None, at_ms: int, *,
        users: int, floor: float,
    ) -> list[Hit]:  # fmt: skip
        """The users with the nodes nearest to a vector, each with their nearest one, nearest first."""
        names = await self.names()
        request = grpc.QueryPointGroups(
            collection_name=names.interests, query=nearest(vector), filter=_nodes(levels, paths, at_ms),
            group_by="user_id", limit=users, group_size=1, score_threshold=floor, with_payload=_HIT,
        )  # fmt: skip
        reply = await self.call(self.client.grpc_points.QueryGroups, request, "groups")
        return [_hit(point) for group in reply.result.groups for point in group.hits]

    async def nodes_near(
        self, vector: Vector, levels: Sequence[Level], paths: Sequence[str] | None, at_ms: int, *,
        users: Sequence[str], limit: int, floor: float,
    ) -> list[Hit]:  # fmt: skip
        """The nodes of some users nearest to a vector, nearest first."""
        if not users:
            return []
        names = await self.names()
        where = _nodes(levels, paths, at_ms)
        where.must.append(any_of("user_id", users))
        request = grpc.QueryPoints(
            collection_name=names.interests, query=nearest(vector), filter=where, limit=limit, score_threshold=floor,
            with_payload=_HIT,
        )  # fmt: skip
        reply = await self.call(self.client.grpc_points.Query, request, "query")
        return [_hit(point) for point in reply.result]

    async def paths_below(self, collection: str, path: str) -> list[str]:
        """The paths in a collection that are `path` or lie below it, as they were known some seconds ago."""
        known = self._paths.get(collection)
        if known is None or monotonic() >= known[0]:
            request = grpc.FacetCounts(collection_name=collection, key="path", limit=_PATHS, exact=False)
            reply = await self.call(self.client.grpc_points.Facet, request, "facet")
            known = (monotonic() + _FACETS_FOR_S, tuple(hit.value.string_value for hit in reply.hits))
            self._paths[collection] = known
        return [one for one in known[1] if one == path or one.startswith(f"{path.rstrip('/')}/")]


ALL_PAYLOAD = grpc.WithPayloadSelector(enable=True)
VECTORS = grpc.WithVectorsSelector(enable=True)


def fields(*names: str) -> grpc.WithPayloadSelector:
    """A selection of payload fields."""
    return grpc.WithPayloadSelector(include=grpc.PayloadIncludeSelector(fields=names))


_HIT = fields("user_id", "level", "path", "mass", "t0", "first", "last")
_SHOWN = fields(
    "user_id", "level", "path", "mass", "net", "t0", "first", "last", "count", "evidence", "seen", "began", "erased_at"
)


def any_of(key: str, values: Iterable[str]) -> grpc.Condition:
    """A keyword field that is one of `values`."""
    match = grpc.Match(keywords=grpc.RepeatedStrings(strings=values))
    return grpc.Condition(field=grpc.FieldCondition(key=key, match=match))


def nearest(vector: Vector) -> grpc.Query:
    """A query for the points nearest to a vector."""
    return grpc.Query(nearest=grpc.VectorInput(dense=codec.dense(vector)))


# A tombstone counts no events; nor does a profile whose every event was taken back.
_LIVED = grpc.Condition(field=grpc.FieldCondition(key="count", range=grpc.Range(gt=0)))


def _alive(at_ms: int) -> grpc.Condition:
    return grpc.Condition(field=grpc.FieldCondition(key="expires_at", range=grpc.Range(gt=at_ms)))


def _nodes(levels: Sequence[Level], paths: Sequence[str] | None, at_ms: int) -> grpc.Filter:
    must = [any_of("level", levels), _alive(at_ms)]
    if paths is not None:
        must.append(any_of("path", paths))
    return grpc.Filter(must=must)


async def _found(call: Awaitable[Any]) -> Any:
    """A collection that went away between asking for its name and using it is asked for again, not an error of ours."""
    try:
        return await call
    except RpcError as error:
        if error.code() == StatusCode.NOT_FOUND:
            raise StoreUnavailable(_ABSENT) from error
        raise


async def _or_none(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except RpcError as error:
        if error.code() == StatusCode.NOT_FOUND:
            return None
        raise


def _person(payload: Mapping[str, grpc.Value]) -> ListedUser:
    return ListedUser(payload["user_id"].string_value, payload["count"].integer_value, payload["last"].integer_value)


def _hit(point: Any) -> Hit:
    told = point.payload
    return Hit(
        told["user_id"].string_value, told["level"].string_value, told["path"].string_value, point.score,
        told["mass"].double_value, told["t0"].integer_value, told["first"].integer_value, told["last"].integer_value,
    )  # fmt: skip
