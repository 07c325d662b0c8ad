"""Collections, their parameters and aliases through the official client in all its forms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from qdrant_client import models as m

from tests.fixtures.qdrant import AnyClient

Fresh = Callable[[], str]
PLAIN = m.VectorParams(size=4, distance=m.Distance.COSINE)


async def test_a_collection_comes_and_goes(qdrant_client_form: AnyClient, fresh_collection: Fresh) -> None:
    client, name = qdrant_client_form, fresh_collection()
    assert not await client.collection_exists(name)
    assert await client.create_collection(name, vectors_config=PLAIN)
    assert await client.collection_exists(name)
    assert name in [item.name for item in (await client.get_collections()).collections]
    assert await client.delete_collection(name)
    assert not await client.collection_exists(name)
    assert not await client.delete_collection(name)


async def test_info_tells_what_was_asked_for(qdrant_client_form: AnyClient, fresh_collection: Fresh) -> None:
    client, name = qdrant_client_form, fresh_collection()
    await client.create_collection(
        name,
        vectors_config={
            "text": PLAIN,
            "image": m.VectorParams(size=2, distance=m.Distance.DOT, hnsw_config=m.HnswConfigDiff(m=8)),
        },
        sparse_vectors_config={"words": m.SparseVectorParams(modifier=m.Modifier.IDF)},
        hnsw_config=m.HnswConfigDiff(m=32, ef_construct=64),
        optimizers_config=m.OptimizersConfigDiff(indexing_threshold=0),
        on_disk_payload=False,
    )
    await client.upsert(name, [m.PointStruct(id=1, vector={"text": [1, 0, 0, 0]})], wait=True)
    info = await client.get_collection(name)
    assert info.status == m.CollectionStatus.GREEN
    assert info.points_count == 1
    params = info.config.params
    assert params.vectors["text"].size == 4
    assert params.vectors["image"].distance == m.Distance.DOT
    assert params.vectors["image"].hnsw_config.m == 8
    assert params.sparse_vectors["words"].modifier == m.Modifier.IDF
    assert params.on_disk_payload is False
    assert (info.config.hnsw_config.m, info.config.hnsw_config.ef_construct) == (32, 64)
    assert info.config.optimizer_config.indexing_threshold == 0


async def test_parameters_change_and_points_stay(qdrant_client_form: AnyClient, fresh_collection: Fresh) -> None:
    client, name = qdrant_client_form, fresh_collection()
    await client.create_collection(name, vectors_config=PLAIN)
    await client.upsert(name, [m.PointStruct(id=1, vector=[1, 2, 3, 4], payload={"a": 1})], wait=True)
    assert await client.update_collection(
        name,
        optimizers_config=m.OptimizersConfigDiff(indexing_threshold=123),
        hnsw_config=m.HnswConfigDiff(ef_construct=77),
    )
    info = await client.get_collection(name)
    assert info.config.optimizer_config.indexing_threshold == 123
    assert info.config.hnsw_config.ef_construct == 77
    assert (await client.retrieve(name, [1]))[0].payload == {"a": 1}
    await client.upsert(name, [m.PointStruct(id=2, vector=[1, 2, 3, 4])], wait=True)
    assert (await client.count(name)).count == 2


async def test_a_named_vector_comes_and_goes(qdrant_client_form: AnyClient, fresh_collection: Fresh) -> None:
    client, name = qdrant_client_form, fresh_collection()
    await client.create_collection(name, vectors_config={"old": PLAIN})
    await client.upsert(name, [m.PointStruct(id=1, vector={"old": [1, 0, 0, 0]})], wait=True)
    config = m.DenseVectorNameConfig(dense=m.DenseVectorConfig(size=2, distance=m.Distance.DOT))
    await client.create_vector_name(name, "new", config, wait=True)
    await client.update_vectors(name, [m.PointVectors(id=1, vector={"new": [3, 4]})], wait=True)
    assert (await client.query_points(name, query=[1, 1], using="new")).points[0].score == pytest.approx(7)
    assert set((await client.get_collection(name)).config.params.vectors) == {"old", "new"}
    await client.delete_vector_name(name, "new", wait=True)
    assert set((await client.get_collection(name)).config.params.vectors) == {"old"}
    assert set((await client.retrieve(name, [1], with_vectors=True))[0].vector) == {"old"}


async def test_aliases_stand_for_collections_everywhere(qdrant_client_form: AnyClient, fresh_collection: Fresh) -> None:
    client = qdrant_client_form
    first, second, alias, other = (fresh_collection() for _ in range(4))
    for number, name in enumerate((first, second)):
        await client.create_collection(name, vectors_config=PLAIN)
        await client.upsert(name, [m.PointStruct(id=number, vector=[1, 0, 0, 0])], wait=True)
    await client.update_collection_aliases([_create(first, alias)])
    assert (await client.count(alias)).count == 1
    assert await client.collection_exists(alias)
    assert [point.id for point in (await client.query_points(alias, query=[1, 0, 0, 0])).points] == [0]
    await client.upsert(alias, [m.PointStruct(id=7, vector=[0, 1, 0, 0])], wait=True)
    assert [point.id for point in await client.retrieve(first, [7])] == [7]

    switch = [m.DeleteAliasOperation(delete_alias=m.DeleteAlias(alias_name=alias)), _create(second, alias)]
    assert await client.update_collection_aliases(switch)
    assert [point.id for point in (await client.scroll(alias))[0]] == [1]

    rename = m.RenameAliasOperation(rename_alias=m.RenameAlias(old_alias_name=alias, new_alias_name=other))
    await client.update_collection_aliases([rename])
    assert [item.alias_name for item in (await client.get_collection_aliases(second)).aliases] == [other]
    assert (await client.get_collection_aliases(first)).aliases == []
    pairs = {item.alias_name: item.collection_name for item in (await client.get_aliases()).aliases}
    assert pairs[other] == second
    assert alias not in pairs
    await client.delete_collection(second)
    assert other not in [item.alias_name for item in (await client.get_aliases()).aliases]


async def test_alias_changes_are_all_or_nothing(qdrant_client_form: AnyClient, fresh_collection: Fresh) -> None:
    client = qdrant_client_form
    name, alias = fresh_collection(), fresh_collection()
    await client.create_collection(name, vectors_config=PLAIN)
    await client.update_collection_aliases([_create(name, alias)])
    broken = [
        m.DeleteAliasOperation(delete_alias=m.DeleteAlias(alias_name=alias)),
        _create(fresh_collection(), alias),
    ]
    with pytest.raises(Exception, match="Not found: Collection"):
        await client.update_collection_aliases(broken)
    assert [item.alias_name for item in (await client.get_collection_aliases(name)).aliases] == [alias]


def _create(collection: str, alias: str) -> m.CreateAliasOperation:
    return m.CreateAliasOperation(create_alias=m.CreateAlias(collection_name=collection, alias_name=alias))
