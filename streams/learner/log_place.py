"""How far which incarnation of the topic of examples has been read. Pure.

Offsets are comparable only within one incarnation. A topic made anew begins at 0, in a cluster of another id or with
an end before what was read: then it is read from its beginning, and the place says so by a higher number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """The next offset by partition, in incarnation `number` of the topic, on the cluster of this id ("": not known)."""

    number: int = 0
    cluster: str = ""
    next: Mapping[int, int] = field(default_factory=dict)

    def moved(self, partition: int, offset: int) -> LogPlace:
        """The same once the record at `offset` has been read."""
        return LogPlace(number=self.number, cluster=self.cluster, next={**self.next, partition: offset + 1})


class Met(NamedTuple):
    """Where to read on; why that is another log than before ("" if it is not); how many offsets retention took."""

    place: LogPlace
    reason: str
    lost: int


def met(stored: LogPlace, cluster: str, begins: Mapping[int, int], ends: Mapping[int, int]) -> Met:
    """Hold what was read against a topic as it is: the first and the end offset of every partition."""
    reason = _new_log(stored, cluster, ends) if stored.number else ""
    if reason or not stored.number:
        return Met(LogPlace(number=stored.number + 1, cluster=cluster, next=dict(begins)), reason, 0)
    place = {partition: max(begin, stored.next.get(partition, begin)) for partition, begin in begins.items()}
    lost = sum(place[partition] - offset for partition, offset in stored.next.items())
    return Met(LogPlace(number=stored.number, cluster=cluster or stored.cluster, next=place), "", lost)


def _new_log(stored: LogPlace, cluster: str, ends: Mapping[int, int]) -> str:
    if stored.cluster and cluster and stored.cluster != cluster:
        return "another cluster"
    for partition, offset in stored.next.items():
        if partition not in ends:
            return f"partition {partition} is gone"
        if ends[partition] < offset:
            return f"partition {partition} ends at {ends[partition]}, {offset} was read"
    return ""
