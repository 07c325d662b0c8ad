"""Language tags as people write them."""

from __future__ import annotations

import pytest

from streams.events.languages import best, within


@pytest.mark.parametrize(
    ("tag", "wanted", "found"),
    [
        ("en-US", "en", True),
        ("EN", "en", True),
        ("en", "EN", True),
        ("en_GB", "en-gb", True),
        ("en-US", "EN-us", True),
        ("zh-Hant-TW", "zh-Hant", True),
        ("zh-Hant-TW", "zh", True),
        ("de-CH-1996", "de-ch", True),
        ("fr", "*", True),
        ("en", "en-US", False),
        ("eng", "en", False),
        ("", "en", False),
        ("x-en", "en", False),
    ],
)
def test_a_range_has_what_begins_with_it(tag: str, wanted: str, found: bool) -> None:
    assert within(tag, wanted) is found


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("en", "en"), ("EN-us", "en"), ("zh-TW", "zh-Hant"), ("zh_hk", "zh-Hant"), ("ZH-hant-tw", "zh-Hant"),
        ("zh-CN", "zh"), ("zh-x-private", "zh"), ("fr", None), ("", None), ("-", None),
    ],
)  # fmt: skip
def test_a_name_is_looked_up_from_the_whole_tag_to_its_language(wanted: str, found: str | None) -> None:
    assert best(["en", "zh", "zh-Hant"], wanted) == found
