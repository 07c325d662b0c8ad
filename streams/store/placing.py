"""Making the collections beforehand, and saying where those that are there lie otherwise than the settings ask for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from streams.store.collections import Collections, Copies, Shape, ensure, shards_of
from streams.store.connection import QdrantConfig, guarded
from streams.store.consistency import Placement
from streams.store.points import PointsClient
from streams.store.server_version import check_version


class Placed(NamedTuple):
    """A collection: how it is to be made, how it lies (None: it is not there), and whether it was made just now."""

    shape: Shape
    copies: Copies | None
    made: bool = False


class Difference(NamedTuple):
    """What lies otherwise than the settings ask for, and what to do about it."""

    what: str
    to_do: str


def differences(name: str, copies: Copies, wanted: Placement) -> list[Difference]:
    """Where a collection lies otherwise than wanted."""
    found: list[Difference] = []
    shards = shards_of(name) or wanted.shard_number
    if shards not in (None, copies.shards):
        found.append(
            Difference(
                f"{copies.shards} shards, settings ask for {shards}",
                "a collection keeps its shards: name the encoder anew and fill another one, or restore a snapshot into "
                "one that was made with them",
            )
        )
    if wanted.replication_factor not in (None, copies.replicas):
        found.append(
            Difference(
                f"{copies.replicas} replicas, settings ask for {wanted.replication_factor}",
                f"PATCH /collections/{name} with params.replication_factor, then replicate_shard for each shard "
                f"(POST /collections/{name}/cluster)",
            )
        )
    if wanted.write_consistency_factor not in (None, copies.acknowledge):
        found.append(
            Difference(
                f"{copies.acknowledge} must have a write, settings ask for {wanted.write_consistency_factor}",
                f"PATCH /collections/{name} with params.write_consistency_factor",
            )
        )
    return found


class CollectionMaker:
    """A connection that makes collections. Every call raises StoreUnavailable past the deadline."""

    def __init__(self, config: QdrantConfig) -> None:
        self._points = PointsClient(config)

    async def look(self, names: Collections) -> list[Placed]:
        """How the collections lie; nothing is made. ConfigurationError where Qdrant is too old."""
        await check_version(self._points.collections, self._points.config)
        return [await self._placed(shape) for shape in _all(names)]

    async def make(self, names: Collections) -> list[Placed]:
        """Make those that are missing, their payload indexes and the aliases; raises as `look` and `ensure` do."""
        client, config = self._points.collections, self._points.config
        await check_version(client, config)
        placed = []
        for shape in _all(names):
            made = await guarded(ensure(client, shape), f"making {shape.name}")
            placed.append((await self._placed(shape))._replace(made=made))
        await guarded(names.alias(client), "making aliases")
        return placed

    async def close(self) -> None:
        """Close the channels."""
        await self._points.close()

    async def _placed(self, shape: Shape) -> Placed:
        client = self._points.collections
        if not await guarded(client.exists(shape.name), "looking for a collection"):
            return Placed(shape, None)
        return Placed(shape, Copies.of(await guarded(client.describe(shape.name), "describing a collection")))


def _all(names: Collections) -> Iterable[Shape]:
    return *names.of_people(), *names.of_population()
