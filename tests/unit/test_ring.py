"""The ring of event ids: what it takes for a producer's duplicate, and what not."""

from __future__ import annotations

from streams.events.event import Source
from streams.interests.evidence import in_ring, ring_entry

HERE, THERE = Source("events", 1, 0), Source("events", 1, 7)


def test_an_id_under_another_offset_is_a_duplicate_in_every_log() -> None:
    for log in (1, 2):
        for event_id in ("order-17", "order-2026-17"):
            assert in_ring(ring_entry(event_id, HERE, 1), ring_entry(event_id, THERE, log))


def test_an_event_without_an_id_is_another_one_once_the_broker_has_forgotten() -> None:
    before, after = (ring_entry(str(HERE), HERE, log, named=False) for log in (1, 2))
    assert not in_ring(before, after)


def test_an_event_without_an_id_that_waited_twice_is_one() -> None:
    waited = [ring_entry(str(HERE), Source("events.unresolved", 1, offset), 1, named=False) for offset in (3, 9)]
    assert in_ring(waited[0], waited[1])
