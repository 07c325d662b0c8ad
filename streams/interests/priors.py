"""Priors: what newcomers who began alike turned to, and the nodes a newcomer is given of it. Pure.

A cohort is everybody (`*`) or those who began in one situation (`daypart=evening`, `device=mobile`) or with one topic
(`first=/sports`). Each user's first few positive events are sent on, keyed by cohort, and folded into the cohort's
nodes as a user's events are into theirs. Only items' vectors are in them, no text, no event and no user. The user's
profile knows what was sent, so that a like that is taken back, and an erasure, take it out again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import numpy as np

from streams.base.errors import PoisonError
from streams.events.decode import own_record
from streams.events.event import Source
from streams.interests.ballot import by_erasure
from streams.interests.contexts import DAYPARTS, KNOWN, OTHER, situations
from streams.interests.contributions import Told
from streams.interests.evidence import Mark, SentFirst
from streams.interests.levels import Level
from streams.interests.nodes import Node, NodeKey, NodePolicy, Vector, mass_at, profile_key
from streams.interests.plan import Plan, Remembered, Weighed
from streams.interests.popularity import pieces

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
    `events` and n the user's own events; each level keeps the `nodes` heaviest. `contexts` has the names in `context`
    whose values part people, each with its known values.
    """

    newcomer_events: int = 5
    contexts: Mapping[str, Set[str]] = field(default_factory=lambda: {"device": KNOWN["device"]})
    least_events: int = 20
    mass: float = 3.0
    events: float = 5.0
    nodes: int = 16

    def knows(self, cohort: str) -> bool:
        """Whether somebody may be of that cohort; nothing is learnt of another, and what was learnt is swept."""
        name, _, value = cohort.partition("=")
        if name in {EVERYBODY, "first"}:
            return True
        if name == "daypart":
            return value in DAYPARTS
        return name in self.contexts and (value == OTHER or value in self.contexts[name])


class First(NamedTuple):
    """One of a newcomer's first events: the place of its record, time, weight, item and the item's path.

    A negative weight takes one back that was counted before.
    """

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


class CohortFirst(NamedTuple):
    """A first event and a cohort that is to learn from it."""

    cohort: str
    first: First


class Beginnings(msgspec.Struct, frozen=True, gc=False):
    """A record of the topic: a cohort's first events of a batch."""

    cohort: str
    group: str
    log: int
    firsts: list[First]

    @property
    def abouts(self) -> list[str]:
        """The cohort: the record's key."""
        return [self.cohort]

    @property
    def entries(self) -> list[First]:
        """The first events."""
        return self.firsts

    def no_later_than(self, ts_ms: int) -> Beginnings:
        """The same record with no time after `ts_ms`."""
        firsts = [first._replace(ts_ms=min(first.ts_ms, ts_ms)) for first in self.firsts]
        return msgspec.structs.replace(self, firsts=firsts)


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Beginnings)


def cohorts_of(
    ts_ms: int, context: Mapping[str, str | float | bool], began: str, contexts: Mapping[str, Set[str]]
) -> list[str]:  # fmt: skip
    """The cohorts of a person at a time and in a situation who began with topic `began` ("" unknown)."""
    named = [
        path.strip("/").replace("/", "=", 1) for path in situations(ts_ms, context, {**contexts, "daypart": DAYPARTS})
    ]
    return [EVERYBODY, *named, *([f"first={began}"] if began else [])]


