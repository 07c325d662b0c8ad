"""What an event takes is no more than `tests/bench/work.json` says: counts, which no busy machine moves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.work import VERSION, Work, count, kept, works, worse

EXPECTED = kept().get(VERSION, {})
NAMES = ("parse clicks", "parse comments", "plan and fold", "build points", "read points")


@pytest.fixture(scope="module")
def everything() -> dict[str, Work]:
    return works()


@pytest.fixture(scope="module")
def a_fifth_more(everything: dict[str, Work]) -> dict[str, Work]:
    """The works with a fifth more of everything, said to be as much as before."""
    return {name: work._replace(units=everything[name].units) for name, work in works(grown=1.2).items()}


@pytest.mark.skipif(not EXPECTED, reason=f"no figures of Python {VERSION}: python -m tests.bench.work --write")
class TestWork:
    @pytest.mark.parametrize("name", NAMES)
    def test_it_takes_no_more_than_it_did(self, name: str, everything: dict[str, Work]) -> None:
        work = everything[name]
        assert not worse(name, work.unit, count(work), EXPECTED[name])

    @pytest.mark.parametrize("name", NAMES)
    def test_a_fifth_more_is_found_by_each_count(self, name: str, a_fifth_more: dict[str, Work]) -> None:
        work, expected = a_fifth_more[name], EXPECTED[name]
        lines = worse(name, work.unit, count(work), expected)
        assert [line.split()[len(name.split()) + 1] for line in lines] == [
            what for what, was in expected.items() if was > 1
        ]
        assert lines[0].startswith(f"{name}: ")
        assert lines[0].endswith("python -m tests.bench.work --write")

    @pytest.mark.parametrize(
        ("what", "once"),
        [("blocks", object), ("calls", "x".isprintable)],
        ids=["an object", "a call"],
    )
    def test_one_more_an_event_is_found(self, what: str, once: Any, everything: dict[str, Work]) -> None:
        work = everything["parse clicks"]
        more = work._replace(run=lambda: (work.run(), [once() for _ in range(work.units)]))
        lines = worse("parse clicks", work.unit, count(more), EXPECTED["parse clicks"])
        assert any(f" {what} an event" in line for line in lines)

    def test_every_work_has_its_figures(self, everything: dict[str, Work]) -> None:
        assert tuple(everything) == tuple(EXPECTED) == NAMES
