"""The worker's clock follows the wall clock ahead, and not back."""

from __future__ import annotations

import time

import pytest

from streams.base import clock


def test_it_is_the_wall_clock() -> None:
    assert abs(clock.now_ms() - time.time() * 1000) < 2_000


def test_it_goes_ahead_with_a_jump_and_comes_back_no_further_than_what_has_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "wall_s", lambda: time.time() + 3_600)
    assert clock.now_ms() > time.time() * 1000 + 3_500_000
    monkeypatch.setattr(clock, "wall_s", lambda: time.time() - 7_200)
    assert abs(clock.now_ms() - time.time() * 1000) < 2_000
