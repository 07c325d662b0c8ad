"""`applied`: how far each source partition has been folded into a node. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from streams.events.event import Source

_EMPTY: dict[str, int] = {}


class Applied(NamedTuple):
    """The highest offset folded in, by `topic/partition`, within one incarnation of the log.

    Offsets of different incarnations (`log`) cannot be compared: a topic made anew starts at 0 again.
    """

    log: int = 0
    offsets: dict[str, int] = _EMPTY

    def covers(self, source: Source, log: int) -> bool:
        """Whether the record at `source` of log `log` is folded in already."""
        return self.up_to(f"{source.topic}/{source.partition}", log) >= source.offset

    def up_to(self, slot: str, log: int) -> int:
        """The highest offset of a `topic/partition` of log `log` that is folded in; -1 for none."""
        return self.offsets.get(slot, -1) if self.log == log else -1

    def advance(self, sources: Iterable[Source], log: int) -> Applied:
        """The same after folding in the records at `sources`; a new log forgets the offsets of the old one."""
        return self.moved(((f"{topic}/{partition}", offset) for topic, partition, offset in sources), log)

    def moved(self, offsets_of: Iterable[tuple[str, int]], log: int) -> Applied:
        """The same after folding in offsets by `topic/partition`."""
        offsets = dict(self.offsets) if self.log == log else {}
        for slot, offset in offsets_of:
            if offsets.get(slot, -1) < offset:
                offsets[slot] = offset
        return Applied(log, offsets)


def pack_applied(applied: Applied) -> str:
    """One short string: `log;topic/partition=offset;…`."""
    return ";".join([str(applied.log), *(f"{slot}={offset}" for slot, offset in sorted(applied.offsets.items()))])


def unpack_applied(packed: str) -> Applied:
    """Read back what `pack_applied` wrote; an empty string is nothing applied."""
    if not packed:
        return Applied()
    log, *slots = packed.split(";")
    pairs = (slot.rpartition("=") for slot in slots)
    return Applied(int(log), {name: int(offset) for name, _, offset in pairs})
