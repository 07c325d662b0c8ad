"""Items touched together: whatever fails and comes again, an item's partners are those of the votes that stand."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from streams.base.errors import PoisonError
from streams.events.event import Source
from streams.events.items import Item
from streams.interests.applied import Applied
from streams.interests.ballot import Ballot, VoteChange, by_erasure, standing_vote
from streams.interests.decay import decay
from streams.interests.item_vectors import ItemPoint
from streams.interests.neighbours import Neighbours, withdrawn_pairs
from streams.interests.pair_records import (
    PAIRS_A_RECORD,
    ItemPairs,
    Pair,
    PairChange,
    Pairs,
    pack_pairs,
    pairs_of,
    unpack_pairs,
)
from streams.interests.signed_weight import DEFAULT_BASE
from streams.interests.together import (
    ItemPartners,
    PartnerCounts,
    PartnerPolicy,
    count_pairs,
    forgotten_at_ms,
    pack_counts,
    partners_at,
    unpack_counts,
)
from tests.fixtures.loops import completed
from tests.property.test_ballot import AT, DAY_MS, POLICY, T0, VECTORS, Town, logs, plain, records_of, said

PLACES = 2
HALF_LIFE_S = 30 * 86_400.0
PARTNERS = PartnerPolicy(half_life_s=HALF_LIFE_S, kept=64)
HALF_LIFE_MS = PARTNERS.half_life_ms

Sums = dict[str, tuple[dict[str, float], float]]


def partners(town: Town, policy: PartnerPolicy = PARTNERS) -> dict[str, ItemPartners]:
    found: dict[str, ItemPartners] = {}
    for records in town.pairs.values():
        for record in records:
            found.update({one.item_id: one for one in count_pairs([record], found, policy).changed})
    return found


def sums(town: Town) -> Sums:
    found = {name: partners_at(one, AT, HALF_LIFE_S) for name, one in partners(town).items()}
    return {name: one for name, one in found.items() if one != ({}, 0.0)}


def expected(log: Mapping[str, Sequence[tuple[str, str, str, int]]], length: int = 64) -> Sums:
    """By the rule's own words, none of its code: any two of a person's strongest votes of a topic with fewer than
    `PLACES` others between them, at the later one's time."""
    found: Sums = {}
    half_life_ms = POLICY.half_life_ms("profile")
    for events in log.values():
        for user in {one[0] for one in events}:
            best: dict[str, tuple[float, int]] = {}
            for _, kind, item, ts in (one for one in events if one[0] == user):
                undone = any((user, f"un{kind}", item) == one[:3] and one[3] >= ts for one in events)
                if DEFAULT_BASE[kind] > 0 and not undone:
                    rank = math.log2(DEFAULT_BASE[kind]) + ts / half_life_ms, ts
                    best[item] = max(best.get(item, rank), rank)
            standing = sorted(best, key=lambda item: (best[item], item), reverse=True)[:length]
            places = [(best[item][1], item) for item in standing]
            for one, other in itertools.permutations(places, 2):
                low, high = sorted((one, other))
                if sum(low < place < high for place in places) < PLACES:
                    counts, total = found.setdefault(one[1], ({}, 0.0))
                    weight = decay(AT - T0 - high[0], HALF_LIFE_MS)
                    counts[other[1]] = counts.get(other[1], 0.0) + weight
                    found[one[1]] = (counts, total + weight)
    return found


def same(found: Sums, wanted: Sums) -> None:
    assert found.keys() == wanted.keys()
    for item, (counts, total) in wanted.items():
        assert found[item][0] == pytest.approx(counts, rel=1e-9)
        assert found[item][1] == pytest.approx(total, rel=1e-6)


