"""Calls of Qdrant that concern whole collections: raw gRPC, one deadline each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grpc import aio

from streams.store.connection import QdrantConfig
from streams.store.filters import ordered
from streams.store.messages import grpc


class CollectionsClient:
    """A server's collections, on a channel that its maker closes.

    Errors are gRPC's own, RpcError: `connection.guarded` turns them into ours.
    """

    def __init__(self, channel: aio.Channel, config: QdrantConfig) -> None:
        self._root = grpc.QdrantStub(channel)  # type: ignore[no-untyped-call]
        self._collections = grpc.CollectionsStub(channel)  # type: ignore[no-untyped-call]
        self._points = grpc.PointsStub(channel)  # type: ignore[no-untyped-call]
        self._config = config
        self._seconds = max(1, int(config.deadline_s))  # the server takes whole ones
        self._metadata = (("api-key", config.api_key),) if config.api_key else ()

    async def version(self) -> str:
        """The server's version."""
        return str((await self._call(self._root.HealthCheck, grpc.HealthCheckRequest())).version)

    async def names(self) -> list[str]:
        """The names of all collections."""
        reply = await self._call(self._collections.List, grpc.ListCollectionsRequest())
        return [one.name for one in reply.collections]

    async def exists(self, name: str) -> bool:
        """Whether there is a collection, or an alias, of a name."""
        request = grpc.CollectionExistsRequest(collection_name=name)
        return bool((await self._call(self._collections.CollectionExists, request)).result.exists)

    async def describe(self, name: str) -> grpc.CollectionInfo:
        """How a collection is made, its points and its indexes. RpcError where it is missing."""
        request = grpc.GetCollectionInfoRequest(collection_name=name)
        info: grpc.CollectionInfo = (await self._call(self._collections.Get, request)).result
        return info

    async def replicas(self, name: str) -> grpc.CollectionClusterInfoResponse:
        """Where the replicas of a collection's shards lie, and in which state they are."""
        request = grpc.CollectionClusterInfoRequest(collection_name=name)
        reply: grpc.CollectionClusterInfoResponse = await self._call(self._collections.CollectionClusterInfo, request)
        return reply

    async def create(self, name: str, dim: int, *, indexed: bool, shards: int | None) -> None:
        """Make a collection of cosine vectors; without an index of them where not `indexed`. RpcError where it exists.

        Its replicas, and its `shards` where None is given, are as the settings say.
        """
        placed = self._config.placement
        params = grpc.VectorParams(size=dim, distance=grpc.Distance.Cosine)
        request = grpc.CreateCollection(
            collection_name=name, vectors_config=grpc.VectorsConfig(params=params),
            optimizers_config=None if indexed else grpc.OptimizersConfigDiff(indexing_threshold=0),
            shard_number=shards or placed.shard_number, replication_factor=placed.replication_factor,
            write_consistency_factor=placed.write_consistency_factor, timeout=self._seconds,
        )  # fmt: skip
        await self._call(self._collections.Create, request)

    async def index(self, name: str, field: str, kind: Any, params: grpc.PayloadIndexParams | None) -> None:
        """Index a field of the payload, and wait until it is; nothing where it is indexed so already."""
        request = grpc.CreateFieldIndexCollection(
            collection_name=name, field_name=field, field_type=kind, field_index_params=params, wait=True,
            ordering=ordered(self._config.consistency.ordering), timeout=self._seconds,
        )  # fmt: skip
        await self._call(self._points.CreateFieldIndex, request)

    async def delete(self, name: str) -> None:
        """Delete a collection."""
        request = grpc.DeleteCollection(collection_name=name, timeout=self._seconds)
        await self._call(self._collections.Delete, request)

    async def aliases(self) -> dict[str, str]:
        """The collections that the aliases point at."""
        reply = await self._call(self._collections.ListAliases, grpc.ListAliasesRequest())
        return {one.alias_name: one.collection_name for one in reply.aliases}

    async def point(self, aliases: Sequence[tuple[str, str]], known: Sequence[str] = ()) -> None:
        """Point aliases at collections, (alias, collection) each, all at once; those `known` point somewhere else."""
        actions = []
        for alias, name in aliases:
            if alias in known:
                actions.append(grpc.AliasOperations(delete_alias=grpc.DeleteAlias(alias_name=alias)))
            made = grpc.CreateAlias(collection_name=name, alias_name=alias)
            actions.append(grpc.AliasOperations(create_alias=made))
        await self._call(self._collections.UpdateAliases, grpc.ChangeAliases(actions=actions, timeout=self._seconds))

    async def _call(self, method: Any, request: Any) -> Any:
        return await method(request, timeout=self._config.deadline_s, metadata=self._metadata)
