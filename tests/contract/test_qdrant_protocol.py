"""The wire itself: errors in Qdrant's forms, unknown calls, keys, and what plain HTTP and raw protobuf may send."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from qdrant_client import QdrantClient
from qdrant_client import grpc as pb

from tests.fixtures.qdrant import QdrantServer, RealQdrant, connect

Fresh = Callable[[], str]


@pytest.fixture
def http(qdrant: QdrantServer | RealQdrant) -> Iterator[httpx.Client]:
    """Plain HTTP."""
    with httpx.Client(base_url=qdrant.url, timeout=20) as client:
        yield client


@pytest.fixture
def channel(qdrant: QdrantServer | RealQdrant) -> Iterator[grpc.Channel]:
    """A bare gRPC channel."""
    with grpc.insecure_channel(f"{qdrant.host}:{qdrant.grpc_port}") as made:
        yield made


@pytest.fixture
def name(http: httpx.Client, fresh_collection: Fresh) -> str:
    """A collection of vectors of four numbers."""
    made = fresh_collection()
    answer = http.put(f"/collections/{made}", json={"vectors": {"size": 4, "distance": "Cosine"}})
    assert answer.json()["result"] is True
    return made


def _refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def _dense(*numbers: float) -> Any:
    return pb.Vectors(vector=pb.Vector(dense=pb.DenseVector(data=numbers)))


def test_rest_as_people_write_it(http: httpx.Client, name: str) -> None:
    base = f"/collections/{name}"
    points = [{"id": i, "vector": [1, 0, i, 0], "payload": {"n": i, "ok": i % 2 == 0, "x": None}} for i in range(4)]
    written = http.put(f"{base}/points?wait=true", json={"points": points})
    assert written.status_code == 200
    assert written.json()["status"] == "ok"
    assert written.json()["result"]["status"] == "completed"
    found = http.post(f"{base}/points/query", json={"query": [1, 0, 0, 0], "limit": 2, "with_payload": True}).json()
    assert [point["id"] for point in found["result"]["points"]] == [0, 1]
    assert found["result"]["points"][0]["payload"] == {"n": 0, "ok": True, "x": None}
    chosen = {"filter": {"must": [{"key": "ok", "match": {"value": True}}, {"key": "n", "range": {"gte": 1}}]}}
    assert http.post(f"{base}/points/count", json={**chosen, "exact": True}).json()["result"] == {"count": 1}
    page = http.post(f"{base}/points/scroll", json={"limit": 3, "with_vector": True}).json()["result"]
    assert page["next_page_offset"] == 3
    assert page["points"][0]["vector"] == [1.0, 0.0, 0.0, 0.0]
    assert http.get(f"{base}/points/2").json()["result"]["payload"]["n"] == 2
    assert http.put(f"{base}/index?wait=true", json={"field_name": "n", "field_schema": "integer"}).status_code == 200
    assert http.get(base).json()["result"]["payload_schema"]["n"]["data_type"] == "integer"
    assert http.request("DELETE", f"{base}/index/n?wait=true").json()["result"]["status"] == "completed"
    assert http.get(base).json()["result"]["payload_schema"] == {}
    assert http.delete(base).json()["result"] is True


def test_health_pages(http: httpx.Client, channel: grpc.Channel) -> None:
    assert "qdrant" in http.get("/").json()["title"]
    for path in ("/healthz", "/readyz", "/livez"):
        assert http.get(path).status_code == 200
    reply = pb.QdrantStub(channel).HealthCheck(pb.HealthCheckRequest(), timeout=10)
    assert "qdrant" in reply.title
    assert reply.version
    standard = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10)
    assert standard == b"\x08\x01"


def test_the_official_client_accepts_the_version(qdrant: QdrantServer | RealQdrant) -> None:
    """It asks at start and warns of a server that does not fit; warnings fail tests here."""
    client = QdrantClient(url=qdrant.url, timeout=20)
    client.get_collections()
    client.close()


def test_metrics_page(http: httpx.Client, name: str) -> None:
    text = http.get("/metrics").text
    assert "\ncollections_total " in text
    http.post(f"/collections/{name}/points/count", json={})
    assert "rest_responses_total" in http.get("/metrics").text


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/collections/absent", 404, "Not found: Collection `absent` doesn't exist!"),
        ("POST", "/collections/absent/points/count", 404, "Not found: Collection `absent` doesn't exist!"),
        ("PUT", "/collections/{name}", 409, "Wrong input: Collection `{name}` already exists!"),
    ],
)
def test_rest_errors_have_qdrants_form(
    http: httpx.Client, name: str, method: str, path: str, status: int, message: str
) -> None:
    answer = http.request(method, path.format(name=name), json={})
    assert answer.status_code == status
    assert answer.json()["status"] == {"error": message.format(name=name)}
    assert answer.json()["time"] >= 0


def test_rest_refuses_what_it_cannot_read(http: httpx.Client, name: str) -> None:
    base = f"/collections/{name}/points"
    cases: list[tuple[str, Any, str]] = [
        (f"{base}/query", {"limit": "many"}, "Format error in JSON body"),
        (f"{base}/query", {"unknown": 1}, "Format error in JSON body"),
        (f"{base}/query", {"query": [1, 2]}, "Vector dimension error: expected dim: 4, got 2"),
        (f"{base}/delete", {"points": ["not-a-uuid"]}, "Wrong input"),
        (f"{base}/payload", {"payload": {"a": 1}}, "Either list of point ids or filter must be provided"),
    ]
    for path, body, message in cases:
        answer = http.post(path, json=body, params={"wait": "true"})
        assert answer.status_code == 400, answer.text
        assert message in answer.json()["status"]["error"]
    as_json = {"Content-Type": "application/json"}
    assert http.post(f"{base}/query", content=b"{not json", headers=as_json).status_code == 400
    short = http.put(f"{base}?wait=true", json={"points": [{"id": 1, "vector": [1, 2]}]})
    assert short.json()["status"]["error"] == "Wrong input: Vector dimension error: expected dim: 4, got 2"


def test_unknown_calls_say_so(qdrant: QdrantServer | RealQdrant, http: httpx.Client, channel: grpc.Channel) -> None:
    if not qdrant.embedded:
        pytest.skip("a real server has these calls")
    for method, path in (("GET", "/telemetry"), ("POST", "/collections/a/snapshots"), ("GET", "/cluster")):
        answer = http.request(method, path)
        assert answer.status_code == 501
        assert answer.json()["status"]["error"].startswith("not implemented here: ")
    code, text = _refused(lambda: pb.SnapshotsStub(channel).ListFull(pb.ListFullSnapshotsRequest(), timeout=10))
    assert code == grpc.StatusCode.UNIMPLEMENTED
    assert text == "not implemented here: /qdrant.Snapshots/ListFull"
    code, _ = _refused(lambda: pb.PointsStub(channel).SearchMatrixPairs(pb.SearchMatrixPoints(), timeout=10))
    assert code == grpc.StatusCode.UNIMPLEMENTED


def test_grpc_errors_have_qdrants_codes(channel: grpc.Channel, name: str) -> None:
    points, invalid = pb.PointsStub(channel), grpc.StatusCode.INVALID_ARGUMENT

    def upsert(point: Any) -> Callable[[], Any]:
        return lambda: points.Upsert(pb.UpsertPoints(collection_name=name, wait=True, points=[point]), timeout=10)

    one = pb.PointId(num=1)
    assert _refused(lambda: points.Count(pb.CountPoints(collection_name="absent"), timeout=10)) == (
        grpc.StatusCode.NOT_FOUND,
        "Not found: Collection `absent` doesn't exist!",
    )
    code, text = _refused(upsert(pb.PointStruct(id=one, vectors=_dense(1, 2))))
    assert (code, "expected dim: 4, got 2" in text) == (invalid, True)
    assert _refused(upsert(pb.PointStruct(id=one)))[0] == invalid
    assert _refused(upsert(pb.PointStruct(vectors=_dense(1, 2, 3, 4))))[0] == invalid
    assert _refused(upsert(pb.PointStruct(id=pb.PointId(uuid="no"), vectors=_dense(1, 2, 3, 4))))[0] == invalid
    named = pb.Vectors(vectors=pb.NamedVectors(vectors={"no": pb.Vector(dense=pb.DenseVector(data=[1]))}))
    code, text = _refused(upsert(pb.PointStruct(id=one, vectors=named)))
    assert (code, "Not existing vector name" in text) == (invalid, True)
    asked = pb.QueryPoints(collection_name=name, query=pb.Query(nearest=pb.VectorInput(id=one)))
    code, text = _refused(lambda: points.Query(asked, timeout=10))
    assert (code, text) == (grpc.StatusCode.NOT_FOUND, "Not found: No point with id 1 found")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(
    qdrant: QdrantServer | RealQdrant, channel: grpc.Channel, name: str, bad: float
) -> None:
    if not qdrant.embedded:
        pytest.skip("a real server takes them: a deliberate difference")
    points = pb.PointsStub(channel)
    good = pb.PointStruct(id=pb.PointId(num=1), vectors=_dense(1, 2, 3, 4))
    worse = pb.PointStruct(id=pb.PointId(num=2), vectors=_dense(1, bad, 3, 4))
    batch = pb.UpsertPoints(collection_name=name, wait=True, points=[good, worse])
    assert _refused(lambda: points.Upsert(batch, timeout=10))[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert points.Count(pb.CountPoints(collection_name=name), timeout=10).result.count == 0
    nearest = pb.Query(nearest=pb.VectorInput(dense=pb.DenseVector(data=[bad, 1, 1, 1])))
    asked = pb.QueryPoints(collection_name=name, query=nearest)
    assert _refused(lambda: points.Query(asked, timeout=10))[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_vectors_written_as_raw_bytes_arrive(channel: grpc.Channel, name: str) -> None:
    """The fast way a client builds points: a packed float field is its tag, its length and the row's own bytes."""
    row = struct.pack("<4f", 0.0, 3.0, 4.0, 0.0)
    dense = pb.DenseVector.FromString(b"\x0a" + bytes([len(row)]) + row)
    point = pb.PointStruct(id=pb.PointId(num=1), vectors=pb.Vectors(vector=pb.Vector(dense=dense)))
    points = pb.PointsStub(channel)
    points.Upsert(pb.UpsertPoints(collection_name=name, wait=True, points=[point]), timeout=10)
    everything = pb.WithVectorsSelector(enable=True)
    asked = pb.GetPoints(collection_name=name, ids=[pb.PointId(num=1)], with_vectors=everything)
    found = points.Get(asked, timeout=10).result[0]
    assert list(found.vectors.vector.dense.data) == pytest.approx([0, 0.6, 0.8, 0])


