"""Fault points: what their form says, that they do nothing unless armed, and that they count visits."""

from __future__ import annotations

import os
import signal
import time

import pytest

from streams.base.errors import ConfigurationError
from streams.pipeline import faultpoints


@pytest.fixture(autouse=True)
def disarmed() -> None:
    faultpoints.arm("")


async def test_without_a_plan_nothing_happens() -> None:
    for point in (*faultpoints.POINTS, *faultpoints.BESIDE):
        await faultpoints.reach(point)


async def test_a_signal_comes_at_the_visit_that_was_named() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        faultpoints.arm("before_ack:term@2,after_ack:kill@9")
        for expected in ([], [signal.SIGTERM], [signal.SIGTERM]):
            await faultpoints.reach("before_ack")
            os.getpid()  # a call, so that Python sees the signal
            assert seen == expected
    finally:
        signal.signal(signal.SIGTERM, before)
        faultpoints.arm("")


async def test_waiting_takes_as_long_as_it_says_at_every_visit() -> None:
    faultpoints.arm("after_read:wait=0.05")
    started = time.monotonic()
    for _ in range(2):
        await faultpoints.reach("after_read")
    faultpoints.arm("")
    assert 0.1 <= time.monotonic() - started < 5


@pytest.mark.parametrize("text", ["nowhere:kill", "after_read:explode", "after_read", "after_read:kill@x", "a:b:c"])
def test_another_form_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected point:action"):
        faultpoints.parse(text)
