"""People count, not events: what one person moves in the sums over everybody is bounded, exact, and taken back."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.encoder.base import Encoded
from streams.events.drafts import Draft
from streams.events.items import Item
from streams.events.unresolved import RetryPolicy
from streams.interests.ballot import pack_standing, standing_vote, unpack_standing
from streams.interests.decay import decay, decayed
from streams.interests.evidence import SentFirst, pack_firsts, unpack_firsts
from streams.interests.fold import fold
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import Node, NodeKey, NodePolicy
from streams.interests.pair_records import Pairs, pairs_of
from streams.interests.popularity import ItemPopularity, Votes, count, tally
from streams.interests.priors import Beginnings, CohortFirst, First, PriorPolicy, beginnings, plan_of_beginnings
from streams.interests.signed_weight import DEFAULT_BASE, WeightTable
from streams.pipeline import fold_and_write
from streams.pipeline.apply import PipelineDependencies, apply
from streams.pipeline.erase import DerivedChanges
from streams.settings.policies import NodeSettings, PopulationSettings
from streams.store.base import Fence
from streams.store.memory import MemoryStore
from tests.fixtures.loops import completed

T0 = 1_700_000_000_000
DAY_MS = 86_400_000
AT = T0 + 390 * DAY_MS
NOW = T0 + 400 * DAY_MS
HALF_LIFE_S = 180 * 86_400.0
POLICY = NodeSettings().policy()
COHORTS = PopulationSettings().policy()
PRIORS = PriorPolicy(newcomer_events=3)
ITEMS = ("a", "b", "c", "d", "e")
VECTORS = np.eye(len(ITEMS), 6, dtype=np.float32)
PATHS = dict(zip(ITEMS, ("/sports/football", "/sports/tennis", "/music/jazz", "/music/pop", "/food"), strict=True))


class Texts:
    """An encoder for events that have no text of their own."""

    dim = 6

    async def encode(self, texts: Sequence[str]) -> Encoded:
        assert not texts
        return Encoded(np.zeros((0, 6), np.float32), np.zeros(0, np.float32), {})


class Died(Exception):
    """The worker's end, at a chosen moment."""


@dataclass
class Town:
    """Workers that apply batches to the same store and die where they are told to, and what everybody shares of it.

    Everybody is a part of their own.
    """

    policy: NodePolicy = POLICY
    places: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    votes: dict[str, list[Votes]] = field(default_factory=lambda: defaultdict(list))
    pairs: dict[int, list[Pairs]] = field(default_factory=lambda: defaultdict(list))
    firsts: dict[str, list[Beginnings]] = field(default_factory=lambda: defaultdict(list))
    sent: int = 0
    dies_after_sending: bool = False

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.policy)
        points = [ItemPoint(Item(name, title=name), VECTORS[n], PATHS[name]) for n, name in enumerate(ITEMS)]
        completed(self.store.put_items(points))
        self.deps = PipelineDependencies(
            encoder=Texts(), store=self.store, outbox=None, tree=None, policy=self.policy, weights=WeightTable(),  # type: ignore[arg-type]  # nothing is dead, waits or has a text
            retries=RetryPolicy(1, 1, 1), home=lambda _: True, send_derived=self.send, priors=PRIORS,
            together_places=self.places,
        )  # fmt: skip
        self.deps.outbox = self  # type: ignore[assignment]

    async def dead_letter(self, dead: Sequence[Any]) -> None:
        assert not dead

    async def defer(self, waiting: Sequence[Any]) -> None:
        assert not waiting

    async def send(self, changes: DerivedChanges, log: int) -> None:
        """Records by key; where the worker is to die, some of them arrive and some do not."""
        self.sent += len(changes.votes)
        self._arrive(self.votes, tally(changes.votes, "g", log))
        for pairs in pairs_of(changes.pairs, "g", log, lambda item_id: ord(item_id[0]) % 2):
            if not self.dies_after_sending or self.chance.random() < 0.5:
                self.pairs[ord(pairs.abouts[0][0]) % 2].append(pairs)
        self._arrive(self.firsts, beginnings(changes.firsts, "g", log))
        if self.dies_after_sending and any(changes):
            raise Died

    def _arrive(self, topic: dict[str, list[Any]], records: Sequence[Any]) -> None:
        for record in records:
            if not self.dies_after_sending or self.chance.random() < 0.5:
                topic[record.abouts[0]].append(record)

    def apply(self, records: Sequence[Draft], *, dies: bool = False) -> None:
        self.dies_after_sending = dies
        with suppress(Died), pytest.MonkeyPatch.context() as patched:
            patched.setattr(fold_and_write, "_NODES_A_PART", 1)
            completed(apply(records, self.deps, Fence(0, 1), 1, now_ms=NOW))

    def popularity(self) -> dict[str, ItemPopularity]:
        found: dict[str, ItemPopularity] = {}
        for records in self.votes.values():
            for record in records:
                found.update({one.item_id: one for one in count([record], found, HALF_LIFE_S).changed})
        return found

    def masses(self) -> dict[str, float]:
        found = self.popularity().items()
        return {name: decayed(one.mass, one.t0_ms, AT, HALF_LIFE_S * 1000) for name, one in found if one.mass}

    def cohorts(self) -> dict[NodeKey, Node]:
        nodes: dict[NodeKey, Node] = {}
        rows = {name: n for n, name in enumerate(ITEMS)}
        for records in self.firsts.values():
            for record in records:
                made = fold(plan_of_beginnings([record], rows), VECTORS, nodes, COHORTS, 1)
                nodes.update({node.key: node for node in made})
        return {key: node for key, node in nodes.items() if node.mass}


