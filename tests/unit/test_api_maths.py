"""What the API works out by itself: shares, cursors, candidates, what was seen, priors, caches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.api.candidates import strongest_interests
from streams.api.interest_tree import NameOf, NodeView, TreeQuery, below, chosen, level_masses, living, tree
from streams.api.person import Person
from streams.api.priors import PRIOR_USER_PREFIX, PriorTerms
from streams.api.recommendations import ExcludedItems
from streams.interests.evidence import Began, Evidence, extend_seen, seen_entry
from streams.interests.nodes import Level, Node, NodeKey, profile_key
from streams.interests.priors import PriorPolicy
from streams.interests.score import RankPolicy, interests_of
from streams.settings.policies import NodeSettings, PopulationSettings
from streams.store.cards import Card
from streams.store.catalogue import card_cache

POLICY = NodeSettings().policy()
NOW = 1_785_000_000_000
DAY_MS = 86_400_000
UNIT = np.eye(4, dtype=np.float32)
TERMS = PriorTerms(PriorPolicy(), POLICY, PopulationSettings().policy())


def node(level: Level, path: str, mass: float, **more: Any) -> Node:
    fields = {"direction": UNIT[0], "norm": mass, "net": mass, "t0_ms": NOW, "count": 1, **more}
    return Node(key=NodeKey("u", level, path), mass=mass, **fields)


def view_at(at_ms: int, name_of: NameOf = lambda *_: "") -> NodeView:
    return NodeView(at_ms=at_ms, policy=POLICY, name_of=name_of, titles={})


masses = st.lists(st.floats(0.02, 1e6), min_size=1, max_size=12)


@given(masses, st.integers(0, 90 * DAY_MS), st.floats(-1, 1))
def test_shares_of_a_level_add_up_at_every_moment(weights: list[float], later_ms: int, net: float) -> None:
    nodes = [node("topic", f"/t{n}", mass, net=net * mass) for n, mass in enumerate(weights)]
    at = NOW + later_ms
    alive = living(nodes, at, POLICY)
    view = view_at(at, lambda level, path: path)
    shown = tree("u", nodes, alive, view, TreeQuery(), prior=False, cursor=str)
    assert len(shown.nodes) == len(alive)
    if alive:
        assert sum(one.share for one in shown.nodes) == pytest.approx(1.0)
        assert [one.mass for one in shown.nodes] == sorted((one.mass for one in shown.nodes), reverse=True)
        assert all(-1 <= one.net <= 1 for one in shown.nodes)


@given(masses, st.integers(0, 20 * DAY_MS))
def test_an_entrys_share_does_not_depend_on_the_moment(weights: list[float], age_ms: int) -> None:
    entries = tuple(Evidence(f"e{n}", "", NOW - age_ms, mass) for n, mass in enumerate(weights))
    left = sum(weights) * 2 ** (-age_ms / (21 * DAY_MS))
    one = node("topic", "/t", max(left, 1e-9), evidence=entries)
    shares = [entry.share for entry in view_at(NOW).evidence(one, 64)]
    later = [entry.share for entry in view_at(NOW + DAY_MS).evidence(one, 64)]
    assert shares == later
    assert sum(shares) == pytest.approx(1.0)


def test_paging_walks_every_node_once_in_order() -> None:
    nodes = [node(level, f"/p{n}", 1.0 + n) for level in ("topic", "interest") for n in range(5)]
    view = view_at(NOW)
    whole = [one.id for one in tree("u", nodes, nodes, view, TreeQuery(), prior=False, cursor=str).nodes]
    pages, start = [], 0
    while True:
        page = tree("u", nodes, nodes, view, TreeQuery(limit=3, start=start), prior=False, cursor=str)
        pages += [one.id for one in page.nodes]
        if page.next_cursor is None:
            break
        start = int(page.next_cursor)
    assert pages == whole
    latest = chosen(
        [node("topic", "/a", 9.0, last_ms=1), node("topic", "/b", 1.0, last_ms=2)],
        NOW,
        POLICY,
        TreeQuery(order="latest"),
    )
    assert [one.key.path for one in latest] == ["/b", "/a"]
    assert level_masses(nodes, NOW, POLICY)["topic"] == pytest.approx(15.0)


def test_below_a_path_is_itself_and_what_lies_under_it_not_what_begins_alike() -> None:
    assert below("/food", "/food")
    assert below("/food/tea", "/food")
    assert below("/food/tea", "/")
    assert not below("/foods", "/food")
    assert not below("/food", "/food/tea")


def test_candidates_are_looked_for_with_what_weighs_most_and_never_with_aversions() -> None:
    nodes = [node("interest", f"/a/{n}", float(n + 1)) for n in range(12)]
    nodes += [node("aversion", "/", 500.0), node("interest", "/zero", 400.0, direction=np.zeros(4, np.float32))]
    found = strongest_interests(interests_of(nodes, NOW, POLICY), RankPolicy(), 8)
    assert [one.path for one in found] == [f"/a/{n}" for n in range(11, 3, -1)]
    silent = RankPolicy(levels={"interest": 0.0})
    assert strongest_interests(interests_of(nodes, NOW, POLICY), silent, 8) == []


def test_what_was_seen_is_what_the_profile_and_the_evidence_remember() -> None:
    seen = extend_seen(b"", [seen_entry(f"old-{n}") for n in range(3)], 512)
    stored = [
        Node(key=profile_key("u"), direction=UNIT[0], mass=1.0, seen=seen),
        node("topic", "/t", 1.0, evidence=(Evidence("e", "new", NOW, 1.0), Evidence("e2", "", NOW, 1.0))),
    ]
    excluded = ExcludedItems(Person(user_id="u", at_ms=NOW, stored=stored, alive=stored, prior_ids=frozenset()))
    assert all(item in excluded for item in ("old-0", "old-2", "new"))
    assert "other" not in excluded
    assert "" not in excluded
    assert excluded.count == 4


def test_a_prior_fades_is_marked_and_ends() -> None:
    everybody = [
        Node(key=profile_key("*"), direction=UNIT[0], norm=30, mass=30, net=30, t0_ms=NOW, count=30),
        Node(key=NodeKey("*", "interest", "/a/b"), direction=UNIT[0], norm=9, mass=9, net=9, t0_ms=NOW, count=9),
    ]
    before = float("inf")
    for events in (0, 1, 5, 10):
        own = (
            [Node(key=profile_key("u"), direction=UNIT[1], mass=float(events), t0_ms=NOW, count=events)]
            if events
            else []
        )
        assert TERMS.names(own, {"device": "mobile"}, NOW)[0] == "*"
        prior = TERMS.nodes("u", own, {"*": everybody}, NOW)
        profile = next(one for one in prior if one.key.level == "profile")
        assert profile.mass < before
        before = profile.mass
        assert all(one.key.user_id.startswith(PRIOR_USER_PREFIX) for one in prior)
        assert not {one.id for one in prior} & {one.id for one in own}
    assert TERMS.names([Node(key=profile_key("u"), direction=UNIT[1], mass=40.0, t0_ms=NOW, count=40)], {}, NOW) == []
    assert TERMS.nodes("u", [], {}, NOW) == []


def test_cohorts_are_those_of_the_situation_and_of_how_somebody_began() -> None:
    own = [Node(key=profile_key("u"), direction=UNIT[1], mass=1.0, t0_ms=NOW, count=1, began=Began(NOW, "/sports"))]
    names = TERMS.names(own, {"daypart": "evening", "device": "Mobile", "place": "home"}, NOW)
    assert names == ["*", "daypart=evening", "device=mobile", "first=/sports"]


def test_a_card_is_kept_for_its_time_and_within_its_room() -> None:
    now = [0.0]
    cards = card_cache(4_000, 10.0, lambda: now[0])
    for n in range(20):
        cards.put(str(n), Card(f"i{n}", UNIT[0], "/"))
    assert 0 < cards.stats().nbytes <= 4_000
    assert cards.get("0") is None
    assert cards.get("19") is not None
    cards.put("19", Card("i19", UNIT[0], "/", title="changed"))
    assert (cards.get("19") or Card("", UNIT[0], "")).title == "changed"
    now[0] = 10.0
    assert cards.get("19") is None
    cards.clear()
    assert cards.stats().nbytes == 0
