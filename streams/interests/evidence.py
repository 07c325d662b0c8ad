"""What a node remembers of single events: its strongest contributions, recent event ids, marks that stand. Pure.

All three are packed into one short string each, since Qdrant stores nested payloads slowly. Fields are joined
by U+001F and entries by U+001E, which no id can contain.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, overload

import xxhash

from streams.events.event import Source

FIELD, ENTRY = "\x1f", "\x1e"
_RING_ENTRY = 10  # bytes: six of the event id's hash, four of its source's
_SEEN_ENTRY = 6  # bytes of the item id's hash


class Evidence(NamedTuple):
    """One contribution to a node: the event, its item ("" where it had none), its time, its signed weight, its type.

    `type` is "" in what was folded before evidence kept it.
    """

    event_id: str
    item_id: str
    ts_ms: int
    weight: float
    type: str = ""


Ranked = tuple[float, str, str]
"""Evidence as it is kept: what ranks it, the lowest first, its event's name, and what is packed behind the name.

A plain tuple: the collector of garbage stops looking at those that hold no containers, and a worker keeps many.
"""


def order_of(weight: float, ts_ms: int, half_life_ms: float) -> float:
    """What ranks a contribution. All decay alike, so their order never changes: log2|s| + t/h ranks them for good."""
    return -(math.log2(abs(weight)) + ts_ms / half_life_ms) if weight else math.inf


class Strongest(Sequence[Evidence]):
    """The contributions that weigh most in a node, strongest first: unpacked only where somebody looks at them.

    It holds them packed as they are stored, or ranked once the fold has asked for that, never both.
    """

    __slots__ = ("_packed", "_ranked")

    def __init__(self, packed: str = "", ranked: Sequence[Ranked] | None = None) -> None:
        self._packed, self._ranked = packed, ranked

    @classmethod
    def of(cls, evidence: Sequence[Evidence]) -> Strongest:
        """The same evidence, in its order."""
        return evidence if isinstance(evidence, Strongest) else cls(pack_evidence(evidence))

    @property
    def packed(self) -> str:
        """All of it as one string; weights keep seven digits."""
        if self._ranked is None:
            return self._packed
        return ENTRY.join([name + rest for _, name, rest in self._ranked])

    def ranked(self, half_life_ms: float) -> Sequence[Ranked]:
        """All of it in its order, as `with_more` takes it."""
        if self._ranked is None:
            entries = self._packed.split(ENTRY) if self._packed else []
            self._ranked, self._packed = tuple([_ranked(entry, half_life_ms) for entry in entries]), ""
        return self._ranked

    def __len__(self) -> int:
        if self._ranked is not None:
            return len(self._ranked)
        return self._packed.count(ENTRY) + 1 if self._packed else 0

    @overload
    def __getitem__(self, at: int) -> Evidence: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Evidence]: ...
    def __getitem__(self, at: int | slice) -> Evidence | Sequence[Evidence]:
        return unpack_evidence(self.packed)[at]

    def __iter__(self) -> Iterator[Evidence]:
        return iter(unpack_evidence(self.packed))

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, (Strongest, tuple, list)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.packed)

    def __repr__(self) -> str:
        return f"Strongest({list(self)!r})"


NO_EVIDENCE: Final = Strongest()


def _ranked(entry: str, half_life_ms: float) -> Ranked:
    fields = entry.split(FIELD)
    name = FIELD.join(fields[:3])
    return order_of(float(fields[3]), int(fields[2]), half_life_ms), name, entry[len(name) :]


def with_more(kept: Sequence[Ranked], more: Sequence[Ranked], length: int) -> Strongest:
    """The `length` strongest of what was kept and what is new, which replaces what has its name."""
    renewed = {one[1]: one for one in more}
    others = [one for one in kept if one[1] not in renewed]
    return Strongest(ranked=tuple(sorted([*others, *renewed.values()])[:length]))


def pack_evidence(evidence: Iterable[Evidence]) -> str:
    """Evidence as one string; weights keep seven digits."""
    return ENTRY.join(
        f"{e.event_id}{FIELD}{e.item_id}{FIELD}{e.ts_ms}{FIELD}{e.weight:.7g}{FIELD}{e.type}" for e in evidence
    )


def unpack_evidence(packed: str) -> tuple[Evidence, ...]:
    """Read back what `pack_evidence` wrote, before entries had a type too."""
    if not packed:
        return ()
    fields = (entry.split(FIELD) for entry in packed.split(ENTRY))
    return tuple(Evidence(r[0], r[1], int(r[2]), float(r[3]), r[4] if len(r) > 4 else "") for r in fields)


class Mark(NamedTuple):
    """A like that stands, or its taking back, which must find the other whichever comes first.

    `kind` is the type that is taken back, `like` or another of `UNDOES`; `undo` marks the taking back. `source` is the
    record's 4-byte hash in hex, `weight` what the like weighed. `undone_by` is the `source` of the taking back
    that undid it, if any.
    """

    item_id: str
    kind: str
    undo: bool
    ts_ms: int
    weight: float
    event_id: str
    source: str
    undone_by: str = ""


def pack_marks(marks: Iterable[Mark]) -> str:
    """Marks as one string; weights keep all digits, since a taking back must be exact."""
    return ENTRY.join(
        FIELD.join(
            (m.item_id, m.kind, str(int(m.undo)), str(m.ts_ms), repr(m.weight), m.event_id, m.source, m.undone_by)
        )
        for m in marks
    )


def unpack_marks(packed: str) -> tuple[Mark, ...]:
    """Read back what `pack_marks` wrote."""
    if not packed:
        return ()
    rows = (entry.split(FIELD) for entry in packed.split(ENTRY))
    return tuple(
        Mark(
            item_id=r[0], kind=r[1], undo=r[2] == "1", ts_ms=int(r[3]), weight=float(r[4]), event_id=r[5], source=r[6],
            undone_by=r[7],
        )
        for r in rows
    )  # fmt: skip


class Began(NamedTuple):
    """What somebody began with: the topic ("" unknown) of their earliest positive event so far, and its time."""

    ts_ms: int = 0
    topic: str = ""

    def or_earlier(self, other: Began) -> Began:
        """The earlier of the two that is known."""
        return min((one for one in (self, other) if one.topic), default=self)


NOT_BEGUN = Began()


def pack_began(began: Began) -> str:
    """`time;topic`."""
    return f"{began.ts_ms};{began.topic}"


def unpack_began(packed: str) -> Began:
    """Read back what `pack_began` wrote."""
    ts, _, topic = packed.partition(";")
    return Began(int(ts), topic)


class SentFirst(NamedTuple):
    """One of a newcomer's first events that cohorts have learnt from; with weight 0 it was taken back."""

    cohorts: tuple[str, ...]
    item_id: str
    path: str
    ts_ms: int
    weight: float


