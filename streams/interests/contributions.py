"""What a batch adds to nodes, column by column: no object is made a contribution. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.events.event import Source
from streams.interests.evidence import FIELD
from streams.interests.nodes import NodeKey

Whole = NDArray[np.int64]
Real = NDArray[np.float64]
Truth = NDArray[np.bool_]


class Columns(NamedTuple):
    """Contributions as arrays of shape (n,); `signed` is the weight, below 0 where `added` says that it is taken back
    or where it speaks against.
    """

    nodes: Whole
    rows: Whole
    times_ms: Whole
    signed: Real
    added: Truth
    slots: Whole
    offsets: Whole

    def take(self, entries: Whole) -> Columns:
        """Some of the rows."""
        return Columns(
            self.nodes[entries], self.rows[entries], self.times_ms[entries], self.signed[entries], self.added[entries],
            self.slots[entries], self.offsets[entries],
        )  # fmt: skip


class Told(NamedTuple):
    """An event as what it adds knows it: its record's place, and what evidence of it is called and says beside."""

    source: Source
    name: str
    rest: str


def told(source: Source, event_id: str, item_id: str, ts_ms: int, weight: float, kind: str) -> Told:
    """The event as evidence: `name` is its id, item and time, `rest` its weight in seven digits and its type."""
    return Told(source, f"{event_id}{FIELD}{item_id}{FIELD}{ts_ms}", f"{FIELD}{weight:.7g}{FIELD}{kind}")


@dataclass(slots=True)
class Contributions:
    """Entry i adds `weights[i]` at `times_ms[i]`, along the vector of row `rows[i]`, to the node `keys[nodes[i]]`.

    Where `signs[i]` is -1 it is taken back. `slots[i]` is the number of its record's topic and partition in
    `slot_names`, `offsets[i]` its offset. `names` and `rests` are those of `Told`. All columns are of one length.
    """

    keys: list[NodeKey] = field(default_factory=list)
    slot_names: list[str] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    signs: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    rests: list[str] = field(default_factory=list)
    _places: dict[NodeKey, int] = field(default_factory=dict)
    _slots: dict[tuple[str, int], int] = field(default_factory=dict)
    _columns: Columns | None = None

    def __len__(self) -> int:
        return len(self.nodes)

    def node(self, key: NodeKey) -> int:
        """The number of a node, given when it is first asked for."""
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = len(self.keys)
            self.keys.append(key)
        return place

    def add(self, nodes: Sequence[int], row: int, ts_ms: int, weight: float, sign: int, event: Told) -> None:
        """Add the same to each of some nodes."""
        topic, partition, offset = event.source
        slot = self._slots.get((topic, partition))
        if slot is None:
            slot = self._slots[topic, partition] = len(self.slot_names)
            self.slot_names.append(f"{topic}/{partition}")
        self.nodes += nodes
        for _ in nodes:
            self.rows.append(row)
            self.times_ms.append(ts_ms)
            self.weights.append(weight)
            self.signs.append(sign)
            self.slots.append(slot)
            self.offsets.append(offset)
            self.names.append(event.name)
            self.rests.append(event.rest)

    def columns(self) -> Columns:
        """The columns as arrays; made once more where something was added."""
        if self._columns is None or len(self._columns.nodes) != len(self.nodes):
            whole = (self.nodes, self.rows, self.times_ms, self.signs, self.slots, self.offsets)
            nodes, rows, times_ms, signs, slots, offsets = (np.array(one, np.int64) for one in whole)
            weights: Real = np.array(self.weights, np.float64)
            self._columns = Columns(nodes, rows, times_ms, weights * signs, signs > 0, slots, offsets)
        return self._columns

    def of_profiles(self) -> Iterator[tuple[NodeKey, str, int]]:
        """The key, topic and partition, and offset of what goes to whole persons."""
        for node, slot, offset in zip(self.nodes, self.slots, self.offsets, strict=True):
            if (key := self.keys[node]).level == "profile":
                yield key, self.slot_names[slot], offset

    def without(self, users: Set[str]) -> Contributions:
        """The same but for what is some users'."""
        kept = Contributions(slot_names=self.slot_names, _slots=self._slots)
        for at, node in enumerate(self.nodes):
            key = self.keys[node]
            if key.user_id in users:
                continue
            kept.nodes.append(kept.node(key))
            kept.rows.append(self.rows[at])
            kept.times_ms.append(self.times_ms[at])
            kept.weights.append(self.weights[at])
            kept.signs.append(self.signs[at])
            kept.slots.append(self.slots[at])
            kept.offsets.append(self.offsets[at])
            kept.names.append(self.names[at])
            kept.rests.append(self.rests[at])
        return kept
