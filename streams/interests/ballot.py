"""What a person's events say for items in what everybody shares: at most one vote an item and topic, so many in all.

People count, not events. Of a person's positive events about an item that came by one topic the strongest is their
vote, and of a topic's votes the `length` strongest stand: whoever clicks ten thousand times, on one item or on as
many, moves the sums over everybody no further than that. What no longer stands is taken back at its own time and
weight, so the sums are always those of the votes that stand, and an erasure can take all of them back. Pure.

Decisions are made topic by topic because a user's records of one topic come in one order, whatever fails: a batch
that is done again decides the same, which records of several topics, in another order, would not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from streams.events.event import Source
from streams.interests.evidence import ENTRY, FIELD


class StandingVote(NamedTuple):
    """An event for an item that counts, or would if a like or bookmark (`undoable`) were taken back."""

    topic: str
    item_id: str
    ts_ms: int
    weight: float
    undoable: bool
    packed: str


def standing_vote(topic: str, item_id: str, ts_ms: int, weight: float, undoable: bool) -> StandingVote:
    """A vote, packed once: weights keep all digits, since a taking back must be exact."""
    packed = FIELD.join((item_id, str(ts_ms), repr(weight) + ("u" if undoable else "")))
    return StandingVote(topic, item_id, ts_ms, weight, undoable, packed)


#: A vote's rank and item, and the vote: heaps of them give the weakest first.
_Ranked = tuple[tuple[float, int, bool], str, StandingVote]


class VoteChange(NamedTuple):
    """What the event at `source` adds to an item at a time; a negative weight takes back what was added before.

    `topic` is the one whose votes it changes: an event may take back one that came by another topic than its own.
    """

    item_id: str
    source: Source
    ts_ms: int
    weight: float
    topic: str


class Ballot:
    """One person's standing votes while a batch is planned. Of equal weight now and then, the later event counts."""

    def __init__(self, standing: Iterable[StandingVote], length: int, half_life_ms: float) -> None:
        self._length, self._half_life_ms = length, half_life_ms
        self._topics: dict[str, dict[str, list[StandingVote]]] = {}
        self._counts: dict[str, int] = {}
        for vote in standing:
            self._topics.setdefault(vote.topic, {}).setdefault(vote.item_id, []).append(vote)
            self._counts[vote.topic] = self._counts.get(vote.topic, 0) + 1
        # Made where a topic has too many votes for the first time; what no longer stands is passed over.
        self._weakest: dict[str, list[_Ranked]] = {}

    def standing(self) -> tuple[StandingVote, ...]:
        """All that is to be remembered."""
        return tuple(vote for items in self._topics.values() for votes in items.values() for vote in votes)

    def give(self, source: Source, item_id: str, ts_ms: int, weight: float, *, undoable: bool) -> list[VoteChange]:
        """Count a positive event; gives what that changes, for this item and for one that falls out."""
        topic, rank = source.topic, self._rank
        items = self._topics.setdefault(topic, {})
        new = standing_vote(topic, item_id, ts_ms, weight, undoable)
        votes = items.setdefault(item_id, [])
        before = max(votes, key=rank, default=None)
        plain = None if undoable else next((vote for vote in votes if not vote.undoable), None)
        if plain is None:
            votes.append(new)
            self._counts[topic] = self._counts.get(topic, 0) + 1
        elif rank(plain) < rank(new):
            votes[votes.index(plain)] = new
        if topic in self._weakest:
            heappush(self._weakest[topic], (rank(new), item_id, new))
        changes = _change(source, before, new if before is None else max(votes, key=rank))
        if self._counts[topic] > self._length:
            changes += self._drop(source, items)
        return changes

    def take_back(self, source: Source, item_id: str, ts_ms: int, weight: float) -> list[VoteChange]:
        """Undo a like or bookmark of that time and weight, if it is still known; gives what that changes."""
        for topic in sorted(self._topics, key=lambda topic: (topic != source.topic, topic)):
            votes = self._topics[topic].get(item_id, [])
            for vote in votes:
                if vote.undoable and vote.ts_ms == ts_ms and vote.weight == weight:
                    before = max(votes, key=self._rank)
                    votes.remove(vote)
                    self._counts[topic] -= 1
                    return _change(source, before, max(votes, key=self._rank, default=None))
        return []

    def counted(self) -> Iterator[StandingVote]:
        """The votes that are in the sums over everybody: the strongest an item and topic."""
        for items in self._topics.values():
            for votes in items.values():
                if votes:
                    yield votes[0] if len(votes) == 1 else max(votes, key=self._rank)

    def _drop(self, source: Source, items: dict[str, list[StandingVote]]) -> list[VoteChange]:
        ranked = self._weakest.get(source.topic)
        if ranked is None:
            ranked = [(self._rank(vote), vote.item_id, vote) for votes in items.values() for vote in votes]
            heapify(ranked)
            self._weakest[source.topic] = ranked
        weakest = heappop(ranked)[2]
        while weakest not in items.get(weakest.item_id, ()):
            weakest = heappop(ranked)[2]
        votes = items[weakest.item_id]
        votes.remove(weakest)
        self._counts[source.topic] -= 1
        if votes:
            return []
        del items[weakest.item_id]
        return _change(source, weakest, None)

    def _rank(self, vote: StandingVote) -> tuple[float, int, bool]:
        """All decay alike, so the order of votes never changes: log2(s) + t/h ranks them at every moment."""
        return (math.log2(vote.weight) + vote.ts_ms / self._half_life_ms, vote.ts_ms, vote.undoable)


