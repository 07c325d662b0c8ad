"""From weighed events to what each node is to receive, and what each profile must remember. Pure.

Events are taken in the order of their records, user by user. An `unlike` finds its `like` among the profile's
marks and takes the like's own contribution back, at the like's own time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.events.event import Event, Source
from streams.interests.ballot import Ballot, StandingVote, VoteChange
from streams.interests.contexts import situations
from streams.interests.contributions import Contributions, told
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
from streams.interests.neighbours import Neighbours
from streams.interests.nodes import Node, NodeKey, NodePolicy, profile_key
from streams.interests.pair_records import PairChange
from streams.interests.recents import Recent
from streams.interests.signed_weight import UNDOES

_MARKED = frozenset(UNDOES.values())


class Weighed(NamedTuple):
    """One event's evidence on one subject: its vector's row, the subject's path ("" unknown), the signed weight."""

    event: Event
    row: int
    path: str
    weight: float
    item_id: str


@dataclass(slots=True, kw_only=True)
class Remembered:
    """What a batch leaves on one profile: records applied, their ring entries, items seen and recent, standing marks.

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
    recents: list[Recent] = field(default_factory=list)


@dataclass(slots=True)
class Plan:
    """All contributions of a batch, what to remember by user, and what it changes in votes for items and in pairs.

    `undone` has by user and record the item, time and weight of each like that it takes back.
    """

    contributions: Contributions = field(default_factory=Contributions)
    remembered: dict[str, Remembered] = field(default_factory=dict)
    votes: list[VoteChange] = field(default_factory=list)
    pairs: list[PairChange] = field(default_factory=list)
    undone: dict[tuple[str, Source], list[Mark]] = field(default_factory=dict)

    def touched(self) -> list[NodeKey]:
        """The nodes that the plan touches, each once: those of the contributions by number, then profiles."""
        keys = dict.fromkeys(self.contributions.keys)
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

    With `whole_trees` a user's points are written all or none, so the profile speaks for the tree; without (several
    shards or replicas), a redelivered event goes on, and each node decides by its own `applied`. So does the
    erasure that a tombstone is of: what it deletes may be left in places.
    """
    gated = Gated([], [], [], [])
    pending: dict[str, dict[bytes, bytes]] = {}
    for event in events:
        profile = profiles.get(event.user_id)
        entry = ring_entry(event.event_id, event.source, log, named=event.named)
        seen = pending.setdefault(event.user_id, {})
        if seen.get(entry[:6], entry) != entry or (profile is not None and in_ring(profile.ring, entry)):
            gated.duplicates.append(event)
        elif (
            profile is not None
            and event.ts_ms <= profile.erased_at_ms
            and not (event.type == "erase" and event.ts_ms == profile.erased_at_ms and not whole_trees)
        ):
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
    *,
    places: int = 0,
) -> Plan:
    """Spread each event over the nodes of its user's tree.

    `events` are all that the batch applies, those without evidence included: they too are remembered, so that a
    redelivery of them is known. A user's votes up to `places` apart are pairs.
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
    spread, vote = _Spread(planned.contributions, policy), _Polls(planned, policy, places)
    for weighed in weighed_events:
        event, memory = weighed.event, planned.remembered[weighed.event.user_id]
        counts = event.type not in _MARKED or _give(weighed, memory, policy, log)
        _note(weighed, memory, policy, counts=counts)
        if event.type in UNDOES:
            undone = _take_back(weighed, memory, policy, log)
            for mark in undone:
                spread(weighed, mark.ts_ms, mark.weight, -1, mark.event_id)
                memory.recents.append(Recent(mark.item_id, mark.ts_ms, 0.0, mark.kind))
            if undone:
                planned.undone[event.user_id, event.source] = undone
        elif counts:
            undone = []
            spread(weighed, event.ts_ms, weighed.weight, 1, event.event_id)
        else:
            continue
        profile = profiles.get(event.user_id)
        if weighed.item_id and not (profile is not None and profile.applied.covers(event.source, log)):
            vote(weighed, undone)
    vote.end()
    return planned


class _Polls:
    """The votes of a batch's users while it is planned, and which of them stand side by side, if anybody asks."""

    def __init__(self, into: Plan, policy: NodePolicy, places: int) -> None:
        self._into, self._policy, self._places = into, policy, places
        self._ballots: dict[str, Ballot] = {}
        self._neighbours: dict[str, Neighbours] = {}

    def __call__(self, weighed: Weighed, undone: Sequence[Mark]) -> None:
        """Plan what an event changes: by what it adds to the whole person for an item, or takes back."""
        event, item_id = weighed.event, weighed.item_id
        user, source, gives = event.user_id, event.source, weighed.weight > 0 and event.type not in UNDOES
        taken = [mark for mark in undone if mark.weight > 0]
        if not gives and not taken:
            return
        ballot = self._ballots.get(user) or self._begin(user)
        changes = [one for mark in taken for one in ballot.take_back(source, item_id, mark.ts_ms, mark.weight)]
        if gives:
            changes += ballot.give(source, item_id, event.ts_ms, weighed.weight, undoable=event.type in _MARKED)
        self._into.votes += changes
        if self._places:
            self._into.pairs += self._neighbours[user].changed(changes)

    def _begin(self, user: str) -> Ballot:
        votes = self._into.remembered[user].votes
        made = self._ballots[user] = Ballot(votes, self._policy.votes_length, self._policy.half_life_ms("profile"))
        if self._places:
            self._neighbours[user] = Neighbours(made.counted(), self._places)
        return made

    def end(self) -> None:
        """Remember what stands."""
        for user, ballot in self._ballots.items():
            self._into.remembered[user].votes = ballot.standing()