def pack_firsts(firsts: Iterable[SentFirst]) -> str:
    """First events as one string; weights keep all digits, since a taking back must be exact."""
    return ENTRY.join(FIELD.join((f.item_id, f.path, str(f.ts_ms), repr(f.weight), *f.cohorts)) for f in firsts)


def unpack_firsts(packed: str) -> tuple[SentFirst, ...]:
    """Read back what `pack_firsts` wrote."""
    rows = (entry.split(FIELD) for entry in packed.split(ENTRY)) if packed else ()
    return tuple(SentFirst(tuple(r[4:]), r[0], r[1], int(r[2]), float(r[3])) for r in rows)


def source_hash(source: Source, log: int) -> bytes:
    """Four bytes that stand for one record of one incarnation of the log."""
    return xxhash.xxh32_digest(f"{log};{source.topic}/{source.partition}={source.offset}".encode())


def ring_entry(event_id: str, source: Source, log: int, *, named: bool = True) -> bytes:
    """The ten bytes by which the ring knows an event: its id's hash, then its source's.

    An event that brought no id (`named` is False) goes by its record's place, which holds another event in another
    incarnation of the log.
    """
    known_as = event_id if named else f"{log};{event_id}"
    return xxhash.xxh3_64_digest(known_as.encode())[:6] + source_hash(source, log)


def in_ring(ring: bytes, entry: bytes) -> bool:
    """Whether the ring holds this event id *under another source*: a producer's duplicate."""
    at = ring.find(entry[:6])
    while at >= 0:
        if at % _RING_ENTRY == 0 and ring[at : at + _RING_ENTRY] != entry:
            return True
        at = ring.find(entry[:6], at + 1)
    return False


def extend_ring(ring: bytes, entries: Iterable[bytes], length: int) -> bytes:
    """The ring with `entries` added, the oldest falling out beyond `length` entries."""
    fresh = [entry for entry in entries if not _holds(ring, entry)]
    return (ring + b"".join(fresh))[-length * _RING_ENTRY :]


def _holds(ring: bytes, entry: bytes) -> bool:
    at = ring.find(entry)
    while at >= 0:
        if at % _RING_ENTRY == 0:
            return True
        at = ring.find(entry, at + 1)
    return False


def seen_entry(item_id: str) -> bytes:
    """The six bytes by which a profile knows an item that its person has seen."""
    return xxhash.xxh3_64_digest(item_id.encode())[:_SEEN_ENTRY]


def extend_seen(seen: bytes, entries: Iterable[bytes], length: int) -> bytes:
    """The items seen with `entries` added, newest last, each once; the oldest fall out beyond `length` items."""
    for entry in entries:
        at = seen.find(entry)
        while at % _SEEN_ENTRY and at >= 0:
            at = seen.find(entry, at + 1)
        seen = (seen[:at] + seen[at + _SEEN_ENTRY :] if at >= 0 else seen) + entry
    return seen[-length * _SEEN_ENTRY :] if length else b""


class SeenItems:
    """The items a person has given evidence of: `item_id in seen`. Two items share an entry once in 2^48."""

    def __init__(self, seen: bytes) -> None:
        self._entries = frozenset(seen[at : at + _SEEN_ENTRY] for at in range(0, len(seen), _SEEN_ENTRY))

    def __contains__(self, item_id: str) -> bool:
        return seen_entry(item_id) in self._entries

    def __len__(self) -> int:
        return len(self._entries)


def pack_ring(ring: bytes) -> str:
    """The ring as base64."""
    return base64.b64encode(ring).decode()


def unpack_ring(packed: str) -> bytes:
    """Read back what `pack_ring` wrote."""
    return base64.b64decode(packed)