def test_the_older_vector_form_still_arrives(channel: grpc.Channel, name: str) -> None:
    old = pb.PointStruct(id=pb.PointId(num=1), vectors=pb.Vectors(vector=pb.Vector(data=[0, 2, 0, 0])))
    points = pb.PointsStub(channel)
    points.Upsert(pb.UpsertPoints(collection_name=name, wait=True, points=[old]), timeout=10)
    nearest = pb.Query(nearest=pb.VectorInput(dense=pb.DenseVector(data=[0, 1, 0, 0])))
    found = points.Query(pb.QueryPoints(collection_name=name, query=nearest), timeout=10).result
    assert found[0].score == pytest.approx(1)


def test_a_key_opens_everything_but_health(own_qdrant: Callable[..., QdrantServer], tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("open sesame\n")
    server = own_qdrant(api_key_file=key_file)
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    for headers in ({}, {"api-key": "wrong"}, {"authorization": "Bearer open"}):
        answer = httpx.get(f"{server.url}/collections", headers=headers)
        assert answer.status_code == 401
        assert "API key" in answer.json()["status"]["error"]
        assert httpx.get(f"{server.url}/metrics", headers=headers).status_code == 401
    for headers in ({"api-key": "open sesame"}, {"authorization": "Bearer open sesame"}):
        assert httpx.get(f"{server.url}/collections", headers=headers).status_code == 200
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        asked = pb.CollectionsStub(channel)
        code, _ = _refused(lambda: asked.List(pb.ListCollectionsRequest(), timeout=10))
        assert code == grpc.StatusCode.UNAUTHENTICATED
        assert asked.List(pb.ListCollectionsRequest(), timeout=10, metadata=[("api-key", "open sesame")])
        assert pb.QdrantStub(channel).HealthCheck(pb.HealthCheckRequest(), timeout=10).version
    with pytest.warns(UserWarning, match="insecure"):
        client = connect("grpc-sync", server, api_key="open sesame").inner
    assert client.get_collections().collections == []
    client.close()
