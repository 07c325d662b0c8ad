"""Who was erased, and when: what a read of several people is held against before anybody is given it.

A profile with `erased_at` is a tombstone. A search for nodes does not see the tombstone beside a node, so it asks for
those of the people it has found, after it has found them: an erasure in between counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from streams.interests.nodes import Level, is_put_back
from streams.store.filters import all_of, any_of, fields, in_range, put_back
from streams.store.messages import grpc
from streams.store.points import PointsClient

_SEARCHES = 4  # each leaves out what the one before has found put back
_ERASED_AT = fields("user_id", "erased_at")


class Found(Protocol):
    """A node that a search has found: whose it is, and what tells whether it was put back."""

    @property
    def user_id(self) -> str: ...
    @property
    def level(self) -> Level: ...
    @property
    def first_ms(self) -> int: ...


F = TypeVar("F", bound=Found)
Search = Callable[[grpc.Filter], Awaitable[list[F]]]


class Tombstones:
    """The tombstones of one server. Calls raise as those of `points`."""

    def __init__(self, points: PointsClient) -> None:
        self._points = points

    async def of(self, collection: str, users: Iterable[str]) -> dict[str, int]:
        """When each of these people was erased, in ms; those who never were are left out."""
        among = list(users)
        if not among:
            return {}
        # By filter, not by id: the answer then holds tombstones only, of which there are few.
        theirs = all_of(any_of("user_id", among), in_range("erased_at", gt=0))
        pages = self._points.pages(collection, theirs, payload=_ERASED_AT, doing="tombstones")
        return {
            point.payload["user_id"].string_value: point.payload["erased_at"].integer_value
            async for page in pages for point in page
        }  # fmt: skip

    async def search(self, collection: str, where: grpc.Filter, search: Search[F]) -> list[F]:
        """What `search` finds by a filter, without nodes that were put back after an erasure.

        Where there are some, it searches again without them, so that they take nobody's place. A fifth time it does
        not: what is put back faster than that is dropped from the last answer, which is then the shorter for it.
        """
        for _ in range(_SEARCHES):
            found = await search(where)
            erased = await self.of(collection, {one.user_id for one in found})
            kept = [one for one in found if not is_put_back(one.level, one.first_ms, erased.get(one.user_id, 0))]
            if len(kept) == len(found):
                break
            where.must_not.extend(put_back(user_id, at_ms) for user_id, at_ms in erased.items())
        return kept
