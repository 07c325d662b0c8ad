"""Interest nodes: what one holds, how it decays and how evidence is folded in. Pure.

A node is (user, level, path) with, at its reference time t0 and half-life h,

    S = sum of s_i * 2^((t_i - t0)/h) * v_i     the direction
    W = sum of |s_i| * 2^((t_i - t0)/h)         the mass
    P = sum of s_i * 2^((t_i - t0)/h)           the net sign

The sums are linear in the events, so order, batching and lateness do not matter. S is kept as a unit
direction and a length: the direction stays exact in float32 however far the length has decayed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from hashlib import sha1
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.interests import levels
from streams.interests.applied import Applied
from streams.interests.ballot import StandingVote
from streams.interests.decay import decay, decayed, runs_out_ms
from streams.interests.evidence import NO_EVIDENCE, NOT_BEGUN, Began, Evidence, Mark, SeenItems, SentFirst
from streams.interests.recents import Recent, unpack_recents

Level = levels.Level
LEVELS = levels.LEVELS
is_sum = levels.is_sum
Vector = NDArray[np.float32]

NAMESPACE = uuid.UUID("6d2f6f0e-5c1b-5a43-9f5e-2f0b6b1c7a11")


class NodeKey(NamedTuple):
    """What a node is about: one person, one level of their tree, one path on it."""

    user_id: str
    level: Level
    path: str


def node_id(key: NodeKey) -> str:
    """The point id of a node: the uuid5 (RFC 9562) of user, level and path, joined by U+001F.

    Made here at a third of what `uuid.uuid5` takes, so that nobody has to keep ids of nodes long forgotten.
    """
    made = sha1(NAMESPACE.bytes + "\x1f".join(key).encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(made[16], 16) & 3]
    return f"{made[:8]}-{made[8:12]}-5{made[13:16]}-{variant}{made[17:20]}-{made[20:32]}"


def profile_key(user_id: str) -> NodeKey:
    """The key of a person's root node, which is written with every change to their tree."""
    return NodeKey(user_id, "profile", "/")


class LearnedPart(NamedTuple):
    """What a learned node holds besides: which `model` made it, and what its direction says of an item.

    For an item of unit vector v, its task's logit is `scale` * <direction, v> + `bias`; on `/`, which is no task's,
    they are 1 and 0. `mean` and `variance` are those of the person's click-through rate, on `/click` only. `made_ms` is
    when the model said so, by the worker's clock: t0 and `last_ms` of the node are of the events that it had read.
    """

    model: str
    scale: float = 1.0
    bias: float = 0.0
    variance: float = 0.0
    mean: float = 0.0
    made_ms: int = 0


