"""Popularity over redelivery: whatever comes again, in whatever grouping, an item's mass is that of its events once."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.base.errors import PoisonError
from streams.events.event import Event, Source
from streams.interests.ballot import VoteChange
from streams.interests.decay import decay, decayed
from streams.interests.plan import Weighed, plan
from streams.interests.popularity import (
    VOTES_A_RECORD,
    ItemPopularity,
    Vote,
    Votes,
    count,
    forgotten_at_ms,
    pack_votes,
    tally,
    unpack_votes,
)
from streams.settings.policies import NodeSettings

T0 = 1_700_000_000_000
HALF_LIFE_S = 7 * 86_400.0
POLICY = NodeSettings().policy()

#: What a source partition holds: an item, a time, a weight. Its place in the list is its offset.
said = st.tuples(st.sampled_from("abc"), st.integers(0, 60 * 86_400_000), st.sampled_from([0.05, 0.5, 1.0, 4.0]))
sources = st.lists(st.lists(said, max_size=12), min_size=1, max_size=3)


def change(partition: int, offset: int, item: str, at: int, weight: float) -> VoteChange:
    return VoteChange(item, Source("clicks", partition, offset), T0 + at, weight, "clicks")


def fold(records: list[Votes], stored: dict[str, ItemPopularity] | None = None) -> dict[str, ItemPopularity]:
    stored = dict(stored or {})
    stored.update({item.item_id: item for item in count(records, stored, HALF_LIFE_S).changed})
    return stored


def masses(stored: dict[str, ItemPopularity]) -> dict[str, float]:
    at = T0 + 100 * 86_400_000
    return {name: decayed(item.mass, item.t0_ms, at, HALF_LIFE_S * 1000) for name, item in stored.items()}


def expected(partitions: list[list[tuple[str, int, float]]], half_life_s: float = HALF_LIFE_S) -> dict[str, float]:
    at, sums = 100 * 86_400_000, dict[str, float]()
    for partition in partitions:
        for item, ts, weight in partition:
            sums[item] = sums.get(item, 0.0) + weight * decay(at - ts, half_life_s * 1000)
    return sums


def lives(length: int, chance: random.Random, deaths: int) -> Iterator[tuple[int, int]]:
    """Stretches of a log as readers that die and begin again from anywhere before handle them."""
    at = 0
    while at < length:
        end = chance.randint(at + 1, length)
        yield at, end
        at = end
        if deaths and chance.random() < 0.5:
            deaths, at = deaths - 1, chance.randint(0, end)


@given(sources, st.integers(0, 2**32))
def test_deaths_and_rebalances_anywhere_change_nothing(
    partitions: list[list[tuple[str, int, float]]], seed: int
) -> None:
    """Workers tell what they read and die before their commit; the items' owner dies before its own."""
    chance = random.Random(seed)
    waiting_topics: list[list[Votes]] = []
    for number, partition in enumerate(partitions):
        waiting_topics.append([])
        for start, end in lives(len(partition), chance, 3):
            rows = [change(number, n, *partition[n]) for n in range(start, end)]
            waiting_topics[-1] += [unpack_votes(pack_votes(votes)) for votes in tally(rows, "g", 1)]
    topic: list[Votes] = []
    while any(waiting_topics):
        topic.append(chance.choice([waiting for waiting in waiting_topics if waiting]).pop(0))
    stored: dict[str, ItemPopularity] = {}
    for start, end in lives(len(topic), chance, 3):
        stored = fold(topic[start:end], stored)
    assert masses(stored) == pytest.approx(expected(partitions), rel=1e-9)
    day = sum(decayed(item.masses[1], item.t0_ms, T0 + 100 * 86_400_000, 86_400_000) for item in stored.values())
    assert day == pytest.approx(sum(expected(partitions, 86_400.0).values()), rel=1e-9, abs=1e-300)
    every = [item for partition in partitions for item, *_ in partition]
    latest = {item: T0 + max(at for p in partitions for i, at, _ in p if i == item) for item in every}
    assert {name: item.last_ms for name, item in stored.items()} == latest
    assert {name: item.count for name, item in stored.items()} == Counter(every)


