"""The worker's clock follows the wall clock ahead, and not back."""

from __future__ import annotations

import time

import pytest

from streams.base import clock


def test_it_is_the_wall_clock() -> None:
    before = int(time.time() * 1000)
    assert before <= clock.now_ms()


def test_it_goes_ahead_with_a_jump_and_comes_back_no_further_than_what_has_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The machine's own wall clock may be set while the tests run, so it has no part in this.
    wall, running = [1_050.0], [50.0]
    monkeypatch.setattr(clock, "_began_s", 1_000.0)
    monkeypatch.setattr(clock, "_running_s", lambda: running[0])
    monkeypatch.setattr(clock, "wall_s", lambda: wall[0])
    assert clock.now_ms() == 1_050_000
    wall[0] += 3_600.0
    assert clock.now_ms() == 4_650_000
    wall[0] -= 7_200.0
    assert clock.now_ms() == 1_050_000
    running[0] += 10.0
    assert clock.now_ms() == 1_060_000


def test_what_has_passed_is_counted_from_the_wall_clock_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "wall_s", lambda: 0.0)
    first = clock.now_ms()
    time.sleep(0.05)
    assert 50 <= clock.now_ms() - first < 10_000
    assert first > 1_700_000_000_000
