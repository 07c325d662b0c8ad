"""One suite for every store: the shipped fake, Qdrant, and both behind the cache."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import numpy as np
import pytest

from streams.base.errors import ConfigurationError, StoreUnavailable
from streams.base.retrying import forever
from streams.events.items import Item
from streams.interests.applied import Applied
from streams.interests.evidence import Began, Evidence, Mark
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import Node, NodeKey, expires_at_ms, profile_key
from streams.settings.policies import NodeSettings
from streams.store.base import Control, Fence, Store
from streams.store.cached import CachedStore
from streams.store.collections import Collections
from streams.store.connection import QdrantConfig
from streams.store.memory import MemoryStore
from streams.store.qdrant import QdrantStore
from tests.fixtures.qdrant import QdrantServer

DIM = 16
POLICY = NodeSettings().policy()
NOW = 1_700_000_000_000
FENCE = Fence(1, 3)


def config_of(server: QdrantServer, **more: float) -> QdrantConfig:
    return QdrantConfig(host=server.host, grpc_port=server.grpc_port, http_port=server.http_port, **more)  # type: ignore[arg-type]


@pytest.fixture(params=["memory", "qdrant", "cached-memory", "cached-qdrant"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    made: Store = MemoryStore(POLICY)
    if request.param.endswith("qdrant"):
        server = request.getfixturevalue("qdrant")
        made = qdrant = QdrantStore(config_of(server, points_per_write=7), POLICY, Collections(uuid.uuid4().hex, DIM))
        await qdrant.prepare()
    if request.param.startswith("cached"):
        made = CachedStore(made, nodes_bytes=1 << 20, items_bytes=1 << 20, items_ttl_s=60)
    yield made
    await made.close()


def node(user: str, level: str = "profile", path: str = "/", seed: int = 0, **fields: object) -> Node:
    direction = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    base = Node(
        key=NodeKey(user, level, path), direction=direction / np.float32(np.linalg.norm(direction)),  # type: ignore[arg-type]
        norm=1.25, mass=2.5000000000000004, net=-0.75, t0_ms=NOW, first_ms=NOW - 5, last_ms=NOW + 5, count=3,
        applied=Applied(2, {"clicks/3": 17, "comments/0": 2**40}),
        evidence=(Evidence("e=1;|", "i/1", NOW, -1.5, "hide"), Evidence("é", "", NOW, 1e-9)),
    )  # fmt: skip
    return replace(base, **fields)  # type: ignore[arg-type]


def equal(one: Node, two: Node) -> None:
    assert np.allclose(one.direction, two.direction, atol=1e-6)
    blank = np.zeros(0, np.float32)
    assert replace(one, direction=blank) == replace(two, direction=blank)


async def test_what_is_written_is_read_back(store: Store) -> None:
    nodes = [
        node(
            "ana",
            ring=b"0123456789" * 2,
            seen=b"\x00\xffabcd" * 3,
            began=Began(NOW, "/s;port"),
            marks=(
                Mark(
                    item_id="i",
                    kind="like",
                    undo=False,
                    ts_ms=NOW,
                    weight=0.1 + 0.2,
                    event_id="e",
                    source="00ff",
                    undone_by="aa",
                ),
            ),
        ),
        node("ana", "topic", "/sports", 1),
        node("ana", "interest", "/sports/足球", 2, direction=np.zeros(DIM, np.float32), norm=0.0),
        node("bo", seed=3, erased_at_ms=NOW),
    ]
    await store.write(nodes, FENCE)
    keys = [one.key for one in nodes]
    found = await store.read([*keys, NodeKey("ana", "topic", "/nothing")])
    assert found.keys() == set(keys)
    for one in nodes:
        equal(found[one.key], one)
    tree = {one.key: one for one in await store.tree("ana")}
    assert tree.keys() == set(keys[:3])
    equal(tree[keys[1]], nodes[1])
    assert await store.tree("nobody") == []


async def test_an_empty_call_is_nothing(store: Store) -> None:
    assert await store.read([]) == {}
    await store.write([], FENCE)
    assert await store.items([]) == {}
    await store.put_items([])


async def test_many_nodes_of_many_users_all_arrive(store: Store) -> None:
    nodes = [node(f"u{n}", level, path, n) for n in range(20) for level, path in (("topic", "/a"), ("profile", "/"))]
    await store.write(nodes, FENCE)
    found = await store.read([one.key for one in nodes])
    assert len(found) == 40
    big = [node("big", "topic", f"/t{n}", n) for n in range(30)]
    await store.write(big, FENCE)
    assert len(await store.tree("big")) == 30


async def test_what_a_late_write_puts_back_after_an_erasure_is_left_out_and_swept(store: Store) -> None:
    old = [node("zoe", "topic", "/sports", 1), node("zoe", "interest", "/sports/tennis", 2), node("zoe")]
    other = [node("yan", "topic", "/sports", 3), node("yan")]
    await store.write(old + other, Fence(1, 1))
    tombstone = Node(key=profile_key("zoe"), direction=np.zeros(DIM, np.float32), t0_ms=NOW, erased_at_ms=NOW)
    await store.erase([tombstone], Fence(1, 2))
    fresh = node("zoe", "topic", "/music", 4, first_ms=NOW + 1)
    await store.write([fresh, tombstone], Fence(1, 2))
    await store.write(old, Fence(1, 1))  # by a worker that does not know yet that another one has its partitions
    if isinstance(store, CachedStore):
        store.forget()
    assert {one.key for one in await store.tree("zoe")} == {tombstone.key, fresh.key}
    assert old[0].key in await store.read([old[0].key])  # nothing but the profile tells that it was put back
    earlier = node("xu", erased_at_ms=NOW - 5, mass=0.0, count=0)
    await store.write([earlier], Fence(1, 2))
    assert await store.oldest_put_back() == NOW, "of the earlier erasure nothing is there"
    await store.write([node("xu", "topic", "/sports", 5, first_ms=NOW - 5)], Fence(1, 2))
    assert await store.oldest_put_back() == NOW - 5
    await store.sweep(NOW)
    assert await store.oldest_put_back() == 0
    found = await store.read([one.key for one in [*old, *other, fresh]])
    assert found.keys() == {tombstone.key, fresh.key, *(one.key for one in other)}
    assert found[tombstone.key].erased_at_ms == NOW


async def test_an_older_fence_changes_nothing_and_the_same_or_a_newer_one_does(store: Store) -> None:
    await store.write([node("ana", mass=1.0)], Fence(1, 5))
    mixed = [node("ana", mass=2.0), node("bo", mass=2.0)]
    await store.write(mixed, Fence(1, 4))
    if isinstance(store, CachedStore):
        store.forget()  # a worker whose assignment ended forgets: its cache holds what was refused
    found = await store.read([profile_key("ana"), profile_key("bo")])
    assert found[profile_key("ana")].mass == 1.0
    assert found[profile_key("bo")].mass == 2.0
    await store.write([node("ana", mass=3.0)], Fence(1, 5))
    assert (await store.tree("ana"))[0].mass == 3.0
    await store.write([node("ana", mass=4.0)], Fence(2, 1))
    await store.write([node("ana", mass=5.0)], Fence(1, 2**31))
    assert (await store.tree("ana"))[0].mass == 4.0


async def test_erasing_leaves_the_tombstone_alone(store: Store) -> None:
    await store.write([node("ana", "topic", "/a"), node("ana"), node("bo", "topic", "/a"), node("bo")], FENCE)
    tombstone = node("ana", mass=0.0, evidence=(), erased_at_ms=NOW)
    await store.erase([tombstone], FENCE)
    tree = await store.tree("ana")
    assert [one.key for one in tree] == [profile_key("ana")]
    assert tree[0].erased_at_ms == NOW
    assert await store.read([NodeKey("ana", "topic", "/a")]) == {}
    assert (await store.read([profile_key("ana")]))[profile_key("ana")].erased_at_ms == NOW
    assert len(await store.tree("bo")) == 2


async def test_a_zombie_cannot_erase_what_a_newer_owner_wrote(store: Store) -> None:
    await store.write([node("ana", "topic", "/a"), node("ana")], Fence(1, 9))
    await store.erase([node("ana", mass=0.0, erased_at_ms=NOW)], Fence(1, 8))
    assert {one.erased_at_ms for one in await store.tree("ana")} == {0}
    assert len(await store.tree("ana")) == 2


async def test_sweeping_takes_what_has_expired(store: Store) -> None:
    old = node("ana", "session", t0_ms=NOW - 10 * 86_400_000)
    await store.write([old, node("ana")], FENCE)
    await store.sweep(NOW)
    assert [one.key.level for one in await store.tree("ana")] == ["profile"]
    assert await store.read([old.key]) == {}


async def test_a_sweep_takes_a_node_in_the_millisecond_in_which_it_expires(store: Store) -> None:
    one = node("ana", "topic", "/a")
    await store.write([one], FENCE)
    at_ms = expires_at_ms(one, POLICY)
    await store.sweep(at_ms - 1)
    assert [kept.key for kept in await store.tree("ana")] == [one.key]
    await store.sweep(at_ms)
    assert await store.tree("ana") == []


async def test_items_come_and_go(store: Store) -> None:
    vector = node("x", seed=4).direction
    points = [ItemPoint(Item(item_id=f"i/{n}", title="a title", tags=("a", "b")), vector, "/sports") for n in range(9)]
    await store.put_items(points)
    found = await store.items(["i/0", "i/8", "nothing"])
    assert found.keys() == {"i/0", "i/8"}
    assert found["i/8"].path == "/sports"
    assert np.allclose(found["i/8"].vector, vector, atol=1e-6)
    await store.put_items([ItemPoint(Item(item_id="i/8", title="another"), -vector, "/food/tea")])
    changed = (await store.items(["i/8"]))["i/8"]
    assert changed.path == "/food/tea"
    assert np.allclose(changed.vector, -vector, atol=1e-6)
    await store.delete_items(["i/8", "nothing"])
    assert await store.items(["i/8"]) == {}


async def test_the_control_point_is_only_changed_by_whoever_saw_it_last(store: Store) -> None:
    group = uuid.uuid4().hex
    assert await store.control(group) is None
    first = Control(
        epoch=1,
        log=1,
        generation=4,
        leader="leader",
        cluster="cluster",
        partitions={"clicks": 4},
        highest={"clicks/0": 10},
    )
    assert await store.put_control(group, first, if_epoch=0) == first
    assert await store.control(group) == first
    second = replace(first, epoch=2, generation=1)
    assert await store.put_control(group, second, if_epoch=1) == second
    late = replace(first, epoch=2, leader="another")
    assert await store.put_control(group, late, if_epoch=1) == second
    assert await store.control(group) == second
    newer = replace(second, generation=2)
    assert await store.put_control(group, newer, if_epoch=2) == newer
    ended = replace(second, highest={"clicks/0": 11})
    assert await store.put_control(group, ended, if_epoch=2) == newer, "an ended generation wrote over the next one"


async def test_the_cache_reads_a_node_once_and_knows_what_is_absent() -> None:
    memory = MemoryStore(POLICY)
    cached = CachedStore(memory, nodes_bytes=1 << 20, items_bytes=1 << 20, items_ttl_s=60)
    await memory.write([node("ana")], FENCE)
    keys = [profile_key("ana"), profile_key("bo")]
    for _ in range(3):
        assert (await cached.read(keys)).keys() == {keys[0]}
    hits, misses, nbytes = cached.readers()["nodes"]()
    assert (hits, misses) == (4, 2)
    assert nbytes > 0
    await memory.write([node("bo")], FENCE)
    assert profile_key("bo") not in await cached.read(keys)
    cached.forget()
    assert profile_key("bo") in await cached.read(keys)


async def test_the_cache_stays_under_its_bytes() -> None:
    cached = CachedStore(MemoryStore(POLICY), nodes_bytes=20_000, items_bytes=5_000, items_ttl_s=60)
    for n in range(100):
        await cached.write([node(f"u{n}", seed=n)], FENCE)
        await cached.put_items([ItemPoint(Item(item_id=str(n), title="t"), node("x").direction, "")])
    readers = cached.readers()
    assert 0 < readers["nodes"]()[2] <= 20_000
    assert 0 < readers["items"]()[2] <= 5_000
    assert len(await cached.read([profile_key(f"u{n}") for n in range(100)])) == 100


async def test_another_workers_item_is_seen_after_its_time() -> None:
    memory, now = MemoryStore(POLICY), [0.0]
    cached = CachedStore(memory, nodes_bytes=1 << 20, items_bytes=1 << 20, items_ttl_s=60, clock=lambda: now[0])
    vector = node("x").direction
    await cached.put_items([ItemPoint(Item(item_id="i", title="t"), vector, "/a")])
    await memory.put_items([ItemPoint(Item(item_id="i", title="t"), vector, "/b")])
    assert (await cached.items(["i"]))["i"].path == "/a"
    now[0] = 61
    assert (await cached.items(["i"]))["i"].path == "/b"


async def test_a_server_that_is_away_is_waited_for_and_keeps_what_it_acknowledged(
    own_qdrant: Callable[..., QdrantServer],
) -> None:
    server = own_qdrant()
    store = QdrantStore(config_of(server, deadline_s=3), POLICY, Collections("enc", DIM))
    await store.prepare()
    cached = CachedStore(store, nodes_bytes=1 << 20, items_bytes=1 << 20, items_ttl_s=60)
    await cached.write([node("ana", mass=1.0)], FENCE)
    server.kill()
    with pytest.raises(StoreUnavailable):
        await cached.write([node("ana", mass=2.0)], FENCE)
    with pytest.raises(StoreUnavailable):
        await cached.read([profile_key("ana")])
    server.start()
    found = {}
    async for attempt in forever(lambda _: None):
        with attempt:
            found = await cached.read([profile_key("ana")])
    assert found[profile_key("ana")].mass == 1.0
    await cached.write([node("ana", mass=2.0)], FENCE)
    assert (await store.tree("ana"))[0].mass == 2.0
    await store.close()


async def test_a_collection_of_another_size_is_a_clear_error(qdrant: QdrantServer) -> None:
    name = uuid.uuid4().hex
    store = QdrantStore(config_of(qdrant), POLICY, Collections(name, DIM))
    await store.prepare()
    await store.prepare()
    assert store.whole_trees
    await store.close()
    other = QdrantStore(config_of(qdrant), POLICY, Collections(name, DIM + 1))
    with pytest.raises(ConfigurationError, match="dimensions"):
        await other.prepare()
    await other.close()


async def test_workers_that_begin_at_once_make_the_collections_together(qdrant: QdrantServer) -> None:
    names = Collections(uuid.uuid4().hex, DIM)
    stores = [QdrantStore(config_of(qdrant), POLICY, names) for _ in range(6)]
    try:
        await asyncio.gather(*(one.prepare() for one in stores))
        assert await stores[0].tree("nobody") == []
    finally:
        for one in stores:
            await one.close()
