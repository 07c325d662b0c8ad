"""The fold: contributions into nodes, a whole batch at once. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from streams.interests.applied import Applied
from streams.interests.evidence import Evidence, extend_ring, extend_seen, strongest
from streams.interests.nodes import Node, NodeKey, NodePolicy, Vector, profile_key
from streams.interests.plan import Contribution, Plan

_NOTHING_LEFT = 1e-9  # mass under this share of what was summed is rounding error


@dataclass(slots=True)
class _Group:
    """A node, the contributions to it that it has not had, and what each and its own sums are worth at t0."""

    node: Node
    contributions: list[Contribution] = field(default_factory=list)
    t0_ms: int = 0
    factors: list[float] = field(default_factory=list)
    carried: float = 1.0


def fold(plan: Plan, vectors: Vector, nodes: Mapping[NodeKey, Node], policy: NodePolicy, log: int) -> list[Node]:
    """Fold a plan into the nodes it touches and return those that changed, user by user, profile last.

    `vectors` has shape (n, dim), unit rows; `nodes` holds the nodes that exist. A contribution whose record a
    node's `applied` covers (in the same `log`) is left out, so folding a batch twice changes nothing.
    """
    groups = _group(plan, nodes, vectors.shape[1], log)
    fed = [group for group in groups.values() if group.contributions]
    directions, norms = _sum_directions(fed, _decay_factors(fed, policy), vectors)
    changed: list[Node] = []
    row = 0
    for key, group in groups.items():
        node = group.node
        if group.contributions:
            node = _folded(group, directions[row], float(norms[row]), policy, log)
            row += 1
        if key == profile_key(key.user_id):
            node = _remember(node, group.node, plan, policy, log)
        if node is not group.node:
            changed.append(node)
    changed.sort(key=lambda node: (node.key.user_id, node.key.level == "profile"))
    return changed


def _group(plan: Plan, nodes: Mapping[NodeKey, Node], dim: int, log: int) -> dict[NodeKey, _Group]:
    groups: dict[NodeKey, _Group] = {}
    empty = np.zeros(dim, dtype=np.float32)
    for key in plan.touched():
        node = nodes.get(key)
        groups[key] = _Group(node if node is not None else Node(key=key, direction=empty))
    for contribution in plan.contributions:
        group = groups[contribution.key]
        if not group.node.applied.covers(contribution.source, log):
            group.contributions.append(contribution)
    return groups


def _decay_factors(groups: Sequence[_Group], policy: NodePolicy) -> NDArray[np.float64]:
    """Move each group's t0 to its latest time; 2^((t - t0)/h) of every contribution: never over 1, t0 is the latest."""
    for group in groups:
        group.t0_ms = max(group.node.t0_ms, *(c.ts_ms for c in group.contributions))
    counts = [len(group.contributions) for group in groups]
    t0_ms = np.array([group.t0_ms for group in groups], dtype=np.float64)
    half_life_ms = np.array([policy.half_life_ms(group.node.key.level) for group in groups])
    times = np.array([c.ts_ms for group in groups for c in group.contributions], dtype=np.float64)
    own = np.array([group.node.t0_ms for group in groups], dtype=np.float64)
    carried = np.exp2((own - t0_ms) / half_life_ms).tolist()
    factors: NDArray[np.float64] = np.exp2((times - np.repeat(t0_ms, counts)) / np.repeat(half_life_ms, counts))
    each = iter(factors.tolist())
    for group, count, share in zip(groups, counts, carried, strict=True):
        group.factors, group.carried = list(islice(each, count)), share
    return factors


