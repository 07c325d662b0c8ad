"""Stored trees held against folded ones, node by node. Pure.

Equal are counts and offsets; sums and directions are as equal as an encoder's answers are from one run to the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import numpy as np

from streams.events.spans import Slot
from streams.interests.decay import decayed
from streams.interests.evidence import order_of
from streams.interests.nodes import (
    Node,
    NodeKey,
    NodePolicy,
    Vector,
    is_alive,
    is_forgotten,
    is_sum,
    without_erased,
)

What = Literal["missing", "unknown", "direction", "mass", "net", "count", "evidence", "applied"]
"""How a node differs: it is not stored, nobody's events make it, or which of its fields is another."""

Why = Literal["changed meanwhile", "not folded yet", "older than the log"]
"""Why a tree cannot be compared."""

#: Differences that are kept to be shown; all are counted.
SHOWN: Final = 50
#: Of a person whom nothing in the log erases.
NOWHERE: Final[Mapping[Slot, int]] = MappingProxyType({})
_FIRST_LOG: Final = 1
_LEAST_SHARE: Final = 1e-6  # of what was ever summed: what is left below it after a taking back is rounding


class Difference(NamedTuple):
    """A field of a node that is not what the log says."""

    key: NodeKey
    what: What
    stored: str
    folded: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of the log: its incarnation, by slot where it begins and ends, and up to where it is committed.

    `unresolved_topic` is where events wait for their items: what came by it has its offset there. `tolerance` is what
    a direction's component, and a mass by its share, may be off. Of a log from files nothing is known by slot: then
    `has_offsets` is False.
    """

    log: int = 0
    begins: Mapping[Slot, int] = field(default_factory=dict)
    ends: Mapping[Slot, int] = field(default_factory=dict)
    committed: Mapping[Slot, int] = field(default_factory=dict)
    unresolved_topic: str = ""
    tolerance: float = 1e-3
    has_offsets: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether the log still has all that was ever folded from it."""
        return self.has_offsets and self.log <= _FIRST_LOG and not any(self.begins.values())


@dataclass(slots=True)
class Verdict:
    """How many trees and nodes were compared, what differs, and how many trees could not be compared, and why."""

    trees: int = 0
    nodes: int = 0
    different: set[str] = field(default_factory=set)
    found: Counter[What] = field(default_factory=Counter)
    shown: list[Difference] = field(default_factory=list)
    passed_over: Counter[Why] = field(default_factory=Counter)

    @property
    def same(self) -> bool:
        """Whether every tree that could be compared is what the log says."""
        return not self.found

    def add(self, difference: Difference) -> None:
        """Count a difference, and keep it while there is room."""
        self.found[difference.what] += 1
        self.different.add(difference.key.user_id)
        if len(self.shown) < SHOWN:
            self.shown.append(difference)

    def include(self, other: Verdict) -> None:
        """Count what another one, of other people, has found."""
        self.trees += other.trees
        self.nodes += other.nodes
        self.different |= other.different
        self.found += other.found
        self.passed_over += other.passed_over
        self.shown += other.shown[: SHOWN - len(self.shown)]


def compare(
    stored: Sequence[Node], folded: Sequence[Node], policy: NodePolicy, known: Known, at_ms: int, verdict: Verdict,
    erasures: Mapping[Slot, int] = NOWHERE,
) -> None:  # fmt: skip
    """Hold one person's stored nodes against those that their events make; both count as of `at_ms`.

    `erasures` says where in the log erasures of this person lie.
    """
    old, new = _by_key(stored), _by_key(folded)
    why = _not_comparable(stored, folded, known, erasures)
    if why is not None:
        verdict.passed_over[why] += 1
        return
    verdict.trees += 1
    undone = any(mark.undo for node in folded for mark in node.marks)
    for key in sorted(old.keys() | new.keys()):
        if key not in new:
            if is_alive(old[key], at_ms, policy):
                verdict.add(Difference(key, "unknown", f"{old[key].count} events", "none"))
        elif key not in old:
            if is_alive(new[key], at_ms, policy):
                verdict.add(Difference(key, "missing", "none", f"{new[key].count} events"))
        else:
            verdict.nodes += 1
            _node(old[key], new[key], policy, known, at_ms, verdict, undone=undone)


def _by_key(nodes: Iterable[Node]) -> dict[NodeKey, Node]:
    """Nodes that stand: without those that an erasure ended, a tombstone that nothing came after, and learned ones."""
    return {
        node.key: node for node in without_erased(nodes) if is_sum(node.key.level) and not is_forgotten(node)
    }  # fmt: skip