def newcomers_firsts(
    weighed: Iterable[Weighed], plan: Plan, profiles: Mapping[str, Node], policy: PriorPolicy, faint_below: float,
    log: int,
) -> list[CohortFirst]:  # fmt: skip
    """What a batch's newcomers began with, by cohort; it is noted in the plan, to be kept on their profiles.

    A person has `policy.newcomer_events` places in all: a like that is taken back is taken out of its cohorts, and
    its place stays used.
    """
    counts: dict[str, int] = {}
    found: list[CohortFirst] = []
    for one in weighed:
        event, user = one.event, one.event.user_id
        profile, memory = profiles.get(user), plan.remembered[user]
        if profile is not None and profile.applied.covers(event.source, log):
            continue
        for mark in plan.undone.get((user, event.source), ()):
            found += _take_out(memory, event.source, mark)
        number = counts.get(user, profile.count if profile else 0)
        counts[user] = number + bool(one.weight)
        if max(number, len(memory.firsts)) >= policy.newcomer_events or one.weight < faint_below or not one.item_id:
            continue
        about = (one.item_id, event.ts_ms, one.weight)
        if any((sent.item_id, sent.ts_ms, sent.weight) == about for sent in memory.firsts):
            continue  # the same again in the same millisecond: to take back the two would look like one that came twice
        cohorts = tuple(cohorts_of(event.ts_ms, event.context, memory.began.topic, policy.contexts))
        sent = SentFirst(cohorts, one.item_id, one.path, event.ts_ms, one.weight)
        memory.firsts = (*memory.firsts, sent)
        found += _firsts(sent, event.source, 1)
    return found


def withdrawn_firsts(firsts: Iterable[SentFirst], source: Source) -> list[CohortFirst]:
    """What takes back all that cohorts have learnt from somebody who is erased by the event at `source`."""
    return [one for sent in firsts if sent.weight for one in _firsts(sent, by_erasure(source), -1)]


def beginnings(firsts: Iterable[CohortFirst], group: str, log: int) -> list[Beginnings]:
    """The records of a batch's first events, by cohort."""
    by_cohort: dict[str, list[First]] = {}
    for cohort, first in firsts:
        by_cohort.setdefault(cohort, []).append(first)
    return [
        Beginnings(cohort, group, log, piece)
        for cohort, listed in by_cohort.items()
        for piece in pieces(listed, EVENTS_A_RECORD)
    ]


def _take_out(memory: Remembered, source: Source, mark: Mark) -> list[CohortFirst]:
    for at, sent in enumerate(memory.firsts):
        if (sent.item_id, sent.ts_ms, sent.weight) == (mark.item_id, mark.ts_ms, mark.weight):
            memory.firsts = (*memory.firsts[:at], sent._replace(weight=0.0), *memory.firsts[at + 1 :])
            return _firsts(sent, source, -1)
    return []


def _firsts(sent: SentFirst, source: Source, sign: int) -> list[CohortFirst]:
    first = First(*source, sent.ts_ms, sign * sent.weight, sent.item_id, sent.path)
    return [CohortFirst(cohort, first) for cohort in sent.cohorts]


def pack_beginnings(beginnings: Beginnings) -> bytes:
    """A record's value."""
    return _encode(beginnings)


def unpack_beginnings(value: bytes | None) -> Beginnings:
    """Read back what `pack_beginnings` wrote. PoisonError for anything else."""
    beginnings = own_record(value, _decoder, "a record of first events")
    if not all(math.isfinite(first.weight) for first in beginnings.firsts):
        raise PoisonError("a first event's weight is not finite", reason="out_of_range")
    return beginnings


def plan_of_beginnings(records: Sequence[Beginnings], rows: Mapping[str, int]) -> Plan:
    """What records of one log are to add to their cohorts' nodes; an event that is there twice counts once.

    `rows` gives the row of each item's vector; an event about another item adds nothing.
    """
    plan = Plan()
    by_cohort: dict[str, dict[tuple[str, int, int, str, int, float], First]] = {}
    for record in records:
        once = by_cohort.setdefault(record.cohort, {})
        for first in record.firsts:
            once[*first.source, first.item_id, first.ts_ms, first.weight] = first
    for cohort, once in by_cohort.items():
        plan.remembered[cohort] = _remembered(once.values())
        nodes: dict[str, list[int]] = {}
        for first in once.values():
            row = rows.get(first.item_id)
            if row is None:
                continue
            if first.path not in nodes:
                nodes[first.path] = [plan.contributions.node(key) for key in _keys(cohort, first.path)]
            weight, sign = abs(first.weight), 1 if first.weight > 0 else -1
            plan.contributions.add(nodes[first.path], row, first.ts_ms, weight, sign, Told(first.source, "", ""))
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