def records_of(events: Iterable[Mapping[str, Any]], topic: str = "clicks", start: int = 0) -> list[Draft]:
    return [
        Draft(topic, 0, start + at, NOW, str(one["user_id"]).encode(), json.dumps(one).encode())
        for at, one in enumerate(events)
    ]


def said(user: str, kind: str, item: str | None, ts: int, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "type": kind, "ts": T0 + ts, **({"item_id": item} if item else {}), **more}


users = st.sampled_from(["ana", "ben"])
items = st.sampled_from(ITEMS)
times = st.integers(0, 100 * DAY_MS)
plain = st.tuples(users, st.sampled_from(["click", "view", "purchase", "hide"]), items, times)
liked = st.tuples(users, st.sampled_from(["like", "unlike", "bookmark", "unbookmark", "share"]), items, times)
logs = st.fixed_dictionaries({"clicks": st.lists(plain, max_size=14), "events": st.lists(liked, max_size=14)})


def expected(log: Mapping[str, Sequence[tuple[str, str, str, int]]], length: int = 64) -> dict[str, float]:
    """The sums by the rule's own words, none of its code: of each person's events for an item by one topic the
    strongest that stands, and of these the `length` strongest."""
    sums: dict[str, float] = {}
    half_life_ms = POLICY.half_life_ms("profile")
    for events in log.values():
        best: dict[str, dict[str, tuple[float, int, float]]] = {}
        for user, kind, item, ts in events:
            undone = any(
                (user, f"un{kind}", item) == (other, undo, about) and at >= ts for other, undo, about, at in events
            )
            weight = DEFAULT_BASE[kind]
            if weight > 0 and not undone:
                mine = best.setdefault(user, {})
                mine[item] = max(
                    mine.get(item, (-math.inf, 0, 0.0)), (math.log2(weight) + ts / half_life_ms, ts, weight)
                )
        for votes in best.values():
            for item in sorted(votes, key=lambda item: (votes[item], item), reverse=True)[:length]:
                _, ts, weight = votes[item]
                sums[item] = sums.get(item, 0.0) + weight * decay(AT - T0 - ts, HALF_LIFE_S * 1000)
    return sums


@settings(max_examples=150)
@given(logs, st.integers(0, 2**32))
def test_the_sums_are_those_of_the_strongest_votes_whatever_fails_and_however_topics_meet(
    log: dict[str, list[tuple[str, str, str, int]]], seed: int
) -> None:
    """Workers die between sending and writing, half of what they sent is lost; topics meet in another order then."""
    chance = random.Random(seed)
    town = Town(chance=chance)
    records = {topic: records_of([said(*one) for one in events], topic) for topic, events in log.items()}
    at = dict.fromkeys(records, 0)
    deaths = 4
    while any(at[topic] < len(records[topic]) for topic in records):
        ends = {topic: min(len(records[topic]), at[topic] + chance.randint(0, 6)) for topic in records}
        batch = [record for topic in records for record in records[topic][at[topic] : ends[topic]]]
        turns = [record.topic for record in batch]
        chance.shuffle(turns)  # each topic in its order, one beside the other in any
        waiting = {topic: [record for record in batch if record.topic == topic] for topic in records}
        batch = [waiting[topic].pop(0) for topic in turns]
        dies = deaths > 0 and chance.random() < 0.4
        deaths -= dies
        town.apply(batch, dies=dies)
        if not dies and chance.random() < 0.8:  # else it was not acknowledged, and comes again
            at = ends
    assert town.masses() == pytest.approx(expected(log), rel=1e-9)


@settings(max_examples=60)
@given(st.lists(plain, max_size=30), st.integers(1, 3))
def test_a_person_has_so_many_votes_a_topic(events: list[tuple[str, str, str, int]], length: int) -> None:
    town = Town(policy=replace(POLICY, votes_length=length))
    for start in range(0, len(events), 4):
        town.apply(records_of([said(*one) for one in events[start : start + 4]], start=start))
    assert town.masses() == pytest.approx(expected({"clicks": events}, length), rel=1e-9)


def test_four_hundred_clicks_of_one_person_are_one_vote() -> None:
    town = Town()
    town.apply(records_of([said("ana", "click", "a", n) for n in range(400)]))
    town.apply(records_of([said("ben", "click", "b", 400), said("cat", "click", "b", 400)], start=400))
    found = town.popularity()
    assert (found["a"].count, found["b"].count) == (1, 2)
    assert found["b"].mass == pytest.approx(2 * found["a"].mass)


