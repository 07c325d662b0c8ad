"""What time it is: the wall clock, but never behind what has passed since this process began."""

from __future__ import annotations

from collections.abc import Callable
from time import CLOCK_BOOTTIME, clock_gettime, time

#: Seconds since 1970, and seconds since the machine started, sleep included.
wall_s: Callable[[], float] = time


def _running_s() -> float:
    return clock_gettime(CLOCK_BOOTTIME)


_began_s = time() - _running_s()


def now_ms() -> int:
    """Milliseconds since 1970.

    A wall clock that is set back (by a bad time server, or by hand) would make records look as if they came from the
    future, and their events would be moved back with it; so it counts only where it is ahead.
    """
    return int(max(wall_s(), _began_s + _running_s()) * 1000)
