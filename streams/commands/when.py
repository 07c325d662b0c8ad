"""Times as people write and read them. Pure; times are in ms since the epoch."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from streams.base.errors import ConfigurationError
from streams.events.times import asked_ms, in_milliseconds

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BEFORE: Final = re.compile(r"-([0-9]{1,9})(s|m|min|h|d|w)")
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_STEPS: Final = ((60, "s"), (60, "min"), (24, "h"), (30, "d"), (365 / 30, "mo"), (float("inf"), "y"))


def parse_time(text: str, now_ms: int) -> int:
    """Read `now`, a time before it (`-2h`), ms since 1970, or RFC 3339; without an offset UTC, a date its midnight.

    ConfigurationError where it is none of these, or lies outside 1971 to 2099.
    """
    if text == "now":
        return now_ms
    try:
        if before := _BEFORE.fullmatch(text):
            return asked_ms(now_ms - int(before[1]) * _UNIT_MS[before[2]])
        return in_milliseconds(int(text[:20])) if text.isdecimal() else asked_ms(_date(text))
    except ValueError as error:
        raise ConfigurationError(f"time {text[:40]}: {error}") from error


def _date(text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"got time {text!r}, expected now, a time before it such as -90s, -15m, -2h, -3d or -1w, milliseconds "
            "since 1970, or a time such as 2026-07-29T18:30:00Z"
        ) from error
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(milliseconds=1)


def stamp(at_ms: int) -> str:
    """A time to the minute, in UTC."""
    return f"{_EPOCH + timedelta(milliseconds=at_ms):%Y-%m-%d %H:%M} UTC"


def rfc3339(at_ms: int) -> str:
    """A time to the millisecond, as `parse_time` reads it back."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lasting(seconds: float) -> str:
    """A length of time in its largest whole unit: `45 s`, `3 h`, `2 y`."""
    amount = max(0.0, seconds)
    for size, unit in _STEPS:
        if amount < size:
            return f"{int(amount)} {unit}"
        amount /= size
    raise AssertionError("the last step has no size")


def ago(then_ms: int, at_ms: int) -> str:
    """How long before `at_ms` a time lies: `just now`, `3 h ago`; `in 2 d` where it lies after."""
    seconds = (at_ms - then_ms) / 1000
    if abs(seconds) < 1:
        return "just now"
    return f"{lasting(seconds)} ago" if seconds > 0 else f"in {lasting(-seconds)}"
