"""Filters select the same points as the official client's in-memory mode, an implementation of its own."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as m

from tests.fixtures.qdrant import QdrantServer, RealQdrant, connect

POINTS = 150
WORDS = ["red", "green", "blue", "dark red"]
START = datetime(2024, 1, 1, tzinfo=UTC)
IDS: list[int | str] = [i if i % 3 else str(uuid.UUID(int=i + 1)) for i in range(POINTS)]


def _payload(i: int) -> dict[str, Any]:
    random_state = random.Random(i)
    payload: dict[str, Any] = {
        "color": random_state.choice(WORDS),
        "count": random_state.randint(-5, 20),
        "score": random_state.uniform(-1, 1),
        "big": 2**53 - random_state.randint(0, 4),
        "flag": random_state.random() < 0.5,
        "when": (START + timedelta(hours=7 * i, microseconds=i)).isoformat(),
        "tags": random_state.sample(WORDS, random_state.randint(0, 3)),
        "place": {"lon": random_state.uniform(-180, 180), "lat": random_state.uniform(-80, 80)},
        "parts": [{"size": n, "name": random_state.choice(WORDS)} for n in range(random_state.randint(0, 3))],
        "owner": {"name": f"u{i % 7}", "keys": {"age": i % 11}},
    }
    if i % 4 == 0:
        del payload["color"]
    if i % 5 == 0:
        payload["count"] = None
    return payload


def _field(key: str, **test: Any) -> m.FieldCondition:
    return m.FieldCondition(key=key, **test)


RED = _field("color", match=m.MatchValue(value="red"))
MANY = _field("count", range=m.Range(gte=5))
YES = _field("flag", match=m.MatchValue(value=True))
BERLIN = m.GeoPoint(lon=13.4, lat=52.5)
SQUARE = [m.GeoPoint(lon=x, lat=y) for x, y in ((-60, -30), (70, -30), (70, 50), (-60, 50), (-60, -30))]
HOLE = [m.GeoPoint(lon=x, lat=y) for x, y in ((0, 0), (20, 0), (20, 20), (0, 20), (0, 0))]
RARE = m.Filter(must=[_field("name", match=m.MatchValue(value="red")), _field("size", range=m.Range(gte=1))])

FILTERS: dict[str, m.Filter] = {
    "match keyword": m.Filter(must=[RED]),
    "match integer": m.Filter(must=[_field("count", match=m.MatchValue(value=3))]),
    "match bool": m.Filter(must=[YES]),
    "match in a list": m.Filter(must=[_field("tags", match=m.MatchValue(value="blue"))]),
    "match any keyword": m.Filter(must=[_field("color", match=m.MatchAny(any=["red", "blue"]))]),
    "match any integer": m.Filter(must=[_field("count", match=m.MatchAny(any=[1, 2, 3]))]),
    "match except": m.Filter(must=[_field("color", match=m.MatchExcept(**{"except": ["red", "blue"]}))]),
    "match text": m.Filter(must=[_field("color", match=m.MatchText(text="dark"))]),
    "range int": m.Filter(must=[_field("count", range=m.Range(gt=0, lte=7))]),
    "range float": m.Filter(must=[_field("score", range=m.Range(gte=-0.25, lt=0.5))]),
    "range at the edge of doubles": m.Filter(must=[_field("big", range=m.Range(lte=2**53 - 2))]),
    "range datetime": m.Filter(
        must=[_field("when", range=m.DatetimeRange(gte=START + timedelta(days=3), lt="2024-02-01T00:00:00Z"))]
    ),
    "nested key": m.Filter(must=[_field("owner.name", match=m.MatchValue(value="u3"))]),
    "deeper key": m.Filter(must=[_field("owner.keys.age", range=m.Range(lt=4))]),
    "array key": m.Filter(must=[_field("parts[].size", match=m.MatchValue(value=2))]),
    "array index": m.Filter(must=[_field("parts[0].name", match=m.MatchValue(value="red"))]),
    "nested object": m.Filter(must=[m.NestedCondition(nested=m.Nested(key="parts", filter=RARE))]),
    "values count": m.Filter(must=[_field("tags", values_count=m.ValuesCount(gte=1, lt=3))]),
    "is empty": m.Filter(must=[m.IsEmptyCondition(is_empty=m.PayloadField(key="color"))]),
    "is empty list": m.Filter(must=[m.IsEmptyCondition(is_empty=m.PayloadField(key="tags"))]),
    "is null": m.Filter(must=[m.IsNullCondition(is_null=m.PayloadField(key="count"))]),
    "not null": m.Filter(must_not=[m.IsNullCondition(is_null=m.PayloadField(key="count"))]),
    "has id": m.Filter(must=[m.HasIdCondition(has_id=[IDS[0], IDS[1], IDS[2], 99_999])]),
    "has vector": m.Filter(must=[m.HasVectorCondition(has_vector="second")]),
    "geo box": m.Filter(
        must=[
            _field(
                "place",
                geo_bounding_box=m.GeoBoundingBox(
                    top_left=m.GeoPoint(lon=-50, lat=60), bottom_right=m.GeoPoint(lon=50, lat=-10)
                ),
            )
        ]
    ),
    "geo radius": m.Filter(must=[_field("place", geo_radius=m.GeoRadius(center=BERLIN, radius=5_000_000))]),
    "geo polygon": m.Filter(
        must=[
            _field(
                "place",
                geo_polygon=m.GeoPolygon(
                    exterior=m.GeoLineString(points=SQUARE), interiors=[m.GeoLineString(points=HOLE)]
                ),
            )
        ]
    ),
    "should": m.Filter(should=[RED, MANY]),
    "must and must not": m.Filter(must=[YES], must_not=[RED, MANY]),
    "must and should": m.Filter(must=[YES], should=[RED, MANY]),
    "min should": m.Filter(min_should=m.MinShould(conditions=[RED, MANY, YES], min_count=2)),
    "filter in a filter": m.Filter(
        must=[m.Filter(should=[RED, m.Filter(must=[MANY, YES])])], must_not=[m.Filter(must=[RED, YES])]
    ),
    "empty filter": m.Filter(),
    "missing key": m.Filter(must=[_field("absent", match=m.MatchValue(value=1))]),
}


@dataclass(frozen=True)
class Pair:
    """The same points on the server, plain and indexed, and in the reference."""

    servers: dict[str, Any]
    local: QdrantClient
    names: tuple[str, str]


@pytest.fixture(scope="module")
def pair(qdrant: QdrantServer | RealQdrant) -> Iterator[Pair]:
    """Fill all of them with the same points."""
    plain, indexed = (f"test-{uuid.uuid4().hex}" for _ in range(2))
    servers = {kind: connect(kind, qdrant).inner for kind in ("grpc-sync", "rest-sync")}
    local = QdrantClient(":memory:")
    vectors = {"first": m.VectorParams(size=2, distance=m.Distance.DOT)}
    vectors["second"] = vectors["first"]
    for client, names in ((servers["grpc-sync"], (plain, indexed)), (local, (plain,))):
        for name in names:
            client.create_collection(name, vectors_config=vectors)
            client.upsert(name, [_point(i) for i in range(POINTS)], wait=True)
    kinds = m.PayloadSchemaType
    schema = {"color": kinds.KEYWORD, "count": kinds.INTEGER, "score": kinds.FLOAT, "flag": kinds.BOOL}
    schema |= {"when": kinds.DATETIME, "place": kinds.GEO, "owner.name": kinds.KEYWORD, "big": kinds.INTEGER}
    for key, kind in schema.items():
        servers["grpc-sync"].create_payload_index(indexed, key, kind, wait=True)
    yield Pair(servers, local, (plain, indexed))
    for client in (*servers.values(), local):
        client.close()


def _point(i: int) -> m.PointStruct:
    vector = {"first": [1.0, 0.0]} | ({"second": [0.0, 1.0]} if i % 2 else {})
    return m.PointStruct(id=IDS[i], vector=vector, payload=_payload(i))


@pytest.mark.parametrize("form", ["grpc-sync", "rest-sync"])
@pytest.mark.parametrize("name", FILTERS)
def test_filters_select_what_the_reference_selects(pair: Pair, name: str, form: str) -> None:
    chosen = FILTERS[name]
    expected = _ids(pair.local, pair.names[0], chosen)
    for collection in pair.names:
        if name == "match text" and collection == pair.names[1]:
            continue  # a keyword index does not serve full-text matches
        server = pair.servers[form]
        assert _ids(server, collection, chosen) == expected
        assert server.count(collection, count_filter=chosen, exact=True).count == len(expected)
    if name not in ("missing key", "empty filter"):
        assert 0 < len(expected) < POINTS


def _ids(client: QdrantClient, collection: str, chosen: m.Filter) -> set[Any]:
    page, following = client.scroll(collection, scroll_filter=chosen, limit=POINTS + 1, with_payload=False)
    assert following is None
    return {point.id for point in page}
