"""The moment of expiry: the same to the millisecond for the API, `interests show`, the score, filters and sweeps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from qdrant_client import grpc

from streams.api.interest_tree import living
from streams.commands.tree_view import TreeOptions, view
from streams.interests.nodes import Level, Node, NodeKey, expires_at_ms, is_alive
from streams.interests.score import interests_of
from streams.settings.policies import NodeSettings
from streams.store.base import Fence
from streams.store.filters import alive, expired
from streams.store.memory import MemoryStore
from streams.store.node_wire import nodes_bytes

NOW = 1_780_000_000_000
POLICY = NodeSettings().policy()
PATHS: dict[Level, str] = {
    "profile": "/", "topic": "/food", "interest": "/food/tea", "session": "/", "context": "/device/tv", "aversion": "/",
}  # fmt: skip
NODES = [
    Node(
        key=NodeKey("ana", level, path), direction=np.array([1], np.float32), norm=mass, mass=mass, net=mass, t0_ms=NOW,
        first_ms=NOW, last_ms=NOW, count=1,
    )
    for level, path in PATHS.items()
    for mass in (3.0, 0.0101, 1e6)
]  # fmt: skip
FAINT = [
    Node(
        key=NodeKey("ana", "interest", "/food/tea"), direction=np.array([1], np.float32), mass=mass, t0_ms=NOW, count=1
    )
    for mass in (POLICY.expire_below, 0.001, 0.0)
]


def meets(condition: grpc.Condition, payload: Mapping[str, grpc.Value]) -> bool:
    """What Qdrant makes of a condition on a number."""
    number, bounds = payload[condition.field.key].integer_value, condition.field.range
    return (not bounds.HasField("gt") or number > bounds.gt) and (not bounds.HasField("lte") or number <= bounds.lte)


async def answers(node: Node, at_ms: int) -> list[bool]:
    """Whether the node is there at a moment, as each of those says who decides it."""
    payload = grpc.UpsertPoints.FromString(nodes_bytes([node], POLICY, Fence(1, 1))).points[0].payload
    tree = view("ana", [node], at_ms, POLICY, lambda path: path, {}, TreeOptions())
    drawn = not tree.is_empty if node.key.level != "profile" else is_alive(node, at_ms, POLICY)  # the root is not drawn
    assert tree.expired == (node.key.level != "profile" and not drawn)
    store = MemoryStore(POLICY)
    await store.write([node], Fence(1, 1))
    await store.sweep(at_ms)
    return [
        is_alive(node, at_ms, POLICY), bool(living([node], at_ms, POLICY)), bool(interests_of([node], at_ms, POLICY)),
        drawn, meets(alive(at_ms), payload), not meets(expired(at_ms), payload), bool(await store.tree("ana")),
    ]  # fmt: skip


@pytest.mark.parametrize("node", NODES, ids=lambda node: f"{node.key.level}-{node.mass}")
async def test_all_agree_a_millisecond_before_at_it_and_after(node: Node) -> None:
    at_ms = expires_at_ms(node, POLICY)
    assert at_ms > NOW
    assert set(await answers(node, at_ms - 1)) == {True}
    assert set(await answers(node, at_ms)) == {False}
    assert set(await answers(node, at_ms + 1)) == {False}


@pytest.mark.parametrize("node", FAINT, ids=lambda node: str(node.mass))
async def test_what_was_never_heavy_enough_is_not_there(node: Node) -> None:
    assert set(await answers(node, NOW)) == {False}
    assert set(await answers(node, NOW + 1)) == {False}