@settings(max_examples=150)
@given(logs, st.integers(0, 2**32))
def test_partners_are_those_of_the_standing_votes_whatever_fails_and_however_topics_meet(
    log: dict[str, list[tuple[str, str, str, int]]], seed: int
) -> None:
    """Workers die between sending and writing, half of what they sent is lost; topics meet in another order then."""
    chance = random.Random(seed)
    town = Town(chance=chance, places=PLACES)
    records = {topic: records_of([said(*one) for one in events], topic) for topic, events in log.items()}
    at, deaths = dict.fromkeys(records, 0), 4
    while any(at[topic] < len(records[topic]) for topic in records):
        ends = {topic: min(len(records[topic]), at[topic] + chance.randint(0, 6)) for topic in records}
        waiting = {topic: records[topic][at[topic] : ends[topic]] for topic in records}
        turns = [topic for topic in waiting for _ in waiting[topic]]
        chance.shuffle(turns)
        dies = deaths > 0 and chance.random() < 0.4
        deaths -= dies
        town.apply([waiting[topic].pop(0) for topic in turns], dies=dies)
        if not dies and chance.random() < 0.8:  # else it was not acknowledged, and comes again
            at = ends
    same(sums(town), expected(log))


@settings(max_examples=80)
@given(st.lists(plain, max_size=30), st.integers(1, 4))
def test_what_falls_out_of_a_full_list_leaves_its_pairs_and_joins_those_around_it(
    events: list[tuple[str, str, str, int]], length: int
) -> None:
    town = Town(policy=replace(POLICY, votes_length=length), places=PLACES)
    for start in range(0, len(events), 4):
        town.apply(records_of([said(*one) for one in events[start : start + 4]], start=start))
    same(sums(town), expected({"clicks": events}, length))


@settings(max_examples=80)
@given(logs, st.integers(0, 2**32))
def test_an_erasure_takes_back_all_pairs_of_its_person(
    log: dict[str, list[tuple[str, str, str, int]]], seed: int
) -> None:
    """Also where the worker dies in the midst of it."""
    chance = random.Random(seed)
    town, never = Town(chance=chance, places=PLACES), Town(places=PLACES)
    for topic, events in log.items():
        town.apply(records_of([said(*one) for one in events], topic))
        never.apply(records_of([said(*one) for one in events if one[0] != "ana"], topic))
    erase = records_of([said("ana", "erase", None, 101 * DAY_MS)], "events", len(log["events"]))
    for _ in range(chance.randint(0, 2)):
        town.apply(erase, dies=True)
    town.apply(erase)
    same(sums(town), sums(never))


@given(st.lists(st.tuples(st.sampled_from(["clicks", "events"]), *[st.integers(0, 9)] * 2), max_size=30))
def test_an_erasure_in_the_midst_leaves_the_pairs_of_what_is_younger(rows: list[tuple[str, int, int]]) -> None:
    votes = [standing_vote(topic, f"i{item}", T0 + ts, 1.0, False) for topic, item, ts in dict.fromkeys(rows)]
    by, until = Source("events", 0, 9), T0 + 5

    def net(*changes: Sequence[PairChange]) -> dict[tuple[str, str, int], float]:
        found: dict[tuple[str, str, int], float] = {}
        for one in itertools.chain(*changes):
            found[one.item_id, one.other, one.ts_ms] = found.get((one.item_id, one.other, one.ts_ms), 0.0) + one.weight
        return {key: people for key, people in found.items() if people}

    def pairs(after_ms: int) -> list[PairChange]:
        younger = [vote for vote in votes if vote.ts_ms > after_ms]
        taken_back = withdrawn_pairs(younger, 2**60, by, POLICY.half_life_ms("profile"), PLACES)
        return [structs.replace(one, weight=-one.weight) for one in taken_back]

    withdrawn = withdrawn_pairs(votes, until, by, POLICY.half_life_ms("profile"), PLACES)
    assert net(pairs(0), withdrawn) == net(pairs(until))
    assert {one.source for one in withdrawn} <= {by_erasure(by)}


