"""From weighed events to what each node is to receive, and what each profile must remember. Pure.

Events are taken in the order of their records, user by user. An `unlike` finds its `like` among the profile's
marks and takes the like's own contribution back, at the like's own time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.events.event import Event, Source
from streams.interests.ballot import Ballot, StandingVote, VoteChange
from streams.interests.contexts import situations
from streams.interests.evidence import (
    NOT_BEGUN,
    Began,
    Mark,
    SentFirst,
    in_ring,
    ring_entry,
    seen_entry,
    source_hash,
)  # fmt: skip
from streams.interests.nodes import Node, NodeKey, NodePolicy, profile_key
from streams.interests.signed_weight import UNDOES

_MARKED = frozenset(UNDOES.values())


class Weighed(NamedTuple):
    """One event's evidence on one subject: its vector's row, the subject's path ("" unknown), the signed weight."""

    event: Event
    row: int
    path: str
    weight: float
    item_id: str


class Contribution(NamedTuple):
    """What one event of a type adds to one node: weight s at time t along a vector; `sign` -1 takes it back."""

    key: NodeKey
    row: int
    ts_ms: int
    weight: float
    sign: int
    source: Source
    event_id: str
    item_id: str
    type: str = ""


@dataclass(slots=True, kw_only=True)
class Remembered:
    """What a batch leaves on one profile: records applied, their ring entries, items seen, the marks that stand now.

    And what of its person counts now in the sums over everybody: `votes` for items, `firsts` in cohorts.
    """

    marks: tuple[Mark, ...] = ()
    sources: list[Source] = field(default_factory=list)
    ring: list[bytes] = field(default_factory=list)
    seen: list[bytes] = field(default_factory=list)
    began: Began = NOT_BEGUN
    last_ms: int = 0
    votes: tuple[StandingVote, ...] = ()
    firsts: tuple[SentFirst, ...] = ()


@dataclass(slots=True)
class Plan:
    """All contributions of a batch, what to remember by user, and what it changes in the votes for items."""

    contributions: list[Contribution] = field(default_factory=list)
    remembered: dict[str, Remembered] = field(default_factory=dict)
    votes: list[VoteChange] = field(default_factory=list)

    def touched(self) -> list[NodeKey]:
        """The nodes that the plan touches, each once, profiles included."""
        keys = dict.fromkeys(contribution.key for contribution in self.contributions)
        keys.update(dict.fromkeys(profile_key(user) for user in self.remembered))
        return list(keys)


class Gated(NamedTuple):
    """Which events of a batch are new: the rest were applied before, came twice, or precede an erasure."""

    fresh: list[Event]
    redelivered: list[Event]
    duplicates: list[Event]
    erased: list[Event]


def gate(events: Sequence[Event], profiles: Mapping[str, Node], log: int, *, whole_trees: bool) -> Gated:
    """Drop what a profile says has had its effect.

    With `whole_trees` a user's points are written all or none, so the profile speaks for the tree; without
    (a sharded collection), a redelivered event goes on, and each node decides by its own `applied`.
    """
    gated = Gated([], [], [], [])
    pending: dict[str, dict[bytes, bytes]] = {}
    for event in events:
        profile = profiles.get(event.user_id)
        entry = ring_entry(event.event_id, event.source, log, named=event.named)
        seen = pending.setdefault(event.user_id, {})
        if seen.get(entry[:6], entry) != entry or (profile is not None and in_ring(profile.ring, entry)):
            gated.duplicates.append(event)
        elif profile is not None and event.ts_ms <= profile.erased_at_ms:
            gated.erased.append(event)
        elif profile is not None and whole_trees and profile.applied.covers(event.source, log):
            gated.redelivered.append(event)
        else:
            seen[entry[:6]] = entry
            gated.fresh.append(event)
    return gated


def plan(
    weighed_events: Iterable[Weighed],
    events: Iterable[Event],
    profiles: Mapping[str, Node],
    policy: NodePolicy,
    log: int,
) -> Plan:
    """Spread each event over the nodes of its user's tree.

    `events` are all that the batch applies, those without evidence included: they too are remembered, so that a
    redelivery of them is known.
    """
    planned = Plan()
    for event in events:
        memory = planned.remembered.get(event.user_id)
        if memory is None:
            profile = profiles.get(event.user_id)
            memory = planned.remembered[event.user_id] = Remembered()
            if profile is not None:
                memory.marks, memory.began = profile.marks, profile.began
                memory.votes, memory.firsts = profile.votes, profile.firsts
        memory.sources.append(event.source)
        memory.ring.append(ring_entry(event.event_id, event.source, log, named=event.named))
        memory.last_ms = max(memory.last_ms, event.ts_ms)
    ballots: dict[str, Ballot] = {}
    for weighed in weighed_events:
        event, memory = weighed.event, planned.remembered[weighed.event.user_id]
        _note(weighed, memory, policy)
        added: list[Contribution] = []
        if event.type in UNDOES:
            added = _take_back(weighed, memory, policy, log)
        elif event.type not in _MARKED or _give(weighed, memory, policy, log):
            added = _spread(weighed, policy, event.ts_ms, weighed.weight, 1, event.event_id)
        planned.contributions += added
        profile = profiles.get(event.user_id)
        if added and not (profile is not None and profile.applied.covers(event.source, log)):
            planned.votes += _vote(event, added, memory, ballots, policy)
    for user_id, ballot in ballots.items():
        planned.remembered[user_id].votes = ballot.standing()
    return planned


