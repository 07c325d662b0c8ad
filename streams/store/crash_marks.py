"""What survives a worker's death, beside the control points: which partition it had begun, which record it had in hand.

One point a partition of a group. Nothing of it holds what a record says: places, times and names of errors.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from streams.interests.nodes import NAMESPACE
from streams.store import codec, versions
from streams.store.collections import CONTROL
from streams.store.connection import QdrantConfig
from streams.store.filters import all_of, any_of
from streams.store.messages import grpc
from streams.store.points import Called, PointsClient, not_counted
from streams.store.wire import Point

NONE_IN_HAND: Final = -1


class SetAside(msgspec.Struct, frozen=True, array_like=True):
    """A record that was set aside: where it lies in which incarnation of the log, when that was, and the error."""

    log: int
    offset: int
    at_ms: int
    error: str


class CrashMark(msgspec.Struct, frozen=True):
    """A partition as its last worker left it.

    `first` is the first offset that worker read of it, in incarnation `log`; `writer` is its member id, empty once it
    has ended in order. `deaths` counts workers that died without getting past `first`. `hand` is the record that was
    worked on alone, `suspect` the one that was in hand at the last `tries` deaths. `aside` are the latest records
    that were set aside, out of `total`.
    """

    topic: str
    partition: int
    log: int = 0
    first: int = -1
    writer: str = ""
    deaths: int = 0
    hand: int = NONE_IN_HAND
    suspect: int = NONE_IN_HAND
    tries: int = 0
    aside: tuple[SetAside, ...] = ()
    total: int = 0

    @property
    def slot(self) -> str:
        """Topic and partition."""
        return f"{self.topic}/{self.partition}"

    def begun(self, *, again: bool, died: bool) -> CrashMark:
        """The mark as its partition is begun: `again` at the same offset, where the last worker perhaps `died`."""
        if not again:
            return msgspec.structs.replace(self, deaths=0, suspect=NONE_IN_HAND, tries=0)
        if not died:
            return self
        died_mark = msgspec.structs.replace(self, deaths=self.deaths + 1)
        if self.hand == NONE_IN_HAND:
            return died_mark
        tries = self.tries + 1 if self.hand == self.suspect else 1
        return msgspec.structs.replace(died_mark, suspect=self.hand, tries=tries)


class CrashMarks(Protocol):
    """Where the marks of one group are kept."""

    async def read(self, slots: Iterable[str]) -> dict[str, CrashMark]:
        """The marks that exist among `slots` (`topic/partition`). Raises StoreUnavailable."""

    async def write(self, marks: Sequence[CrashMark]) -> None:
        """Write marks durably, over those that are there. Raises StoreUnavailable."""


class QdrantCrashMarks:
    """Implements `CrashMarks` among the control points of a Qdrant server."""

    def __init__(self, config: QdrantConfig, group: str, *, called: Called = not_counted) -> None:
        self._points, self._group = PointsClient(config, called), group

    async def read(self, slots: Iterable[str]) -> dict[str, CrashMark]:
        """The marks that exist among `slots`."""
        found = await self._points.get(CONTROL, [_mark_id(self._group, slot) for slot in slots], deciding=True)
        return {mark.slot: mark for mark in (_mark_of(point.payload) for point in found)}

    async def write(self, marks: Sequence[CrashMark]) -> None:
        """Write marks durably."""
        points = [Point(_mark_id(self._group, mark.slot), codec.ONE, _payload(self._group, mark)) for mark in marks]
        await self._points.upsert(CONTROL, points, None)

    async def close(self) -> None:
        """Close the channels."""
        await self._points.close()


def _mark_id(group: str, slot: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"crash\x1f{group}\x1f{slot}"))


def _payload(group: str, mark: CrashMark) -> dict[str, Any]:
    packed = msgspec.json.encode(mark).decode()
    return {"crash_group": group, "crash_mark": packed, versions.FIELD: versions.CRASH_MARKS}


async def crash_marks(points: PointsClient, group: str) -> list[CrashMark]:
    """All marks of a group, for looking in from outside."""
    return [_mark_of(point.payload) async for page in points.pages(CONTROL, of_group(group)) for point in page]


def of_group(group: str) -> grpc.Filter:
    """The marks of a group."""
    return all_of(any_of("crash_group", [group]))


def _mark_of(payload: Mapping[str, Any]) -> CrashMark:
    versions.require_known(payload, versions.CRASH_MARKS, "crash marks")
    return msgspec.json.decode(payload["crash_mark"].string_value, type=CrashMark)
