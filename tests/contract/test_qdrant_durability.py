"""What was acknowledged is there after a clean stop, after SIGKILL, and while many write at once."""

from __future__ import annotations

import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
import pytest
from qdrant_client import QdrantClient
from qdrant_client import grpc as pb
from qdrant_client import models as m

from deploy.embedded.qdrant import qdrant_process
from tests.fixtures.qdrant import ROOT, QdrantServer, RealQdrant, connect

Fresh = Callable[[], str]
SIZE = 16
BATCH = 50


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantServer]:
    """A server that each test may kill and leaves running; it looks often for what to flush and index."""
    server = QdrantServer(tmp_path_factory.mktemp("victim") / "data", "--flush-interval-s", "0.3")
    server.start()
    yield server
    server.kill()


def _client(server: QdrantServer) -> QdrantClient:
    return connect("grpc-sync", server).inner


def _batch(first: int, round_number: int, count: int = BATCH) -> list[m.PointStruct]:
    random = np.random.default_rng(first + round_number)
    return [
        m.PointStruct(id=first + i, vector=random.normal(size=SIZE).tolist(), payload={"round": round_number, "n": i})
        for i in range(count)
    ]


def _make(client: QdrantClient, name: str, **more: Any) -> None:
    client.create_collection(name, vectors_config=m.VectorParams(size=SIZE, distance=m.Distance.COSINE), **more)


def test_a_clean_restart_keeps_everything(victim: QdrantServer, fresh_collection: Fresh) -> None:
    name, alias = fresh_collection(), fresh_collection()
    client = _client(victim)
    _make(client, name)
    client.upsert(name, _batch(0, 1), wait=True)
    client.create_payload_index(name, "round", m.PayloadSchemaType.INTEGER, wait=True)
    create = m.CreateAlias(collection_name=name, alias_name=alias)
    client.update_collection_aliases([m.CreateAliasOperation(create_alias=create)])
    client.update_collection(name, hnsw_config=m.HnswConfigDiff(ef_construct=99))
    client.create_vector_name(
        name, "late", m.DenseVectorNameConfig(dense=m.DenseVectorConfig(size=2, distance=m.Distance.DOT)), wait=True
    )
    before = client.scroll(name, limit=BATCH, with_vectors=True)
    assert victim.stop() == 0
    with pytest.raises(grpc.RpcError):
        client.count(name)
    victim.start()
    # the same channel finds the new process
    counted = client.grpc_points.Count(pb.CountPoints(collection_name=alias), timeout=20, wait_for_ready=True)
    assert counted.result.count == BATCH
    assert client.scroll(alias, limit=BATCH, with_vectors=True) == before
    info = client.get_collection(name)
    assert info.payload_schema["round"].points == BATCH
    assert info.config.hnsw_config.ef_construct == 99
    client.update_vectors(name, [m.PointVectors(id=1, vector={"late": [1, 1]})], wait=True)
    client.close()


def _write_until_killed(server: QdrantServer, name: str, first: int, acknowledged: dict[int, int]) -> None:
    client = _client(server)
    for round_number in range(1, 10_000):
        fence = m.Filter(must=[m.FieldCondition(key="round", range=m.Range(lte=round_number))])
        try:
            client.upsert(name, _batch(first, round_number), wait=True, update_filter=fence)
        except grpc.RpcError:
            break
        acknowledged[first] = round_number
    client.close()


def _kill_amid_writes(server: QdrantServer, name: str) -> None:
    client = _client(server)
    _make(client, name)
    acknowledged: dict[int, int] = {}  # first id of a batch -> the newest round that was acknowledged
    writers = [
        threading.Thread(target=_write_until_killed, args=(server, name, first, acknowledged))
        for first in (0, 1000, 2000)
    ]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 20
    while len(acknowledged) < len(writers) or min(acknowledged.values()) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.kill()
    for writer in writers:
        writer.join()
    client.close()
    server.start()
    client = _client(server)
    for first, round_number in acknowledged.items():
        found = client.retrieve(name, list(range(first, first + BATCH)), with_vectors=True)
        rounds = {point.payload["round"] for point in found}
        assert len(found) == BATCH
        assert len(rounds) == 1, "a batch is applied as a whole"
        assert rounds.pop() in (round_number, round_number + 1), "acknowledged, or under way when it was killed"
        expected = _batch(first, found[0].payload["round"])
        assert [point.payload["n"] for point in found] == [point.payload["n"] for point in expected]
        wanted = np.asarray(expected[0].vector)
        assert found[0].vector == pytest.approx((wanted / np.linalg.norm(wanted)).tolist(), abs=1e-6)
    client.upsert(name, _batch(0, 20_000), wait=True)
    assert client.retrieve(name, [0])[0].payload["round"] == 20_000, "versions go on where they were"
    client.close()


