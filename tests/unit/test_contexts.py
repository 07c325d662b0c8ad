"""Situations: the part of the day by the user's own clock, and what else an event says of itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from streams.base.errors import ConfigurationError
from streams.interests.contexts import daypart, situations, vocabulary
from streams.settings.policies import NodeSettings, PopulationSettings

WANTED = vocabulary(["daypart"], {})


def ms(hour: int, minute: int = 0, second: int = 0) -> int:
    return int(datetime(2026, 7, 29, hour, minute, second, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("at_ms", "utc_offset_min", "part"),
    [
        (ms(4, 59, 59), 0, "night"), (ms(5), 0, "morning"), (ms(10, 59, 59), 0, "morning"), (ms(11), 0, "afternoon"),
        (ms(16, 59, 59), 0, "afternoon"), (ms(17), 0, "evening"), (ms(21, 59, 59), 0, "evening"), (ms(22), 0, "night"),
        (ms(16, 45), 330, "night"),  # 22:15 in India
        (ms(16, 29), 330, "evening"), (ms(16, 30), 330, "night"),
        (ms(23, 29), 330, "night"), (ms(23, 30), 330, "morning"),
        (ms(11, 14), 345, "afternoon"), (ms(11, 15), 345, "evening"),  # 17:00 in Nepal
        (ms(14, 29), -210, "morning"), (ms(14, 30), -210, "afternoon"),  # 11:00 in Newfoundland
        (ms(1, 29), -210, "evening"), (ms(1, 30), -210, "night"),  # 22:00 the day before
        (ms(16, 14), 765, "night"), (ms(16, 15), 765, "morning"),  # 5:00 the day after on Chatham
        (ms(9, 14), 765, "evening"), (ms(9, 15), 765, "night"),
        (ms(3), -300, "night"), (ms(2, 59), -300, "evening"),  # 22:00 the day before in New York
        (ms(0), -720, "afternoon"), (ms(0), 840, "afternoon"),
        (0, -1, "night"), (-60_000, 0, "night"),
    ],
)  # fmt: skip
def test_the_part_of_the_day_is_that_of_the_users_clock(at_ms: int, utc_offset_min: int, part: str) -> None:
    assert daypart(at_ms, utc_offset_min) == part


def test_the_offset_is_read_from_the_context() -> None:
    at_ms = ms(16, 45)
    assert situations(at_ms, {"utc_offset_min": 330}, WANTED) == ["/daypart/night"]
    assert situations(at_ms, {"utc_offset_min": 330.0}, WANTED) == ["/daypart/night"]
    assert situations(at_ms, {"utc_offset_min": "330"}, WANTED) == ["/daypart/afternoon"]  # no number: not read
    wanted = vocabulary(["daypart", "device", "muted", "place"], {"muted": ["true"], "place": ["Rail/Road", "home"]})
    assert situations(at_ms, {"device": " TV ", "muted": True, "place": "rail/ROAD"}, wanted) == [
        "/daypart/afternoon", "/device/tv", "/muted/true", "/place/rail-road",
    ]  # fmt: skip


def test_values_that_nobody_knows_are_one() -> None:
    wanted = vocabulary(["device", "locale", "place"], {"place": ["home"]})
    found = {
        path
        for n in range(3_000)
        for path in situations(0, {"device": f"d{n}", "locale": f"x{n}-DE", "place": float(n)}, wanted)
    }
    assert found == {"/device/other", "/locale/other", "/place/other"}


@pytest.mark.parametrize(
    ("tag", "language"),
    [("en", "en"), ("en-US", "en"), ("PT_br", "pt"), ("zh-Hant-TW", "zh"), ("english", "other"), ("-", "other")],
)
def test_of_a_locale_the_primary_language_counts(tag: str, language: str) -> None:
    assert situations(0, {"locale": tag}, vocabulary(["locale"], {})) == [f"/locale/{language}"]


@pytest.mark.parametrize("section", [NodeSettings, PopulationSettings])
def test_a_name_of_which_no_value_is_known_is_refused(section: type[NodeSettings | PopulationSettings]) -> None:
    made = section(contexts=("place",), context_values={"place": ("home",)})
    assert (made.policy() if isinstance(made, NodeSettings) else made.priors()).contexts == {"place": {"home"}}
    bare = section(contexts=("place",))
    with pytest.raises(ConfigurationError, match="'place', of which no value is known: list them in context_values"):
        _ = bare.policy() if isinstance(bare, NodeSettings) else bare.priors()
