"""Priors: what newcomers who began alike turned to, and the nodes a newcomer is given of it. Pure.

A cohort is everybody (`*`) or those who began in one situation (`daypart=evening`, `device=mobile`) or with one topic
(`first=/sports`). Each user's first few positive events are sent on, keyed by cohort, and folded into the cohort's
nodes as a user's events are into theirs. Only items' vectors are in them, no text, no event and no user.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import numpy as np

from streams.base.errors import PoisonError
from streams.events.event import Source
from streams.interests.contexts import situations
from streams.interests.levels import Level
from streams.interests.nodes import Node, NodeKey, NodePolicy, Vector, mass_at, profile_key
from streams.interests.plan import Contribution, Plan, Remembered, Weighed

EVERYBODY: Final = "*"
#: First events a record holds, at most: it stays far under Kafka's limit of 1 MiB.
EVENTS_A_RECORD: Final = 500
_LEVELS: Final[tuple[Level, ...]] = ("profile", "topic", "interest")
#: How much a cohort weighs beside the others: those who began with the same topic weigh most.
_COHORT_WEIGHTS: Final[Mapping[str, float]] = {"first": 4.0, EVERYBODY: 1.0}
_SITUATION_WEIGHT: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorPolicy:
    """The constants of the priors.

    A user's first `newcomer_events` contributions make them. A cohort of fewer than `least_events` gives none, so that
    no single person's interests can be read from it. A prior's profile weighs `mass` times k / (k + n), with k
    `events` and n the user's own events; each level keeps the `nodes` heaviest.
    """

    newcomer_events: int = 5
    contexts: frozenset[str] = frozenset({"device"})
    least_events: int = 20
    mass: float = 3.0
    events: float = 5.0
    nodes: int = 16


class First(NamedTuple):
    """One of a newcomer's first events: the place of its record, time, weight, item and the item's path."""

    topic: str
    partition: int
    offset: int
    ts_ms: int
    weight: float
    item_id: str
    path: str

    @property
    def source(self) -> Source:
        """Where the event's own record lies."""
        return Source(self.topic, self.partition, self.offset)


class Beginnings(msgspec.Struct, frozen=True, gc=False):
    """A record of the topic: a cohort's first events of a batch."""

    cohort: str
    group: str
    log: int
    firsts: list[First]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Beginnings).decode


def cohorts_of(
    ts_ms: int, context: Mapping[str, str | float | bool], began: str, contexts: Set[str]
) -> list[str]:  # fmt: skip
    """The cohorts of a person at a time and in a situation who began with topic `began` ("" unknown)."""
    named = [path.strip("/").replace("/", "=", 1) for path in situations(ts_ms, context, {"daypart", *contexts})]
    return [EVERYBODY, *named, *([f"first={began}"] if began else [])]


def beginnings(
    weighed: Iterable[Weighed], plan: Plan, profiles: Mapping[str, Node], policy: PriorPolicy, faint_below: float,
    group: str, log: int,
) -> list[Beginnings]:  # fmt: skip
    """What a batch's newcomers began with, by cohort."""
    counts: dict[str, int] = {}
    by_cohort: dict[str, list[First]] = {}
    for one in weighed:
        event, user = one.event, one.event.user_id
        profile = profiles.get(user)
        number = counts.get(user, profile.count if profile else 0)
        counts[user] = number + bool(one.weight)
        if number >= policy.newcomer_events or one.weight < faint_below or not one.item_id:
            continue
        first = First(*event.source, event.ts_ms, one.weight, one.item_id, one.path)
        for cohort in cohorts_of(event.ts_ms, event.context, plan.remembered[user].began.topic, policy.contexts):
            by_cohort.setdefault(cohort, []).append(first)
    return [
        Beginnings(cohort, group, log, firsts[at : at + EVENTS_A_RECORD])
        for cohort, firsts in by_cohort.items()
        for at in range(0, len(firsts), EVENTS_A_RECORD)
    ]


def pack_beginnings(beginnings: Beginnings) -> bytes:
    """A record's value."""
    return _encode(beginnings)


def unpack_beginnings(value: bytes | None) -> Beginnings:
    """Read back what `pack_beginnings` wrote. PoisonError for anything else."""
    try:
        beginnings = _decode(value or b"")
    except msgspec.ValidationError as error:
        raise PoisonError("not a record of first events: a field is missing or wrong", reason="wrong_type") from error
    except msgspec.DecodeError as error:
        raise PoisonError("not a record of first events: not one JSON document", reason="bad_json") from error
    if not all(math.isfinite(first.weight) for first in beginnings.firsts):
        raise PoisonError("a first event's weight is not finite", reason="out_of_range")
    return beginnings


