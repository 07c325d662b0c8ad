"""The fold: contributions into nodes, a whole batch at once, column by column. Pure numpy.

`tests/oracle/plain_fold.py` does the same one contribution after another; a property test holds one to the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from streams.interests.applied import Applied
from streams.interests.contributions import Columns, Contributions, Real, Truth, Whole
from streams.interests.evidence import NO_EVIDENCE, Evidence, Ranked, Strongest, extend_ring, extend_seen, with_more
from streams.interests.nodes import Node, NodeKey, NodePolicy, Vector
from streams.interests.plan import Plan
from streams.interests.recents import extend_recents

_NOTHING_LEFT = 1e-9  # mass under this share of what was summed is rounding error
_AT_ONCE = 1024  # nodes whose directions are summed at once: their float64 sums stay in the processor's cache
_NEVER_MS = np.iinfo(np.int64).max


class Part(NamedTuple):
    """Some people's nodes in a plan, their numbers in it (-1 for none), and what goes to them, in the plan's order."""

    keys: Sequence[NodeKey]
    numbers: Whole
    entries: Whole


class _Fed(NamedTuple):
    """The nodes that get something, and what each gets: the contributions from `starts[i]` to `ends[i]`.

    `places` says which of the part's nodes they are, shape (g,). `told` has a row a contribution, shape (n,), a node's
    after another's and each node's in the order of the plan, as the numbers `entries` give; `factors` is what each is
    worth at its node's t0.
    """

    places: Whole
    starts: Whole
    ends: Whole
    entries: Whole
    told: Columns
    half_lives_ms: Real
    t0_ms: Whole
    carried: Real
    factors: Real


class _Sums(NamedTuple):
    """What the fed nodes come to, a row each: mass, net, count and times; `nothing` where the mass cancelled out."""

    mass: Real
    net: Real
    counts: Whole
    first_ms: Whole
    last_ms: Whole
    nothing: Truth


def parts(plan: Plan, limit: int) -> Iterator[Part]:
    """A plan in parts of up to `limit` nodes that never part one person's (a larger tree is a part of its own)."""
    keys, columns = plan.touched(), plan.contributions.columns()
    planned = len(plan.contributions.keys)
    by_user: dict[str, list[int]] = {}
    for number, key in enumerate(keys):
        by_user.setdefault(key.user_id, []).append(number)
    chunks: list[list[int]] = [[]]
    for theirs in by_user.values():
        if chunks[-1] and len(chunks[-1]) + len(theirs) > limit:
            chunks.append([])
        chunks[-1] += theirs
    part_of = np.zeros(len(keys), np.int64)
    for at, chunk in enumerate(chunks):
        part_of[chunk] = at
    entries = np.argsort(part_of[columns.nodes], kind="stable")
    ends = np.cumsum(np.bincount(part_of[columns.nodes], minlength=len(chunks)))
    for start, end, chunk in zip([0, *ends.tolist()], ends.tolist(), chunks, strict=False):
        numbers = np.array(chunk, np.int64)
        yield Part([keys[number] for number in chunk], np.where(numbers < planned, numbers, -1), entries[start:end])


def fold(plan: Plan, vectors: Vector, nodes: Mapping[NodeKey, Node], policy: NodePolicy, log: int) -> list[Node]:
    """Fold a plan into the nodes it touches and return those that changed, user by user, profile last.

    `vectors` has shape (n, dim), unit rows; `nodes` holds the nodes that exist. A contribution whose record a
    node's `applied` covers (in the same `log`) is left out, so folding a batch twice changes nothing.
    """
    changed = [node for part in parts(plan, _AT_ONCE) for node in fold_part(plan, part, vectors, nodes, policy, log)]
    changed.sort(key=lambda node: (node.key.user_id, node.key.level == "profile"))
    return changed


def fold_part(
    plan: Plan, part: Part, vectors: Vector, nodes: Mapping[NodeKey, Node], policy: NodePolicy, log: int
) -> list[Node]:
    """The same for one part of a plan."""
    empty = np.zeros(vectors.shape[1], dtype=np.float32)
    before = [found if (found := nodes.get(key)) is not None else Node(key=key, direction=empty) for key in part.keys]
    after = list(before)
    fed = _fed(plan.contributions, part, before, policy, log)
    if len(fed.places):
        for at, node in zip(fed.places.tolist(), _folded(fed, plan, before, vectors, policy, log), strict=True):
            after[at] = node
    changed: list[Node] = []
    for old, new in zip(before, after, strict=True):
        node = _remember(new, old, plan, policy, log) if old.key.level == "profile" else new
        if node is not old:
            changed.append(node)
    changed.sort(key=lambda node: (node.key.user_id, node.key.level == "profile"))
    return changed


