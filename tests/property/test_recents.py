"""A person's recent items: the same in whatever order and batches events come, again or taken back, and erased."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from streams.events.event import Event, Source
from streams.interests.fold import fold
from streams.interests.nodes import NodePolicy, profile_key, recents_of
from streams.interests.plan import Weighed, gate, plan
from streams.interests.recents import Recent, extend_recents, merged, oldest_ms, pack_recents, unpack_recents, younger
from streams.interests.signed_weight import DEFAULT_BASE, UNDOES
from streams.pipeline.apply import apply
from streams.store.memory import MemoryStore
from tests.fixtures.loops import completed
from tests.property import test_erasure as erasure
from tests.property.test_fold import POLICY, T0, TYPES, VECTORS, Nodes_, events_of, lived, weighed

NAMES = ("a", "ba", "a/é", "cba")
WEIGHTS = (2.0, 1.0, 0.1 + 0.2, 0.0, -2.0)
KINDS = ("click", "like", "", "a type of later")
H = 3_600_000

entries = st.lists(
    st.builds(
        Recent, st.sampled_from(NAMES), st.integers(0, 12), st.sampled_from(WEIGHTS), st.sampled_from(KINDS)
    ), max_size=12,
)  # fmt: skip
said = st.tuples(st.sampled_from(TYPES), st.sampled_from(["i0", "i1", "i2"]), st.integers(0, 9), st.sampled_from("ab"))
logs = st.lists(said, min_size=1, max_size=16)


def latest(rows: Sequence[Recent], length: int) -> tuple[Recent, ...]:
    """The rule by its own words: of each item the latest, what was taken back before what was given, then weight."""
    of_item = {
        name: max(
            (row for row in rows if row.item_id == name),
            key=lambda row: (row.ts_ms, not row.weight, row.weight, row.type),
        )
        for name in {row.item_id for row in rows}
    }
    return tuple(sorted(of_item.values(), key=lambda row: (-row.ts_ms, row.item_id))[:length])


def expected(log: Sequence[tuple[str, str, int, str]], user: str, length: int = 50) -> tuple[Recent, ...]:
    """What a person's events leave, from all of them at once."""
    rows = []
    for kind, item, at, who in log:
        undone = any((f"un{kind}", item, user) == (k, i, w) and t >= at for k, i, t, w in log)
        if who == user and kind not in UNDOES:
            rows.append(Recent(item, T0 + at, 0.0 if undone else DEFAULT_BASE[kind], kind))
    return latest(rows, length)


def events(log: Sequence[tuple[str, str, int, str]], first: int = 0) -> list[Event]:
    """Events of these times, each with an id of its own."""
    return [structs.replace(event, event_id=f"e{n}") for n, event in enumerate(events_of(list(log), first))]


def recents(nodes: Nodes_, user: str) -> tuple[Recent, ...]:
    profile = nodes.get(profile_key(user))
    return recents_of(profile) if profile else ()


@given(entries, st.integers(0, 5), st.randoms(use_true_random=False), st.data())
def test_packed_items_take_more_as_plain_ones_do(
    rows: list[Recent], length: int, random: Random, data: st.DataObject
) -> None:
    packed, plain, left = "", (), list(rows)
    while left:
        size = data.draw(st.integers(1, 4))
        packed, plain = extend_recents(packed, left[:size], length), merged(plain, left[:size], length)
        assert packed == pack_recents(plain)
        assert unpack_recents(packed) == plain
        left = left[size:]
    assert plain == latest(rows, length)
    assert not plain or oldest_ms(packed) == min(one.ts_ms for one in plain)
    again = rows + rows[:3]
    random.shuffle(again)
    assert extend_recents(packed, again, length) == packed


@given(entries, entries, st.integers(1, 5))
def test_what_was_packed_before_types_were_kept_is_read_and_merged(
    old: list[Recent], more: list[Recent], length: int
) -> None:
    """Entries of version 2 of nodes have no type; with one, the same event comes after itself without."""
    kept = merged((), [one._replace(type="") for one in old], length)
    packed = "\x1e".join(f"{one.item_id}\x1f{one.ts_ms}\x1f{one.weight!r}" for one in kept)
    assert unpack_recents(packed) == kept
    extended = extend_recents(packed, more, length)
    assert unpack_recents(extended) == merged(kept, more, length)
    retold = [one._replace(type="like") for one in kept]
    assert unpack_recents(extend_recents(packed, retold, length)) == merged((), retold, length)


@pytest.mark.parametrize("kind", sorted(set(DEFAULT_BASE) - set(UNDOES) - {"erase"}))
def test_a_type_takes_one_letter_and_comes_back(kind: str) -> None:
    packed = pack_recents([Recent("i", 1, 1.0, kind)])
    assert len(packed) == len(pack_recents([Recent("i", 1, 1.0)])) + 1
    assert unpack_recents(packed) == (Recent("i", 1, 1.0, kind),)


@given(entries, st.integers(0, 12), st.integers(1, 4))
def test_what_is_younger_is_the_same_before_and_after(rows: list[Recent], at_ms: int, length: int) -> None:
    assert younger(merged((), rows, length), at_ms) == merged((), younger(rows, at_ms), length)


