"""Queries, groups and facets rank as the official client's in-memory mode does."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as m

from tests.fixtures.qdrant import QdrantServer, RealQdrant, connect

POINTS = 120
SIZE = 8
TOPICS = ["/sports", "/music", "/food", "/tech"]
_R = random.Random(7)


def _vector(size: int = SIZE) -> list[float]:
    return [_R.gauss(0, 1) for _ in range(size)]


VECTORS = [{"text": _vector(), "dots": _vector(4)} for _ in range(POINTS)]
QUERY, OTHER, DOTS = _vector(), _vector(), _vector(4)
SPORTS = m.Filter(must=[m.FieldCondition(key="topic", match=m.MatchValue(value="/sports"))])
WORDS = m.SparseVector(indices=[1, 3], values=[1.0, 0.5])


def _near(vector: list[float], using: str = "text", **more: Any) -> m.Prefetch:
    return m.Prefetch(query=vector, using=using, limit=20, **more)


CASES: dict[str, dict[str, Any]] = {
    "nearest": {"query": QUERY, "using": "text", "limit": 12},
    "nearest by dot product": {"query": DOTS, "using": "dots"},
    "nearest sparse": {"query": WORDS, "using": "words"},
    "nearest to a point": {"query": 5, "using": "text"},
    "filtered": {"query": QUERY, "using": "text", "query_filter": SPORTS},
    "threshold": {"query": QUERY, "using": "text", "score_threshold": 0.2, "limit": 50},
    "offset": {"query": QUERY, "using": "text", "limit": 5, "offset": 5},
    "exact": {"query": QUERY, "using": "text", "search_params": m.SearchParams(exact=True)},
    "recommend average": {
        "query": m.RecommendQuery(recommend=m.RecommendInput(positive=[1, 2, QUERY], negative=[3])),
        "using": "text",
    },
    "recommend best score": {
        "query": m.RecommendQuery(
            recommend=m.RecommendInput(positive=[1, 2], negative=[OTHER], strategy=m.RecommendStrategy.BEST_SCORE)
        ),
        "using": "text",
    },
    "recommend sum of scores": {
        "query": m.RecommendQuery(
            recommend=m.RecommendInput(positive=[QUERY], negative=[3], strategy=m.RecommendStrategy.SUM_SCORES)
        ),
        "using": "text",
    },
    "discover": {
        "query": m.DiscoverQuery(
            discover=m.DiscoverInput(target=QUERY, context=[m.ContextPair(positive=1, negative=2)])
        ),
        "using": "text",
    },
    "fusion rrf": {
        "prefetch": [_near(QUERY), _near(DOTS, "dots")],
        "query": m.FusionQuery(fusion=m.Fusion.RRF),
        "limit": 5,
    },
    "fusion dbsf": {
        "prefetch": [_near(QUERY), _near(DOTS, "dots")],
        "query": m.FusionQuery(fusion=m.Fusion.DBSF),
        "limit": 5,
    },
    "rescored prefetch": {"prefetch": _near(QUERY, filter=SPORTS), "query": DOTS, "using": "dots", "limit": 4},
    "mmr": {
        "query": m.NearestQuery(nearest=QUERY, mmr=m.Mmr(diversity=0.4, candidates_limit=30)),
        "using": "text",
        "limit": 6,
    },
    "formula": {
        "prefetch": _near(QUERY),
        "query": m.FormulaQuery(
            formula=m.SumExpression(
                sum=["$score", m.MultExpression(mult=[0.3, "weight"]), m.MultExpression(mult=[2.0, SPORTS.must[0]])]
            ),
            defaults={"weight": 0.5},
        ),
        "limit": 6,
    },
    "order by": {"query": m.OrderByQuery(order_by=m.OrderBy(key="n", direction=m.Direction.DESC)), "limit": 4},
    "by id": {"limit": 4},
}


@dataclass(frozen=True)
class Pair:
    """The same points on the server and in the reference."""

    servers: dict[str, Any]
    local: QdrantClient
    name: str
    others: str


@pytest.fixture(scope="module")
def pair(qdrant: QdrantServer | RealQdrant) -> Iterator[Pair]:
    """Fill both with the same points."""
    name, others = (f"test-{uuid.uuid4().hex}" for _ in range(2))
    servers = {kind: connect(kind, qdrant).inner for kind in ("grpc-sync", "rest-sync")}
    local = QdrantClient(":memory:")
    vectors = {
        "text": m.VectorParams(size=SIZE, distance=m.Distance.COSINE),
        "dots": m.VectorParams(size=4, distance=m.Distance.DOT),
    }
    for client in (servers["grpc-sync"], local):
        client.create_collection(name, vectors_config=vectors, sparse_vectors_config={"words": m.SparseVectorParams()})
        client.upsert(name, [_point(i) for i in range(POINTS)], wait=True)
        client.create_collection(others, vectors_config=m.VectorParams(size=SIZE, distance=m.Distance.DOT))
        more = [m.PointStruct(id=i, vector=VECTORS[i]["text"], payload={"title": f"item {i}"}) for i in range(10)]
        client.upsert(others, more, wait=True)
    servers["grpc-sync"].create_payload_index(name, "n", m.PayloadSchemaType.INTEGER, wait=True)
    servers["grpc-sync"].create_payload_index(name, "topic", m.PayloadSchemaType.KEYWORD, wait=True)
    yield Pair(servers, local, name, others)
    for client in (*servers.values(), local):
        client.close()


def _point(i: int) -> m.PointStruct:
    words = m.SparseVector(indices=[i % 5, 5 + i % 3], values=[1.0 + i / 100, 0.5])
    payload = {"topic": TOPICS[i * i % 4], "item": i % 9, "n": POINTS - i, "both": [f"a{i % 2}", f"b{i % 6}"]}
    if i % 3 == 0:
        payload["weight"] = i / POINTS
    return m.PointStruct(id=i, vector={**VECTORS[i], "words": words}, payload=payload)


@pytest.mark.parametrize("form", ["grpc-sync", "rest-sync"])
@pytest.mark.parametrize("case", CASES)
def test_queries_rank_as_the_reference_does(pair: Pair, case: str, form: str) -> None:
    asked = CASES[case]
    reference = {key: value for key, value in asked.items() if key != "search_params"}  # the reference is always exact
    expected = pair.local.query_points(pair.name, **reference).points
    found = pair.servers[form].query_points(pair.name, **asked).points
    assert [point.id for point in found] == [point.id for point in expected]
    assert all(point.payload["n"] == POINTS - point.id for point in found)
    if case not in ("by id", "order by"):  # the score of an unscored point means nothing
        assert [point.score for point in found] == pytest.approx([point.score for point in expected], abs=1e-4)


@pytest.mark.parametrize("form", ["grpc-sync", "rest-sync"])
def test_a_batch_answers_each_query(pair: Pair, form: str) -> None:
    requests = [
        m.QueryRequest(query=QUERY, using="text", limit=3, with_payload=["n"]),
        m.QueryRequest(query=DOTS, using="dots", limit=2, with_vector=True, filter=SPORTS),
    ]
    expected = pair.local.query_batch_points(pair.name, requests)
    found = pair.servers[form].query_batch_points(pair.name, requests)
    assert [[point.id for point in one.points] for one in found] == [[p.id for p in one.points] for one in expected]
    assert set(found[0].points[0].payload) == {"n"}
    assert found[0].points[0].vector is None
    assert not found[1].points[0].payload
    assert set(found[1].points[0].vector) == {"text", "dots", "words"}


@pytest.mark.parametrize("form", ["grpc-sync", "rest-sync"])
@pytest.mark.parametrize("key", ["topic", "item", "both"])
@pytest.mark.parametrize("limit", [2, 5, 20])
def test_groups_are_those_of_the_whole_ranking(pair: Pair, key: str, limit: int, form: str) -> None:
    asked: dict[str, Any] = {"query": QUERY, "using": "text", "group_by": key, "limit": limit, "group_size": 3}
    ranking = pair.local.query_points(pair.name, query=QUERY, using="text", limit=POINTS).points
    expected: dict[Any, list[int]] = {}
    for point in ranking:
        value = point.payload[key]
        for entry in value if isinstance(value, list) else [value]:
            if entry in expected or len(expected) < limit:
                expected.setdefault(entry, []).append(point.id)
    found = pair.servers[form].query_points_groups(pair.name, **asked, with_payload=["n"]).groups
    assert {group.id: [hit.id for hit in group.hits] for group in found} == {k: v[:3] for k, v in expected.items()}
    assert [group.id for group in found] == list(expected)
    assert all(set(hit.payload) == {"n"} for group in found for hit in group.hits)


@pytest.mark.parametrize("form", ["grpc-sync", "rest-sync"])
def test_groups_bring_the_points_they_name(pair: Pair, form: str) -> None:
    lookup = m.WithLookup(collection=pair.others, with_payload=["title"], with_vectors=False)
    found = pair.servers[form].query_points_groups(
        pair.name, query=QUERY, using="text", group_by="item", limit=3, group_size=1, with_lookup=lookup
    )
    assert [group.lookup.payload["title"] for group in found.groups] == [f"item {group.id}" for group in found.groups]


@pytest.mark.parametrize("form", ["grpc-sync", "rest-sync"])
def test_examples_may_lie_in_another_collection(pair: Pair, form: str) -> None:
    location = m.LookupLocation(collection=pair.others)
    found = pair.servers[form].query_points(pair.name, query=4, using="text", lookup_from=location, limit=2).points
    assert found[0].id == 4, "the example's twin in this collection is a result, not an example"
    assert found[0].score == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("form", ["grpc-sync", "rest-sync"])
def test_facets_count_values(pair: Pair, form: str) -> None:
    expected = {hit.value: hit.count for hit in pair.local.facet(pair.name, "topic", exact=True).hits}
    found = pair.servers[form].facet(pair.name, "topic", exact=True).hits
    assert {hit.value: hit.count for hit in found} == expected
    with pytest.raises(Exception, match="index"):
        pair.servers[form].facet(pair.name, "item")


@pytest.mark.parametrize("form", ["grpc-sync", "rest-sync"])
def test_a_sample_is_drawn_from_the_filter(pair: Pair, form: str) -> None:
    sample = m.SampleQuery(sample=m.Sample.RANDOM)
    found = pair.servers[form].query_points(pair.name, query=sample, query_filter=SPORTS, limit=10).points
    assert len({point.id for point in found}) == 10
    assert {point.payload["topic"] for point in found} == {"/sports"}
