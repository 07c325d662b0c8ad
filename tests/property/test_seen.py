"""What a profile remembers as seen: each item once, newest last, whatever the batches and the redeliveries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.events.event import Event, Source
from streams.interests.evidence import SeenItems, extend_seen, seen_entry
from streams.interests.fold import fold
from streams.interests.nodes import Node, NodeKey, profile_key, seen_of
from streams.interests.plan import Weighed, gate, plan
from streams.settings.policies import NodeSettings

LENGTH = 5
POLICY = replace(NodeSettings().policy(), seen_length=LENGTH)
T0 = 1_700_000_000_000
VECTOR = np.ones((1, 4), np.float32) / 2
KINDS = {"click": 1.0, "hide": -2.0, "impression": -0.05, "taken": 1.0, "unlike": 0.0}

logs = st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from("abcdefgh")), min_size=1, max_size=30)


def events_of(log: list[tuple[str, str]]) -> list[tuple[Event, float, str]]:
    made = []
    for n, (kind, item) in enumerate(log):
        shown = kind in ("impression", "taken")
        event = Event(
            f"e{n}", "ana", "impression" if shown else kind, T0 + n, None if shown else item, None, None, None,
            (item,) if shown else (), (item,) if kind == "taken" else (), None, {}, Source("clicks", 0, n),
        )  # fmt: skip
        made.append((event, KINDS[kind], item))
    return made


def lived(
    batches: list[list[tuple[Event, float, str]]], nodes: dict[NodeKey, Node] | None = None
) -> dict[NodeKey, Node]:
    nodes = dict(nodes or {})
    for batch in batches:
        profiles = {key.user_id: node for key, node in nodes.items() if key.level == "profile"}
        fresh = gate([event for event, *_ in batch], profiles, 1, whole_trees=True).fresh
        kept = {event.source for event in fresh}
        said = [Weighed(event, 0, "", weight, item) for event, weight, item in batch if event.source in kept]
        nodes.update({n.key: n for n in fold(plan(said, fresh, profiles, POLICY, 1), VECTOR, nodes, POLICY, 1)})
    return nodes


def expected(log: list[tuple[str, str]]) -> bytes:
    items = [item for kind, item in log if kind != "impression"]
    latest = dict.fromkeys(reversed(items))
    return b"".join(seen_entry(item) for item in reversed(list(latest)[:LENGTH]))


@given(logs, st.integers(1, 7))
def test_the_last_items_with_evidence_are_seen_whatever_the_batches(log: list[tuple[str, str]], size: int) -> None:
    events = events_of(log)
    whole = lived([events])
    cut = lived([events[at : at + size] for at in range(0, len(events), size)])
    assert whole[profile_key("ana")].seen == cut[profile_key("ana")].seen == expected(log)
    seen = seen_of(whole[profile_key("ana")])
    assert len(seen) <= LENGTH
    for item in "abcdefgh":
        assert (item in seen) == (
            seen_entry(item) in {expected(log)[i : i + 6] for i in range(0, len(expected(log)), 6)}
        )


@given(logs, st.integers(1, 7))
def test_a_replay_changes_nothing(log: list[tuple[str, str]], size: int) -> None:
    events = events_of(log)
    once = lived([events])
    again = lived([events[at : at + size] for at in range(0, len(events), size)], once)
    assert again[profile_key("ana")].seen == once[profile_key("ana")].seen


def test_an_entry_is_found_on_its_own_place_only() -> None:
    first, second = b"aabbcc", b"ccddee"
    across = b"ccccdd"  # lies across the two
    assert extend_seen(first + second, [across], 9) == first + second + across
    assert extend_seen(first + second, [first], 9) == second + first
    assert extend_seen(first, [second], 0) == b""


def test_an_empty_profile_has_seen_nothing() -> None:
    assert "a" not in SeenItems(b"")
    assert len(SeenItems(b"")) == 0
