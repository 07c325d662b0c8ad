"""Looking in from outside: what a Qdrant server holds, found through the aliases alone, without the encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from streams.store import codec
from streams.store.cards import Card, read_cards
from streams.store.collections import CONTROL, ONE_COPY, Collections, Copies, aliased, aliases, dim_of
from streams.store.connection import QdrantConfig, guarded
from streams.store.crash_marks import CrashMark, crash_marks
from streams.store.filters import fields
from streams.store.messages import grpc
from streams.store.points import PointsClient


@dataclass(frozen=True, slots=True)
class CollectionFacts:
    """A collection as the server describes it: its vectors' size, its points and the payload fields it indexes.

    Then how it lies, and the replicas that are not active, as `shard 2 on peer 7: Dead`.
    """

    dim: int
    points: int
    indexed: frozenset[str]
    copies: Copies = ONE_COPY
    not_active: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """A server's version, its collections by name, and where its aliases point."""

    version: str
    collections: Mapping[str, CollectionFacts]
    aliases: Mapping[str, str]


class Surveyor:
    """A read-only connection. Every call raises StoreUnavailable past the deadline."""

    def __init__(self, config: QdrantConfig) -> None:
        self._points = PointsClient(config)

    async def survey(self) -> Survey:
        """Describe every collection and alias."""
        client = self._points.collections
        version = await guarded(client.version(), "asking for the version")
        facts = {name: await self._facts(name) for name in await guarded(client.names(), "listing collections")}
        return Survey(version, facts, await aliases(client))

    async def collections(self) -> Collections:
        """The collections that the aliases point at. ConfigurationError where there is no alias yet."""
        return await aliased(self._points.collections, f"Qdrant at {self._points.config.address}")

    async def cards(self, collections: Collections, item_ids: Iterable[str]) -> dict[str, Card]:
        """Titles and paths of the described items among `item_ids`."""
        ids = [codec.item_point_id(item_id) for item_id in sorted({item_id for item_id in item_ids if item_id})]
        cards = await read_cards(self._points, collections.items, ids, payload=fields("item_id", "title", "path"))
        return {card.item_id: card for card in cards.values()}

    async def crash_marks(self, group: str) -> list[CrashMark]:
        """Which records the workers of a group have set aside, and where they died. None before a worker began."""
        known = await guarded(self._points.collections.names(), "listing collections")
        return await crash_marks(self._points, group) if CONTROL in known else []

    async def close(self) -> None:
        """Close the channels."""
        await self._points.close()

    async def _facts(self, name: str) -> CollectionFacts:
        info = await guarded(self._points.collections.describe(name), "describing a collection")
        cluster = await guarded(self._points.collections.replicas(name), "describing a collection's replicas")
        return CollectionFacts(
            dim_of(info), info.points_count, frozenset(info.payload_schema), Copies.of(info),
            tuple(_not_active(cluster)),
        )  # fmt: skip


def _not_active(cluster: grpc.CollectionClusterInfoResponse) -> Iterator[str]:
    """The replicas that do not answer reads now."""
    local = [(one.shard_id, cluster.peer_id, one.state) for one in cluster.local_shards]
    for shard, peer, state in [*local, *((one.shard_id, one.peer_id, one.state) for one in cluster.remote_shards)]:
        if state not in (grpc.ReplicaState.Active, grpc.ReplicaState.ActiveRead):
            yield f"shard {shard} on peer {peer}: {grpc.ReplicaState.Name(state)}"
