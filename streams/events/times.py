"""Times as they were sent, settled into milliseconds since 1970. Pure: `now_ms` comes from outside.

What is given is a number or a time by then, so most of it takes constant time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from streams.base.errors import PoisonError
from streams.events.wire import MAX_TS_MS, MIN_EVENT_TS_MS, MIN_ITEM_TS_MS

FUTURE_MS: Final = 300_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def milliseconds(wire: int | float | datetime, name: str, least_ms: int) -> int:
    """Turn a time into milliseconds since 1970, cut to the whole one. PoisonError `bad_timestamp` out of bounds.

    Constant.
    """
    if isinstance(wire, datetime):
        ts_ms = (wire - _EPOCH) // _MS
    elif isinstance(wire, float) and not wire.is_integer():
        raise time_error(name)
    else:
        ts_ms = int(wire)
    if not least_ms <= ts_ms < MAX_TS_MS:
        raise time_error(name)
    return ts_ms


def event_time(
    wire: int | float | datetime | None, timestamp_ms: int | None, now_ms: int, future_ms: int = FUTURE_MS
) -> tuple[int, bool]:
    """Settle when an event happened, and tell whether that moved it back from the future.

    `timestamp_ms` is the record's own (None or -1: it has none) and serves where the event brings no time. Constant.
    """
    reference = reference_ms(timestamp_ms, now_ms, future_ms)
    if wire is None:
        return reference, timestamp_ms is not None and timestamp_ms > reference
    # The decoder has held whole numbers to their bounds.
    ts_ms = wire if type(wire) is int else milliseconds(wire, "ts", MIN_EVENT_TS_MS)
    return clamp(ts_ms, reference, future_ms)


def reference_ms(timestamp_ms: int | None, now_ms: int, future_ms: int = FUTURE_MS) -> int:
    """Give the time that "future" is measured against: the record's timestamp where it is sane, else now.

    Not now in the first place, so that a redelivery, however late, settles on the same time. Constant.
    """
    if timestamp_ms is not None and MIN_EVENT_TS_MS <= timestamp_ms <= now_ms + future_ms:
        return timestamp_ms
    return now_ms


def clamp(ts_ms: int, reference: int, future_ms: int = FUTURE_MS) -> tuple[int, bool]:
    """Move a time that is more than `future_ms` ahead back to the reference; tell whether it was. Constant."""
    return (reference, True) if ts_ms > reference + future_ms else (ts_ms, False)


def asked_ms(at_ms: int) -> int:
    """A time that is asked for, however it was written. ValueError where nothing can have happened then. Constant."""
    if not MIN_ITEM_TS_MS <= at_ms < MAX_TS_MS:
        raise ValueError("got a time outside 1971 to 2099")
    return at_ms


def in_milliseconds(number: int) -> int:
    """`asked_ms` of a plain number, which out of bounds can only be seconds or microseconds: see `MIN_ITEM_TS_MS`.

    Constant.
    """
    try:
        return asked_ms(number)
    except ValueError as error:
        unit = "seconds" if number < MIN_ITEM_TS_MS else "microseconds"
        raise ValueError(f"{error}: {unit}? expected milliseconds since 1970") from None


def not_seconds(given: object) -> object:
    """Give back a time in ms; what is no number is left to its type. ValueError as `in_milliseconds` has it.

    Linear in a text's length, of which 20 digits are read as a number.
    """
    if isinstance(given, (int, str)) and not isinstance(given, bool) and str(given).removeprefix("-").isdecimal():
        in_milliseconds(int(str(given)[:20]))
    return given


def time_error(name: str) -> PoisonError:
    """Say what a time should look like."""
    return PoisonError(
        f"{name}: expected milliseconds (not seconds) since 1970 or RFC 3339 with an offset, "
        "from 1990 (items: 1971) to 2099",
        reason="bad_timestamp",
    )