def _change(source: Source, before: StandingVote | None, after: StandingVote | None) -> list[VoteChange]:
    if before is not None and after is not None and before[2:4] == after[2:4]:
        return []
    changes: list[VoteChange] = []
    if before is not None:
        changes.append(VoteChange(before.item_id, source, before.ts_ms, -before.weight, before.topic))
    if after is not None:
        changes.append(VoteChange(after.item_id, source, after.ts_ms, after.weight, after.topic))
    return changes


def withdrawn_votes(
    standing: Iterable[StandingVote], until_ms: int, source: Source, half_life_ms: float
) -> list[VoteChange]:
    """What an erasure of time `until_ms` by the event at `source` takes back: all that counts, but what is younger.

    Where a younger vote was the weaker one of its item, it is the one that counts from there on.
    """
    standing = list(standing)
    before = Ballot(standing, 0, half_life_ms).counted()
    younger = Ballot((vote for vote in standing if vote.ts_ms > until_ms), 0, half_life_ms).counted()
    after = {(vote.topic, vote.item_id): vote for vote in younger}
    by = by_erasure(source)
    return [change for vote in before for change in _change(by, vote, after.get((vote.topic, vote.item_id)))]


def by_erasure(source: Source) -> Source:
    """The place by which the sums over everybody know what an erasure takes back.

    It is sent before what else its batch says, which lies before it in the log: so it is a partition of its own.
    """
    return source._replace(topic=f"{source.topic}{_ERASE}")


def sent_by(topic: str) -> str:
    """The topic whose event a place in the sums over everybody is of: those of erasures have another name."""
    return topic.removesuffix(_ERASE)


def pack_standing(votes: Iterable[StandingVote]) -> str:
    """Votes as one string, a topic's name once."""
    by_topic: dict[str, list[str]] = {}
    for vote in votes:
        by_topic.setdefault(vote.topic, [vote.topic]).append(vote.packed)
    return _TOPIC.join(ENTRY.join(entries) for entries in by_topic.values())


def unpack_standing(packed: str) -> tuple[StandingVote, ...]:
    """Read back what `pack_standing` wrote."""
    votes: list[StandingVote] = []
    for block in packed.split(_TOPIC) if packed else ():
        topic, *entries = block.split(ENTRY)
        for entry in entries:
            item_id, ts, weight = entry.split(FIELD)
            votes.append(StandingVote(topic, item_id, int(ts), float(weight.rstrip("u")), weight.endswith("u"), entry))
    return tuple(votes)


_ERASE = "#erase"  # no topic's name has such a character
_TOPIC = "\x1d"  # no id can contain it, as of FIELD and ENTRY
