"""How popular an item is: the decayed mass of everybody's votes that stand, folded like a node. Pure.

The path sends what its users' events change in their votes (`ballot.py`) on to the topic `items.popularity`, keyed by
item and before it writes their nodes; whoever owns the item's partition folds it. A change comes with the place of its
event's own record, so what comes again, after a worker died between the two, is known by it and changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from streams.base.errors import PoisonError
from streams.events.decode import own_record
from streams.events.event import Source
from streams.interests.applied import Applied
from streams.interests.ballot import VoteChange
from streams.interests.decay import decay, decayed, runs_out_ms

#: Votes a record holds, about: it stays far under Kafka's limit of 1 MiB.
VOTES_A_RECORD: Final = 1000
_NOTHING_LEFT = 1e-9  # mass under this share of what was summed is rounding error


class Vote(NamedTuple):
    """What one event changes for an item: its record's place, a time and a weight, negative to take one back."""

    topic: str
    partition: int
    offset: int
    ts_ms: int
    weight: float

    @property
    def source(self) -> Source:
        """Where the event's own record lies."""
        return Source(self.topic, self.partition, self.offset)


class Votes(msgspec.Struct, frozen=True, gc=False):
    """A record of the topic: one item's votes of a batch, from one group's reading of one incarnation of its log."""

    item_id: str
    group: str
    log: int
    votes: list[Vote]

    @property
    def about(self) -> str:
        """The item: the record's key."""
        return self.item_id

    @property
    def entries(self) -> list[Vote]:
        """The votes."""
        return self.votes

    def with_entries(self, votes: list[Vote]) -> Votes:
        """The same record with other votes."""
        return msgspec.structs.replace(self, votes=votes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPopularity:
    """An item's mass at `t0_ms`, how many votes it is made of, and how far each source partition is in it."""

    item_id: str
    mass: float = 0.0
    t0_ms: int = 0
    count: int = 0
    applied: Applied = field(default_factory=Applied)


class Counted(NamedTuple):
    """The items that changed, and how many votes counted and how many came again or too late."""

    changed: list[ItemPopularity]
    counted: int
    repeated: int


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Votes)


def tally(changes: Iterable[VoteChange], group: str, log: int) -> list[Votes]:
    """The changes of a batch by item, in their order."""
    by_item: dict[str, list[Vote]] = {}
    for change in changes:
        by_item.setdefault(change.item_id, []).append(Vote(*change.source, change.ts_ms, change.weight))
    return [
        Votes(item_id, group, log, piece)
        for item_id, votes in by_item.items()
        for piece in (_pieces(votes) if len(votes) > VOTES_A_RECORD else [votes])
    ]


def _pieces(votes: Sequence[Vote]) -> Iterable[list[Vote]]:
    """Cut votes, but never between two of one event: the second would be taken for a repetition."""
    piece: list[Vote] = []
    for vote in votes:
        if len(piece) >= VOTES_A_RECORD and vote.source != piece[-1].source:
            yield piece
            piece = []
        piece.append(vote)
    yield piece


def pack_votes(votes: Votes) -> bytes:
    """A record's value."""
    return _encode(votes)


def unpack_votes(value: bytes | None) -> Votes:
    """Read back what `pack_votes` wrote. PoisonError for anything else."""
    votes = own_record(value, _decoder, "a record of votes")
    if not all(math.isfinite(vote.weight) for vote in votes.votes):
        raise PoisonError("a vote's weight is not finite", reason="out_of_range")
    return votes


def count(records: Iterable[Votes], stored: Mapping[str, ItemPopularity], half_life_s: float) -> Counted:
    """Fold votes, in the order of their records, into the items they are for.

    Exact over redelivery in any grouping, since a source partition's votes for an item arrive in the order of their
    offsets, repetitions aside. Votes from an earlier incarnation of the log than an item has seen are passed over.
    """
    changed: dict[str, ItemPopularity] = {}
    counted = repeated = 0
    for record in records:
        item = changed.get(record.item_id) or stored.get(record.item_id) or ItemPopularity(item_id=record.item_id)
        fresh = [vote for vote in record.votes if not item.applied.covers(vote.source, record.log)]
        if not fresh or record.log < item.applied.log:
            repeated += len(record.votes)
            continue
        counted += len(fresh)
        repeated += len(record.votes) - len(fresh)
        changed[record.item_id] = _with_votes(item, fresh, record.log, half_life_s * 1000.0)
    return Counted(list(changed.values()), counted, repeated)


def _with_votes(item: ItemPopularity, votes: Sequence[Vote], log: int, half_life_ms: float) -> ItemPopularity:
    t0_ms = max(item.t0_ms, *(vote.ts_ms for vote in votes))
    mass = summed = decayed(item.mass, item.t0_ms, t0_ms, half_life_ms)
    number = item.count
    for vote in votes:
        left = vote.weight * decay(t0_ms - vote.ts_ms, half_life_ms)
        mass, summed, number = mass + left, summed + abs(left), number + (1 if vote.weight > 0 else -1)
    if mass <= _NOTHING_LEFT * summed:
        mass = 0.0
    return ItemPopularity(
        item_id=item.item_id,
        mass=mass,
        t0_ms=t0_ms,
        count=number,
        applied=item.applied.advance((vote.source for vote in votes), log),
    )


def forgotten_at_ms(item: ItemPopularity, half_life_s: float, below: float) -> int:
    """When the mass falls under `below`, in ms."""
    return runs_out_ms(item.mass, item.t0_ms, half_life_s * 1000.0, below)