def _sum_directions(
    groups: Sequence[_Group], factors: NDArray[np.float64], vectors: Vector
) -> tuple[Vector, NDArray[np.float64]]:
    """S of each group at its t0, as unit rows (n, dim) and lengths (n,)."""
    if not groups:
        return np.zeros((0, vectors.shape[1]), dtype=np.float32), np.zeros(0)
    rows = np.array([c.row for group in groups for c in group.contributions])
    signed = np.array([c.sign * c.weight for group in groups for c in group.contributions])
    coefficients = signed * factors
    counts = np.array([len(group.contributions) for group in groups])
    ends = np.cumsum(counts)
    starts = ends - counts
    sums = vectors[rows[starts]] * coefficients[starts, None]
    for at in np.flatnonzero(counts > 1):  # few: most nodes get one contribution a batch
        mine = slice(starts[at], ends[at])
        sums[at] = coefficients[mine] @ vectors[rows[mine]]
    kept = np.array([group.node.norm * group.carried for group in groups])
    sums += np.stack([group.node.direction for group in groups]) * kept[:, None]
    # What is stored is exact to float32, what a batch adds to float64.
    scale = kept + 1e-6 * np.add.reduceat(np.abs(coefficients), starts)
    lengths = np.sqrt(np.einsum("ij,ij->i", sums, sums))
    lengths[lengths <= 1e-6 * scale] = 0.0  # opposite evidence cancelled out: what is left is rounding error
    units = np.divide(sums, lengths[:, None], out=np.zeros_like(sums), where=lengths[:, None] > 0)
    return units.astype(np.float32), lengths


def _folded(group: _Group, direction: Vector, norm: float, policy: NodePolicy, log: int) -> Node:
    """The group's node with its contributions folded in: sums, times, count, evidence, `applied`."""
    node, half_life_ms = group.node, policy.half_life_ms(group.node.key.level)
    mass, net = node.mass * group.carried, node.net * group.carried
    summed = mass
    # An event without an id of its own is named by its place, which a topic made anew gives to another event.
    evidence = {(e.event_id, e.item_id, e.ts_ms): e for e in node.evidence}
    count, last_ms = node.count, node.last_ms
    first_ms = node.first_ms if node.first_ms > node.erased_at_ms else 0  # a tombstone's times are the erasure's
    for c, factor in zip(group.contributions, group.factors, strict=True):
        mass += c.sign * abs(c.weight) * factor
        net += c.sign * c.weight * factor
        summed += abs(c.weight) * factor
        count += c.sign
        if c.sign < 0:
            evidence.pop((c.event_id, c.item_id, c.ts_ms), None)
        else:
            evidence[(c.event_id, c.item_id, c.ts_ms)] = Evidence(c.event_id, c.item_id, c.ts_ms, c.weight, c.type)
            first_ms = min(first_ms or c.ts_ms, c.ts_ms)
            last_ms = max(last_ms, c.ts_ms)
    if mass <= _NOTHING_LEFT * summed:
        mass, net, norm, direction = 0.0, 0.0, 0.0, np.zeros_like(direction)
    kept = tuple(evidence.values())
    if len(kept) > policy.evidence_length or kept != node.evidence:
        kept = strongest(kept, policy.evidence_length, half_life_ms)
    applied = node.applied.advance((c.source for c in group.contributions), log)
    return Node(
        key=node.key, direction=direction, norm=norm, mass=mass, net=net, t0_ms=group.t0_ms, first_ms=first_ms,
        last_ms=last_ms, count=count, applied=applied, evidence=kept, ring=node.ring, marks=node.marks,
        erased_at_ms=node.erased_at_ms, seen=node.seen, began=node.began, votes=node.votes, firsts=node.firsts,
    )  # fmt: skip


def _remember(node: Node, before: Node, plan: Plan, policy: NodePolicy, log: int) -> Node:
    """The profile with what the batch leaves on it: records, event ids, marks, items seen, first topic."""
    memory = plan.remembered[node.key.user_id]
    if before.applied.log == log and all(before.applied.covers(source, log) for source in memory.sources):
        return node
    applied: Applied = node.applied.advance(memory.sources, log)
    ring = extend_ring(before.ring, memory.ring, policy.ring_length)
    seen = extend_seen(before.seen, memory.seen, policy.seen_length)
    return Node(
        key=node.key, direction=node.direction, norm=node.norm, mass=node.mass, net=node.net,
        t0_ms=node.t0_ms or memory.last_ms, first_ms=node.first_ms or memory.last_ms,
        last_ms=max(node.last_ms, memory.last_ms), count=node.count, applied=applied, evidence=node.evidence,
        ring=ring, marks=memory.marks, erased_at_ms=node.erased_at_ms, seen=seen,
        began=before.began.or_earlier(memory.began), votes=memory.votes, firsts=memory.firsts,
    )  # fmt: skip
