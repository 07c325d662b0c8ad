"""The fold in columns gives what the plain one gives, batch by batch, whatever came before."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from streams.events.event import Source
from streams.interests.fold import fold, fold_part, parts
from streams.interests.nodes import Node
from streams.interests.plan import gate, plan
from tests.oracle.plain_fold import plain_fold
from tests.property.test_fold import POLICY, VECTORS, Nodes_, events_of, said, weighed

#: Few enough that evidence, event ids and items seen fall out.
SHORT = replace(POLICY, evidence_length=3, ring_length=4, seen_length=2)
_SUMS = {"norm", "mass", "net"}
batches = st.lists(st.lists(said, min_size=1, max_size=12), min_size=1, max_size=5)


@given(
    batches,
    st.lists(st.sampled_from(["clicks", "events"]), min_size=60, max_size=60),
    st.booleans(),
    st.booleans(),
    st.integers(1, 99),
)
def test_a_batch_in_columns_is_one_after_another(
    made: list[list[tuple[str, str, int, str]]], topics: list[str], whole_trees: bool, short: bool, limit: int
) -> None:
    policy, log = SHORT if short else POLICY, 1
    nodes: Nodes_ = {}
    for number, batch in enumerate(made):
        first = 12 * max(0, number - number % 2)  # every second batch lies where the one before it lay, in part
        events = [
            structs.replace(event, source=Source(topics[first + at], 0, first + at))
            for at, event in enumerate(events_of(batch, first))
        ]
        profiles = {key.user_id: node for key, node in nodes.items() if key.level == "profile"}
        fresh = gate(events, profiles, log, whole_trees=whole_trees).fresh
        planned = plan(weighed(fresh), fresh, profiles, policy, log)
        made = [fold_part(planned, part, VECTORS, nodes, policy, log) for part in parts(planned, limit)]
        changed = {node.key: node for part in made for node in part}
        assert [node.key for node in fold(planned, VECTORS, nodes, policy, log)] == sorted(
            changed, key=lambda key: (key.user_id, key.level == "profile")
        )
        assert sum(len({node.key.user_id for node in part}) for part in made) == len({key.user_id for key in changed})
        plain = plain_fold(planned, VECTORS, nodes, policy, log)
        assert changed.keys() == plain.keys()
        for key, node in changed.items():
            _alike(node, plain[key])
        nodes |= changed


def _alike(node: Node, plain: Node) -> None:
    """Sums to float64's rounding of all that came; everything else to the bit."""
    for field in fields(Node):
        one, other = getattr(node, field.name), getattr(plain, field.name)
        if field.name == "direction":
            assert np.allclose(one, other, atol=1e-5), node.key
        elif field.name in _SUMS:
            assert one == pytest.approx(other, rel=1e-9, abs=1e-9), (node.key, field.name)
        elif field.name == "evidence":
            assert [e[:3] for e in one] == [e[:3] for e in other], node.key
            assert [e.weight for e in one] == pytest.approx([e.weight for e in other], rel=1e-6)
        else:
            assert one == other, (node.key, field.name)
    assert node.direction.base is None, "a row that is a view holds its whole batch"
