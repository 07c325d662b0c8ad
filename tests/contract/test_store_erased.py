"""Whoever reads people through the reader is given nobody's nodes that an erasure had ended, by whatever method."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.interests.evidence import Evidence
from streams.interests.nodes import Level, Node, NodeKey, expires_at_ms, node_id, profile_key
from streams.store.base import Fence
from streams.store.qdrant import QdrantStore
from streams.store.reader import StoreReader
from tests.contract.test_store import NOW, config_of
from tests.contract.test_store_reader import DIM, NAMES, POLICY
from tests.fixtures.qdrant import QdrantServer

ERASED = NOW - 1_000
NEAR = np.array([1, 0], np.float32)
LESS_NEAR = np.array([0.8, 0.6], np.float32)
LEVELS: tuple[Level, ...] = ("profile", "topic", "interest", "session")
GONE = [NodeKey(user, level, path) for user in ("zoe", "kim") for level, path in
        [("topic", "/gone"), ("interest", "/gone/away"), ("session", "/")]]  # fmt: skip
GONE_IDS = [node_id(key) for key in GONE]

#: By method: a call that would find what was put back, if it could.
CALLS: dict[str, Callable[[StoreReader], Awaitable[Any]]] = {
    "tree": lambda reader: reader.tree("kim"),
    "nodes": lambda reader: reader.nodes("kim", [node_id(profile_key("kim")), *GONE_IDS[3:]]),
    "profile": lambda reader: reader.profile("kim"),
    "people": lambda reader: reader.people(100, None),
    "alike": lambda reader: reader.alike(NEAR, "ana", 100, NOW),
    "paths_of": lambda reader: reader.paths_of(["ana", "zoe", "kim"], NOW),
    "groups": lambda reader: reader.groups(NEAR, LEVELS, None, NOW, users=2, floor=0.1),
    "nodes_near": lambda reader: reader.nodes_near(
        NEAR, LEVELS, None, NOW, users=["ana", "zoe", "kim"], limit=100, floor=0.1
    ),
}
NOT_PEOPLE = {"close", "names", "paths_below", "values"}
#: What an erasure's receipt is made of: it must see what was put back.
ALL_THERE_IS = {"stored"}


def node(user: str, level: Level, path: str, **change: Any) -> Node:
    made = Node(
        key=NodeKey(user, level, path), direction=LESS_NEAR, norm=5.0, mass=5.0, net=5.0, t0_ms=NOW, first_ms=NOW,
        last_ms=NOW, count=1,
    )  # fmt: skip
    return replace(made, **change)


def put_back(key: NodeKey) -> Node:
    return replace(
        node(*key), direction=NEAR, first_ms=ERASED, last_ms=ERASED, evidence=(Evidence("gone", "gone", ERASED, 1.0),)
    )


async def test_what_was_erased_is_not_left_in_the_engines_files(own_qdrant: Callable[..., QdrantServer]) -> None:
    """Nor in its log: real Qdrant waits for a thousand vectors and a fifth deleted before it rewrites a segment."""
    server = own_qdrant()
    store = QdrantStore(config_of(server), POLICY, NAMES)
    await store.prepare()
    said = tuple(Evidence(f"once-{kind}-7391", "i1", ERASED, 1.0) for kind in ("clicked", "liked"))
    theirs = [node("zoe", "topic", "/t", evidence=said), node("zoe", "profile", "/", evidence=said)]
    await store.write(
        [*theirs, node("ana", "topic", "/t", evidence=(Evidence("kept-7391", "i1", NOW, 1.0),))], Fence(1, 1)
    )
    for _ in range(30):
        await store.write([node("ana", "topic", "/t", evidence=(Evidence("kept-7391", "i1", NOW, 1.0),))], Fence(1, 1))
    assert left(server.data_dir, b"once-liked-7391")
    gone = Node(key=profile_key("zoe"), direction=np.zeros(DIM, np.float32), t0_ms=ERASED, erased_at_ms=ERASED)
    await store.erase([gone], Fence(1, 1))
    async with asyncio.timeout(40):
        while left(server.data_dir, b"once-liked-7391") or left(server.data_dir, b"once-clicked-7391"):
            await asyncio.sleep(0.2)
    # Written often before, and again since: the engine passes over what is numbered below a point's last write.
    await store.write([node("ana", "topic", "/t", evidence=(Evidence("later-7391", "i1", NOW, 1.0),))], Fence(1, 1))
    assert [one.evidence[0].event_id for one in await store.tree("ana")] == ["later-7391"]
    server.stop()
    server.start()
    assert [one.evidence[0].event_id for one in await store.tree("ana")] == ["later-7391"]
    assert [one.erased_at_ms for one in await store.tree("zoe")] == [ERASED]
    await store.close()


def left(folder: Path, text: bytes) -> list[str]:
    """The files below a folder that hold a text."""
    found: list[str] = []
    for file in (Path(at, name) for at, _, names in os.walk(folder) for name in names):  # unlike rglob, sees files go
        with suppress(FileNotFoundError):  # shards take each other's place
            if file.is_file() and text in file.read_bytes():
                found.append(file.name)
    return found


@pytest.fixture
async def reader(own_qdrant: Callable[..., QdrantServer]) -> AsyncIterator[StoreReader]:
    """Of four people zoe was erased, kim was erased and came again, and a cut-off worker has put back nodes of both."""
    config = config_of(own_qdrant())
    store, reader = QdrantStore(config, POLICY, NAMES), StoreReader(config)
    await store.prepare()
    gone = Node(key=profile_key("zoe"), direction=np.zeros(DIM, np.float32), t0_ms=ERASED, erased_at_ms=ERASED)
    await store.write(
        [
            *(node(user, level, path) for user in ("ana", "bo", "kim") for level, path in (("topic", "/t"),)),
            *(node(user, "profile", "/") for user in ("ana", "bo")),
            node("kim", "profile", "/", erased_at_ms=ERASED), gone, *map(put_back, GONE),
        ],
        Fence(1, 1),
    )  # fmt: skip
    yield reader
    await store.close()
    await reader.close()


def test_every_method_that_returns_people_is_held_to_it() -> None:
    public = {name for name, _ in inspect.getmembers(StoreReader, inspect.isfunction) if not name.startswith("_")}
    assert public == {*CALLS, *NOT_PEOPLE, *ALL_THERE_IS}


async def test_no_read_of_people_returns_what_was_put_back_after_an_erasure(reader: StoreReader) -> None:
    for name, call in CALLS.items():
        found = repr(await call(reader))
        assert "gone" not in found, name
        assert "session" not in found, name
        assert "user_id='zoe'" not in found, name
        assert "'ana'" in found or "kim" in found, name
    assert {one.key for one in await reader.stored("kim")} > set(GONE[3:])


async def test_what_was_put_back_takes_nobodys_place(reader: StoreReader) -> None:
    """The nodes of zoe and kim are the nearest: left out after the search, they would have left one hit of two."""
    hits = await reader.groups(NEAR, LEVELS, None, NOW, users=3, floor=0.1)
    assert {hit.user_id for hit in hits} == {"ana", "bo", "kim"}
    assert len(await reader.groups(NEAR, LEVELS, None, NOW, users=2, floor=0.1)) == 2
    assert len(await reader.nodes_near(NEAR, LEVELS, None, NOW, users=["kim", "ana"], limit=3, floor=0.1)) == 3


async def test_nodes_of_more_people_than_are_asked_for_are_put_back_and_still_the_page_is_full(
    own_qdrant: Callable[..., QdrantServer],
) -> None:
    config = config_of(own_qdrant())
    store, reader = QdrantStore(config, POLICY, NAMES), StoreReader(config)
    await store.prepare()
    ghosts = [f"ghost-{n}" for n in range(6)]
    await store.write(
        [node(ghost, "profile", "/", mass=0.0, count=0, erased_at_ms=ERASED) for ghost in ghosts], Fence(1, 1)
    )
    await store.write([put_back(NodeKey(ghost, "topic", "/gone")) for ghost in ghosts], Fence(1, 1))
    await store.write([node(user, "topic", "/t") for user in ("ana", "bo")], Fence(1, 1))
    hits = await reader.groups(NEAR, LEVELS, None, NOW, users=2, floor=0.1)
    assert {hit.user_id for hit in hits} == {"ana", "bo"}
    await store.close()
    await reader.close()


async def test_nobody_is_like_somebody_who_came_again_and_whose_evidence_has_run_out(reader: StoreReader) -> None:
    """The tombstone stays longer than the evidence that came after it."""
    expired_ms = expires_at_ms(node("kim", "profile", "/", erased_at_ms=ERASED), POLICY)
    assert {user for user, _ in await reader.alike(NEAR, "ana", 9, expired_ms - 1)} == {"bo", "kim"}
    assert await reader.alike(NEAR, "ana", 9, expired_ms) == []
    assert await reader.groups(NEAR, ["profile"], None, expired_ms, users=9, floor=0.1) == []
