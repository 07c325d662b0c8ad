"""The Collections service: collections, their parameters and aliases, for both fronts."""

from __future__ import annotations

import time
from typing import Any

from deploy.embedded.qdrant.config import info_config, updated_config
from deploy.embedded.qdrant.indexes import schema_out
from deploy.embedded.qdrant.registry import Registry
from streams.store.messages import grpc as pb

PEER = 1


class CollectionsApi:
    """What the real server's Collections service does, over the registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def create(self, request: Any) -> Any:
        """Make a collection."""
        started = time.perf_counter()
        await self._registry.create(request)
        return pb.CollectionOperationResponse(result=True, time=time.perf_counter() - started)

    async def delete(self, request: Any) -> Any:
        """Remove a collection; the result says whether there was one."""
        started = time.perf_counter()
        existed = await self._registry.delete(request.collection_name)
        return pb.CollectionOperationResponse(result=existed, time=time.perf_counter() - started)

    async def update(self, request: Any) -> Any:
        """Change a collection's parameters."""
        started = time.perf_counter()
        collection = self._registry.get(request.collection_name)
        await self._registry.reconfigure(collection.name, updated_config(collection.config, request))
        return pb.CollectionOperationResponse(result=True, time=time.perf_counter() - started)

    async def list(self, _request: Any) -> Any:
        """Name all collections."""
        response = pb.ListCollectionsResponse()
        for name in sorted(self._registry.collections):
            response.collections.add(name=name)
        return response

    async def exists(self, request: Any) -> Any:
        """Say whether a name or alias leads to a collection."""
        name = self._registry.aliases.get(request.collection_name, request.collection_name)
        return pb.CollectionExistsResponse(result=pb.CollectionExists(exists=name in self._registry.collections))

    async def get(self, request: Any) -> Any:
        """Describe a collection: sizes, parameters, payload indexes."""
        started = time.perf_counter()
        collection = self._registry.get(request.collection_name)
        found = await collection.read(lambda shard: shard.info())
        response = pb.GetCollectionInfoResponse()
        info = response.result
        info.status = pb.CollectionStatus.Yellow if collection.optimising else pb.CollectionStatus.Green
        info.optimizer_status.ok = True
        info.segments_count = found.segments_count
        info.points_count = found.points_count
        info.indexed_vectors_count = found.indexed_vectors_count
        info.config.CopyFrom(info_config(collection.config))
        schema_out(info.payload_schema, found.payload_schema)
        response.time = time.perf_counter() - started
        return response

    async def cluster(self, request: Any) -> Any:
        """Say where a collection's shards lie: there is one, here."""
        started = time.perf_counter()
        found = await self._registry.get(request.collection_name).read(lambda shard: shard.info())
        response = pb.CollectionClusterInfoResponse(peer_id=PEER, shard_count=1)
        response.local_shards.add(shard_id=0, points_count=found.points_count, state=pb.ReplicaState.Active)
        response.time = time.perf_counter() - started
        return response

    async def update_aliases(self, request: Any) -> Any:
        """Apply alias changes as one step."""
        started = time.perf_counter()
        await self._registry.change_aliases(request.actions)
        return pb.CollectionOperationResponse(result=True, time=time.perf_counter() - started)

    async def list_aliases(self, _request: Any) -> Any:
        """Name all aliases."""
        return self._aliases(None)

    async def list_collection_aliases(self, request: Any) -> Any:
        """Name the aliases of one collection."""
        return self._aliases(self._registry.get(request.collection_name).name)

    def _aliases(self, target: str | None) -> Any:
        response = pb.ListAliasesResponse()
        for alias, name in sorted(self._registry.aliases.items()):
            if target in (None, name):
                response.aliases.add(alias_name=alias, collection_name=name)
        return response
