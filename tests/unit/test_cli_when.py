"""Times as people write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.base.errors import ConfigurationError
from streams.commands.when import ago, lasting, parse_time, rfc3339, stamp

T0 = 1_600_000_000_000  # 2020-09-13 12:26:40 UTC
S, MIN, H, D = 1_000, 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("now", 7),
        ("1600000000000", T0),
        ("2020-09-13T12:26:40Z", T0),
        ("2020-09-13T14:26:40+02:00", T0),
        ("2020-09-13 12:26:40", T0),
        ("2020-09-13", T0 - 12 * H - 26 * MIN - 40 * S),
    ],
)
def test_times_are_read(text: str, at_ms: int) -> None:
    assert parse_time(text, 7) == at_ms


@pytest.mark.parametrize(
    ("text", "before_ms"),
    [("-90s", 90 * S), ("-15m", 15 * MIN), ("-15min", 15 * MIN), ("-2h", 2 * H), ("-3d", 3 * D), ("-1w", 7 * D),
     ("-0s", 0)],
)  # fmt: skip
def test_a_time_before_now_is_read(text: str, before_ms: int) -> None:
    assert parse_time(text, T0) == T0 - before_ms


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2020-13-01", "-5", "12:30", "2h", "-2 h", "-2y", "--2h", "-h", "-٢h",
     "-" + "9" * 5000 + "h", "0000-01-01", "10000-01-01"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected now, a time before it such as -90s"):
        parse_time(text, T0)


@pytest.mark.parametrize(
    ("text", "unit"),
    [("0", "seconds"), ("1700000000", "seconds"), ("1700000000000000", "microseconds"), ("9" * 5000, "micro")],
)
def test_seconds_and_microseconds_are_named(text: str, unit: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{unit}.* expected milliseconds since 1970"):
        parse_time(text, 0)


@pytest.mark.parametrize(
    "text",
    ["1970-01-02", "0001-01-01", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2100-01-01",
     "2099-12-31T23:59:59.999-00:01", "1970-12-31T23:59:59", "-999999999w", "-3000w"],
)  # fmt: skip
def test_years_in_which_nothing_can_have_happened_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"outside 1971 to 2099$"):
        parse_time(text, T0)


@given(st.integers(31_536_000_000, 4_102_444_800_000 - 1))
def test_what_is_written_is_read_back(at_ms: int) -> None:
    assert parse_time(rfc3339(at_ms), 0) == at_ms


def test_a_stamp_is_to_the_minute_in_utc() -> None:
    assert stamp(T0) == "2020-09-13 12:26 UTC"


@pytest.mark.parametrize(
    ("elapsed_ms", "told"),
    [
        (0, "just now"), (999, "just now"), (S, "1 s ago"), (59 * S, "59 s ago"), (MIN, "1 min ago"),
        (H - 1, "59 min ago"), (H, "1 h ago"), (D - 1, "23 h ago"), (D, "1 d ago"), (29 * D, "29 d ago"),
        (30 * D, "1 mo ago"), (364 * D, "12 mo ago"), (366 * D, "1 y ago"), (-2 * D, "in 2 d"), (-S, "in 1 s"),
    ],
)  # fmt: skip
def test_how_long_ago(elapsed_ms: int, told: str) -> None:
    assert ago(T0 - elapsed_ms, T0) == told


def test_lasting_never_goes_below_nought() -> None:
    assert lasting(-5) == "0 s"