@dataclass(slots=True, kw_only=True)
class Node:
    """One interest node; a value: folding makes new ones.

    `direction` is float32 of shape (dim,), of unit length, or zero where evidence cancelled out; `norm` is |S|,
    `mass` W and `net` P, all at `t0_ms`. Times are in ms since the epoch. `ring`, `marks`, `erased_at_ms`, `seen`,
    `began`, `votes`, `firsts`, `recents` and `reread` are used on the profile only. `recents` are packed as
    `pack_recents` does it. `reread` says of a tombstone that events after its erasure are folded no longer and are to
    be read from the log again. `learned` is used on learned nodes only, which hold no sums: `norm`, `mass` and `net`
    are the profile's mass then, and the weights of `evidence` are shares of attention.
    """

    key: NodeKey
    direction: Vector
    norm: float = 0.0
    mass: float = 0.0
    net: float = 0.0
    t0_ms: int = 0
    first_ms: int = 0
    last_ms: int = 0
    count: int = 0
    applied: Applied = field(default_factory=Applied)
    evidence: Sequence[Evidence] = NO_EVIDENCE
    ring: bytes = b""
    marks: tuple[Mark, ...] = ()
    erased_at_ms: int = 0
    seen: bytes = b""
    began: Began = NOT_BEGUN
    votes: tuple[StandingVote, ...] = ()
    firsts: tuple[SentFirst, ...] = ()
    recents: str = ""
    reread: bool = False
    learned: LearnedPart | None = None

    @property
    def id(self) -> str:
        """The id of the node's point in Qdrant."""
        return node_id(self.key)

    @property
    def nbytes(self) -> int:
        """Roughly what the node takes in memory, in bytes."""
        return (
            1_000  # its objects, key and id, and what is kept of these to write it
            + self.direction.nbytes
            + len(self.ring)
            + len(self.seen)
            + len(self.recents)
            + 200 * len(self.evidence)
            + 120 * (len(self.marks) + len(self.votes) + len(self.firsts))
            + 2 * len(self.key.user_id)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePolicy:
    """The constants of the fold. `expire_below` is in units of mass; lengths are in entries.

    Evidence weaker than `faint_below` speaks for or against nothing in particular: it reaches the profile and the
    session only, or every item that was shown and left would make nodes of its own. `contexts` has the names in an
    event's context that get nodes, each with its known values.
    """

    half_life_s: Mapping[Level, float]
    expire_below: float = 0.01
    faint_below: float = 0.1
    evidence_length: int = 8
    ring_length: int = 256
    marks_length: int = 128
    seen_length: int = 512
    votes_length: int = 64
    recents_length: int = 50
    contexts: Mapping[str, Set[str]] = field(default_factory=dict)
    tombstone_s: float = 400 * 86_400.0

    def half_life_ms(self, level: Level) -> float:
        """The half-life of a level, in ms."""
        return self.half_life_s[level] * 1000.0

    @property
    def tombstone_ms(self) -> int:
        """How long an erasure is remembered, in ms."""
        return int(self.tombstone_s * 1000)


def seen_of(profile: Node) -> SeenItems:
    """The items that a profile's person has given evidence of, for or against; those only shown are not among them."""
    return SeenItems(profile.seen)


def recents_of(profile: Node) -> tuple[Recent, ...]:
    """The last items that a profile's person has given evidence of, for or against, latest first."""
    return unpack_recents(profile.recents)


def mass_at(node: Node, at_ms: int, policy: NodePolicy) -> float:
    """The node's mass W decayed to `at_ms`; before t0 the mass at t0 is given."""
    return decayed(node.mass, node.t0_ms, at_ms, policy.half_life_ms(node.key.level))


def is_alive(node: Node, at_ms: int, policy: NodePolicy) -> bool:
    """Whether the node counts at a moment: its mass is above `policy.expire_below` and has not run out by then."""
    return node.mass > policy.expire_below and at_ms < expires_at_ms(node, policy)


def expires_at_ms(node: Node, policy: NodePolicy) -> int:
    """When the node's mass runs out, in ms: from then on nobody is shown it, and its point may be deleted.

    But for a tombstone's: see `is_spent`.
    """
    return runs_out_ms(node.mass, node.t0_ms, policy.half_life_ms(node.key.level), policy.expire_below)


def is_spent(node: Node, at_ms: int, policy: NodePolicy) -> bool:
    """Whether a node's point may be deleted: its mass has run out, and no erasure younger than a tombstone's time."""
    return expires_at_ms(node, policy) <= at_ms and node.erased_at_ms <= at_ms - policy.tombstone_ms


def evidence_share(entry: Evidence, node: Node, policy: NodePolicy) -> float:
    """What share of its node's mass a contribution is. Both decay alike, so it is the same at every moment.

    Of a learned node it is the share of the model's attention.
    """
    if not is_sum(node.key.level):
        return min(1.0, abs(entry.weight))
    if not node.mass:
        return 0.0
    left = abs(entry.weight) * decay(node.t0_ms - entry.ts_ms, policy.half_life_ms(node.key.level))
    return min(1.0, left / node.mass)


def is_forgotten(profile: Node) -> bool:
    """Whether a person was erased and has given no evidence since: nobody knows anything of them, nor guesses."""
    return profile.erased_at_ms > 0 and profile.count <= 0


def is_younger(profile: Node, at_ms: int) -> bool:
    """Whether all that a person's tree is made of happened after a moment, so that an erasure of then takes nothing."""
    return profile.count > 0 and profile.first_ms > at_ms and all(mark.ts_ms > at_ms for mark in profile.marks)


def is_put_back(level: Level, first_ms: int, erased_at_ms: int) -> bool:
    """Whether an erasure of its person has ended a node that is there all the same; `erased_at_ms` 0: there was none.

    A conditional upsert inserts what is not there: a worker that has lost its partitions and does not know it yet can
    put back a node that an erasure deleted. After an erasure only younger events are folded, so a node with an event
    no younger than it is such a one. The profile is the tombstone itself, which the fence keeps. `Store.sweep` deletes
    what was put back; until then every read leaves it out.
    """
    return level != "profile" and first_ms <= erased_at_ms


def without_erased(nodes: Iterable[Node]) -> list[Node]:
    """The nodes but those that were put back after an erasure, as the profiles among them show."""
    found = list(nodes)
    erased = {node.key.user_id: node.erased_at_ms for node in found if node.erased_at_ms}
    if not erased:
        return found
    return [node for node in found if not is_put_back(node.key.level, node.first_ms, erased.get(node.key.user_id, 0))]
