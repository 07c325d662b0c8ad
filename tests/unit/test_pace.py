"""Batches grow where records are fast, and shrink where they are slow."""

from __future__ import annotations

import pytest

from streams.worker.pace import Pace


@pytest.mark.parametrize(
    ("most", "each_s", "least", "at_most"),
    [(8000, 0.0001, 8000, 8000), (8000, 0.001, 1000, 4000), (8000, 1.0, 64, 128), (20, 0.001, 20, 20), (20, 9, 20, 20)],
)
def test_full_batches_take_about_as_long_as_they_may(most: int, each_s: float, least: int, at_most: int) -> None:
    pace = Pace(most, 2.0)
    for _ in range(20):
        pace.took(pace.limit(), pace.limit() * each_s)
    for _ in range(6):
        assert least <= pace.limit() <= at_most
        pace.took(pace.limit(), pace.limit() * each_s)


def test_small_batches_say_nothing_however_little_time_they_take() -> None:
    pace = Pace(8000, 2.0)
    for _ in range(50):
        pace.took(1, 0.05)
        pace.took(0, 0.0)
    assert pace.limit() == 1000


def test_a_standstill_is_forgotten_within_some_full_batches() -> None:
    pace = Pace(8000, 2.0)
    pace.took(1000, 600.0)  # a server was away
    assert pace.limit() == 64
    batches = 0
    while pace.limit() < 8000:
        pace.took(pace.limit(), 0.1)
        batches += 1
    assert batches == 7
