"""Looking in from outside: what a Qdrant server holds, found through the aliases alone, without the encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from qdrant_client import grpc, models

from streams.base.errors import ConfigurationError
from streams.store.codec import item_point_id, uuids
from streams.store.collections import ALIASES, Collections
from streams.store.connection import QdrantConfig, connect, guarded

#: Items fetched at once.
_ITEMS_PER_CALL = 500


class Card(NamedTuple):
    """What people want to see of an item: its title ("" where it has none) and its path ("" unknown)."""

    title: str
    path: str


@dataclass(frozen=True, slots=True)
class CollectionFacts:
    """A collection as the server describes it: its vectors' size, its points and the payload fields it indexes."""

    dim: int
    points: int
    indexed: frozenset[str]


@dataclass(frozen=True, slots=True)
class Survey:
    """A server's version, its collections by name, and where its aliases point."""

    version: str
    collections: Mapping[str, CollectionFacts]
    aliases: Mapping[str, str]


class Surveyor:
    """A read-only connection. Every call raises StoreUnavailable past the deadline."""

    def __init__(self, config: QdrantConfig) -> None:
        self._config = config
        self._client = connect(config)

    async def survey(self) -> Survey:
        """Describe every collection and alias."""
        told = await guarded(self._client.info(), "asking for the version")
        listed = (await guarded(self._client.get_collections(), "listing collections")).collections
        facts = {collection.name: await self._facts(collection.name) for collection in listed}
        return Survey(told.version, facts, await self._aliases())

    async def collections(self) -> Collections:
        """The collections that the aliases point at. ConfigurationError where there is no alias yet."""
        aliases = await self._aliases()
        alias = ALIASES[0]
        name = aliases.get(alias)
        if name is None:
            raise ConfigurationError(
                f"Qdrant at {self._config.host}:{self._config.grpc_port} has no alias {alias!r}, so nothing was folded "
                "into it yet: start a worker (interests worker), or check qdrant.host and qdrant.grpc_port"
            )
        prefix = f"{alias}__"
        if not name.startswith(prefix):
            raise ConfigurationError(
                f"alias {alias!r} points at {name!r}, expected a collection named {prefix}<encoder>"
            )
        return Collections(name.removeprefix(prefix), (await self._facts(name)).dim)

    async def cards(self, collections: Collections, item_ids: Iterable[str]) -> dict[str, Card]:
        """Titles and paths of the described items among `item_ids`."""
        wanted = sorted({item_id for item_id in item_ids if item_id})
        fields = grpc.WithPayloadSelector(include=grpc.PayloadIncludeSelector(fields=["item_id", "title", "path"]))
        cards: dict[str, Card] = {}
        for start in range(0, len(wanted), _ITEMS_PER_CALL):
            ids = uuids([item_point_id(item_id) for item_id in wanted[start : start + _ITEMS_PER_CALL]])
            request = grpc.GetPoints(collection_name=collections.items, ids=ids, with_payload=fields)
            call = self._client.grpc_points.Get(request, timeout=self._config.deadline_s)
            for point in (await guarded(call, "reading items")).result:
                told = {name: value.string_value for name, value in point.payload.items()}
                cards[told["item_id"]] = Card(told.get("title", ""), told.get("path", ""))
        return cards

    async def close(self) -> None:
        """Close the channels."""
        await self._client.close()

    async def _aliases(self) -> dict[str, str]:
        listed = await guarded(self._client.get_aliases(), "listing aliases")
        return {alias.alias_name: alias.collection_name for alias in listed.aliases}

    async def _facts(self, name: str) -> CollectionFacts:
        info = await guarded(self._client.get_collection(name), "describing a collection")
        vectors = info.config.params.vectors
        dim = vectors.size if isinstance(vectors, models.VectorParams) else 0
        return CollectionFacts(dim, info.points_count or 0, frozenset(info.payload_schema or {}))
