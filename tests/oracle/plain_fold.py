"""The fold, one contribution after another: what `streams.interests.fold` does column by column is held to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from streams.interests.applied import Applied
from streams.interests.decay import decay
from streams.interests.evidence import Evidence, extend_ring, extend_seen, order_of, unpack_evidence
from streams.interests.nodes import Node, NodeKey, NodePolicy, Vector, profile_key
from streams.interests.plan import Plan
from streams.interests.recents import merged, pack_recents, unpack_recents


def plain_fold(
    plan: Plan, vectors: Vector, nodes: Mapping[NodeKey, Node], policy: NodePolicy, log: int
) -> dict[NodeKey, Node]:
    """The nodes that a plan changes, by key."""
    empty = np.zeros(vectors.shape[1], dtype=np.float32)
    before = {key: nodes.get(key) or Node(key=key, direction=empty) for key in plan.touched()}
    after = {key: _fed(node, plan, vectors, policy, log) for key, node in before.items()}
    for user in plan.remembered:
        key = profile_key(user)
        after[key] = _remembering(after[key], before[key], plan, policy, log)
    return {key: node for key, node in after.items() if node is not before[key]}


def _fed(node: Node, plan: Plan, vectors: Vector, policy: NodePolicy, log: int) -> Node:
    columns, half_life_ms = plan.contributions, policy.half_life_ms(node.key.level)
    if node.key not in columns.keys:
        return node
    number = columns.keys.index(node.key)
    had = node.applied.offsets if node.applied.log == log else {}
    mine = [
        at for at, one in enumerate(columns.nodes)
        if one == number and columns.offsets[at] > had.get(columns.slot_names[columns.slots[at]], -1)
    ]  # fmt: skip
    if not mine:
        return node
    t0_ms = max(node.t0_ms, *(columns.times_ms[at] for at in mine))
    carried = decay(t0_ms - node.t0_ms, half_life_ms)
    total = node.direction.astype(np.float64) * node.norm * carried
    mass, net, count, last_ms = node.mass * carried, node.net * carried, node.count, node.last_ms
    gross, added = mass, 0.0
    first_ms = node.first_ms if node.first_ms > node.erased_at_ms else 0
    evidence = {(e.event_id, e.item_id, e.ts_ms): e for e in node.evidence}
    offsets = dict(had)
    for at in mine:
        ts_ms, weight, sign = columns.times_ms[at], columns.weights[at], columns.signs[at]
        worth = weight * decay(t0_ms - ts_ms, half_life_ms)
        total += sign * worth * vectors[columns.rows[at]].astype(np.float64)
        mass, net, count = mass + sign * abs(worth), net + sign * worth, count + sign
        gross, added = gross + abs(worth), added + abs(worth)
        (entry,) = unpack_evidence(columns.names[at] + columns.rests[at])
        evidence.pop(entry[:3], None)
        if sign > 0:
            evidence[entry[:3]] = entry._replace(weight=weight)
            first_ms, last_ms = min(first_ms or ts_ms, ts_ms), max(last_ms, ts_ms)
        slot = columns.slot_names[columns.slots[at]]
        offsets[slot] = max(offsets.get(slot, -1), columns.offsets[at])
    norm = float(np.linalg.norm(total))
    if norm <= 1e-6 * (node.norm * carried + 1e-6 * added):
        norm = 0.0
    if mass <= 1e-9 * gross:
        mass = net = norm = 0.0
    direction = total / norm if norm else np.zeros_like(total)

    def rank(entry: Evidence) -> tuple[float, str]:
        return order_of(entry.weight, entry.ts_ms, half_life_ms), entry.event_id

    return replace(
        node, direction=direction.astype(np.float32), norm=norm, mass=mass, net=net, t0_ms=t0_ms, first_ms=first_ms,
        last_ms=last_ms, count=count, applied=Applied(log, offsets),
        evidence=tuple(sorted(evidence.values(), key=rank)[: policy.evidence_length]),
    )  # fmt: skip


def _remembering(node: Node, before: Node, plan: Plan, policy: NodePolicy, log: int) -> Node:
    memory = plan.remembered[node.key.user_id]
    if all(before.applied.covers(source, log) for source in memory.sources):
        return node
    return replace(
        node, t0_ms=node.t0_ms or memory.last_ms, first_ms=node.first_ms or memory.last_ms,
        last_ms=max(node.last_ms, memory.last_ms), applied=node.applied.advance(memory.sources, log),
        ring=extend_ring(before.ring, memory.ring, policy.ring_length), marks=memory.marks,
        seen=extend_seen(before.seen, memory.seen, policy.seen_length),
        began=before.began.or_earlier(memory.began), votes=memory.votes, firsts=memory.firsts,
        recents=pack_recents(merged(unpack_recents(before.recents), memory.recents, policy.recents_length)),
    )  # fmt: skip
