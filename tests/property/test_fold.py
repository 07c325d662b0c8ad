"""The fold's laws: order, batching, replay, reversal, rebasing, expiry, partial writes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from streams.events.event import Event, Source
from streams.interests.contexts import vocabulary
from streams.interests.decay import decay
from streams.interests.fold import fold
from streams.interests.nodes import LEVELS, Node, NodeKey, NodePolicy, expires_at_ms, is_alive, mass_at
from streams.interests.plan import Weighed, gate, plan
from streams.interests.signed_weight import UNDOES, WeightTable, signed_weight
from streams.settings.policies import NodeSettings

DIM = 8
T0 = 1_700_000_000_000
POLICY = replace(NodeSettings().policy(), contexts=vocabulary(["daypart"], {}), evidence_length=200)
TABLE = WeightTable()
ITEMS = {f"i{n}": n for n in range(5)}
PATHS = ["/sports", "/sports/football", "/music/jazz", "", "/food/吃"]
VECTORS = np.random.default_rng(3).normal(size=(5, DIM)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)

TYPES = ["click", "view", "purchase", *UNDOES, *UNDOES.values()]
said = st.tuples(
    st.sampled_from(TYPES), st.sampled_from(sorted(ITEMS)), st.integers(0, 40 * 86_400_000), st.sampled_from("ab")
)
logs = st.lists(said, min_size=1, max_size=25, unique_by=lambda e: (e[1], e[2]))


def events_of(log: list[tuple[str, str, int, str]], first_offset: int = 0) -> list[Event]:
    return [
        Event(
            f"{kind}-{item}-{at}", user, kind, T0 + at, item, None, None, None, (), (), None, {}, Source("clicks", 0, n)
        )
        for n, (kind, item, at, user) in enumerate(log, start=first_offset)
    ]


Nodes_ = dict[NodeKey, Node]


def weighed(events: list[Event]) -> list[Weighed]:
    return [
        Weighed(e, ITEMS[e.item_id], PATHS[ITEMS[e.item_id]], signed_weight(e, None, TABLE), e.item_id)
        for e in events
        if e.item_id
    ]


def folded(
    events: list[Event], nodes: Nodes_, *, whole_trees: bool = True, policy: NodePolicy = POLICY, log: int = 1
) -> list[Node]:
    profiles = {key.user_id: node for key, node in nodes.items() if key.level == "profile"}
    fresh = gate(events, profiles, log, whole_trees=whole_trees).fresh
    return fold(plan(weighed(fresh), fresh, profiles, policy, log), VECTORS, nodes, policy, log)


def lived(batches: list[list[Event]], nodes: Nodes_ | None = None) -> Nodes_:
    nodes = dict(nodes or {})
    for batch in batches:
        nodes.update({node.key: node for node in folded(batch, nodes)})
    return nodes


def same(left: Nodes_, right: Nodes_, log: list[tuple[str, str, int, str]]) -> None:
    """Equal at a common later time: vectors to 1e-4, masses to 1e-6 relative; nodes with no mass count as absent.

    Directions are stored as float32: each fold may lose 1e-7 of all that was there, what was taken back since too.
    So faint evidence that a strong like has come and gone over is held to 2e-6 of the like. Where a fold leaves no more
    than 1e-9 of what it added and took back, nothing is left: which evidence shares a fold with a like that comes and
    goes may differ, so masses and nets are held to 4e-9 of all that ever came (it counts when it comes and when it
    goes, and once more in what the next fold finds).
    """
    gross = lived([events_of([e for e in log if not e[0].startswith("un")])])
    for key in left.keys() | right.keys():
        one, two = left.get(key), right.get(key)
        at = max(node.t0_ms for node in (one, two) if node is not None)
        cut = 1e-9 + 4e-9 * (mass_at(gross[key], at, POLICY) if key in gross else 0.0)
        if one is None or two is None:
            assert (one or two).mass == pytest.approx(0, abs=cut), key  # type: ignore[union-attr]
            continue
        scale = max(mass_at(one, at, POLICY), mass_at(two, at, POLICY))
        assert mass_at(one, at, POLICY) == pytest.approx(mass_at(two, at, POLICY), rel=1e-6, abs=cut)
        half_life = POLICY.half_life_ms(key.level)
        sums = [n.norm * decay(at - n.t0_ms, half_life) * n.direction.astype(float) for n in (one, two)]
        lost = 2e-6 * mass_at(gross[key], at, POLICY) if key in gross else 0.0
        assert np.allclose(sums[0], sums[1], atol=1e-5 * scale + lost + 1e-12), key
        nets = [n.net * decay(at - n.t0_ms, half_life) for n in (one, two)]
        assert nets[0] == pytest.approx(nets[1], abs=1e-6 * scale + cut)
        assert {e.event_id for e in one.evidence} == {e.event_id for e in two.evidence}


@given(logs, st.randoms(use_true_random=False))
def test_order_does_not_matter(log: list[tuple[str, str, int, str]], random: object) -> None:
    shuffled = list(log)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    same(lived([events_of(log)]), lived([events_of(shuffled)]), log)


@given(logs, st.integers(1, 7))
@example([("follow", "i0", 14 * 3_600_000, "a"), ("unfollow", "i0", 15 * 3_600_000, "a"), ("view", "i1", 0, "a")], 1)
def test_a_batch_equals_its_events_one_by_one(log: list[tuple[str, str, int, str]], size: int) -> None:
    events = events_of(log)
    same(lived([events]), lived([events[at : at + size] for at in range(0, len(events), size)]), log)
    same(lived([events]), lived([[event] for event in events]), log)


@given(logs, st.integers(1, 7))
def test_replaying_a_log_changes_nothing(log: list[tuple[str, str, int, str]], size: int) -> None:
    events = events_of(log)
    nodes = lived([events])
    for at in range(0, len(events), size):
        assert folded(events[at : at + size], nodes) == []
        assert folded(events[at : at + size], nodes, whole_trees=False) == []


@given(logs)
def test_a_producers_duplicates_change_nothing_but_the_offset(log: list[tuple[str, str, int, str]]) -> None:
    once = lived([events_of(log)])
    same(once, lived([events_of(log), events_of(log, first_offset=len(log))]), log)
    assert lived([events_of(log + log)]).keys() == once.keys()
    same(once, lived([events_of(log + log)]), log)


@given(logs, st.sampled_from(sorted(UNDOES.values())), st.sampled_from(sorted(ITEMS)), st.booleans())
def test_taking_back_leaves_no_trace(
    log: list[tuple[str, str, int, str]], kind: str, item: str, backwards: bool
) -> None:
    log = [e for e in log if e[0] not in (*UNDOES, *UNDOES.values())]
    both = [(kind, item, 1000, "a"), (f"un{kind}", item, 5000, "a")]
    without = lived([events_of(log)])
    same(without, lived([events_of(log + (both[::-1] if backwards else both))]), log + both)
    same(without, lived([[event] for event in events_of(both + log)]), log + both)


@given(logs, st.data())
def test_a_tree_written_in_part_is_completed_by_the_next_delivery(
    log: list[tuple[str, str, int, str]], data: st.DataObject
) -> None:
    log = [e for e in log if not e[0].startswith("un")]
    events = events_of(log)
    cut = data.draw(st.integers(0, len(events)))
    before = lived([events[:cut]])
    written = folded(events[cut:], before)
    kept = data.draw(st.sets(st.sampled_from([n.key for n in written]))) if written else set()
    partly = before | {node.key: node for node in written if node.key in kept}
    again = partly | {node.key: node for node in folded(events[cut:], partly, whole_trees=False)}
    same(lived([events]), again, log)


@given(logs)
def test_directions_are_unit_or_zero_and_masses_bound_them(log: list[tuple[str, str, int, str]]) -> None:
    for node in lived([events_of(log)]).values():
        length = float(np.linalg.norm(node.direction))
        assert length == pytest.approx(1, abs=1e-5) or (length == 0 and node.norm == 0)
        assert node.norm <= node.mass * (1 + 1e-6) + 1e-12
        assert abs(node.net) <= node.mass * (1 + 1e-6) + 1e-12
        assert np.isfinite(node.direction).all()
        assert node.mass >= 0


@given(st.sampled_from(LEVELS), st.floats(1e-6, 1e6), st.integers(T0, T0 + 10**11))
def test_a_node_expires_when_its_mass_falls_under_the_threshold(level: str, mass: float, t0_ms: int) -> None:
    node = Node(key=NodeKey("u", level, "/"), direction=VECTORS[0], norm=mass, mass=mass, net=mass, t0_ms=t0_ms)  # type: ignore[arg-type]
    at = expires_at_ms(node, POLICY)
    assert at >= t0_ms
    assert mass_at(node, at + 2, POLICY) <= POLICY.expire_below * (1 + 1e-9)
    if at > t0_ms:
        assert mass_at(node, at - 2, POLICY) >= POLICY.expire_below * (1 - 1e-9)
    assert not is_alive(node, at, POLICY)
    assert is_alive(node, at - 1, POLICY) == (mass > POLICY.expire_below)


@settings(max_examples=25)
@given(logs)
def test_decades_apart_nothing_overflows(log: list[tuple[str, str, int, str]]) -> None:
    old = lived([events_of(log)])
    far = [("click", "i2", 40 * 365 * 86_400_000, "a")]
    for node in lived([events_of(far, 100)], old).values():
        assert np.isfinite([node.norm, node.mass, node.net]).all()
        assert np.isfinite(node.direction).all()


def test_an_event_that_is_named_by_its_place_stays_when_a_topic_made_anew_gives_the_place_to_another() -> None:
    both = [("click", "i1", 0, "a"), ("click", "i1", 5000, "a")]
    first, second = (structs.replace(events_of([one])[0], event_id="clicks-0-0", named=False) for one in both)
    nodes = lived([[first]])
    nodes.update({node.key: node for node in folded([second], nodes, log=2)})
    profile = nodes[NodeKey("a", "profile", "/")]
    assert {e.type for e in profile.evidence} == {"click"}
    assert [(e.event_id, e.ts_ms) for e in profile.evidence] == [("clicks-0-0", T0 + 5000), ("clicks-0-0", T0)]
    assert profile.count == 2


def test_the_sums_are_those_of_the_design() -> None:
    events = events_of([("click", "i1", 0, "a"), ("hide", "i2", 86_400_000, "a")])
    nodes = lived([events])
    profile = nodes[NodeKey("a", "profile", "/")]
    half = decay(86_400_000, POLICY.half_life_ms("profile"))
    assert profile.mass == pytest.approx(half + 2)
    assert profile.net == pytest.approx(half - 2)
    expected = half * VECTORS[1].astype(float) - 2 * VECTORS[2].astype(float)
    assert np.allclose(profile.norm * profile.direction, expected, atol=1e-5)
    aversion = nodes[NodeKey("a", "aversion", "/")]
    assert np.allclose(aversion.direction, VECTORS[2], atol=1e-5)
    assert NodeKey("a", "interest", "/sports/football") in nodes
    assert {key.path for key in nodes if key.level == "context"} == {"/daypart/night"}
