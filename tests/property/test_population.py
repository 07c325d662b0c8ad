"""Priors: who teaches a cohort and what, once each whatever comes again; what is borrowed, and how it fades."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.base.errors import PoisonError
from streams.events.event import Event, Source
from streams.interests.evidence import Began
from streams.interests.fold import fold
from streams.interests.nodes import Node, NodeKey, profile_key
from streams.interests.plan import Weighed, plan
from streams.interests.priors import (
    Beginnings,
    First,
    PriorPolicy,
    beginnings,
    cohorts_of,
    newcomers_firsts,
    pack_beginnings,
    plan_of_beginnings,
    prior_nodes,
    unpack_beginnings,
)
from streams.settings.policies import NodeSettings, PopulationSettings

T0 = 1_700_000_000_000  # a Tuesday, 22:13 UTC: night
NODES = NodeSettings().policy()
COHORTS = PopulationSettings().policy()
PRIORS = PriorPolicy(least_events=3)
VECTORS = np.eye(4, dtype=np.float32)
ROWS = {"goal": 0, "cup": 1, "jazz": 2}
PATHS = {"goal": "/sports/football", "cup": "/sports/football", "jazz": "/music/jazz"}


def event(n: int, user: str = "ana", kind: str = "click", item: str = "goal", **context: str) -> Event:
    return Event(
        f"e{n}",
        user,
        kind,
        T0 + n,
        item,
        None,
        None,
        None,
        (),
        (),
        None,
        dict(context),
        Source("clicks", 0, n),  # type: ignore[arg-type]
    )


def said(events: list[Event], weight: float = 1.0) -> list[Weighed]:
    return [Weighed(e, ROWS[e.item_id or ""], PATHS[e.item_id or ""], weight, e.item_id or "") for e in events]


def firsts_of(
    events: list[Event], profiles: dict[str, Node] | None = None, weight: float = 1.0
) -> dict[str, list[First]]:
    profiles, weighed = profiles or {}, said(events, weight)
    planned = plan(weighed, events, profiles, NODES, 1)
    made = beginnings(newcomers_firsts(weighed, planned, profiles, PRIORS, NODES.faint_below, 1), "g", 1)
    assert all(unpack_beginnings(pack_beginnings(one)) == one for one in made)
    return {one.cohort: one.firsts for one in made}


def learnt(records: list[Beginnings], nodes: dict[NodeKey, Node] | None = None) -> dict[NodeKey, Node]:
    nodes = dict(nodes or {})
    nodes.update({node.key: node for node in fold(plan_of_beginnings(records, ROWS), VECTORS, nodes, COHORTS, 1)})
    return nodes


def records_of(firsts: list[First], cohort: str = "*") -> list[Beginnings]:
    return [Beginnings(cohort, "g", 1, firsts)]


def test_a_newcomers_first_events_teach_everybody_their_situation_and_those_who_began_alike() -> None:
    events = [event(n, item="goal" if n else "jazz", device="Mobile") for n in range(9)]
    cohorts = firsts_of(events)
    assert cohorts.keys() == {"*", "daypart=night", "device=mobile", "first=/music"}
    for firsts in cohorts.values():
        assert [first.offset for first in firsts] == [0, 1, 2, 3, 4]
    assert cohorts["*"][1].path == "/sports/football"


def test_who_is_known_well_teaches_nothing_and_who_began_earlier_keeps_their_beginning() -> None:
    known = Node(key=profile_key("ana"), direction=VECTORS[0], count=5)
    assert firsts_of([event(1)], {"ana": known}) == {}
    began = replace(known, count=2, began=Began(T0 - 5, "/music"))
    assert "first=/music" in firsts_of([event(1)], {"ana": began})
    assert firsts_of([event(1)], weight=-2.0) == {}
    assert firsts_of([event(1)], weight=0.05) == {}


def test_cohorts_of_a_situation() -> None:
    evening = T0 - 4 * 3_600_000
    assert cohorts_of(evening, {"device": "TV", "place": "home"}, "", PRIORS.contexts) == [
        "*", "daypart=evening", "device=tv",
    ]  # fmt: skip
    assert cohorts_of(evening, {}, "/music", {}) == ["*", "daypart=evening", "first=/music"]


def test_three_thousand_devices_are_one_cohort() -> None:
    """Each of a user's own making: there were as many cohorts, and as many points, as somebody cared to invent."""
    found = {cohort for n in range(3_000) for cohort in firsts_of([event(n, item="goal", device=f"phone {n}")])}
    assert found == {"*", "daypart=night", "device=other", "first=/sports"}
    assert all(PRIORS.knows(cohort) for cohort in found)
    assert not any(PRIORS.knows(name) for name in ("device=phone 1", "device", "place=home", "daypart=brunch", ""))


