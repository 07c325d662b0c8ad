"""How long a server that is away is waited for between two attempts."""

from __future__ import annotations

import pytest
from tenacity import RetryCallState

from streams.base.errors import StoreUnavailable
from streams.base.retrying import LONGEST_WAIT_S, forever


def waits(longest_s: float, asked_s: float = 0.0) -> list[float]:
    """The waits after the first fifty failures."""
    attempts = forever(lambda _: None, longest_wait_s=longest_s)
    state = RetryCallState(attempts, None, (), {})
    seconds = []
    for number in range(1, 51):
        state.attempt_number = number
        error = StoreUnavailable("away", retry_after_s=asked_s)
        state.set_exception((StoreUnavailable, error, None))
        seconds.append(float(attempts.wait(state)))
    return seconds


@pytest.mark.parametrize("longest_s", [1.0, LONGEST_WAIT_S])
def test_waits_grow_up_to_their_bound(longest_s: float) -> None:
    assert all(seconds <= longest_s for seconds in waits(longest_s))
    assert max(waits(longest_s)) > longest_s / 2


def test_a_server_may_ask_for_longer_waits_but_not_for_any() -> None:
    assert min(waits(1.0, asked_s=20.0)) == 20
    assert max(waits(1.0, asked_s=3600.0)) == 60
