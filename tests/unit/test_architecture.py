"""The house is as docs/architecture.md shows it: rooms on floors, nothing loose, no circle, the picture up to date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.architecture import PICTURE, ROOT, House, drawn, needed, room_of, survey


@pytest.fixture(scope="module")
def house() -> House:
    return survey(ROOT)


def test_no_module_lies_loose_and_no_circle_is_left(house: House) -> None:
    assert house.loose == ()
    assert house.module_circles == 0


def test_every_room_says_what_it_is_for(house: House) -> None:
    assert [room.name for room in house.rooms.values() if len(room.about) < 40] == []


def test_the_picture_is_that_of_the_code(house: House) -> None:
    assert PICTURE.read_text(encoding="utf-8") == drawn(house), "run make architecture"


def test_the_document_has_a_row_for_every_room(house: House) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(?:streams/)?(\w+)/` \|", text, re.MULTILINE))
    assert rows == set(house.rooms)


def test_arrows_that_follow_from_others_are_left_out() -> None:
    assert needed([("a", "b"), ("b", "c"), ("a", "c"), ("d", "c")]) == [("a", "b"), ("b", "c"), ("d", "c")]


def test_a_module_lies_in_the_room_of_its_package() -> None:
    assert [room_of(name) for name in ("streams.store.codec", "encoders.text", "streams")] == [
        "store",
        "encoders",
        "streams",
    ]


def test_two_modules_of_a_room_never_differ_by_an_ending_only(house: House) -> None:
    pairs = [
        (room.name, one, other)
        for room in house.rooms.values()
        for one in room.modules
        for other in room.modules
        if one < other and re.fullmatch(rf"{re.escape(one.rstrip('e'))}e?(s|er|ing|ed)", other)
    ]
    assert pairs == []


def test_modules_are_one_thing_each() -> None:
    """About 300 lines: 330 is where a module of this code base has to be parted."""
    files = [path for room in ("streams", "encoders", "deploy") for path in Path(ROOT, room).rglob("*.py")]
    long = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in long.items() if lines > 330} == {}
