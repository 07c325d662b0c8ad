"""The collections: one of nodes and one of items an encoder, behind the aliases `interests` and `items`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from grpc import RpcError
from qdrant_client import AsyncQdrantClient, models

from streams.base.errors import ConfigurationError
from streams.store.connection import QdrantConfig, guarded

#: The collection of control points, one a consumer group.
CONTROL: Final = "interests__control"
#: The collection of items' popularity, one point a group and item.
POPULARITY: Final = "popularity"
#: The collection of items' partners, one point a group and item.
TOGETHER: Final = "together"
ALIASES: Final = ("interests", "items")

Schema: TypeAlias = models.PayloadSchemaType | models.KeywordIndexParams
_KEYWORD: Final = models.PayloadSchemaType.KEYWORD
_TENANT: Final = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
_INTEGER: Final = models.PayloadSchemaType.INTEGER

_INDEXES: Final[Mapping[str, Mapping[str, Schema]]] = {
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
    def of(cls, info: models.CollectionInfo) -> Copies:
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

    async def prepare(self, client: AsyncQdrantClient, config: QdrantConfig) -> Copies:
        """Make what is missing, check the rest, and return on how many shards and replicas the nodes lie."""
        for shape in self.of_people():
            await ensure(client, shape, config)
        await self.alias(client, config.deadline_s)
        return Copies.of(await client.get_collection(self.interests))

    async def prepare_population(self, client: AsyncQdrantClient, config: QdrantConfig) -> None:
        """The same for what all users say together."""
        for shape in self.of_population():
            await ensure(client, shape, config)

    async def alias(self, client: AsyncQdrantClient, deadline_s: float) -> None:
        """Point the aliases here if they point nowhere: switching them is an operator's step."""
        taken = await aliases(client)
        wanted = zip(ALIASES, (self.interests, self.items), strict=True)
        actions: list[models.AliasOperations] = [
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=name, alias_name=alias))
            for alias, name in wanted
            if alias not in taken
        ]
        if actions:
            await client.update_collection_aliases(change_aliases_operations=actions, timeout=_whole(deadline_s))


def shards_of(collection: str) -> int | None:
    """How many shards a collection is made with whatever the settings say; None: as many as they say."""
    return 1 if collection == CONTROL else None  # a few points, compared and set one by one


def indexes_of(collection: str) -> Mapping[str, Schema]:
    """The payload fields of a collection of ours that are indexed, and how: made like this, and checked like this."""
    if collection == CONTROL:  # named like a collection of nodes
        return {}
    return _INDEXES.get(collection.partition("__")[0], {})


async def ensure(client: AsyncQdrantClient, shape: Shape, config: QdrantConfig) -> bool:
    """Make a collection of cosine vectors and its payload indexes where they are missing; gives whether it was made.

    Shards and replicas are as `config` says; of one that is there they stay. ConfigurationError where it has vectors
    of another size.
    """
    (name, dim, hnsw), placed, deadline = shape, config.placement, _whole(config.deadline_s)
    makes = not await client.collection_exists(name)
    if makes:
        try:
            await client.create_collection(
                name, vectors_config=models.VectorParams(size=dim, distance=models.Distance.COSINE),
                optimizers_config=None if hnsw else models.OptimizersConfigDiff(indexing_threshold=0),
                shard_number=shards_of(name) or placed.shard_number, replication_factor=placed.replication_factor,
                write_consistency_factor=placed.write_consistency_factor, timeout=deadline,
            )  # fmt: skip
        except RpcError:
            if not await client.collection_exists(name):
                raise
            makes = False  # another worker that began with this one was quicker
    size = dim_of(await client.get_collection(name))
    if size != dim:
        raise ConfigurationError(
            f"collection {name} holds vectors of {size} dimensions, the encoder makes {dim}: "
            "name the encoder anew (encoder_id), or delete the collection"
        )
    for field, schema in indexes_of(name).items():
        await client.create_payload_index(
            name,
            field,
            field_schema=schema,
            wait=True,
            ordering=models.WriteOrdering(config.consistency.ordering),
            timeout=deadline,
        )
    return makes


def dim_of(info: models.CollectionInfo) -> int:
    """The size of a collection's vectors; 0 where it has named vectors, which none of ours has."""
    vectors = info.config.params.vectors
    return vectors.size if isinstance(vectors, models.VectorParams) else 0


async def aliases(client: AsyncQdrantClient) -> dict[str, str]:
    """The collections that a server's aliases point at."""
    listed = await guarded(client.get_aliases(), "listing aliases")
    return {alias.alias_name: alias.collection_name for alias in listed.aliases}


async def aliased(client: AsyncQdrantClient, server: str, known: Collections | None = None) -> Collections:
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
    info = await guarded(client.get_collection(name), "describing a collection")
    return Collections(name.removeprefix(prefix), dim_of(info))


def _whole(deadline_s: float) -> int:
    return max(1, int(deadline_s))  # the client takes whole seconds
