"""Pairs on their way to their items: what an event changes, and the records of the topic `items.together`. Pure.

They are sent before the person's nodes are written, each with the place of its event's own record: so what comes again
changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from streams.base.errors import PoisonError
from streams.events.decode import own_record
from streams.events.event import Source
from streams.interests.popularity import pieces

#: Pairs a record holds, about: with ids as long as may be it stays under Kafka's limit of 1 MiB.
PAIRS_A_RECORD: Final = 500


class PairChange(msgspec.Struct, frozen=True, gc=False):
    """What the event at `source` changes for an item: one person more, or with weight -1 one less, has `other` too.

    `ts_ms` is the time of the later of the two votes.
    """

    item_id: str
    other: str
    source: Source
    ts_ms: int
    weight: float


class Pair(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The same in an item's record."""

    topic: str
    partition: int
    offset: int
    ts_ms: int
    weight: float
    other: str

    @property
    def source(self) -> Source:
        """Where the event's own record lies."""
        return Source(self.topic, self.partition, self.offset)


class ItemPairs(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An item's pairs in a record, in order."""

    item_id: str
    pairs: list[Pair]


class Pairs(msgspec.Struct, frozen=True, gc=False):
    """A record of the topic: pairs of a batch for items of one partition, from one group's reading of one log.

    An event makes pairs for some six items, so a record an item would be most of the cost.
    """

    group: str
    log: int
    items: list[ItemPairs]

    @property
    def abouts(self) -> list[str]:
        """The items; the first is the record's key."""
        return [item.item_id for item in self.items]

    @property
    def entries(self) -> list[Pair]:
        """All pairs."""
        return [pair for item in self.items for pair in item.pairs]

    def no_later_than(self, ts_ms: int) -> Pairs:
        """The same record with no time after `ts_ms`."""
        replace = msgspec.structs.replace
        items = [
            ItemPairs(item.item_id, [replace(pair, ts_ms=min(pair.ts_ms, ts_ms)) for pair in item.pairs])
            for item in self.items
        ]
        return replace(self, items=items)


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Pairs)


def pairs_of(
    changes: Iterable[PairChange], group: str, log: int, partition_of: Callable[[str], int] = lambda _: 0
) -> list[Pairs]:
    """The changes of a batch by item, in their order; items of one partition share records."""
    by_item: dict[str, list[Pair]] = {}
    for change in changes:
        pair = Pair(*change.source, change.ts_ms, change.weight, change.other)
        by_item.setdefault(change.item_id, []).append(pair)
    by_partition: dict[int, list[ItemPairs]] = {}
    for item_id, pairs in by_item.items():
        cut = (ItemPairs(item_id, piece) for piece in pieces(pairs, PAIRS_A_RECORD))
        by_partition.setdefault(partition_of(item_id), []).extend(cut)
    return [Pairs(group, log, some) for items in by_partition.values() for some in _filled(items)]


def _filled(items: Iterable[ItemPairs]) -> Iterator[list[ItemPairs]]:
    """Items in records; one's id takes the room of a pair."""
    some: list[ItemPairs] = []
    room = PAIRS_A_RECORD
    for item in items:
        needs = 1 + len(item.pairs)
        if some and needs > room:
            yield some
            some, room = [], PAIRS_A_RECORD
        some.append(item)
        room -= needs
    yield some


def pack_pairs(pairs: Pairs) -> bytes:
    """A record's value."""
    return _encode(pairs)


def unpack_pairs(value: bytes | None) -> Pairs:
    """Read back what `pack_pairs` wrote. PoisonError for anything else."""
    pairs = own_record(value, _decoder, "a record of pairs")
    if not all(pair.weight in (1.0, -1.0) for item in pairs.items for pair in item.pairs):
        raise PoisonError("a pair's weight: expected 1 or -1", reason="out_of_range")
    return pairs
