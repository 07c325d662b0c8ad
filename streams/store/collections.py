"""The collections: one of nodes and one of items an encoder, behind the aliases `interests` and `items`."""

from __future__ import annotations

from dataclasses import dataclass

from qdrant_client import AsyncQdrantClient, models

from streams.base.errors import ConfigurationError

#: The collection of control points, one a consumer group.
CONTROL = "interests__control"
#: The collection of items' popularity, one point a group and item.
POPULARITY = "popularity"
ALIASES = ("interests", "items")


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
        deadline = max(1, int(deadline_s))  # the client takes whole seconds
        await ensure(client, self.interests, self.dim, deadline, hnsw=self.hnsw_interests)
        await ensure(client, self.items, self.dim, deadline, hnsw=True)
        await ensure(client, CONTROL, 1, deadline, hnsw=False)
        keyword, tenant = (
            models.PayloadSchemaType.KEYWORD,
            models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
        )
        integer = models.PayloadSchemaType.INTEGER
        for collection, field, schema in (
            (self.interests, "user_id", tenant), (self.interests, "level", keyword), (self.interests, "path", keyword),
            (self.interests, "expires_at", integer), (self.interests, "erased_at", integer),
            (self.items, "path", keyword), (self.items, "lang", keyword),
            (self.items, "categories", keyword), (self.items, "ts", integer),
        ):  # fmt: skip
            await client.create_payload_index(collection, field, field_schema=schema, wait=True, timeout=deadline)
        await self._alias(client, deadline)
        info = await client.get_collection(self.interests)
        return info.config.params.shard_number or 1

    async def _alias(self, client: AsyncQdrantClient, deadline_s: int) -> None:
        """Point the aliases here if they point nowhere: switching them is an operator's step."""
        taken = {alias.alias_name for alias in (await client.get_aliases()).aliases}
        wanted = zip(ALIASES, (self.interests, self.items), strict=True)
        actions: list[models.AliasOperations] = [
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=name, alias_name=alias))
            for alias, name in wanted
            if alias not in taken
        ]
        if actions:
            await client.update_collection_aliases(change_aliases_operations=actions, timeout=deadline_s)


async def ensure(client: AsyncQdrantClient, name: str, dim: int, deadline_s: int, *, hnsw: bool) -> None:
    """Make a collection of cosine vectors where it is missing. ConfigurationError where it has another size."""
    if not await client.collection_exists(name):
        indexing = None if hnsw else models.OptimizersConfigDiff(indexing_threshold=0)
        distance = models.VectorParams(size=dim, distance=models.Distance.COSINE)
        await client.create_collection(name, vectors_config=distance, optimizers_config=indexing, timeout=deadline_s)
    vectors = (await client.get_collection(name)).config.params.vectors
    size = vectors.size if isinstance(vectors, models.VectorParams) else None
    if size != dim:
        raise ConfigurationError(
            f"collection {name} holds vectors of {size} dimensions, the encoder makes {dim}: "
            "name the encoder anew (encoder_id), or delete the collection"
        )