@given(sources)
def test_the_second_delivery_of_a_topic_counts_nothing(partitions: list[list[tuple[str, int, float]]]) -> None:
    rows = [change(p, n, *one) for p, partition in enumerate(partitions) for n, one in enumerate(partition)]
    records = tally(rows, "g", 1)
    stored = fold(records)
    again = count(records, stored, HALF_LIFE_S)
    assert again.changed == []
    assert (again.counted, again.repeated) == (0, len(rows))


def test_what_is_against_an_item_or_about_none_is_no_vote() -> None:
    hide, search = (
        Event(f"e{n}", "ana", kind, T0, item, None, None, None, (), (), None, {}, Source("events", 0, n))
        for n, (kind, item) in enumerate((("hide", "a"), ("search", None)))
    )
    weighed = [Weighed(hide, 0, "/s", -2.0, "a"), Weighed(search, 0, "/s", 1.0, "")]
    assert plan(weighed, [hide, search], {}, POLICY, 1).votes == []


def test_a_taken_back_like_is_taken_out_at_its_own_time() -> None:
    like, unlike = (
        Event(
            f"e{n}", "ana", kind, T0 + n * 86_400_000, "a", None, None, None, (), (), None, {}, Source("events", 0, n)
        )
        for n, kind in enumerate(("like", "unlike"))
    )
    planned = plan(
        [Weighed(like, 0, "/s", 2.0, "a"), Weighed(unlike, 0, "/s", 0.0, "a")], [like, unlike], {}, POLICY, 1
    )
    [votes] = tally(planned.votes, "g", 1)
    assert [(vote.ts_ms, vote.weight) for vote in votes.votes] == [(T0, 2.0), (T0, -2.0)]
    assert fold([votes])["a"].masses == (0, 0, 0, 0)
    assert fold([votes])["a"].last_ms == T0
    assert fold([votes])["a"].count == 0


def test_a_log_made_anew_counts_and_what_is_left_of_the_old_one_does_not() -> None:
    rows = [change(0, 5, "a", 0, 1.0)]
    old, new = tally(rows, "g", 1), tally(rows, "g", 2)
    stored = fold(old + new)
    assert stored["a"].count == 2
    assert fold(old, stored) == stored
    assert fold(new, stored) == stored


def test_records_are_cut_but_never_within_an_event() -> None:
    rows = [change(0, n // 2, "a", 0, 1.0) for n in range(2 * VOTES_A_RECORD + 7)]
    records = tally(rows, "g", 1)
    assert len(records) == 3
    assert sum(len(record.votes) for record in records) == len(rows)
    for one, two in itertools.pairwise(records):
        assert one.votes[-1].source != two.votes[0].source
    assert fold(records)["a"].count == len(rows)
    assert max(len(pack_votes(record)) for record in records) < 200_000


def test_an_item_is_forgotten_once_every_mass_is() -> None:
    """Half-lives of the settings may be shorter than those that are always kept."""
    item = ItemPopularity(item_id="a", masses=(0.02, 0.01, 0.04, 0.08), t0_ms=T0, count=1)
    assert forgotten_at_ms(item, 3_600.0, 0.01) == T0 + 3 * 30 * 86_400_000


def test_only_records_of_votes_are_read() -> None:
    good = Votes("a", "g", 1, [Vote("clicks", 0, 3, T0, 0.1 + 0.2)])
    assert unpack_votes(pack_votes(good)) == good
    for value in (None, b"", b"{", b"[]", b'{"item_id": "a"}', b'{"item_id":"a","group":"g","log":1,"votes":[[1]]}'):
        with pytest.raises(PoisonError):
            unpack_votes(value)
    with pytest.raises(PoisonError):
        unpack_votes(b'{"item_id":"a","group":"g","log":1,"votes":[["c",0,1,2,1e999]]}')
