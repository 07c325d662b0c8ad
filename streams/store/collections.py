"""The collections: one of nodes and one of items an encoder, behind the aliases `interests` and `items`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from qdrant_client import AsyncQdrantClient, models

from streams.base.errors import ConfigurationError
from streams.store.connection import guarded

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


@dataclass(frozen=True, slots=True)
class Collections:
    """Names and shape of an encoder's collections. `hnsw_interests` is off while the collection is small."""

    encoder_id: str
    dim: int
    hnsw_interests: bool = False

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

    async def prepare(self, client: AsyncQdrantClient, deadline_s: float) -> int:
        """Make what is missing, check the rest, and return how many shards the nodes lie on."""
        await ensure(client, self.interests, self.dim, deadline_s, hnsw=self.hnsw_interests)
        await ensure(client, self.items, self.dim, deadline_s, hnsw=True)
        await ensure(client, CONTROL, 1, deadline_s, hnsw=False)
        await self._alias(client, deadline_s)
        info = await client.get_collection(self.interests)
        return info.config.params.shard_number or 1

    async def prepare_population(self, client: AsyncQdrantClient, deadline_s: float) -> None:
        """The same for the collections of cohorts' nodes, of popularity and of items' partners."""
        await ensure(client, self.population, self.dim, deadline_s, hnsw=False)
        await ensure(client, POPULARITY, 1, deadline_s, hnsw=False)
        await ensure(client, TOGETHER, 1, deadline_s, hnsw=False)

    async def _alias(self, client: AsyncQdrantClient, deadline_s: float) -> None:
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


def indexes_of(collection: str) -> Mapping[str, Schema]:
    """The payload fields of a collection of ours that are indexed, and how: made like this, and checked like this."""
    if collection == CONTROL:  # named like a collection of nodes
        return {}
    return _INDEXES.get(collection.partition("__")[0], {})


async def ensure(client: AsyncQdrantClient, name: str, dim: int, deadline_s: float, *, hnsw: bool) -> None:
    """Make a collection of cosine vectors and its payload indexes where they are missing.

    ConfigurationError where it has vectors of another size.
    """
    deadline = _whole(deadline_s)
    if not await client.collection_exists(name):
        indexing = None if hnsw else models.OptimizersConfigDiff(indexing_threshold=0)
        distance = models.VectorParams(size=dim, distance=models.Distance.COSINE)
        await client.create_collection(name, vectors_config=distance, optimizers_config=indexing, timeout=deadline)
    size = dim_of(await client.get_collection(name))
    if size != dim:
        raise ConfigurationError(
            f"collection {name} holds vectors of {size} dimensions, the encoder makes {dim}: "
            "name the encoder anew (encoder_id), or delete the collection"
        )
    for field, schema in indexes_of(name).items():
        await client.create_payload_index(name, field, field_schema=schema, wait=True, timeout=deadline)


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
