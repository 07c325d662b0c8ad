"""Erasures that have not taken effect: how old the oldest is, until it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from streams.api.pending_erasures import PendingErasures
from streams.base.clock import now_ms
from streams.base.errors import StoreUnavailable


class Qdrant:
    """Says of whom an erasure has taken effect, and how often it was asked."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.away = False
        self.asked = 0

    async def holds(self, stored_id: str, _: int) -> bool:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("away")
        return stored_id in self.held


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_the_oldest_is_told_until_all_have_taken_effect() -> None:
    qdrant, told = Qdrant(), [0.0]
    pending = PendingErasures(qdrant.holds, told.append, every_s=0.001)
    pending.start()
    try:
        pending.add("ana", now_ms() - 60_000)
        pending.add("bo", now_ms() - 5_000)
        assert told[-1] == pytest.approx(60, abs=2)
        qdrant.held.add("ana")
        await until(lambda: told[-1] < 30)
        assert told[-1] == pytest.approx(5, abs=2)
        qdrant.away = True
        asked = qdrant.asked
        await until(lambda: qdrant.asked > asked + 2)
        assert told[-1] > 0, "nobody knows better"
        qdrant.away = False
        qdrant.held.add("bo")
        await until(lambda: told[-1] == 0)
        asked, looks = qdrant.asked, len(told)
        await until(lambda: len(told) > looks + 2)
        assert qdrant.asked == asked, "nothing is read while none is pending"
    finally:
        await pending.close()


def test_one_that_is_seen_at_once_is_not_pending() -> None:
    told: list[float] = []
    pending = PendingErasures(Qdrant().holds, told.append)
    pending.add("ana", now_ms() - 60_000)
    pending.done("ana", now_ms())
    assert told[-1] > 0, "another one"
    pending = PendingErasures(Qdrant().holds, told.append)
    pending.add("ana", 5)
    pending.done("ana", 5)
    assert told[-1] == 0


def test_a_thousand_are_kept_and_the_oldest_is_among_them() -> None:
    told: list[float] = []
    pending, now = PendingErasures(Qdrant().holds, told.append), now_ms()
    for number in range(1_500):
        pending.add(f"u{number}", now - 1_500_000 + number * 1_000)
    assert len(pending._pending) == 1_000
    assert told[-1] == pytest.approx(1_500, abs=5)