@settings(max_examples=200)
@given(st.data())
def test_an_event_changes_the_pairs_around_it_and_no_others(data: st.DataObject) -> None:
    """A few places, however many votes there are; both items of a pair hear of it, with the same time."""
    votes = data.draw(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), max_size=40))
    places = data.draw(st.integers(1, 5))
    ballot = Ballot((), 10, POLICY.half_life_ms("profile"))
    neighbours = Neighbours((), places)
    standing: dict[tuple[str, str, int], float] = {}
    for offset, (ts, item) in enumerate(votes):
        changes = ballot.give(Source("clicks", 0, offset), f"i{item}", T0 + ts, 1.0 + offset % 3, undoable=False)
        pairs = neighbours.changed(changes)
        assert len(pairs) <= 2 * len(changes) * (2 * places + places)
        for one in pairs:
            key = (one.item_id, one.other, one.ts_ms)
            standing[key] = standing.get(key, 0.0) + one.weight
            assert one.source == Source("clicks", 0, offset)
        assert set(standing.values()) <= {0.0, 1.0}
        assert {(b, a, t): w for (a, b, t), w in standing.items()} == standing
        fresh, source = Neighbours((), places), Source("clicks", 0, 0)
        given_anew = [VoteChange(vote.item_id, source, vote.ts_ms, 1.0, "clicks") for vote in ballot.counted()]
        scratch = [pair for one in given_anew for pair in fresh.changed([one])]
        net: dict[tuple[str, str, int], float] = {}
        for one in scratch:
            key = (one.item_id, one.other, one.ts_ms)
            net[key] = net.get(key, 0.0) + one.weight
        assert {k: w for k, w in net.items() if w} == {k: w for k, w in standing.items() if w}


#: Pairs of one item: its partner, a time in days, and whether it is taken back.
entries = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 300), st.booleans()), min_size=1, max_size=60)


@settings(max_examples=200)
@given(entries, st.integers(1, 8), st.integers(0, 2**32))
def test_what_is_kept_does_not_depend_on_batches_to_the_bit(
    rows: list[tuple[str, int, bool]], kept: int, seed: int
) -> None:
    chance, policy = random.Random(seed), PartnerPolicy(half_life_s=HALF_LIFE_S, kept=kept)
    changes = [
        PairChange("x", other, Source("clicks", 0, offset), T0 + day * DAY_MS, -1.0 if back else 1.0)
        for offset, (other, day, back) in enumerate(rows)
    ]
    [whole] = count_pairs(pairs_of(changes, "g", 1), {}, policy).changed
    stored: dict[str, ItemPartners] = {}
    at = 0
    while at < len(changes):
        again, end = max(0, at - chance.randint(0, 5)), at + chance.randint(1, 9)
        records = pairs_of(changes[again:end], "g", 1)
        stored.update({one.item_id: one for one in count_pairs(records, stored, policy).changed})
        at = end
    assert stored["x"] == whole
    assert len(whole.counts) <= kept
    # The rule in its own words.
    plain: dict[str, float] = {}
    total = 0.0
    for change in changes:
        one = 2.0 ** ((change.ts_ms - T0) / HALF_LIFE_MS)
        if change.weight > 0:
            plain[change.other] = plain.get(change.other, 0.0) + one
            if len(plain) > kept:
                del plain[min(plain, key=lambda name: (round(plain[name], 9), name))]
            total += one
        else:
            total = max(0.0, total - one)
            if change.other in plain and (plain[change.other] - one) > 1e-9 * one:
                plain[change.other] -= one
            else:
                plain.pop(change.other, None)
    back = 2.0 ** ((T0 - AT) / HALF_LIFE_MS)
    counts, all_of_them = partners_at(whole, AT, HALF_LIFE_S)
    assert counts == pytest.approx({name: count * back for name, count in plain.items()}, rel=1e-6)
    assert all_of_them == pytest.approx(total * back, rel=1e-6, abs=1e-9)


def test_a_partner_that_is_not_kept_lowers_the_total_alone() -> None:
    made = PartnerCounts(ItemPartners(item_id="x"), PartnerPolicy(kept=2))
    for other in ("a", "b", "b", "c", "c"):
        made.add(other, T0, 1.0)
    assert set(made.counts) == {"b", "c"}
    total = made.total
    made.add("a", T0, -1.0)
    assert set(made.counts) == {"b", "c"}
    assert made.total == pytest.approx(total * 4 / 5)
    for _ in range(9):
        made.add("a", T0, -1.0)
    assert made.total == 0.0


def test_partners_kept_under_another_half_life_or_bound_go_on() -> None:
    before = PartnerCounts(ItemPartners(item_id="x"), PartnerPolicy(half_life_s=7 * 86_400.0))
    for other in ("a", "b", "b", "c"):
        before.add(other, T0 + DAY_MS, 1.0)
    stored = ItemPartners(item_id="x", counts=before.counts, total=before.total, t0_ms=before.t0_ms)
    as_it_is = partners_at(stored, stored.t0_ms, HALF_LIFE_S)
    after = PartnerCounts(stored, replace(PARTNERS, kept=2))
    found = ItemPartners(item_id="x", counts=after.counts, total=after.total, t0_ms=after.t0_ms)
    counts, total = partners_at(found, stored.t0_ms, HALF_LIFE_S)
    assert counts == pytest.approx({name: as_it_is[0][name] for name in ("b", "c")})
    assert total == pytest.approx(as_it_is[1])


