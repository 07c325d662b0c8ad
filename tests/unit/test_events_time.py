"""When an event happened: both ways of writing it, its absence, the future, and a redelivery of each."""

from __future__ import annotations

from typing import Any

import pytest

from streams.events.parse import Parsed, parse_events
from tests.fixtures.records import NOW_MS, click, record

MINUTE_MS = 60_000
RECORD_MS = NOW_MS - 10 * MINUTE_MS


def parse(ts: Any, timestamp: int | None = RECORD_MS, now_ms: int = NOW_MS) -> Parsed:
    return parse_events([record(click(ts=ts), timestamp=timestamp)], now_ms=now_ms)


def settled(ts: Any, timestamp: int | None = RECORD_MS, now_ms: int = NOW_MS) -> tuple[int, int]:
    parsed = parse(ts, timestamp, now_ms)
    return parsed.events[0].ts_ms, parsed.clamped


@pytest.mark.parametrize(
    ("text", "ts_ms"),
    [
        ("2025-10-09T08:53:20Z", 1_760_000_000_000),
        ("2025-10-09T08:53:20.125Z", 1_760_000_000_125),
        ("2025-10-09t08:53:20.125999z", 1_760_000_000_125),
        ("2025-10-09 10:53:20.125+02:00", 1_760_000_000_125),
        ("2025-10-08T20:53:20-12:00", 1_760_000_000_000),
        ("1990-01-01T00:00:00Z", 631_152_000_000),
    ],
)
def test_rfc_3339(text: str, ts_ms: int) -> None:
    assert settled(text, timestamp=NOW_MS) == (ts_ms, 0)


@pytest.mark.parametrize("ts", [631_151_999_999, 4_102_444_800_000, "1989-12-31T23:59:59.999Z", "2100-01-01T00:00:00Z"])
def test_outside_the_bounds_is_a_dead_letter(ts: Any) -> None:
    assert [dead.reason for dead in parse(ts).dead] == ["bad_timestamp"]


def test_without_a_time_the_records_own_serves() -> None:
    assert settled(...) == (RECORD_MS, 0)


@pytest.mark.parametrize("timestamp", [None, -1, 0, 1_000])
def test_without_any_sane_time_it_is_now(timestamp: int | None) -> None:
    assert settled(..., timestamp) == (NOW_MS, 0)


def test_a_record_from_the_future_happened_now() -> None:
    assert settled(..., NOW_MS + 5 * MINUTE_MS) == (NOW_MS + 5 * MINUTE_MS, 0)
    assert settled(..., NOW_MS + 5 * MINUTE_MS + 1) == (NOW_MS, 1)


def test_five_minutes_ahead_of_the_record_is_let_pass() -> None:
    ahead = RECORD_MS + 5 * MINUTE_MS
    assert settled(ahead) == (ahead, 0)
    assert settled(ahead + 1) == (RECORD_MS, 1)


@pytest.mark.parametrize("ts", [RECORD_MS + 6 * MINUTE_MS, "2099-12-31T23:59:59Z", float(NOW_MS)])
def test_the_future_is_clamped_the_same_however_late_it_comes_again(ts: Any) -> None:
    # By the wall clock this time is long past at the second delivery; the record's own timestamp decides.
    assert settled(ts, now_ms=NOW_MS) == settled(ts, now_ms=NOW_MS + 10**10) == (RECORD_MS, 1)


@pytest.mark.parametrize("timestamp", [None, -1, NOW_MS + 10**9])
def test_where_the_record_has_no_sane_time_now_is_the_measure(timestamp: int | None) -> None:
    assert settled(NOW_MS + 5 * MINUTE_MS, timestamp) == (NOW_MS + 5 * MINUTE_MS, 0)
    assert settled(NOW_MS + 5 * MINUTE_MS + 1, timestamp) == (NOW_MS, 1)


def test_the_past_is_left_alone() -> None:
    assert settled(RECORD_MS - 10**11) == (RECORD_MS - 10**11, 0)
