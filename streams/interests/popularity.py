"""How popular an item is: the decayed mass of everybody's votes that stand, folded like a node. Pure.

The path sends what its users' events change in their votes (`ballot.py`) on to the topic `items.popularity`, keyed by
item and before it writes their nodes; whoever owns the item's partition folds it. A change comes with the place of its
event's own record, so what comes again, after a worker died between the two, is known by it and changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from streams.base.errors import PoisonError
from streams.events.decode import own_record
from streams.events.event import Source
from streams.interests.applied import Applied
from streams.interests.ballot import VoteChange
from streams.interests.decay import decay, decayed, runs_out_ms

_DAY_S: Final = 86_400.0
#: Half-lives of an item's mass beside that of the settings, in s, by name.
SHORTER_S: Final[Mapping[str, float]] = {"1d": _DAY_S, "7d": 7 * _DAY_S, "30d": 30 * _DAY_S}
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
    def abouts(self) -> list[str]:
        """The item: the record's key."""
        return [self.item_id]

    @property
    def entries(self) -> list[Vote]:
        """The votes."""
        return self.votes

    def no_later_than(self, ts_ms: int) -> Votes:
        """The same record with no time after `ts_ms`."""
        votes = [vote._replace(ts_ms=min(vote.ts_ms, ts_ms)) for vote in self.votes]
        return msgspec.structs.replace(self, votes=votes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPopularity:
    """An item's masses at `t0_ms`, how many votes they are made of, and how far each source partition is in them.

    `masses` has one a half-life of `half_lives_s`, that of the settings first. `last_ms` is the latest time of a vote
    that ever counted, taken back or not; 0 where none did.
    """

    item_id: str
    masses: tuple[float, ...] = (0.0,) * (1 + len(SHORTER_S))
    t0_ms: int = 0
    last_ms: int = 0
    count: int = 0
    applied: Applied = field(default_factory=Applied)

    @property
    def mass(self) -> float:
        """The mass at the half-life of the settings."""
        return self.masses[0]


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
        for piece in pieces(votes, VOTES_A_RECORD)
    ]


class _OfAnEvent(Protocol):
    @property
    def source(self) -> Source: ...


E = TypeVar("E", bound=_OfAnEvent)


def pieces(entries: list[E], about: int) -> Iterable[list[E]]:
    """Cut entries after so many, but never between two of one event: the second would be taken for a repetition."""
    piece = entries[:about]
    for entry in entries[about:]:
        if len(piece) >= about and entry.source != piece[-1].source:
            yield piece
            piece = []
        piece.append(entry)
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


def half_lives_s(half_life_s: float) -> tuple[float, ...]:
    """The half-lives of an item's masses, in s: that of the settings, then the shorter ones."""
    return half_life_s, *SHORTER_S.values()


def count(records: Iterable[Votes], stored: Mapping[str, ItemPopularity], half_life_s: float) -> Counted:
    """Fold votes, in the order of their records, into the items they are for.

    Exact over redelivery in any grouping, since a source partition's votes for an item arrive in the order of their
    offsets, repetitions aside. Votes from an earlier incarnation of the log than an item has seen are passed over.
    """
    half_lives_ms = [seconds * 1000.0 for seconds in half_lives_s(half_life_s)]
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
        changed[record.item_id] = _with_votes(item, fresh, record.log, half_lives_ms)
    return Counted(list(changed.values()), counted, repeated)


def _with_votes(
    item: ItemPopularity, votes: Sequence[Vote], log: int, half_lives_ms: Sequence[float]
) -> ItemPopularity:
    t0_ms = max(item.t0_ms, *(vote.ts_ms for vote in votes))
    masses = zip(item.masses, half_lives_ms, strict=True)
    return ItemPopularity(
        item_id=item.item_id,
        masses=tuple(_mass(decayed(mass, item.t0_ms, t0_ms, life), votes, t0_ms, life) for mass, life in masses),
        t0_ms=t0_ms,
        last_ms=max(item.last_ms, *(vote.ts_ms for vote in votes if vote.weight > 0), 0),
        count=item.count + sum(1 if vote.weight > 0 else -1 for vote in votes),
        applied=item.applied.advance((vote.source for vote in votes), log),
    )


def _mass(mass: float, votes: Sequence[Vote], t0_ms: int, half_life_ms: float) -> float:
    summed = mass
    for vote in votes:
        left = vote.weight * decay(t0_ms - vote.ts_ms, half_life_ms)
        mass, summed = mass + left, summed + abs(left)
    return mass if mass > _NOTHING_LEFT * summed else 0.0


def forgotten_at_ms(item: ItemPopularity, half_life_s: float, below: float) -> int:
    """When the last of the masses falls under `below`, in ms."""
    masses = zip(item.masses, half_lives_s(half_life_s), strict=True)
    return max(runs_out_ms(mass, item.t0_ms, life * 1000.0, below) for mass, life in masses)
