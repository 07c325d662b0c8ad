"""What is announced of a batch: whose tree, which nodes, which events, and when a tree must be read again."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from streams.api.models import LiveUpdate
from streams.events.event import Event, Source
from streams.interests.nodes import Node, NodeKey, profile_key
from streams.interests.plan import Weighed
from streams.interests.updates import MAX_EVENTS, MAX_NODES, encoded, updates_of
from streams.settings.policies import NodeSettings

NOW = 1_700_000_000_000
POLICY = NodeSettings().policy()
SECRET = "nobody else is to read this"


def event(n: int, user: str = "ana", kind: str = "click", item: str | None = "i", **more: object) -> Event:
    made = Event(
        f"e{n}", user, kind, NOW - 1000 + n, item, SECRET, None, None, (), (), None, {}, Source("clicks", 0, n)
    )  # type: ignore[arg-type]
    return Event(**{**{name: getattr(made, name) for name in made.__struct_fields__}, **more})


def weighed(of: Event, weight: float = 1.0, item: str = "i") -> Weighed:
    return Weighed(of, 0, "/sports/football", weight, item)


def node(key: NodeKey, **fields: object) -> Node:
    base = Node(
        key=key,
        direction=np.ones(4, np.float32) / 2,
        norm=2,
        mass=2.0,
        net=-1.0,
        t0_ms=NOW,
        first_ms=NOW - 9,
        last_ms=NOW,
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def read(updates: dict) -> dict[str, LiveUpdate]:  # type: ignore[type-arg]
    return {key.decode(): LiveUpdate.model_validate_json(value) for key, value in encoded(updates) if value}


def test_changed_nodes_and_their_events_reach_the_reader() -> None:
    half_life = int(POLICY.half_life_ms("interest"))
    nodes = [node(profile_key("ana"), count=3), node(NodeKey("ana", "interest", "/sports/足球"), t0_ms=NOW - half_life)]
    found = read(updates_of(nodes, {"applied": [event(1)]}, [weighed(event(1), -0.5)], POLICY, NOW))
    update = found["ana"]
    assert (update.user_id, update.at_ms, update.erased, update.resync) == ("ana", NOW, False, False)
    assert [(n.id, n.level, n.path) for n in update.nodes] == [(n.id, n.key.level, n.key.path) for n in nodes]
    assert update.nodes[0].mass == 2.0
    assert update.nodes[0].net == -0.5
    assert update.nodes[0].count == 3
    assert update.nodes[1].mass == pytest.approx(1.0)
    [happened] = update.events
    assert (happened.event_id, happened.type, happened.item_id, happened.weight) == ("e1", "click", "i", -0.5)


def test_no_text_of_an_event_is_in_a_record() -> None:
    events = [event(n, kind=kind) for n, kind in enumerate(["comment", "search", "impression"])]
    said = [weighed(one) for one in events]
    assert SECRET.encode() not in b"".join(
        v for _, v in encoded(updates_of([], {"applied": events}, said, POLICY, NOW)) if v
    )


def test_an_erasure_is_announced_even_where_no_node_is_left() -> None:
    found = read(updates_of([], {"applied": [event(1, kind="erase", item=None)]}, [], POLICY, NOW))
    assert found["ana"].erased
    assert not found["ana"].nodes


@pytest.mark.parametrize("outcome", ["applied", "redelivered", "erased"])
def test_after_an_erasure_compaction_forgets_the_user(outcome: str) -> None:
    gone, other = event(1, kind="erase", item=None), event(2, "bo")
    records = encoded(
        updates_of([], {outcome: [gone], "applied": [gone, other][outcome != "applied" :]}, [], POLICY, NOW)
    )
    assert [key for key, value in records if value is None] == [b"ana"]
    assert [value for key, value in records if key == b"ana"][-1] is None


@pytest.mark.parametrize("outcome", ["redelivered", "erased"])
def test_what_comes_again_has_the_tree_read_as_a_whole(outcome: str) -> None:
    again = event(1, kind="erase" if outcome == "erased" else "click")
    found = read(updates_of([], {"applied": [event(2, "bo")], outcome: [again]}, [], POLICY, NOW))
    assert found["ana"].resync
    assert not found["bo"].resync


def test_an_event_from_before_an_erasure_and_a_duplicate_are_nobodys_news() -> None:
    outcomes = {"erased": [event(1)], "duplicate": [event(2)], "unresolved": [event(3)], "rerouted": [event(4)]}
    assert updates_of([], outcomes, [], POLICY, NOW) == {}


def test_of_an_impression_only_what_was_taken_is_named() -> None:
    shown = event(1, kind="impression", item=None, items=("a", "b", "c"), clicked=("b",))
    said = [weighed(shown, 1.0 if item == "b" else -0.05, item) for item in "abc"]
    [happened] = read(updates_of([], {"applied": [shown]}, said, POLICY, NOW))["ana"].events
    assert happened.item_id == "b"


def test_a_record_is_bounded() -> None:
    events = [event(n) for n in range(MAX_EVENTS + 30)][::-1]
    nodes = [node(NodeKey("ana", "interest", f"/a/{n}")) for n in range(MAX_NODES + 1)]
    update = updates_of(nodes, {"applied": events}, [weighed(one) for one in events], POLICY, NOW)["ana"]
    assert update.resync
    assert not update.nodes
    assert [one.event_id for one in update.events] == [f"e{n}" for n in range(30, MAX_EVENTS + 30)]
    [(_, value)] = encoded(updates_of(nodes[:-1], {"applied": events}, [], POLICY, NOW))
    assert len(json.loads(value)["nodes"]) == MAX_NODES
    assert len(value) < 200_000
