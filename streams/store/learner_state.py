"""What the learner knows, in one point among the control points: all of it is written together, or nothing.

A write holds only over a point of the same fence and writer and of no later revision. So a learner that was replaced
cannot write any more, and a request that was thought lost cannot undo a later one. A conditional upsert does
not say what it refused, hence each write is read back.
"""

from __future__ import annotations

import uuid
from typing import Final, NamedTuple

from streams.base.errors import Fenced, StoreUnavailable
from streams.interests.nodes import NAMESPACE
from streams.store import codec, versions
from streams.store.collections import CONTROL, CONTROL_SHAPE, ensure
from streams.store.connection import QdrantConfig, guarded
from streams.store.filters import ALL_PAYLOAD, all_of, any_of, fields, in_range
from streams.store.messages import grpc
from streams.store.points import Called, PointsClient, not_counted
from streams.store.server_version import check_version
from streams.store.wire import Point

_ATTEMPTS: Final = 20
_HEAD: Final = ("fence", "revision", "writer")


class _Head(NamedTuple):
    """Who wrote the point last, and how often it was written."""

    fence: int
    revision: int
    writer: str


def learner_points(name: str) -> tuple[str, str]:
    """The ids of a learner's points: of its state, and of one that nobody could read and that was kept aside."""
    state = str(uuid.uuid5(NAMESPACE, f"learner\x1f{name}"))
    return state, str(uuid.uuid5(NAMESPACE, f"aside\x1f{state}"))


class LearnerStates:
    """The state of one learner. `name` says whose it is; `writer` is this process's own. Raises StoreUnavailable."""

    def __init__(self, config: QdrantConfig, name: str, writer: str, *, called: Called = not_counted) -> None:
        self._points, self._writer = PointsClient(config, called), writer
        self._id, self._aside = learner_points(name)
        self._held = _Head(0, 0, "")

    async def prepare(self) -> None:
        """Make the collection of control points where no worker has yet. ConfigurationError where Qdrant is too old."""
        points = self._points
        await check_version(points.collections, points.config)
        await guarded(ensure(points.collections, CONTROL_SHAPE), "prepare")

    async def take(self) -> str | None:
        """Raise the fence, so that whoever wrote before cannot write any more; gives the state, None where none is."""
        for _ in range(_ATTEMPTS):
            found = await self._read(ALL_PAYLOAD)
            before, packed = (_Head(0, 0, ""), "") if found is None else found
            taken = _Head(before.fence + 1, before.revision + 1, self._writer)
            unmoved = in_range("fence", lte=before.fence), in_range("revision", lte=before.revision)
            await self._put(taken, packed, *unmoved)
            if await self._head() == taken:
                self._held = taken
                return packed or None
        raise StoreUnavailable("learners take the state from each other over and over: run only one")

    async def of(self, name: str) -> str | None:
        """The state kept under another name, as it is: it is not taken from whoever writes it."""
        found = await self._read(ALL_PAYLOAD, learner_points(name)[0])
        return (found[1] or None) if found is not None else None

    async def write(self, packed: str) -> None:
        """Write the state durably, again after StoreUnavailable. Fenced where another learner has taken it."""
        wanted = self._held._replace(revision=self._held.revision + 1)
        mine = in_range("fence", gte=wanted.fence, lte=wanted.fence), any_of("writer", [wanted.writer])
        await self._put(wanted, packed, *mine, in_range("revision", lte=wanted.revision))
        if await self._head() != wanted:
            raise Fenced("another learner has begun and owns the learned state now: this one ends, nothing is lost")
        self._held = wanted

    async def keep_aside(self, packed: str) -> None:
        """Keep a state that nobody could read beside the one that is written from now on; the latest such one."""
        aside = Point(self._aside, codec.ONE, {"learner": packed, versions.FIELD: versions.LEARNER})
        await self._points.upsert(CONTROL, [aside], None)

    async def close(self) -> None:
        """Close the channels."""
        await self._points.close()

    async def _put(self, head: _Head, packed: str, *where: grpc.Condition) -> None:
        payload = {
            "learner": packed, "fence": head.fence, "revision": head.revision, "writer": head.writer,
            versions.FIELD: versions.LEARNER,
        }  # fmt: skip
        point = Point(self._id, codec.ONE, payload)
        await self._points.upsert(CONTROL, [point], grpc.Condition(filter=all_of(*where)))

    async def _head(self) -> _Head | None:
        found = await self._read(fields(*_HEAD))
        return None if found is None else found[0]

    async def _read(self, payload: grpc.WithPayloadSelector, point: str = "") -> tuple[_Head, str] | None:
        found = await self._points.get(CONTROL, [point or self._id], payload=payload, deciding=True)
        if not found:
            return None
        stored = found[0].payload
        versions.require_known(stored, versions.LEARNER, "learned states")
        head = _Head(stored["fence"].integer_value, stored["revision"].integer_value, stored["writer"].string_value)
        return head, stored["learner"].string_value
