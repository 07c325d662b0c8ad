"""Writing and reading points through the official client in all its forms, and its in-memory mode as a reference."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from qdrant_client import models as m

from tests.fixtures.qdrant import AnyClient

Fresh = Callable[[], str]
PLAIN = m.VectorParams(size=4, distance=m.Distance.COSINE)
DOT = m.VectorParams(size=2, distance=m.Distance.DOT)
PAYLOAD = {
    "text": "grün 🌱",
    "empty": "",
    "whole": 2**53,
    "negative": -7,
    "zero": 0,
    "half": 0.5,
    "yes": True,
    "no": False,
    "nothing": None,
    "list": [1, "two", None, {"three": 3.5}],
    "object": {"deep": {"er": [[]]}, "when": "2024-05-01T12:00:00Z"},
}


async def _make(client: AnyClient, fresh: Fresh, vectors: Any = PLAIN, **more: Any) -> str:
    name = fresh()
    await client.create_collection(name, vectors_config=vectors, **more)
    return name


async def test_points_come_back_as_written(qdrant_reference_form: AnyClient, fresh_collection: Fresh) -> None:
    client = qdrant_reference_form
    name = await _make(client, fresh_collection)
    text = str(uuid.uuid4())
    points = [
        m.PointStruct(id=text, vector=[3, 0, 4, 0], payload=PAYLOAD),
        m.PointStruct(id=2**63, vector=[0, 0, 0, 0], payload={}),
        m.PointStruct(id=0, vector=[0.5, 0.5, 0.5, 0.5]),
    ]
    result = await client.upsert(name, points, wait=True)
    assert result.status == m.UpdateStatus.COMPLETED
    found = {point.id: point for point in await client.retrieve(name, [text, 2**63, 0, 99], with_vectors=True)}
    assert set(found) == {text, 2**63, 0}
    assert found[text].payload == PAYLOAD
    assert found[text].vector == pytest.approx([0.6, 0, 0.8, 0])
    assert found[2**63].vector == [0, 0, 0, 0]
    assert not found[0].payload


async def test_selectors_choose_what_comes_back(qdrant_reference_form: AnyClient, fresh_collection: Fresh) -> None:
    client = qdrant_reference_form
    name = await _make(client, fresh_collection, {"a": PLAIN, "b": DOT})
    payload = {"x": 1, "y": {"z": 2, "w": 3}, "v": 4}
    await client.upsert(
        name, [m.PointStruct(id=1, vector={"a": [1, 0, 0, 0], "b": [1, 2]}, payload=payload)], wait=True
    )
    bare = (await client.retrieve(name, [1], with_payload=False))[0]
    assert (bare.payload or {}, bare.vector or {}) == ({}, {})
    some = (await client.retrieve(name, [1], with_payload=["x", "y.z"], with_vectors=["b"]))[0]
    assert some.payload == {"x": 1, "y": {"z": 2}}
    assert some.vector == {"b": [1, 2]}
    rest = (await client.retrieve(name, [1], with_payload=m.PayloadSelectorExclude(exclude=["x", "y.z"])))[0]
    assert rest.payload == {"y": {"w": 3}, "v": 4}
    hit = (await client.query_points(name, query=[1, 2], using="b", with_payload=["v"], with_vectors=True)).points[0]
    assert hit.payload == {"v": 4}
    assert set(hit.vector) == {"a", "b"}


async def test_the_fence_lets_newer_points_stand(qdrant_reference_form: AnyClient, fresh_collection: Fresh) -> None:
    client = qdrant_reference_form
    name = await _make(client, fresh_collection)
    mine = 2**52 + 1
    stored = {1: mine - 1, 2: mine, 3: mine + 1}
    before = [m.PointStruct(id=i, vector=[1, 0, 0, 0], payload={"fence": f, "by": "old"}) for i, f in stored.items()]
    await client.upsert(name, before, wait=True)
    fence = m.Filter(must=[m.FieldCondition(key="fence", range=m.Range(lte=mine))])
    batch = [m.PointStruct(id=i, vector=[0, 1, 0, 0], payload={"fence": mine, "by": "me"}) for i in (1, 2, 3, 4)]
    await client.upsert(name, batch, wait=True, update_filter=fence)
    found = {point.id: point for point in await client.retrieve(name, [1, 2, 3, 4], with_vectors=True)}
    assert {i: point.payload["by"] for i, point in found.items()} == {1: "me", 2: "me", 3: "old", 4: "me"}
    assert found[3].payload["fence"] == mine + 1
    assert found[3].vector == [1, 0, 0, 0]
    assert found[2].vector == [0, 1, 0, 0]


async def test_fences_compare_exactly_up_to_two_to_the_53(
    qdrant_client_form: AnyClient, fresh_collection: Fresh
) -> None:
    client = qdrant_client_form
    name = await _make(client, fresh_collection)
    top = 2**53
    points = [m.PointStruct(id=i, vector=[1, 0, 0, 0], payload={"fence": top - i}) for i in range(4)]
    await client.upsert(name, points, wait=True)
    for bound in range(4):
        chosen = m.Filter(must=[m.FieldCondition(key="fence", range=m.Range(lte=top - bound))])
        assert (await client.count(name, count_filter=chosen)).count == 4 - bound


async def test_update_modes(qdrant_client_form: AnyClient, fresh_collection: Fresh) -> None:
    client = qdrant_client_form
    name = await _make(client, fresh_collection)
    await client.upsert(name, [m.PointStruct(id=1, vector=[1, 0, 0, 0], payload={"n": 1})], wait=True)
    both = [m.PointStruct(id=i, vector=[1, 0, 0, 0], payload={"n": 2}) for i in (1, 2)]
    await client.upsert(name, both, wait=True, update_mode=m.UpdateMode.INSERT_ONLY)
    assert [point.payload["n"] for point in await client.retrieve(name, [1, 2])] == [1, 2]
    both = [m.PointStruct(id=i, vector=[1, 0, 0, 0], payload={"n": 3}) for i in (2, 3)]
    await client.upsert(name, both, wait=True, update_mode=m.UpdateMode.UPDATE_ONLY)
    assert [(point.id, point.payload["n"]) for point in await client.retrieve(name, [1, 2, 3])] == [(1, 1), (2, 3)]


async def test_columns_and_batches_write_too(qdrant_reference_form: AnyClient, fresh_collection: Fresh) -> None:
    client = qdrant_reference_form
    name = await _make(client, fresh_collection)
    columns = m.Batch(ids=[1, 2, 3], vectors=[[1, 0, 0, 0]] * 3, payloads=[{"n": 1}, {"n": 2}, {"n": 3}])
    await client.upsert(name, columns, wait=True)
    operations = [
        m.UpsertOperation(upsert=m.PointsList(points=[m.PointStruct(id=4, vector=[0, 1, 0, 0], payload={"n": 4})])),
        m.SetPayloadOperation(set_payload=m.SetPayload(payload={"m": 1}, points=[1, 4])),
        m.OverwritePayloadOperation(overwrite_payload=m.SetPayload(payload={"o": 1}, points=[2])),
        m.DeleteOperation(delete=m.PointIdsList(points=[3])),
        m.UpdateVectorsOperation(update_vectors=m.UpdateVectors(points=[m.PointVectors(id=1, vector=[0, 0, 0, 2])])),
        m.DeletePayloadOperation(delete_payload=m.DeletePayload(keys=["n"], points=[4])),
    ]
    results = await client.batch_update_points(name, operations, wait=True)
    assert len(results) == len(operations)
    found = {point.id: point for point in (await client.scroll(name, with_vectors=True))[0]}
    assert {i: point.payload for i, point in found.items()} == {1: {"n": 1, "m": 1}, 2: {"o": 1}, 4: {"m": 1}}
    assert found[1].vector == [0, 0, 0, 1]


async def test_payload_operations(qdrant_reference_form: AnyClient, fresh_collection: Fresh) -> None:
    client = qdrant_reference_form
    name = await _make(client, fresh_collection)
    points = [m.PointStruct(id=i, vector=[1, 0, 0, 0], payload={"a": 1, "b": {"c": 1}, "i": i}) for i in (1, 2, 3)]
    await client.upsert(name, points, wait=True)
    last = m.Filter(must=[m.FieldCondition(key="i", range=m.Range(gte=3))])
    await client.set_payload(name, {"d": 4, "a": [2]}, points=[1], wait=True)
    await client.set_payload(name, {"e": 5}, points=[2], key="b", wait=True)
    await client.set_payload(name, {"a": "third"}, points=last, wait=True)
    await client.delete_payload(name, ["i", "b"], points=[1], wait=True)
    found = {point.id: point.payload for point in (await client.scroll(name))[0]}
    assert found == {
        1: {"a": [2], "d": 4},
        2: {"a": 1, "b": {"c": 1, "e": 5}, "i": 2},
        3: {"a": "third", "b": {"c": 1}, "i": 3},
    }
    await client.overwrite_payload(name, {"z": 1}, points=last, wait=True)
    await client.clear_payload(name, points_selector=[2], wait=True)
    found = {point.id: point.payload or {} for point in (await client.scroll(name))[0]}
    assert found == {1: {"a": [2], "d": 4}, 2: {}, 3: {"z": 1}}


async def test_deleting(qdrant_reference_form: AnyClient, fresh_collection: Fresh) -> None:
    client = qdrant_reference_form
    name = await _make(client, fresh_collection)
    points = [m.PointStruct(id=i, vector=[1, 0, 0, 0], payload={"expires_at": i * 1000}) for i in range(10)]
    await client.upsert(name, points, wait=True)
    await client.delete(name, points_selector=[0, 99], wait=True)
    gone = m.Filter(must=[m.FieldCondition(key="expires_at", range=m.Range(lt=5000))])
    await client.delete(name, points_selector=m.FilterSelector(filter=gone), wait=True)
    assert [point.id for point in (await client.scroll(name))[0]] == [5, 6, 7, 8, 9]
    assert (await client.count(name)).count == 5


async def test_vectors_change_alone(qdrant_reference_form: AnyClient, fresh_collection: Fresh) -> None:
    client = qdrant_reference_form
    sparse = {"words": m.SparseVectorParams()}
    name = await _make(client, fresh_collection, {"a": PLAIN, "b": DOT}, sparse_vectors_config=sparse)
    words = m.SparseVector(indices=[7, 2], values=[1.0, 2.0])
    vector = {"a": [1, 0, 0, 0], "b": [1, 2], "words": words}
    await client.upsert(name, [m.PointStruct(id=1, vector=vector, payload={"k": 1})], wait=True)
    await client.update_vectors(name, [m.PointVectors(id=1, vector={"b": [5, 6]})], wait=True)
    await client.delete_vectors(name, vectors=["a"], points=[1], wait=True)
    found = (await client.retrieve(name, [1], with_vectors=True))[0]
    assert set(found.vector) == {"b", "words"}
    assert found.vector["b"] == [5, 6]
    assert dict(zip(found.vector["words"].indices, found.vector["words"].values, strict=True)) == {7: 1.0, 2: 2.0}
    assert found.payload == {"k": 1}


async def test_scrolling_pages_through_everything_once(
    qdrant_reference_form: AnyClient, fresh_collection: Fresh
) -> None:
    client = qdrant_reference_form
    name = await _make(client, fresh_collection)
    points = [m.PointStruct(id=i, vector=[1, 0, 0, 0], payload={"odd": i % 2}) for i in range(25)]
    await client.upsert(name, points, wait=True)
    odd = m.Filter(must=[m.FieldCondition(key="odd", match=m.MatchValue(value=1))])
    seen, offset, pages = [], None, 0
    while True:
        page, offset = await client.scroll(name, scroll_filter=odd, limit=5, offset=offset)
        seen += [point.id for point in page]
        pages += 1
        if offset is None:
            break
    assert seen == list(range(1, 25, 2))
    assert pages == 3


async def test_scrolling_in_the_order_of_a_key(qdrant_client_form: AnyClient, fresh_collection: Fresh) -> None:
    client = qdrant_client_form
    name = await _make(client, fresh_collection)
    points = [m.PointStruct(id=i, vector=[1, 0, 0, 0], payload={"n": (i * 7) % 10}) for i in range(10)]
    await client.upsert(name, points, wait=True)
    with pytest.raises(Exception, match="index"):
        await client.scroll(name, order_by="n")
    await client.create_payload_index(name, "n", m.PayloadSchemaType.INTEGER, wait=True)
    down = m.OrderBy(key="n", direction=m.Direction.DESC, start_from=5)
    page, _ = await client.scroll(name, order_by=down, limit=3)
    assert [point.payload["n"] for point in page] == [5, 4, 3]
    assert [point.order_value for point in page] == [5, 4, 3]


async def test_without_waiting_the_write_arrives_later(qdrant_client_form: AnyClient, fresh_collection: Fresh) -> None:
    client = qdrant_client_form
    name = await _make(client, fresh_collection)
    result = await client.upsert(name, [m.PointStruct(id=1, vector=[1, 0, 0, 0])], wait=False)
    assert result.status == m.UpdateStatus.ACKNOWLEDGED
    await client.upsert(name, [m.PointStruct(id=2, vector=[1, 0, 0, 0])], wait=True)
    assert (await client.count(name)).count == 2