def _fed(contributions: Contributions, part: Part, before: Sequence[Node], policy: NodePolicy, log: int) -> _Fed:
    """Which contributions each node has not had yet; its t0 moves to the latest, so no factor is over 1."""
    told, names, size = contributions.columns().take(part.entries), contributions.slot_names, max(1, len(before))
    places_of = np.zeros(len(contributions.keys) + 1, np.int64)
    places_of[part.numbers] = np.arange(
        len(part.numbers)
    )  # those without a number share the last row, which is no node's
    places = places_of[told.nodes]
    pairs, pair_of = np.unique(told.slots * size + places, return_inverse=True)
    had = [before[pair % size].applied.up_to(names[pair // size], log) for pair in pairs.tolist()]
    fresh = np.flatnonzero(told.offsets > np.array(had, np.int64)[pair_of])
    order = fresh[np.argsort(places[fresh], kind="stable")]
    fed, starts, counts = np.unique(places[order], return_index=True, return_counts=True)
    told = told.take(order)
    half_life = {level: policy.half_life_ms(level) for level in policy.half_life_s}
    half_lives_ms = np.array([half_life[before[at].key.level] for at in fed.tolist()])
    own_ms = np.array([before[at].t0_ms for at in fed.tolist()], np.int64)
    t0_ms = np.maximum(own_ms, np.maximum.reduceat(told.times_ms, starts)) if len(fed) else own_ms
    carried = np.exp2((own_ms - t0_ms) / half_lives_ms)
    factors = np.exp2((told.times_ms - np.repeat(t0_ms, counts)) / np.repeat(half_lives_ms, counts))
    return _Fed(fed, starts, starts + counts, part.entries[order], told, half_lives_ms, t0_ms, carried, factors)


def _summed(fed: _Fed, old: Sequence[Node]) -> _Sums:
    """The sums of the fed nodes at their t0; `old` are these nodes as they were."""
    told, starts = fed.told, fed.starts
    worth = told.signed * fed.factors
    sizes = np.abs(worth)
    mass = np.array([node.mass for node in old]) * fed.carried
    gross = mass + np.add.reduceat(sizes, starts)
    mass = mass + np.add.reduceat(np.where(told.added, sizes, -sizes), starts)
    net = np.array([node.net for node in old]) * fed.carried + np.add.reduceat(worth, starts)
    count = np.array([node.count for node in old], np.int64) + np.add.reduceat(np.where(told.added, 1, -1), starts)
    # A tombstone's times are the erasure's.
    first = [node.first_ms if node.first_ms > node.erased_at_ms else 0 for node in old]
    known = np.array([ms or _NEVER_MS for ms in first], np.int64)
    first_ms = np.minimum(known, np.minimum.reduceat(np.where(told.added, told.times_ms, _NEVER_MS), starts))
    latest = np.maximum.reduceat(np.where(told.added, told.times_ms, 0), starts)
    last_ms = np.maximum(np.array([node.last_ms for node in old], np.int64), latest)
    nothing = mass <= _NOTHING_LEFT * gross
    mass[nothing] = net[nothing] = 0.0
    return _Sums(mass, net, count, np.where(first_ms == _NEVER_MS, 0, first_ms), last_ms, nothing)


def _directions(fed: _Fed, old: Sequence[Node], vectors: Vector) -> tuple[list[Vector], list[float]]:
    """S of each fed node at its t0: its unit row (dim,), which owns its memory, and its length."""
    rows = fed.told.rows
    worth = fed.told.signed * fed.factors
    kept = np.array([node.norm for node in old]) * fed.carried
    # What is stored is exact to float32, what a batch adds to float64.
    scale = kept + 1e-6 * np.add.reduceat(np.abs(worth), fed.starts)
    units: list[Vector] = []
    norms: list[float] = []
    for at in range(0, len(old), _AT_ONCE):
        block = slice(at, at + _AT_ONCE)
        starts, ends = fed.starts[block], fed.ends[block]
        sums = vectors[rows[starts]] * worth[starts, None]
        for one in np.flatnonzero(ends - starts > 1):
            mine = slice(starts[one], ends[one])
            sums[one] = worth[mine] @ vectors[rows[mine]]
        sums += np.stack([node.direction for node in old[block]]) * kept[block, None]
        lengths = np.sqrt(np.einsum("ij,ij->i", sums, sums))
        lengths[lengths <= 1e-6 * scale[block]] = 0.0  # opposite evidence cancelled out: what is left is rounding error
        made = np.divide(sums, lengths[:, None], out=np.zeros_like(sums), where=lengths[:, None] > 0)
        # A view would hold the whole block for as long as its node is cached.
        units += [row.copy() for row in made.astype(np.float32)]
        norms += lengths.tolist()
    return units, norms


def _folded(
    fed: _Fed, plan: Plan, before: Sequence[Node], vectors: Vector, policy: NodePolicy, log: int
) -> Iterator[Node]:
    """The fed nodes with all folded in: sums, times, count, evidence, `applied`."""
    old = [before[place] for place in fed.places.tolist()]
    sums = _summed(fed, old)
    units, norms = _directions(fed, old, vectors)
    empty = np.zeros(vectors.shape[1], dtype=np.float32)
    for gone in np.flatnonzero(sums.nothing):
        units[gone], norms[gone] = empty, 0.0
    applied = _applied(fed, plan.contributions.slot_names, old, log)
    evidence = _evidence(fed, plan.contributions, old, policy.evidence_length)
    mass, net, count, t0_ms = sums.mass.tolist(), sums.net.tolist(), sums.counts.tolist(), fed.t0_ms.tolist()
    first_ms, last_ms = sums.first_ms.tolist(), sums.last_ms.tolist()
    for at, node in enumerate(old):
        yield Node(
            key=node.key, direction=units[at], norm=norms[at], mass=mass[at], net=net[at], t0_ms=t0_ms[at],
            first_ms=first_ms[at], last_ms=last_ms[at], count=count[at], applied=applied[at], evidence=evidence[at],
            ring=node.ring, marks=node.marks, erased_at_ms=node.erased_at_ms, seen=node.seen, began=node.began,
            votes=node.votes, firsts=node.firsts, recents=node.recents,
        )  # fmt: skip


def _evidence(fed: _Fed, contributions: Contributions, old: Sequence[Node], length: int) -> list[Sequence[Evidence]]:
    """The strongest of what each fed node had and is fed, ranked as `evidence.order_of` ranks it."""
    if not length:
        return [NO_EVIDENCE] * len(old)
    ages = fed.told.times_ms / np.repeat(fed.half_lives_ms, fed.ends - fed.starts)
    orders = (-(np.log2(np.abs(fed.told.signed)) + ages)).tolist()
    names, rests = contributions.names, contributions.rests
    ranked = [(order, names[at], rests[at]) for order, at in zip(orders, fed.entries.tolist(), strict=True)]
    half_lives_ms, starts, ends = fed.half_lives_ms.tolist(), fed.starts.tolist(), fed.ends.tolist()
    taken_back = np.logical_not(np.logical_and.reduceat(fed.told.added, fed.starts)).tolist()
    made: list[Sequence[Evidence]] = []
    for at, node in enumerate(old):
        kept, more = Strongest.of(node.evidence).ranked(half_lives_ms[at]), ranked[starts[at] : ends[at]]
        if taken_back[at]:
            kept, more = (), _left(kept, more, fed.told.added[starts[at] : ends[at]].tolist())
        made.append(with_more(kept, more, length))
    return made


def _left(kept: Sequence[Ranked], told: Sequence[Ranked], added: Sequence[bool]) -> list[Ranked]:
    """What is left of what was kept and is told, where some of it takes back what came before."""
    left = {one[1]: one for one in kept}
    for one, comes in zip(told, added, strict=True):
        left.pop(one[1], None)
        if comes:
            left[one[1]] = one
    return list(left.values())


def _applied(fed: _Fed, names: Sequence[str], old: Sequence[Node], log: int) -> list[Applied]:
    """How far each fed node has come: what it is fed lies beyond what it had, mostly in one partition."""
    lowest, highest = np.minimum.reduceat(fed.told.slots, fed.starts), np.maximum.reduceat(fed.told.slots, fed.starts)
    alone = (lowest == highest).tolist()
    latest = np.maximum.reduceat(fed.told.offsets, fed.starts).tolist()
    made: list[Applied] = []
    for at, (node, slot) in enumerate(zip(old, lowest.tolist(), strict=True)):
        if alone[at]:
            had = node.applied.offsets if node.applied.log == log else {}
            made.append(Applied(log, {**had, names[slot]: latest[at]}))
        else:
            mine = slice(fed.starts[at], fed.ends[at])
            each = zip(fed.told.slots[mine].tolist(), fed.told.offsets[mine].tolist(), strict=True)
            made.append(node.applied.moved(((names[one], offset) for one, offset in each), log))
    return made


def _remember(node: Node, before: Node, plan: Plan, policy: NodePolicy, log: int) -> Node:
    """The profile with what the batch leaves on it: records, event ids, marks, items seen and recent, first topic."""
    memory = plan.remembered[node.key.user_id]
    if before.applied.log == log and all(before.applied.covers(source, log) for source in memory.sources):
        return node
    applied: Applied = node.applied.advance(memory.sources, log)
    ring = extend_ring(before.ring, memory.ring, policy.ring_length)
    seen = extend_seen(before.seen, memory.seen, policy.seen_length)
    recents = extend_recents(before.recents, memory.recents, policy.recents_length)
    return Node(
        key=node.key, direction=node.direction, norm=node.norm, mass=node.mass, net=node.net,
        t0_ms=node.t0_ms or memory.last_ms, first_ms=node.first_ms or memory.last_ms,
        last_ms=max(node.last_ms, memory.last_ms), count=node.count, applied=applied, evidence=node.evidence,
        ring=ring, marks=memory.marks, erased_at_ms=node.erased_at_ms, seen=seen,
        began=before.began.or_earlier(memory.began), votes=memory.votes, firsts=memory.firsts,
        recents=recents,
    )  # fmt: skip