def _not_comparable(
    stored: Iterable[Node], folded: Iterable[Node], known: Known, erasures: Mapping[Slot, int]
) -> Why | None:
    """Why a tree says nothing about the fold: it went on since the log was read, lags behind, or remembers more."""
    was, now = _profile(stored), _profile(folded)
    if known.has_offsets:
        has = was.applied.offsets if was is not None and was.applied.log == known.log else {}
        want = now.applied.offsets if now is not None else {}
        if any(offset >= known.ends.get(_slot(name), offset + 1) for name, offset in has.items()):
            return "changed meanwhile"
        asked = [*((_slot(name), offset) for name, offset in want.items()), *erasures.items()]
        if any(offset >= known.committed.get(slot, 0) for slot, offset in asked):
            return "not folded yet"
    if was is not None and is_forgotten(was):
        was = None
    if was is not None and not known.is_whole and (now is None or was.first_ms < now.first_ms):
        return "older than the log"
    return None


def _profile(nodes: Iterable[Node]) -> Node | None:
    """The node that says what was applied, also where an erasure left nothing else."""
    return next((node for node in nodes if node.key.level == "profile"), None)


def _slot(name: str) -> Slot:
    topic, _, partition = name.rpartition("/")
    return topic, int(partition)


def _node(
    old: Node, new: Node, policy: NodePolicy, known: Known, at_ms: int, verdict: Verdict, *, undone: bool
) -> None:
    half_life_ms, within = policy.half_life_ms(old.key.level), known.tolerance
    at_ms = max(at_ms, old.t0_ms, new.t0_ms)
    masses = [decayed(one.mass, one.t0_ms, at_ms, half_life_ms) for one in (old, new)]
    nets = [decayed(one.net, one.t0_ms, at_ms, half_life_ms) for one in (old, new)]
    if _began_again(old, new, policy, half_life_ms):
        return

    def differs(what: What, stored: object, folded: object) -> None:
        verdict.add(Difference(old.key, what, str(stored), str(folded)))

    scale = max(masses)
    if abs(masses[0] - masses[1]) > within * scale + _LEAST_SHARE:
        differs("mass", f"{masses[0]:.6g}", f"{masses[1]:.6g}")
    if abs(nets[0] - nets[1]) > within * scale + _LEAST_SHARE:
        differs("net", f"{nets[0]:.6g}", f"{nets[1]:.6g}")
    # Of a node whose events nearly cancel out the direction is noise: what is held to it is the sum.
    norms = [decayed(one.norm, one.t0_ms, at_ms, half_life_ms) for one in (old, new)]
    apart = _apart(old.direction, norms[0], new.direction, norms[1])
    if apart > within * scale + _LEAST_SHARE:
        differs("direction", f"off by {apart:.3g}", f"of {scale:.3g}")
    if old.count != new.count:
        differs("count", old.count, new.count)
    if not undone and not _alike_evidence(old, new, half_life_ms, within):
        differs("evidence", len(old.evidence), len(new.evidence))
    if known.has_offsets and old.key.level == "profile" and not old.erased_at_ms:
        has, want = old.applied.offsets, new.applied.offsets
        if old.applied.log == known.log and not _alike_offsets(has, want, known.unresolved_topic):
            differs("applied", dict(has), dict(want))


def _alike_offsets(has: Mapping[str, int], want: Mapping[str, int], unresolved_topic: str) -> bool:
    """Whether as much is applied as the log has of a person; less where something came by way of the waiting events."""
    waited = any(_slot(name)[0] == unresolved_topic for name in has)
    slots = {name for name in {*has, *want} if _slot(name)[0] != unresolved_topic}
    return all(
        has.get(name, -1) == want.get(name, -1) or (waited and has.get(name, -1) < want.get(name, -1)) for name in slots
    )


def _began_again(old: Node, new: Node, policy: NodePolicy, half_life_ms: float) -> bool:
    """Whether a sweep took the node once it had faded, so that it holds only what came after: that is as it should be.

    The fold never forgets, so its node holds what had faded too: no more than what counted for nothing when it went.
    """
    if old.count >= new.count or old.first_ms <= new.first_ms:
        return False
    at_ms = max(old.t0_ms, new.t0_ms)
    more = decayed(new.mass, new.t0_ms, at_ms, half_life_ms) - decayed(old.mass, old.t0_ms, at_ms, half_life_ms)
    return more <= policy.expire_below


def _apart(one: Vector, norm: float, other: Vector, other_norm: float) -> float:
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one.astype(np.float64) * norm - other.astype(np.float64) * other_norm).max(initial=0.0))


def _alike_evidence(old: Node, new: Node, half_life_ms: float, within: float) -> bool:
    """Whether the strongest contributions weigh the same; which of those of one weight is kept may differ."""
    if len(old.evidence) != len(new.evidence):
        return False
    one, other = (sorted(order_of(e.weight, e.ts_ms, half_life_ms) for e in node.evidence) for node in (old, new))
    return bool(np.allclose(one, other, rtol=0.0, atol=10 * within))
