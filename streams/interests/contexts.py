"""In what situation an event happened, as paths of the `context` level. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set

_DAYPARTS = ((5, "night"), (11, "morning"), (17, "afternoon"), (22, "evening"), (24, "night"))
_MINUTE_MS = 60_000
_DAY_MIN = 24 * 60


def daypart(ts_ms: int, utc_offset_min: int = 0) -> str:
    """The part of the day at `ts_ms`: night (22-5), morning (5-11), afternoon (11-17) or evening (17-22).

    `utc_offset_min` is what local clocks are ahead of UTC, in minutes: 330 in India, -210 in Newfoundland.
    """
    minute = (ts_ms // _MINUTE_MS + utc_offset_min) % _DAY_MIN
    return next(name for until, name in _DAYPARTS if minute < 60 * until)


def situations(ts_ms: int, context: Mapping[str, str | float | bool], wanted: Set[str]) -> list[str]:
    """The `context` paths of one event, such as `/daypart/evening` and `/device/mobile`.

    `daypart` is worked out from the time (and `utc_offset_min` in the context); any other name in `wanted` is
    looked up in the event's context.
    """
    paths = []
    for name in sorted(wanted):
        if name == "daypart":
            offset = context.get("utc_offset_min", 0)
            paths.append(f"/daypart/{daypart(ts_ms, int(offset) if isinstance(offset, (int, float)) else 0)}")
        elif (value := context.get(name)) is not None:
            paths.append(situation(name, value))
    return paths


def situation(name: str, value: str | float | bool) -> str:
    """The `context` path of one situation: `/device/mobile`."""
    return f"/{name}/{str(value).strip().lower().replace('/', '-')[:64]}"
