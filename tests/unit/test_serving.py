"""Which group sends what speaks for all: the one whose encoder serves, and for a minute the one that did."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Counter

from streams.base.errors import StoreUnavailable
from streams.store.encoders import Served, Switch
from streams.store.versions import NewerPoints
from streams.worker.serving import SENDS_ON_MS, Serving, serves

OTHERS = frozenset({"others"})
SWITCHED = Switch(before="old", now="new", at_ms=1_000_000)


@pytest.mark.parametrize(
    ("encoder", "served", "after_ms", "sends"),
    [
        ("new", Served(None, frozenset(), None), 0, True),  # the first worker ever
        ("old", Served("old", OTHERS, None), 0, True),
        ("new", Served("old", OTHERS, None), 0, False),  # a group beside the one that serves
        ("new", Served("new", OTHERS, SWITCHED), 0, True),
        ("old", Served("new", OTHERS, SWITCHED), SENDS_ON_MS - 1, True),  # what it had not read yet is not missed
        ("old", Served("new", OTHERS, SWITCHED), SENDS_ON_MS, False),
        ("old", Served("old", OTHERS, SWITCHED), 0, True),  # noted, and died before the alias moved
        ("new", Served("old", OTHERS, SWITCHED), 0, False),
        ("old", Served("third", OTHERS, SWITCHED), 0, False),  # moved by hand since
        ("third", Served("new", OTHERS, SWITCHED), 0, False),
        ("new", Served("old", frozenset(), None), 0, True),  # nobody is known to fill what serves
        ("new", Served("old", frozenset({"mine"}), None), 0, True),  # its own note of before it changed its encoder
    ],
)
def test_who_sends(encoder: str, served: Served, after_ms: int, sends: bool) -> None:
    assert serves(encoder, "mine", served, SWITCHED.at_ms + after_ms) is sends


async def test_what_is_held_back_is_counted_and_what_was_known_holds_while_the_store_is_away() -> None:
    registry = CollectorRegistry()
    held = Counter("held", "Held.", ("what",), registry=registry)
    answers: list[Served | None] = [Served("old", OTHERS, None), None, Served("new", OTHERS, SWITCHED)]

    async def look() -> Served:
        answer = answers.pop(0)
        if answer is None:
            raise StoreUnavailable("away")
        return answer

    serving = Serving("new", "mine", look, held, clock=lambda: SWITCHED.at_ms)
    await serving.look()
    assert serving.holds_back("dead_letters", 3)
    with pytest.raises(StoreUnavailable):
        await serving.look()
    assert serving.holds_back("updates", 2)
    await serving.look()
    assert not serving.holds_back("dead_letters", 5)
    counted = {what: registry.get_sample_value("held_total", {"what": what}) for what in ("dead_letters", "updates")}
    assert counted == {"dead_letters": 3, "updates": 2}


async def test_sending_on_ends_by_time_without_another_look() -> None:
    now = [SWITCHED.at_ms]

    async def look() -> Served:
        return Served("new", OTHERS, SWITCHED)

    held = Counter("held", "Held.", ("what",), registry=CollectorRegistry())
    serving = Serving("old", "mine", look, held, clock=lambda: now[0])
    await serving.look()
    assert not serving.holds_back("dead_letters", 1)
    now[0] += SENDS_ON_MS
    assert serving.holds_back("dead_letters", 1)


async def test_what_cannot_be_read_ends_no_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a group that held back once would hold back for good, and dead letters would be sent by nobody."""
    monkeypatch.setattr("streams.worker.serving.LOOK_EVERY_S", 0.0)
    looks, switched = 0, asyncio.Event()

    async def look() -> Served:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise NewerPoints("notes of encoders", 9, 1)
        if looks > 3:
            switched.set()
        return Served("old" if looks < 3 else "new", OTHERS, None)

    serving = Serving("new", "mine", look, Counter("held", "Held.", ("what",), registry=CollectorRegistry()))
    await serving.look()
    assert serving.holds_back("dead_letters", 1)
    watching = asyncio.create_task(serving.watch())
    await asyncio.wait_for(switched.wait(), 5)
    assert not serving.holds_back("dead_letters", 1)
    watching.cancel()
