"""A worker whose wall clock jumps an hour ahead and two hours back every two seconds."""

from __future__ import annotations

import time

from streams.base import clock
from streams.commands.cli import app

_STEPS_S = (0.0, 3600.0, -3600.0, 0.0, -7200.0)


def jumping(started: float = time.monotonic()) -> float:
    """The wall clock, moved by the step that is due."""
    return time.time() + _STEPS_S[int((time.monotonic() - started) / 2) % len(_STEPS_S)]


if __name__ == "__main__":
    clock.wall_s = jumping
    app()