def test_a_bot_on_ten_thousand_items_has_as_many_votes_as_anybody() -> None:
    town = Town()
    names = [f"i{n}" for n in range(2_000)]
    completed(town.store.put_items([ItemPoint(Item(name, title=name), VECTORS[0], "/x") for name in names]))
    clicks = records_of([said("bot", "click", name, n) for n, name in enumerate(names)])
    for start in range(0, len(clicks), 500):
        town.apply(clicks[start : start + 500])
    standing = [one for one in town.popularity().values() if one.mass > 0]
    assert len(standing) == POLICY.votes_length
    assert sum(one.count for one in standing) == POLICY.votes_length
    assert all(one.mass >= 0 for one in town.popularity().values())


def test_one_impression_that_says_all_was_clicked_is_bounded_too() -> None:
    town = Town()
    names = [f"i{n}" for n in range(300)]
    completed(town.store.put_items([ItemPoint(Item(name, title=name), VECTORS[0], "/x") for name in names]))
    town.apply(records_of([said("bot", "impression", None, 0, items=names, clicked=names)]))
    assert sum(one.mass > 0 for one in town.popularity().values()) == POLICY.votes_length


def test_liking_and_unliking_for_ever_teaches_cohorts_nothing() -> None:
    town = Town()
    events = [
        said("ana", kind, ITEMS[n % 5], 2 * n + k) for n in range(40) for k, kind in enumerate(("like", "unlike"))
    ]
    for start in range(0, len(events), 7):
        town.apply(records_of(events[start : start + 7], "events", start))
    assert sum(first.weight > 0 for records in town.firsts["*"] for first in records.firsts) == PRIORS.newcomer_events
    assert town.cohorts() == {}
    assert town.masses() == {}


@settings(max_examples=100)
@given(logs, logs, st.integers(0, 2**32))
def test_an_erasure_takes_back_all_that_its_person_counted_as_if_they_had_never_been(
    log: dict[str, list[tuple[str, str, str, int]]], later: dict[str, list[tuple[str, str, str, int]]], seed: int
) -> None:
    """Also where the worker dies between taking back and the tombstone, and the rest lives on."""
    chance = random.Random(seed)
    town, never = Town(chance=chance), Town()
    at = dict.fromkeys(log, 0)
    for topic, events in log.items():
        town.apply(records_of([said(*one) for one in events], topic))
        at[topic] = len(events)
    erase = records_of([said("ana", "erase", None, 101 * DAY_MS)], "events", at["events"])
    for _ in range(chance.randint(0, 2)):
        town.apply(erase, dies=True)
    town.apply(erase)
    left = {topic: [one for one in events if one[0] != "ana"] for topic, events in log.items()}
    for topic, events in left.items():
        never.apply(records_of([said(*one) for one in events], topic))
    assert town.masses() == pytest.approx(never.masses(), rel=1e-6, abs=1e-9)
    assert all(one.mass >= 0 for one in town.popularity().values())
    _same(town.cohorts(), never.cohorts())
    # Who comes back counts once more, and once only.
    for topic, events in later.items():
        after = [said(user, kind, item, 102 * DAY_MS + ts) for user, kind, item, ts in events if user == "ana"]
        start = at[topic] + (topic == "events")
        town.apply(records_of(after, topic, start))
        town.apply(records_of([said("ana", "erase", None, 300 * DAY_MS)], topic, start + len(after)))
    assert town.masses() == pytest.approx(never.masses(), rel=1e-6, abs=1e-9)


def _same(found: dict[NodeKey, Node], wanted: dict[NodeKey, Node]) -> None:
    assert found.keys() == wanted.keys()
    for key, node in wanted.items():
        other = found[key]
        assert other.count == node.count
        left = [decayed(one.mass, one.t0_ms, AT, COHORTS.half_life_ms(key.level)) for one in (other, node)]
        assert left[0] == pytest.approx(left[1], rel=1e-6)
        assert np.allclose(other.direction, node.direction, atol=1e-4)


names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


@given(st.lists(st.tuples(st.sampled_from(["clicks", "events"]), names, times, st.floats(1e-6, 1e6), st.booleans())))
def test_votes_and_first_events_are_read_back_as_they_were_kept(rows: list[tuple[str, str, int, float, bool]]) -> None:
    votes = [standing_vote(*row) for row in sorted(rows)]
    assert sorted(unpack_standing(pack_standing(votes))) == sorted(votes)
    firsts = tuple(SentFirst(("*", f"first=/{topic}"), item, "/a/b", ts, w) for topic, item, ts, w, _ in rows)
    assert unpack_firsts(pack_firsts(firsts)) == firsts


def test_first_events_of_one_record_are_never_parted() -> None:
    """An erasure takes back several by one place; the second record would be taken for a repetition."""
    firsts = [CohortFirst("all", First("events#erase", 0, n // 3, T0, -1.0, "a", "/food")) for n in range(3_000)]
    records = beginnings(firsts, "g", 1)
    places = [{first.offset for first in record.firsts} for record in records]
    assert len(records) > 1
    assert sum(len(record.firsts) for record in records) == len(firsts)
    assert sum(map(len, places)) == len(set().union(*places)), "one place in two records"