def _vote(
    event: Event, added: Sequence[Contribution], memory: Remembered, ballots: dict[str, Ballot], policy: NodePolicy
) -> Iterator[VoteChange]:
    """What an event changes in its user's votes: by what it adds to the whole person for an item, or takes back."""
    for c in added:
        if c.key.level != "profile" or c.weight <= 0 or not c.item_id:
            continue
        ballot = ballots.get(event.user_id)
        if ballot is None:
            half_life_ms = policy.half_life_ms("profile")
            ballot = ballots[event.user_id] = Ballot(memory.votes, policy.votes_length, half_life_ms)
        if c.sign < 0:
            yield from ballot.take_back(c.source, c.item_id, c.ts_ms, c.weight)
        else:
            undoable = event.type in _MARKED
            yield from ballot.give(c.source, c.item_id, c.ts_ms, c.weight, undoable=undoable)


def _note(weighed: Weighed, memory: Remembered, policy: NodePolicy) -> None:
    """Remember the item as seen, and what its person began with."""
    if weighed.item_id and (weighed.event.type != "impression" or weighed.item_id in weighed.event.clicked):
        memory.seen.append(seen_entry(weighed.item_id))
    if weighed.path and weighed.weight >= policy.faint_below:
        first = weighed.path.strip("/").partition("/")[0]
        memory.began = memory.began.or_earlier(Began(weighed.event.ts_ms, f"/{first}"))


def _spread(
    weighed: Weighed, policy: NodePolicy, ts_ms: int, weight: float, sign: int, event_id: str
) -> list[Contribution]:
    """One contribution a node: whole person, session, topic, interest, situation, and aversion if negative."""
    if not weight:
        return []
    user, faint = weighed.event.user_id, abs(weight) < policy.faint_below
    first, _, second = ("" if faint else weighed.path.strip("/")).partition("/")
    keys = [profile_key(user), NodeKey(user, "session", "/")]
    if first:
        keys.append(NodeKey(user, "topic", f"/{first}"))
    if second:
        keys.append(NodeKey(user, "interest", weighed.path))
    if policy.contexts and not faint:
        keys += [NodeKey(user, "context", path) for path in situations(ts_ms, weighed.event.context, policy.contexts)]
    rest = (weighed.event.source, event_id, weighed.item_id, weighed.event.type)
    contributions = [Contribution(key, weighed.row, ts_ms, weight, sign, *rest) for key in keys]
    if weight < 0 and not faint:
        aversions = [NodeKey(user, "aversion", "/")] + ([NodeKey(user, "aversion", f"/{first}")] if first else [])
        contributions += [Contribution(key, weighed.row, ts_ms, -weight, sign, *rest) for key in aversions]
    return contributions


def _give(weighed: Weighed, memory: Remembered, policy: NodePolicy, log: int) -> bool:
    """Whether this like counts: not if it was taken back later than it was given. Marks it if it does."""
    event, kind, own = weighed.event, weighed.event.type, source_hash(weighed.event.source, log).hex()
    for mark in memory.marks:
        if mark.source == own and not mark.undo:
            return True
    for mark in memory.marks:
        if mark.undo and mark.kind == kind and mark.item_id == weighed.item_id and mark.ts_ms >= event.ts_ms:
            return False
    new = Mark(
        item_id=weighed.item_id, kind=kind, undo=False, ts_ms=event.ts_ms, weight=weighed.weight,
        event_id=event.event_id, source=own,
    )  # fmt: skip
    memory.marks = (*memory.marks, new)[-policy.marks_length :]
    return True


def _take_back(weighed: Weighed, memory: Remembered, policy: NodePolicy, log: int) -> list[Contribution]:
    """Reverse every standing like of the item that is not younger than this, at its own time and weight."""
    event, kind, own = weighed.event, UNDOES[weighed.event.type], source_hash(weighed.event.source, log).hex()
    known = any(mark.undo and mark.source == own for mark in memory.marks)
    marks: list[Mark] = []
    reversed_: list[Mark] = []
    for mark in memory.marks:
        if mark.undo or mark.kind != kind or mark.item_id != weighed.item_id:
            marks.append(mark)
        elif mark.undone_by == own:
            marks.append(mark)
            reversed_.append(mark)
        elif not known and not mark.undone_by and mark.ts_ms <= event.ts_ms:
            marks.append(mark._replace(undone_by=own))
            reversed_.append(mark)
        else:
            marks.append(mark)
    if not known:
        undo = Mark(
            item_id=weighed.item_id, kind=kind, undo=True, ts_ms=event.ts_ms, weight=0.0, event_id=event.event_id,
            source=own,
        )  # fmt: skip
        marks.append(undo)
    memory.marks = tuple(marks[-policy.marks_length :])
    return [c for mark in reversed_ for c in _spread(weighed, policy, mark.ts_ms, mark.weight, -1, mark.event_id)]
