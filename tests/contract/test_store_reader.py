"""What the API reads of the real Qdrant engine: whole, however much of it there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from streams.events.items import Item
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import Level, Node, NodeKey, expires_at_ms, profile_key
from streams.settings.policies import NodeSettings, PopulationSettings
from streams.store.base import Fence
from streams.store.catalogue import Catalogue
from streams.store.cohort_store import CohortStore
from streams.store.cohorts import CohortReader
from streams.store.collections import Collections
from streams.store.qdrant import QdrantStore
from streams.store.reader import StoreReader
from tests.contract.test_store import NOW, config_of
from tests.fixtures.qdrant import QdrantServer

DIM = 2
NAMES = Collections("enc", DIM)
POLICY = NodeSettings().policy()
COHORTS_POLICY = PopulationSettings().policy()
GROUP = "interests"
HALF_LIFE_S = 7 * 86_400.0
FENCE = Fence(1, 1)


@dataclass
class Servers:
    """A server of the test's own, whose aliases point at what its stores write."""

    store: QdrantStore
    cohorts: CohortStore
    reader: StoreReader


@pytest.fixture
async def servers(own_qdrant: Callable[..., QdrantServer]) -> AsyncIterator[Servers]:
    config = config_of(own_qdrant(), points_per_write=500)
    made = Servers(
        QdrantStore(config, POLICY, NAMES),
        CohortStore(config, COHORTS_POLICY, NAMES, group=GROUP, half_life_s=HALF_LIFE_S), StoreReader(config),
    )  # fmt: skip
    await made.store.prepare()
    yield made
    for one in (made.store, made.cohorts, made.reader):
        await one.close()


def node(user: str, level: Level, path: str, mass: float = 5.0) -> Node:
    direction = np.array([1, 0], np.float32)
    return Node(
        key=NodeKey(user, level, path), direction=direction, norm=mass, mass=mass, net=mass, t0_ms=NOW, first_ms=NOW,
        last_ms=NOW, count=1,
    )  # fmt: skip


async def test_a_cohort_of_more_nodes_than_a_page_holds_is_read_whole(servers: Servers) -> None:
    cohorts = CohortReader(servers.reader, GROUP, HALF_LIFE_S)
    assert await cohorts.cohorts(["unknown"]) == {}  # nor is there a collection of them yet
    await servers.cohorts.prepare()
    nodes = [node("*", "interest", f"/t/{n}") for n in range(2_100)] + [node("device=tv", "interest", "/t/0")]
    await servers.cohorts.write(nodes, FENCE)
    found = await cohorts.cohorts(["*", "device=tv"])
    assert {name: {one.key.path for one in theirs} for name, theirs in found.items()} == {
        "*": {f"/t/{n}" for n in range(2_100)}, "device=tv": {"/t/0"},
    }  # fmt: skip


async def test_all_paths_of_users_with_many_are_read(servers: Servers) -> None:
    paths = {user: {f"/t/{n}" for n in range(first, first + 2_100)} for user, first in (("ana", 0), ("bo", 1_000))}
    nodes = [node(user, "interest", path) for user, theirs in paths.items() for path in theirs]
    await servers.store.write(nodes, FENCE)
    assert await servers.reader.paths_of(["ana", "bo", "nobody"], NOW) == {**paths, "nobody": set()}
    assert len(await servers.store.tree("bo")) == len(await servers.reader.tree("bo", vectors=False)) == 2_100


async def test_a_node_is_found_until_the_millisecond_in_which_it_expires(servers: Servers) -> None:
    one = node("ana", "interest", "/t/0")
    await servers.store.write([one, node("ana", "profile", "/")], FENCE)
    at_ms, near = expires_at_ms(one, POLICY), one.direction
    for moment, there in ((at_ms - 1, True), (at_ms, False), (at_ms + 1, False)):
        assert (await servers.reader.paths_of(["ana"], moment) == {"ana": {"/t/0"}}) is there
        hits = await servers.reader.nodes_near(near, ["interest"], None, moment, users=["ana"], limit=5, floor=0.5)
        assert bool(hits) is there
        assert bool(await servers.reader.groups(near, ["interest"], None, moment, users=5, floor=0.5)) is there
    profile_at_ms = expires_at_ms(node("ana", "profile", "/"), POLICY)
    assert await servers.reader.alike(near, "bo", 5, profile_at_ms - 1) == [("ana", 1.0)]
    assert await servers.reader.alike(near, "bo", 5, profile_at_ms) == []


async def test_nobody_is_like_somebody_who_was_erased(servers: Servers) -> None:
    erased = Node(key=profile_key("zoe"), direction=np.zeros(DIM, np.float32), t0_ms=NOW, erased_at_ms=NOW)
    await servers.store.write([node("ana", "profile", "/"), erased], FENCE)
    near, levels = node("bo", "profile", "/").direction, ("profile", "topic")
    assert await servers.reader.alike(near, "bo", 5, NOW) == [("ana", 1.0)]
    await servers.store.write([replace(node("ana", "topic", "/t"), count=0)], FENCE)  # of another level it stays
    hits = await servers.reader.groups(near, levels, None, NOW, users=5, floor=0.0)
    assert [hit.user_id for hit in hits] == ["ana"]
    hits = await servers.reader.nodes_near(near, levels, None, NOW, users=["ana", "zoe"], limit=5, floor=0.0)
    assert {(hit.user_id, hit.path) for hit in hits} == {("ana", "/"), ("ana", "/t")}


async def test_how_sure_a_path_is_comes_back_with_its_item(servers: Servers) -> None:
    vector = np.array([1, 0], np.float32)
    points = [ItemPoint(Item(item_id=f"sure-{n}"), vector, "/t", sure) for n, sure in enumerate((0.7, 0.0, None))]
    await servers.store.put_items(points)
    catalogue = Catalogue(servers.reader, cards_bytes=1 << 20, cards_ttl_s=60.0)
    cards = await catalogue.cards([f"sure-{n}" for n in range(3)])
    assert [cards[f"sure-{n}"].confidence for n in range(3)] == [0.7, 0.0, None]


async def test_items_are_drawn_by_chance_and_evenly_and_the_same_by_the_same_seed(servers: Servers) -> None:
    catalogue = Catalogue(servers.reader, cards_bytes=1 << 20, cards_ttl_s=60.0)
    assert await catalogue.drawn(1, 5) == []
    vector = np.array([1, 0], np.float32)
    await servers.store.put_items([ItemPoint(Item(item_id=f"i{n}"), vector, "") for n in range(40)])
    chance = np.random.default_rng(1)
    counts: Counter[str] = Counter()
    for _ in range(400):
        seed = int.from_bytes(chance.bytes(16), "big")
        cards = [card.item_id for card in await catalogue.drawn(seed, 20)]
        assert len(set(cards)) == 20
        counts.update(cards)
    assert min(counts.values()) > 100, "each of forty comes about 200 times"
    assert max(counts.values()) < 300
    assert await catalogue.drawn(seed, 20) == await catalogue.drawn(seed, 20)
    assert len(await catalogue.drawn(2**128 - 1, 60)) == 40
