"""What the embedded Qdrant keeps on disk: the registry's file, shards that take each other's place, the journal."""

from __future__ import annotations

import os
import stat
import threading
from array import array
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge as edge
from qdrant_client import grpc as pb

from deploy.embedded.qdrant.errors import QdrantError
from deploy.embedded.qdrant.registry import Registry
from deploy.embedded.qdrant.reindex import MAX_JOURNAL_OPERATIONS, Journal
from deploy.embedded.qdrant.shards import ShardSlot, open_shard

PLAIN = pb.VectorParams(size=3, distance=pb.Distance.Cosine)


def _create(name: str = "c", **more: Any) -> Any:
    return pb.CreateCollection(collection_name=name, vectors_config=pb.VectorsConfig(params=PLAIN), **more)


async def test_the_registry_comes_back_as_it_was_left(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    await registry.create(_create("c", hnsw_config=pb.HnswConfigDiff(m=9)))
    alias = pb.AliasOperations(create_alias=pb.CreateAlias(alias_name="a", collection_name="c"))
    await registry.change_aliases([alias])
    with pytest.raises(QdrantError, match="in use by another process"):
        Registry(tmp_path)
    await registry.close()
    (tmp_path / "shards" / "left-over").mkdir()
    again = Registry(tmp_path)
    assert again.get("a").config.hnsw_config.m == 9
    assert [path.name for path in (tmp_path / "shards").iterdir()] == [again.get("c").path.name]
    assert await again.delete("c")
    assert not list((tmp_path / "shards").iterdir())
    assert again.aliases == {}
    await again.close()


async def test_a_shard_whose_files_are_gone_stops_the_start(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    await registry.create(_create())
    path = registry.get("c").path
    await registry.close()
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(QdrantError, match="are missing"):
        Registry(tmp_path)


async def test_writes_that_wait_in_line_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.embedded.qdrant.collection.MAX_PENDING_WRITES", 2)
    registry = Registry(tmp_path)
    await registry.create(_create())
    gate = threading.Event()

    def wait() -> list[edge.UpdateOperation]:
        gate.wait(10)
        return []

    collection = registry.get("c")
    await collection.write(wait, wait=False)
    await collection.write(wait, wait=False)
    with pytest.raises(QdrantError, match="writes wait"):
        await collection.write(wait, wait=False)
    gate.set()
    await registry.close()


def test_a_replaced_shard_goes_when_its_last_reader_is_done(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    slot = ShardSlot(open_shard(first, _create()), first)
    with slot.use() as shard:
        slot.replace(open_shard(second, _create()), second)
        assert shard.count(edge.CountRequest()) == 0
        assert first.exists()
    assert not first.exists()
    assert slot.path == second
    slot.close()


def test_a_journal_replays_in_order_and_gives_up_when_full(tmp_path: Path) -> None:
    def upsert(number: int) -> edge.UpdateOperation:
        return edge.UpdateOperation.upsert_points([edge.Point(1, array("f", [1, 2, 3]), {"n": number})])

    shard = open_shard(tmp_path / "shard", _create())
    journal = Journal()
    for number in range(5):
        journal.add(upsert(number))
    journal.add(edge.UpdateOperation.set_payload([99], {"x": 1}))  # refused by the first shard, and here
    assert not journal.replay(shard, 3)
    assert shard.retrieve([1], True, False)[0].payload == {"n": 2}
    assert journal.replay(shard, 3)
    assert shard.retrieve([1], True, False)[0].payload == {"n": 4}
    shard.close()
    for number in range(MAX_JOURNAL_OPERATIONS + 1):
        journal.add(upsert(number))
    assert journal.overflowed


async def test_what_it_keeps_is_its_owners_alone_wherever_it_lies(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        new, empty, full = tmp_path / "new", tmp_path / "empty", tmp_path / "full"
        empty.mkdir()
        (full / "shards").mkdir(parents=True)  # of an earlier version
        for folder, expected in ((new, 0o700), (empty, 0o700), (full, 0o755)):
            for _ in range(2):
                os.umask(0o022)
                await Registry(folder).close()
                modes = [stat.S_IMODE((folder / name).stat().st_mode) for name in ("", "shards", "lock")]
                assert modes == [expected, 0o700, 0o600]
    finally:
        os.umask(before)
