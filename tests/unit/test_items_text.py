"""Text: normalising, cutting, and what the encoder reads of an item."""

from __future__ import annotations

import pytest

from streams.events.items import Item, item_text
from streams.events.text import has_invisible, normalise_text, shorten


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("  trimmed\t", "trimmed"),
        ("two\nlines\r\nhere", "two lines  here"),
        ("a\x00b\x1b[0mc\x7f", "ab[0mc"),
        ("a\u2028b\x85c", "a b c"),
        ("\ufeffstart", "start"),
        ("admin\u202etxt.exe", "admintxt.exe"),
        ("e\u0301", "\u00e9"),
        ("e\u200e\u0301", "\u00e9"),
        ("한", "한"),
        ("家族 👨\u200d👩\u200d👧", "家族 👨\u200d👩\u200d👧"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("ﬁ", "ﬁ"),
        ("\u3000全角\u3000", "全角"),
        ("", ""),
    ],
)
def test_normalising(text: str, expected: str) -> None:
    assert normalise_text(text) == expected


@pytest.mark.parametrize("text", ["a\x00", "\n", "\x9f", "\u061c", "x\u2066", "\ufeff", "\u2029"])
def test_what_no_id_may_hold(text: str) -> None:
    assert has_invisible(text)


@pytest.mark.parametrize("text", ["", "plain", " ", "\u00a0", "\u3000", "用戶", "\u200d", "\U000e0001", "\ue000"])
def test_what_an_id_may_hold(text: str) -> None:
    assert not has_invisible(text)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("short", 5, "short"),
        ("one two three four", 12, "one two thre"),
        ("one two three four", 15, "one two three"),
        ("onelongwordwithoutspaces", 10, "onelongwor"),
        ("a bcdefghijklmnop", 10, "a bcdefghi"),
        ("家族家族家族", 3, "家族家"),
        ("x", 0, ""),
    ],
)
def test_cutting(text: str, limit: int, expected: str) -> None:
    assert shorten(text, limit) == expected


def test_title_then_description_then_words() -> None:
    item = Item("i1", "A bicycle", "It runs.", ("Sports", "Road_cycling"), ("rain", "Sports"), "Velo")
    assert item_text(item, 200) == "A bicycle. It runs. Sports, Road cycling, rain, Velo"


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (Item("i1", title="家族旅行。", description="海邊"), "家族旅行。 海邊"),
        (Item("i1", description="Only this"), "Only this"),
        (Item("i1", tags=("a", "b")), "a, b"),
        (Item("i1", brand="Velo"), "Velo"),
        (Item("i1", title="Why?", tags=("a",)), "Why? a"),
        (Item("i1", lang="en"), None),
    ],
)
def test_what_there_is_is_read(item: Item, expected: str | None) -> None:
    assert item_text(item, 200) == expected


def test_a_long_description_does_not_crowd_out_the_words() -> None:
    text = item_text(Item("i1", "Title", "word " * 500, tags=("rain", "bicycle")), 200)
    assert text is not None
    assert text.startswith("Title. word word")
    assert text.endswith("rain, bicycle")
    assert len(text) <= 200


def test_words_alone_get_all_the_room() -> None:
    tags = tuple(f"tag{number:02d}" for number in range(40))
    text = item_text(Item("i1", tags=tags), 200)
    assert text is not None
    assert 180 < len(text) <= 200


def test_a_long_title_is_cut() -> None:
    assert item_text(Item("i1", "x" * 500, "more", tags=("rain",)), 50) == "x" * 50