@given(logs, st.integers(1, 7), st.randoms(use_true_random=False))
@example([("like", "i0", 1, "a"), ("unlike", "i0", 2, "a"), ("click", "i0", 1, "a")], 1, Random(0))
@example([("unlike", "i0", 2, "a"), ("like", "i0", 1, "a"), ("like", "i0", 2, "a")], 1, Random(0))
def test_order_and_batches_do_not_matter(log: list[tuple[str, str, int, str]], size: int, random: Random) -> None:
    shuffled = list(log)
    random.shuffle(shuffled)
    made = events(shuffled)
    nodes = lived([made[at : at + size] for at in range(0, len(made), size)])
    for user in "ab":
        assert recents(nodes, user) == expected(log, user)


@given(logs, st.integers(1, 7), st.integers(1, 7), st.booleans())
def test_what_comes_again_changes_nothing(
    log: list[tuple[str, str, int, str]], size: int, again: int, whole_trees: bool
) -> None:
    """Every batch twice, then all of it in other batches that overlap."""
    policy, made = replace(POLICY, recents_length=2), events(log)
    nodes: Nodes_ = {}
    for at in range(0, len(made), size):
        for _ in range(2):
            fold_in(made[at : at + size], nodes, policy, whole_trees=whole_trees)
    for at in range(0, len(made), again):
        fold_in(made[max(0, at - 2) : at + again], nodes, policy, whole_trees=whole_trees)
    for user in "ab":
        assert recents(nodes, user) == expected(log, user, 2)


def fold_in(batch: list[Event], nodes: Nodes_, policy: NodePolicy, *, whole_trees: bool) -> None:
    profiles = {key.user_id: node for key, node in nodes.items() if key.level == "profile"}
    fresh = gate(batch, profiles, 1, whole_trees=whole_trees).fresh
    planned = plan(weighed(fresh), fresh, profiles, policy, 1)
    nodes.update({node.key: node for node in fold(planned, VECTORS, nodes, policy, 1)})


@settings(deadline=None, max_examples=100)
@given(erasure.logs, erasure.erasures, st.integers(1, 6), st.integers(0, 2**32))
@example([("like", "i0", 3, "a"), ("unlike", "i0", 5, "a"), ("click", "i1", 6, "a")], [(4, "a")], 1, 0)
def test_an_erasure_takes_what_is_no_younger_and_nothing_else(
    log: list[erasure.Happened], ended: list[tuple[int, str]], size: int, seed: int
) -> None:
    """In all orders, topics and batches, with redeliveries and deaths; trees that are read again among them."""
    random = Random(seed)
    drafts = erasure.drafts(log, ended)
    random.shuffle(drafts)
    store = erasure.stored_after(erasure.placed(drafts, random.choice), size, random)
    left = [(kind, item, hours * H, user) for kind, item, hours, user in erasure.younger(log, ended)]
    for user in "ab":
        nodes = {node.key: node for node in completed(store.tree(user))}
        assert recents(nodes, user) == expected(left, user)


def test_a_tree_that_stays_whole_still_forgets_what_came_to_nothing_before() -> None:
    """An unlike came before its like, which is in no sum: the tree is all younger than an erasure between the two."""
    store = MemoryStore(POLICY)
    deps = erasure.dependencies(store, None)
    log = [("unlike", "i0", 5, "a"), ("click", "i1", 6, "a"), ("like", "i0", 1, "a")]
    records = erasure.placed(erasure.drafts(log, []) + erasure.drafts([], [(3, "a")]), lambda _: "events")
    for batch, left in ((records[:3], ["i1", "i0"]), (records[3:], ["i1"])):
        completed(apply(batch, deps, erasure.FENCE, erasure.LOG, now_ms=erasure.NOW))
        profile = completed(store.read([profile_key("a")]))[profile_key("a")]
        assert [one.item_id for one in recents_of(profile)] == left
    assert profile.count == 1


def test_what_is_younger_stays_recent_where_the_log_no_longer_holds_it() -> None:
    log = [("click", "i0", 1, "a"), ("click", "i1", 6, "a")]
    records = erasure.placed(erasure.drafts(log, []), lambda _: "clicks")
    ended = erasure.placed(erasure.drafts([], [(3, "a")]), lambda _: "events")
    store = MemoryStore(POLICY)
    deps = erasure.dependencies(store, erasure.Log(records, holds_from_ms=erasure.NOW))
    for batch in (records, ended, records):
        completed(apply(batch, deps, erasure.FENCE, erasure.LOG, now_ms=erasure.NOW))
    profile = completed(store.read([profile_key("a")]))[profile_key("a")]
    assert (profile.count, recents_of(profile)) == (0, (Recent("i1", T0 + 6 * H, DEFAULT_BASE["click"], "click"),))


SHOWN = Event("e", "ana", "impression", T0, None, None, None, None, ("x", "y"), ("y",), None, {}, Source("c", 0, 0))
SEARCH = structs.replace(SHOWN, type="search", items=(), clicked=(), text="q")


@pytest.mark.parametrize("length", [0, 50])
def test_only_what_was_taken_of_an_impression_is_recent_and_no_search(length: int) -> None:
    policy = replace(POLICY, recents_length=length)
    search = structs.replace(SEARCH, event_id="s", source=Source("c", 0, 1))
    rows = [Weighed(SHOWN, 0, "", -0.05, "x"), Weighed(SHOWN, 1, "", 1.0, "y"), Weighed(search, 2, "", 1.0, "")]
    [profile] = [
        node for node in fold(plan(rows, [SHOWN, search], {}, policy, 1), VECTORS, {}, policy, 1)
        if node.key.level == "profile"
    ]  # fmt: skip
    assert recents_of(profile) == ((Recent("y", T0, 1.0, "impression"),) if length else ())