def test_a_person_who_touches_ever_new_items_moves_no_more_pairs_than_votes_allow() -> None:
    town, names = Town(places=5), [f"i{n}" for n in range(400)]
    completed(town.store.put_items([ItemPoint(Item(name, title=name), VECTORS[0], "/x") for name in names]))
    town.apply(records_of([said("bot", "impression", None, 0, items=names[:200], clicked=names[:200])]))
    clicks = records_of([said("bot", "click", name, 1 + n) for n, name in enumerate(names)], start=1)
    for start in range(0, len(clicks), 90):
        town.apply(clicks[start : start + 90])
    standing = [one for one in partners(town).values() if one.total]
    assert len(standing) == POLICY.votes_length
    assert sum(len(one.counts) for one in standing) == 2 * sum(POLICY.votes_length - n for n in range(1, 6))


def test_a_log_made_anew_counts_and_what_is_left_of_the_old_one_does_not() -> None:
    rows = [PairChange("a", "b", Source("clicks", 0, 5), T0, 1.0)]
    old, new = pairs_of(rows, "g", 1), pairs_of(rows, "g", 2)
    made = count_pairs(old + new + old, {}, PARTNERS)
    [item] = made.changed
    assert (made.counted, made.repeated) == (2, 1)
    assert item.total == pytest.approx(2 * decay(item.t0_ms - T0, HALF_LIFE_MS))
    assert count_pairs(old + new, {"a": item}, PARTNERS).changed == []
    assert item.applied == Applied(2, {"clicks/0": 5})


def test_what_is_all_taken_back_is_forgotten_at_once_and_else_when_the_total_runs_out() -> None:
    item = ItemPartners(item_id="x", counts={"a": 0.5}, total=4.0, t0_ms=T0)
    assert forgotten_at_ms(item, HALF_LIFE_S, 0.01) == T0 + int(HALF_LIFE_MS * math.log2(400))
    assert forgotten_at_ms(replace(item, total=0.0), HALF_LIFE_S, 0.01) == T0


def test_records_are_cut_but_never_within_an_event() -> None:
    rows = [PairChange("a", "茶" * 256, Source("clicks", 0, n // 10), T0, 1.0) for n in range(2 * PAIRS_A_RECORD)]
    records = pairs_of(rows, "g", 1)
    assert len(records) == 2
    assert records[0].entries[-1].source != records[1].entries[0].source
    assert max(len(pack_pairs(record)) for record in records) < 900_000


def test_records_of_many_items_with_the_longest_ids_find_room() -> None:
    ids = [f"{n:04}".ljust(256, "😀") for n in range(3 * PAIRS_A_RECORD)]
    rows = [PairChange(name, ids[n - 1], Source("clicks", 0, n), T0, 1.0) for n, name in enumerate(ids)]
    records = pairs_of(rows, "g", 1)
    assert [name for record in records for name in record.abouts] == ids
    assert max(len(pack_pairs(record)) for record in records) < 900_000


def test_only_records_of_pairs_are_read() -> None:
    good = Pairs("g", 1, [ItemPairs("a", [Pair("clicks", 0, 3, T0, -1.0, "b")])])
    assert unpack_pairs(pack_pairs(good)) == good
    for value in (
        None, b"", b"{", b"[]", b'{"items": []}', b'{"group":"g","log":1,"items":[["a",[["c",0,1,2,1]]]]}',
        *(b'{"group":"g","log":1,"items":[["a",[["c",0,1,2,%s,"b"]]]]}' % w for w in (b"1e999", b"2", b"0")),
    ):  # fmt: skip
        with pytest.raises(PoisonError):
            unpack_pairs(value)


names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


@given(st.dictionaries(names, st.floats(1e-300, 1e300), max_size=8))
def test_partners_are_read_back_as_they_were_kept(counts: dict[str, float]) -> None:
    assert unpack_counts(pack_counts(counts)) == counts