firsts = st.lists(
    st.tuples(st.sampled_from(sorted(ROWS)), st.integers(0, 90 * 86_400_000), st.sampled_from([0.5, 1.0, 4.0])),
    min_size=1, max_size=15,
)  # fmt: skip


@given(firsts, st.data())
def test_what_comes_again_teaches_nothing_more(log: list[tuple[str, int, float]], data: st.DataObject) -> None:
    rows = [First("clicks", 0, n, T0 + ts, weight, item, PATHS[item]) for n, (item, ts, weight) in enumerate(log)]
    once = learnt(records_of(rows))
    cut = data.draw(st.integers(0, len(rows)))
    back = data.draw(st.integers(0, cut))
    torn = learnt(records_of(rows[back:]) + records_of(rows[back:]), learnt(records_of(rows[:cut])))
    assert torn.keys() == once.keys()
    for key, node in once.items():
        assert torn[key].mass == pytest.approx(node.mass, rel=1e-6)
        assert torn[key].count == node.count
        assert np.allclose(torn[key].direction, node.direction, atol=1e-4)
        assert not node.evidence
        assert not node.ring
    assert once[profile_key("*")].count == len(rows)


def test_an_item_that_is_gone_teaches_nothing() -> None:
    gone = First("clicks", 0, 0, T0, 1.0, "unknown", "/sports/football")
    assert learnt(records_of([gone]))[profile_key("*")].count == 0


def cohort(name: str, items: str, count: int = 40) -> list[Node]:
    names = {"g": "goal", "j": "jazz"}
    rows = [
        First("clicks", 0, n, T0, 1.0, names[items[n % len(items)]], PATHS[names[items[n % len(items)]]])
        for n in range(count)
    ]
    return list(learnt(records_of(rows, name)).values())


def prior_of(
    cohorts: dict[str, list[Node]], events: int = 0, policy: PriorPolicy = PRIORS
) -> dict[tuple[str, str], Node]:
    own = [Node(key=profile_key("me"), direction=VECTORS[3], count=events)] if events else []
    return {(n.key.level, n.key.path): n for n in prior_nodes("me", cohorts, own, policy, COHORTS, T0)}


def test_a_newcomer_borrows_the_populations_interests_in_their_shares() -> None:
    found = prior_of({"*": cohort("*", "gggj")})
    assert {key.user_id for key in (node.key for node in found.values())} == {"me"}
    assert found["profile", "/"].mass == pytest.approx(PRIORS.mass)
    assert found["topic", "/sports"].mass == pytest.approx(0.75 * PRIORS.mass)
    assert found["interest", "/music/jazz"].mass == pytest.approx(0.25 * PRIORS.mass)
    assert np.allclose(found["topic", "/sports"].direction, VECTORS[0])
    assert all(np.linalg.norm(node.direction) == pytest.approx(1) for node in found.values())
    assert all(node.net == node.mass for node in found.values())


def test_those_who_began_alike_say_more_than_everybody() -> None:
    everybody, alike = cohort("*", "g"), cohort("first=/music", "j")
    found = prior_of({"*": everybody, "first=/music": alike})
    assert found["topic", "/music"].mass > found["topic", "/sports"].mass
    assert prior_of({"*": everybody, "first=/music": []}).keys() == prior_of({"*": everybody}).keys()


def test_a_cohort_of_few_says_nothing() -> None:
    assert prior_of({"first=/music": cohort("first=/music", "j", 19)}, policy=PriorPolicy()) == {}
    assert prior_of({"first=/music": cohort("first=/music", "j", 20)}, policy=PriorPolicy())


@given(st.integers(0, 2_000))
def test_a_prior_fades_as_evidence_comes(events: int) -> None:
    found = prior_of({"*": cohort("*", "gj")}, events)
    share = PRIORS.events / (PRIORS.events + events)
    if share < 0.01:
        assert not found
    else:
        assert found["profile", "/"].mass == pytest.approx(PRIORS.mass * share)


def test_only_the_heaviest_are_lent() -> None:
    found = prior_of({"*": cohort("*", "gggj")}, policy=replace(PRIORS, nodes=1))
    assert found.keys() == {("profile", "/"), ("topic", "/sports"), ("interest", "/sports/football")}


def test_only_records_of_first_events_are_read() -> None:
    for value in (None, b"", b"{", b'{"cohort": "*"}', b'{"cohort":"*","group":"g","log":1,"firsts":[["c"]]}'):
        with pytest.raises(PoisonError):
            unpack_beginnings(value)