def test_nothing_acknowledged_is_lost_by_a_kill(victim: QdrantServer, fresh_collection: Fresh) -> None:
    _kill_amid_writes(victim, fresh_collection())


def test_nothing_is_lost_where_every_answer_is_flushed(
    own_qdrant: Callable[..., QdrantServer], fresh_collection: Fresh
) -> None:
    _kill_amid_writes(own_qdrant("--flush-interval-s", "0"), fresh_collection())


def test_refused_writes_do_not_come_back_after_a_kill(victim: QdrantServer, fresh_collection: Fresh) -> None:
    name = fresh_collection()
    client = _client(victim)
    _make(client, name)
    client.upsert(name, _batch(0, 1, 3), wait=True)
    with pytest.raises(grpc.RpcError, match="No point with id 99"):
        client.set_payload(name, {"x": 1}, points=[99], wait=True)
    with pytest.raises(grpc.RpcError, match="dimension"):
        client.upsert(name, [m.PointStruct(id=7, vector=[1.0])], wait=True)
    client.delete(name, points_selector=[1], wait=True)
    before = client.scroll(name, with_vectors=True)
    assert [point.id for point in before[0]] == [0, 2]
    client.close()
    victim.kill()
    victim.start()
    client = _client(victim)
    assert client.scroll(name, with_vectors=True) == before
    client.close()


def test_many_clients_write_and_read_at_once(qdrant: QdrantServer | RealQdrant, fresh_collection: Fresh) -> None:
    setup = connect("grpc-sync", qdrant).inner
    names = [fresh_collection(), fresh_collection()]
    for name in names:
        _make(setup, name)

    def work(number: int) -> None:
        client = connect("grpc-sync" if number % 3 else "rest-sync", qdrant).inner
        name = names[number % 2]
        for round_number in range(8):
            client.upsert(name, _batch(number * 1000, round_number), wait=True)
            found = client.retrieve(name, list(range(number * 1000, number * 1000 + BATCH)))
            assert [point.payload["round"] for point in found] == [round_number] * BATCH, "a writer reads its writes"
            client.query_points(name, query=[1.0] * SIZE, limit=5)
        client.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert [setup.count(name).count for name in names] == [3 * BATCH, 3 * BATCH]
    setup.close()


def test_a_taken_port_ends_the_start(victim: QdrantServer) -> None:
    command = qdrant_process(victim.data_dir.with_name("other"), victim.grpc_port, 0)
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, str(victim.grpc_port) in ended.stderr) == (2, True), ended.stderr


def test_files_that_nobody_names_hold_no_start_back(own_qdrant: Callable[..., QdrantServer]) -> None:
    server = own_qdrant()
    server.kill()
    left = server.data_dir / "shards" / "left-behind"
    left.mkdir(parents=True)
    stop = threading.Event()

    def write() -> None:  # as an optimiser does that has not heard yet that its server was killed
        while not stop.is_set():
            with suppress(OSError):
                left.mkdir(exist_ok=True)
                (left / uuid.uuid4().hex).touch()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        server.start()
    finally:
        stop.set()
        writer.join()
    server.kill()
    server.start()
    assert not left.exists()


def test_an_index_is_built_while_writes_go_on(victim: QdrantServer, fresh_collection: Fresh) -> None:
    name = fresh_collection()
    client = _client(victim)
    _make(
        client,
        name,
        hnsw_config=m.HnswConfigDiff(m=16, ef_construct=200, full_scan_threshold=10),
        optimizers_config=m.OptimizersConfigDiff(indexing_threshold=64),
    )
    for first in range(0, 4000, 1000):
        client.upsert(name, _batch(first, 0, 1000), wait=True)
    rounds = 0
    deadline = time.monotonic() + 60
    while client.get_collection(name).indexed_vectors_count < 2000:
        assert time.monotonic() < deadline, client.get_collection(name)
        rounds += 1
        client.upsert(name, _batch(0, rounds), wait=True)
        client.delete(name, points_selector=[BATCH + rounds], wait=True)
    assert rounds > 0
    twin = client.retrieve(name, [3500], with_vectors=True)[0]
    nearest = client.query_points(name, query=twin.vector, limit=1).points[0]
    assert nearest.id == 3500
    client.close()
    for again in range(2):
        client = _client(victim)
        assert client.count(name).count == 4000 - rounds, "nothing came back and nothing went"
        newest = client.retrieve(name, list(range(BATCH)))
        assert {point.payload["round"] for point in newest} == {rounds}
        client.close()
        if not again:
            victim.kill()
            victim.start()
    collections = len(_client(victim).get_collections().collections)
    shards = len(list((victim.data_dir / "shards").iterdir()))
    assert shards <= collections + 1, "the files of shards that were replaced go"
