"""Upserts of several callers: in the order of their calls, so many at once, and none begun past a failure."""

from __future__ import annotations

import asyncio

import pytest

from streams.base.errors import StoreUnavailable
from streams.store.connection import QdrantConfig
from streams.store.points import PointsClient


class Recording(PointsClient):
    """Notes each request as it is sent; fails at one."""

    def __init__(self, fails_at: bytes = b"") -> None:
        super().__init__(QdrantConfig())
        self.sent: list[bytes] = []
        self.now = self.most = 0
        self._fails_at = fails_at

    async def send_upsert(self, request: bytes) -> None:
        self.sent.append(request)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            for _ in range(len(self.sent) % 3 + 1):
                await asyncio.sleep(0)
            if request == self._fails_at:
                raise StoreUnavailable("away")
        finally:
            self.now -= 1


def requests(name: str, count: int) -> list[bytes]:
    return [f"{name}{n}".encode() for n in range(count)]


async def test_callers_are_served_in_turn_and_the_next_is_always_under_way() -> None:
    points = Recording()
    first, second = requests("a", 20), requests("b", 20)
    await asyncio.gather(points.send_upserts(first), points.send_upserts(second))
    assert points.sent == [*first, *second]
    assert points.most == 8


async def test_an_error_ends_its_caller_alone_and_begins_no_more_of_its_requests() -> None:
    points = Recording(fails_at=b"a3")
    ended = await asyncio.gather(
        points.send_upserts(requests("a", 30)), points.send_upserts(requests("b", 5)), return_exceptions=True
    )
    assert isinstance(ended[0], StoreUnavailable)
    assert ended[1] is None
    assert points.now == 0
    assert len([one for one in points.sent if one.startswith(b"a")]) < 20
    assert [one for one in points.sent if one.startswith(b"b")] == requests("b", 5)


async def test_a_cancelled_caller_leaves_nothing_under_way_and_its_places_to_others() -> None:
    points = Recording()
    task = asyncio.create_task(points.send_upserts(requests("a", 30)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert points.now == 0
    await points.send_upserts(requests("b", 10))
    assert points.sent[-10:] == requests("b", 10)