def _note(weighed: Weighed, memory: Remembered, policy: NodePolicy, *, counts: bool) -> None:
    """Remember the item as seen and recent, with no weight unless the event `counts`, and what its person began with.

    Nobody has anything to do with an item only for being shown it, nor once more for taking an event back.
    """
    event, item_id = weighed.event, weighed.item_id
    if item_id and (event.type != "impression" or item_id in event.clicked):
        memory.seen.append(seen_entry(item_id))
        if event.type not in UNDOES:
            memory.recents.append(Recent(item_id, event.ts_ms, weighed.weight if counts else 0.0, event.type))
    if weighed.path and weighed.weight >= policy.faint_below:
        first = weighed.path.strip("/").partition("/")[0]
        memory.began = memory.began.or_earlier(Began(event.ts_ms, f"/{first}"))


class _Spread:
    """Spreads evidence over nodes: whole person, session, topic, interest, situation, and aversion if negative.

    Where a person's evidence of a path goes is worked out once a batch.
    """

    def __init__(self, into: Contributions, policy: NodePolicy) -> None:
        self._into, self._policy = into, policy
        self._known: dict[tuple[str, str], tuple[int, ...]] = {}

    def __call__(self, weighed: Weighed, ts_ms: int, weight: float, sign: int, event_id: str) -> None:
        if not weight:
            return
        event, into, policy = weighed.event, self._into, self._policy
        user, faint = event.user_id, abs(weight) < policy.faint_below
        path = "" if faint else weighed.path
        said = told(event.source, event_id, weighed.item_id, ts_ms, weight, event.type)
        into.add(self._nodes(user, path), weighed.row, ts_ms, weight, sign, said)
        if policy.contexts and not faint:
            around = situations(ts_ms, event.context, policy.contexts)
            into.add(
                [into.node(NodeKey(user, "context", one)) for one in around], weighed.row, ts_ms, weight, sign, said
            )
        if weight < 0 and not faint:
            first = path.strip("/").partition("/")[0]
            against = [NodeKey(user, "aversion", one) for one in ("/", *([f"/{first}"] if first else []))]
            said = told(event.source, event_id, weighed.item_id, ts_ms, -weight, event.type)
            into.add([into.node(key) for key in against], weighed.row, ts_ms, -weight, sign, said)

    def _nodes(self, user: str, path: str) -> tuple[int, ...]:
        nodes = self._known.get((user, path))
        if nodes is None:
            first, _, second = path.strip("/").partition("/")
            keys = [profile_key(user), NodeKey(user, "session", "/")]
            if first:
                keys.append(NodeKey(user, "topic", f"/{first}"))
            if second:
                keys.append(NodeKey(user, "interest", path))
            nodes = self._known[user, path] = tuple(map(self._into.node, keys))
        return nodes


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


def _take_back(weighed: Weighed, memory: Remembered, policy: NodePolicy, log: int) -> list[Mark]:
    """Mark every standing like of the item that is not younger than this as undone, and give them."""
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
    return reversed_
