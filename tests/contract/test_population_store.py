"""Popularity and cohorts in the real Qdrant engine: read back, fenced, a group's own, swept; folding into it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from streams.events.dead_letters import DeadLetter
from streams.events.event import Source
from streams.events.spans import Slot
from streams.interests.applied import Applied
from streams.interests.item_vectors import StoredItem
from streams.interests.nodes import Level, Node, NodeKey, profile_key
from streams.interests.pair_records import ItemPairs, Pair, Pairs, pack_pairs
from streams.interests.popularity import ItemPopularity, Vote, Votes, pack_votes
from streams.interests.priors import Beginnings, First, pack_beginnings
from streams.interests.together import ItemPartners, PartnerPolicy, partners_at
from streams.pipeline.derive import Deriving, count_votes, join_partners, learn_beginnings
from streams.pipeline.derived_records import AHEAD_MS, DerivedLimits
from streams.settings.policies import PopulationSettings
from streams.store.base import Fence
from streams.store.cohort_store import Bounds, CohortStore, popularity_id, popularity_of
from streams.store.collections import POPULARITY, Collections
from streams.store.memory import MemoryStore
from tests.contract.test_store import DIM, NOW, config_of
from tests.fixtures.qdrant import QdrantServer, cohort_nodes
from tests.fixtures.records import record

POLICY = PopulationSettings().policy()
HALF_LIFE_S = 7 * 86_400.0
TREE: tuple[tuple[Level, str], ...] = (("profile", "/"), ("topic", "/a"))
VECTOR = np.eye(DIM, dtype=np.float32)[0]


def store_of(server: QdrantServer, group: str, collections: Collections) -> CohortStore:
    config = config_of(server, points_per_write=7)
    knows, most = PopulationSettings().priors().knows, Bounds(cohorts=4, nodes=3)
    return CohortStore(config, POLICY, collections, group=group, half_life_s=HALF_LIFE_S, knows=knows, most=most)


async def tree(store: CohortStore, cohort: str) -> list[Node]:
    return await cohort_nodes(store._points.config, store._names, store._group, cohort)


@pytest.fixture
async def stores(qdrant: QdrantServer) -> AsyncIterator[tuple[CohortStore, CohortStore]]:
    """The same collections as two groups see them."""
    names = Collections(uuid.uuid4().hex, DIM)
    made = store_of(qdrant, uuid.uuid4().hex, names), store_of(qdrant, uuid.uuid4().hex, names)
    await made[0].prepare()
    await made[1].prepare()
    yield made
    for one in made:
        await one.close()


def item(item_id: str, mass: float = 2.5, **fields: object) -> ItemPopularity:
    made = ItemPopularity(
        item_id=item_id, masses=(mass, 0.1 + 0.2, mass / 2, mass), t0_ms=NOW, last_ms=NOW - 7, count=3,
        applied=Applied(2, {"clicks/3": 17}),
    )  # fmt: skip
    return replace(made, **fields)  # type: ignore[arg-type]


def joined(item_id: str, counts: dict[str, float]) -> ItemPartners:
    return ItemPartners(item_id=item_id, counts=counts, total=7.25, t0_ms=NOW, applied=Applied(2, {"clicks/3": 17}))


async def test_popularity_is_read_back_and_is_the_groups_own(stores: tuple[CohortStore, CohortStore]) -> None:
    mine, other = stores
    items = [item(f"i{n}", mass=n / 8) for n in range(20)]
    await mine.put_popularity(items, Fence(1, 1))
    assert await mine.popularity([f"i{n}" for n in range(25)]) == {one.item_id: one for one in items}
    assert await other.popularity(["i3"]) == {}


async def test_popularity_that_earlier_versions_wrote_is_read(stores: tuple[CohortStore, CohortStore]) -> None:
    mine, _ = stores
    await mine.put_popularity([item("i")], Fence(1, 1))
    [point] = await mine._points.get(POPULARITY, [popularity_id(mine._group, "i")])
    older = {name: value for name, value in point.payload.items() if name not in ("shorter", "last")}
    assert popularity_of(older) == item("i", masses=(2.5, 0.0, 0.0, 0.0), last_ms=0)


async def test_an_older_fence_writes_nothing(stores: tuple[CohortStore, CohortStore]) -> None:
    mine, _ = stores
    cohort = Node(
        key=profile_key("*"), direction=VECTOR, norm=1, mass=1, net=1, t0_ms=NOW, first_ms=NOW, last_ms=NOW, count=1
    )
    await mine.put_popularity([item("i")], Fence(1, 5))
    await mine.write([cohort], Fence(1, 5))
    await mine.put_popularity([item("i", mass=9.0)], Fence(1, 4))
    await mine.write([replace(cohort, mass=9.0)], Fence(1, 4))
    assert (await mine.popularity(["i"]))["i"].mass == 2.5
    assert (await mine.read([cohort.key]))[cohort.key].mass == 1


async def test_partners_are_read_back_and_are_the_groups_own(stores: tuple[CohortStore, CohortStore]) -> None:
    mine, other = stores
    items = [joined(f"i{n}", {f"i{m}": 0.1 * m for m in range(1, n)}) for n in range(20)]
    await mine.put_partners(items, Fence(1, 5))
    await mine.put_partners([joined("i3", {"i9": 9.0})], Fence(1, 4))
    assert await mine.partners([f"i{n}" for n in range(25)]) == {one.item_id: one for one in items}
    assert await other.partners(["i3"]) == {}


async def test_cohorts_are_the_groups_own(stores: tuple[CohortStore, CohortStore]) -> None:
    mine, other = stores
    nodes = [
        Node(key=NodeKey("first=/a", level, path), direction=VECTOR, norm=1, mass=2, net=2, t0_ms=NOW, count=4)  # type: ignore[arg-type]
        for level, path in (("profile", "/"), ("topic", "/a"))
    ]
    await mine.write(nodes, Fence(1, 1))
    assert {node.key for node in await tree(mine, "first=/a")} == {node.key for node in nodes}
    assert await tree(other, "first=/a") == []
    assert await other.read([nodes[0].key]) == {}


async def test_what_is_forgotten_is_swept(stores: tuple[CohortStore, CohortStore]) -> None:
    mine, _ = stores
    await mine.put_popularity([item("faint", masses=(0.02, 0.0, 0.0, 0.0)), item("loud", mass=50.0)], Fence(1, 1))
    faint, loud = (
        Node(key=profile_key(name), direction=VECTOR, norm=1, mass=mass, t0_ms=NOW, count=1)
        for name, mass in (("device=tv", 0.011), ("device=car", 50.0))
    )
    await mine.write([faint, loud], Fence(1, 1))
    half_life_ms = int(PartnerPolicy().half_life_s * 1000)
    for name, total in (("rare", 0.02), ("often", 50.0)):
        await mine.put_partners([ItemPartners(item_id=name, total=total, t0_ms=NOW - half_life_ms)], Fence(1, 1))
    await mine.sweep(NOW + int(2 * HALF_LIFE_S * 1000))
    assert (await mine.partners(["rare", "often"])).keys() == {"often"}
    assert (await mine.popularity(["faint", "loud"])).keys() == {"loud"}
    assert (await mine.read([faint.key, loud.key])).keys() == {loud.key}


async def test_what_no_cohort_may_be_and_what_goes_beyond_the_bounds_is_swept(
    stores: tuple[CohortStore, CohortStore],
) -> None:
    mine, other = stores

    def node(cohort: str, level: Level, path: str, mass: float) -> Node:
        key = NodeKey(cohort, level, path)
        return Node(key=key, direction=VECTOR, norm=1, mass=mass, net=mass, t0_ms=NOW, count=1)

    strays = [node(f"device=phone {n}", level, path, 9.0) for n in range(20) for level, path in TREE]
    topics = [node(f"first=/{n}", level, path, 1.0 + n) for n in range(9) for level, path in TREE]
    everybody = [node("*", "profile", "/", 99.0), *(node("*", "interest", f"/a/{n}", 1.0 + n) for n in range(9))]
    for store in stores:
        await store.write([*strays, *topics, *everybody], Fence(1, 1))
    await mine.sweep(NOW)
    kept = {"*": {f"/a/{n}" for n in (6, 7, 8)} | {"/"}, **{f"first=/{n}": {"/", "/a"} for n in (6, 7, 8)}}
    names = {one.key.user_id for one in (*strays, *topics, *everybody)}
    found = {name: {one.key.path for one in await tree(mine, name)} for name in names}
    assert {name: paths for name, paths in found.items() if paths} == kept
    assert len(await tree(other, "device=phone 1")) == len(TREE)  # another group may know it


@dataclass
class Letters:
    dead: list[DeadLetter] = field(default_factory=list)

    async def dead_letter(self, dead: Sequence[DeadLetter]) -> None:
        self.dead += dead


def deriving(cohorts: CohortStore, letters: Letters) -> Deriving:
    """What folds the derived topics where item `a` is known."""
    items = MemoryStore(POLICY)
    items._items["a"] = StoredItem("a", VECTOR, "/sports")
    return Deriving(
        cohorts=cohorts, items=items, outbox=letters, group="g", dim=DIM, popularity_half_life_s=HALF_LIFE_S,
        partners=PartnerPolicy(), policy=POLICY, priors=PopulationSettings().priors(), limits=LIMITS, ends=ends,
    )  # fmt: skip


LIMITS = DerivedLimits(partitions={"clicks": 4, "comments": 4}, home=lambda *_: True, most_weight=400.0)
END = 100


async def ends(slots: Sequence[Slot]) -> dict[Slot, int]:
    return dict.fromkeys(slots, END)


def records(*values: bytes | None, key: bytes = b"a") -> list[Any]:
    return [record(value=value, key=key, offset=n, timestamp=NOW) for n, value in enumerate(values)]


async def test_the_second_leg_counts_once_passes_others_over_and_dead_letters_what_it_cannot_read(
    stores: tuple[CohortStore, CohortStore],
) -> None:
    mine, _ = stores
    letters = Letters()
    parts = deriving(mine, letters)
    vote, first = Vote("clicks", 0, 4, NOW, 1.5), First("clicks", 0, 4, NOW, 1.5, "a", "/sports/football")

    votes = records(pack_votes(Votes("a", "g", 1, [vote])), b"{", pack_votes(Votes("a", "h", 1, [vote])))
    for again in range(3):
        made = await count_votes(votes, parts, Fence(1, 1 + again), 1, now_ms=NOW)
        assert (made.counted, made.repeated) == ((0, 1) if again else (1, 0))
        assert [dead.reason for dead in made.dead] == ["bad_json"]
    assert (await mine.popularity(["a"]))["a"].mass == 1.5

    pair = Pair("clicks", 0, 4, NOW, 1.0, "b")
    pairs = records(
        pack_pairs(Pairs("g", 1, [ItemPairs("a", [pair])])), b"{", pack_pairs(Pairs("h", 1, [ItemPairs("a", [pair])]))
    )
    for again in range(3):
        joins = await join_partners(pairs, parts, Fence(1, 1 + again), 1, now_ms=NOW)
        assert (joins.kind, joins.counted, joins.repeated) == ("together", *((0, 1) if again else (1, 0)))
        assert [dead.reason for dead in joins.dead] == ["bad_json"]
    counts, total = partners_at((await mine.partners(["a"]))["a"], NOW, PartnerPolicy().half_life_s)
    assert (counts, total) == ({"b": pytest.approx(1.0)}, pytest.approx(1.0))

    firsts = [pack_beginnings(Beginnings("*", group, 1, [first])) for group in ("g", "h")]
    for again in range(3):
        learnt = await learn_beginnings(records(*firsts, None, key=b"*"), parts, Fence(1, 1 + again), 1, now_ms=NOW)
        assert (learnt.counted, learnt.repeated) == ((0, 1) if again else (1, 0))
        assert len(learnt.dead) == 1
    stray = [pack_beginnings(Beginnings("device=phone 1", "g", 1, [first]))]
    passed = await learn_beginnings(records(*stray, key=b"device=phone 1"), parts, Fence(1, 4), 1, now_ms=NOW)
    assert (passed.counted, passed.dead) == (0, [])
    assert await tree(mine, "device=phone 1") == []
    learnt_nodes = {node.key.level: node for node in await tree(mine, "*")}
    assert {level: (node.key.path, node.mass) for level, node in learnt_nodes.items()} == {
        "profile": ("/", 1.5), "topic": ("/sports", 1.5), "interest": ("/sports/football", 1.5),
    }  # fmt: skip
    assert len(letters.dead) == 9


async def test_first_events_of_a_log_that_is_gone_come_too_late(
    stores: tuple[CohortStore, CohortStore],
) -> None:
    mine, _ = stores
    parts = deriving(mine, Letters())

    def record_of(log: int, offset: int) -> bytes:
        first = First(*Source("clicks", 0, offset), NOW, 1.0, "a", "/sports")
        return pack_beginnings(Beginnings("*", "g", log, [first]))

    both = await learn_beginnings(
        records(record_of(1, 190), record_of(2, 0), key=b"*"), parts, Fence(2, 1), 2, now_ms=NOW
    )
    assert (both.counted, both.repeated) == (2, 0)
    late = await learn_beginnings(records(record_of(1, 191), key=b"*"), parts, Fence(2, 1), 2, now_ms=NOW)
    assert (late.counted, late.repeated) == (0, 1)
    assert (await mine.read([profile_key("*")]))[profile_key("*")].count == 2


async def test_what_nobody_of_ours_sent_marks_nothing_and_what_comes_later_counts(
    stores: tuple[CohortStore, CohortStore],
) -> None:
    mine, _ = stores
    letters = Letters()
    parts = deriving(mine, letters)
    forged = [Vote("clicks", 0, END, NOW, 1.0), Vote("clicks", 0, 2**62, NOW, 1.0), Vote("c;x=1", 0, 4, NOW, 1.0)]
    honest = Vote("clicks", 0, 4, NOW, 1.5)
    votes = [pack_votes(Votes("a", "g", log, [vote])) for vote, log in [*((f, 1) for f in forged), (honest, 9)]]
    deep = b'{"x":' + b"[" * 9_000 + b"]" * 9_000 + b',"item_id":"a","group":"g","log":1,"votes":[]}'
    first = await count_votes(records(*votes, deep, b'{"item_id":"\xff"}'), parts, Fence(1, 1), 1, now_ms=NOW)
    reasons = [dead.reason for dead in first.dead]
    assert sorted(reasons) == sorted([*["bad_source"] * 4, "too_deep", "not_utf8"])
    assert (first.counted, await mine.popularity(["a"])) == (0, {})
    ahead = Vote("clicks", 1, 4, NOW + 50 * 365 * 86_400_000, 1.0)
    for vote in (ahead, honest):
        made = await count_votes(records(pack_votes(Votes("a", "g", 1, [vote]))), parts, Fence(1, 1), 1, now_ms=NOW)
        assert (made.counted, made.dead) == (1, [])
    popular = (await mine.popularity(["a"]))["a"]
    assert popular.t0_ms == NOW + AHEAD_MS
    assert popular.mass == pytest.approx(2.5, rel=1e-2)

    lies = [(Pair(*vote[:4], 1.0, "b"), 1) for vote in forged] + [(Pair(*honest[:4], 1.0, "b"), 9)]
    joins = records(*(pack_pairs(Pairs("g", log, [ItemPairs("a", [pair])])) for pair, log in lies))
    made = await join_partners(joins, parts, Fence(1, 1), 1, now_ms=NOW)
    assert ([dead.reason for dead in made.dead], await mine.partners(["a"])) == (["bad_source"] * 4, {})

    begun = First("clicks", 0, 2**62, NOW, 1.5, "a", "/sports/football")
    for one, counts in ((begun, 0), (begun._replace(offset=4), 1)):
        packed = pack_beginnings(Beginnings("*", "g", 1, [one]))
        learnt = await learn_beginnings(records(packed, key=b"*"), parts, Fence(1, 1), 1, now_ms=NOW)
        assert (learnt.counted, len(learnt.dead)) == (counts, 1 - counts)
