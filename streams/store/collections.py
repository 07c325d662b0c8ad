"""The collections: one of nodes and one of items an encoder, behind the aliases `interests` and `items`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from grpc import RpcError

from streams.base.errors import ConfigurationError
from streams.store.collections_client import CollectionsClient
from streams.store.connection import guarded
from streams.store.messages import grpc

#: The collection of control points, one a consumer group.
CONTROL: Final = "interests__control"
#: The collection of items' popularity, one point a group and item.
POPULARITY: Final = "popularity"
#: The collection of items' partners, one point a group and item.
TOGETHER: Final = "together"
ALIASES: Final = ("interests", "items")


class Index(NamedTuple):
    """How a field of the payload is indexed."""

    kind: grpc.FieldType.ValueType
    params: grpc.PayloadIndexParams | None = None


_KEYWORD: Final = Index(grpc.FieldType.FieldTypeKeyword)
_TENANT: Final = Index(
    grpc.FieldType.FieldTypeKeyword,
    grpc.PayloadIndexParams(keyword_index_params=grpc.KeywordIndexParams(is_tenant=True)),
)
_INTEGER: Final = Index(grpc.FieldType.FieldTypeInteger)

_INDEXES: Final[Mapping[str, Mapping[str, Index]]] = {
    "interests": {
        "user_id": _TENANT, "level": _KEYWORD, "path": _KEYWORD, "expires_at": _INTEGER, "erased_at": _INTEGER,
    },
    "items": {"path": _KEYWORD, "lang": _KEYWORD, "categories": _KEYWORD, "ts": _INTEGER},
    "population": {"user_id": _TENANT, "expires_at": _INTEGER},
    POPULARITY: {"expires_at": _INTEGER},
    TOGETHER: {"expires_at": _INTEGER},
}  # fmt: skip


class AliasMissing(ConfigurationError):
    """The alias of nodes points nowhere, or at a collection that is none of ours."""


class Shape(NamedTuple):
    """How a collection is made: its name, its vectors' size, and whether these are indexed."""

    name: str
    dim: int
    hnsw: bool = False


#: Few points: one a group, a partition and a learner.
CONTROL_SHAPE: Final = Shape(CONTROL, 1)


class Copies(NamedTuple):
    """On how many shards a collection lies, how many replicas each has, and how many of these must have a write."""

    shards: int
    replicas: int
    acknowledge: int

    @classmethod
    def of(cls, info: grpc.CollectionInfo) -> Copies:
        """As the server describes a collection."""
        params = info.config.params
        return cls(params.shard_number or 1, params.replication_factor or 1, params.write_consistency_factor or 1)


#: Of a server that keeps one of each.
ONE_COPY: Final = Copies(1, 1, 1)


@dataclass(frozen=True, slots=True)
class Collections:
    """Names and shape of an encoder's collections. `hnsw_interests` is off while the collection is small."""

    encoder_id: str
    dim: int
    hnsw_interests: bool = False

    def __post_init__(self) -> None:
        if self.interests == CONTROL:
            raise ConfigurationError(
                f"no encoder may be called {self.encoder_id}: {CONTROL} holds the groups' control points"
            )

    @property
    def interests(self) -> str:
        """The collection of nodes."""
        return f"interests__{self.encoder_id}"

    @property
    def items(self) -> str:
        """The collection of items."""
        return f"items__{self.encoder_id}"

    @property
    def population(self) -> str:
        """The collection of cohorts' nodes."""
        return f"population__{self.encoder_id}"

    def of_people(self) -> tuple[Shape, ...]:
        """The collections of nodes, of items and of control points."""
        return (
            Shape(self.interests, self.dim, hnsw=self.hnsw_interests), Shape(self.items, self.dim, hnsw=True),
            CONTROL_SHAPE,
        )  # fmt: skip

    def of_population(self) -> tuple[Shape, ...]:
        """The collections of cohorts' nodes, of popularity and of items' partners."""
        return Shape(self.population, self.dim), Shape(POPULARITY, 1), Shape(TOGETHER, 1)

    async def prepare(self, client: CollectionsClient) -> Copies:
        """Make what is missing, check the rest, and return on how many shards and replicas the nodes lie."""
        for shape in self.of_people():
            await ensure(client, shape)
        await self.alias(client)
        return Copies.of(await client.describe(self.interests))

    async def prepare_population(self, client: CollectionsClient) -> None:
        """The same for what all users say together."""
        for shape in self.of_population():
            await ensure(client, shape)

    async def alias(self, client: CollectionsClient) -> None:
        """Point the aliases here if they point nowhere: switching them is an operator's step."""
        taken = await aliases(client)
        wanted = zip(ALIASES, (self.interests, self.items), strict=True)
        missing = [(alias, name) for alias, name in wanted if alias not in taken]
        if missing:
            await client.point(missing)


def shards_of(collection: str) -> int | None:
    """How many shards a collection is made with whatever the settings say; None: as many as they say."""
    return 1 if collection == CONTROL else None  # a few points, compared and set one by one


def indexes_of(collection: str) -> Mapping[str, Index]:
    """The payload fields of a collection of ours that are indexed, and how: made like this, and checked like this."""
    if collection == CONTROL:  # named like a collection of nodes
        return {}
    return _INDEXES.get(collection.partition("__")[0], {})


async def ensure(client: CollectionsClient, shape: Shape) -> bool:
    """Make a collection of cosine vectors and its payload indexes where they are missing; gives whether it was made.

    Shards and replicas are as the settings say; of one that is there they stay. ConfigurationError where it has vectors
    of another size.
    """
    name, dim, hnsw = shape
    makes = not await client.exists(name)
    if makes:
        try:
            await client.create(name, dim, indexed=hnsw, shards=shards_of(name))
        except RpcError:
            if not await client.exists(name):
                raise
            makes = False  # another worker that began with this one was quicker
    size = dim_of(await client.describe(name))
    if size != dim:
        raise ConfigurationError(
            f"collection {name} holds vectors of {size} dimensions, the encoder makes {dim}: "
            "name the encoder anew (encoder_id), or delete the collection"
        )
    for field, index in indexes_of(name).items():
        await client.index(name, field, index.kind, index.params)
    return makes


def dim_of(info: grpc.CollectionInfo) -> int:
    """The size of a collection's vectors; 0 where it has named vectors, which none of ours has."""
    return info.config.params.vectors_config.params.size


async def aliases(client: CollectionsClient) -> dict[str, str]:
    """The collections that a server's aliases point at."""
    return await guarded(client.aliases(), "listing aliases")


async def aliased(client: CollectionsClient, server: str, known: Collections | None = None) -> Collections:
    """The collections that the aliases point at. AliasMissing, which names the `server`, where there are none yet.

    Where they still point at `known` ones, nothing more is asked.
    """
    alias = ALIASES[0]
    name = (await aliases(client)).get(alias)
    if name is None:
        raise AliasMissing(
            f"{server} has no alias {alias!r}, so nothing was folded into it yet: start a worker (interests worker), "
            "or check qdrant.host and qdrant.grpc_port"
        )
    prefix = f"{alias}__"
    if not name.startswith(prefix):
        raise AliasMissing(f"alias {alias!r} points at {name!r}, expected a collection named {prefix}<encoder>")
    if known is not None and known.interests == name:
        return known
    info = await guarded(client.describe(name), "describing a collection")
    return Collections(name.removeprefix(prefix), dim_of(info))