def plan_of_beginnings(records: Sequence[Beginnings], rows: Mapping[str, int]) -> Plan:
    """What records of one log are to add to their cohorts' nodes; an event that is there twice counts once.

    `rows` gives the row of each item's vector; an event about another item adds nothing.
    """
    plan = Plan()
    by_cohort: dict[str, dict[tuple[str, int, int, str], First]] = {}
    for record in records:
        once = by_cohort.setdefault(record.cohort, {})
        for first in record.firsts:
            once[first.topic, first.partition, first.offset, first.item_id] = first
    for cohort, once in by_cohort.items():
        plan.remembered[cohort] = _remembered(once.values())
        keys: dict[str, list[NodeKey]] = {}
        for first in once.values():
            row = rows.get(first.item_id)
            if row is None:
                continue
            if first.path not in keys:
                keys[first.path] = _keys(cohort, first.path)
            source = first.source
            for key in keys[first.path]:
                plan.contributions.append(Contribution(key, row, first.ts_ms, first.weight, 1, source, "", ""))
    return plan


def _remembered(firsts: Iterable[First]) -> Remembered:
    """The last record of each partition stands for those before it."""
    last: dict[tuple[str, int], int] = {}
    last_ms = 0
    for first in firsts:
        slot = (first.topic, first.partition)
        last[slot] = max(last.get(slot, -1), first.offset)
        last_ms = max(last_ms, first.ts_ms)
    sources = [Source(topic, partition, offset) for (topic, partition), offset in last.items()]
    return Remembered(sources=sources, last_ms=last_ms)


def _keys(cohort: str, path: str) -> list[NodeKey]:
    top, _, below = path.strip("/").partition("/")
    keys = [profile_key(cohort)]
    if top:
        keys.append(NodeKey(cohort, "topic", f"/{top}"))
    if below:
        keys.append(NodeKey(cohort, "interest", path))
    return keys


def prior_nodes(
    user_id: str, cohorts: Mapping[str, Sequence[Node]], own: Sequence[Node], policy: PriorPolicy,
    half_lives: NodePolicy, at_ms: int,
) -> list[Node]:  # fmt: skip
    """A newcomer's prior, as nodes in their name; none where they have evidence enough or no cohort is large enough.

    Each cohort's nodes count as shares of its profile's mass, and cohorts by their weight and by how many first
    events they are made of, n / (n + least_events). `half_lives` is the policy of cohorts' nodes. A prior halves when
    the user's own events reach `policy.events`, and is left out under a hundredth.
    """
    events = next((node.count for node in own if node.key.level == "profile"), 0)
    fading = policy.events / (policy.events + max(0, events))
    sums: dict[tuple[Level, str], tuple[Vector, float]] = {}
    total = 0.0
    for name, nodes in cohorts.items():
        profile = next((node for node in nodes if node.key.level == "profile"), None)
        if profile is None or profile.count < policy.least_events:
            continue
        whole = mass_at(profile, at_ms, half_lives)
        if whole <= 0:
            continue
        weight = _COHORT_WEIGHTS.get(name.partition("=")[0], _SITUATION_WEIGHT)
        weight = weight * profile.count / (profile.count + policy.least_events)
        total += weight
        for node in nodes:
            share = weight * mass_at(node, at_ms, half_lives) / whole
            before, mass = sums.get((node.key.level, node.key.path), (np.zeros_like(node.direction), 0.0))
            sums[node.key.level, node.key.path] = before + np.float32(share) * node.direction, mass + share
    if not total or fading < 0.01:
        return []
    scale = policy.mass * fading / total
    prior = [_prior_node(NodeKey(user_id, level, path), *one, scale, at_ms) for (level, path), one in sums.items()]
    return [node for level in _LEVELS for node in _heaviest(prior, level, policy.nodes)]


def _prior_node(key: NodeKey, direction: Vector, mass: float, scale: float, at_ms: int) -> Node:
    length = float(np.linalg.norm(direction))
    unit = (direction / length).astype(np.float32) if length else direction
    return Node(key=key, direction=unit, norm=length * scale, mass=mass * scale, net=mass * scale, t0_ms=at_ms)


def _heaviest(nodes: Iterable[Node], level: Level, length: int) -> list[Node]:
    of_level = (node for node in nodes if node.key.level == level)
    return sorted(of_level, key=lambda node: (-node.mass, node.key.path))[:length]
