"""docs/events.md says what the code does: fields, types, weights, headers and examples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from streams.events import unresolved
from streams.events.dead_letters import DeadLetter, DeadLetterReason, headers
from streams.events.event import EventType
from streams.events.parse import parse_events, parse_items
from streams.events.wire import WireEvent, WireItem
from streams.interests.signed_weight import DEFAULT_BASE
from tests.fixtures.records import NOW_MS, click, record

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))


def rows(section: str, heading: str) -> dict[str, list[str]]:
    """Read the table under a heading row: cells by what its first column names."""
    (table,) = re.findall(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", SECTIONS[section], re.MULTILINE)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    return {first.strip("`"): rest for first, *rest in cells}


@pytest.mark.parametrize(("section", "wire"), [("Events", WireEvent), ("Items", WireItem)])
def test_every_field_is_in_its_table(section: str, wire: Any) -> None:
    assert set(rows(section, "field")) == set(wire.__struct_fields__)


def test_every_type_is_there_with_its_weight() -> None:
    weights = {name: float(cells[0].replace("−", "-")) for name, cells in rows("Events", "type").items()}
    assert weights == DEFAULT_BASE
    assert set(weights) == set(get_args(EventType))


def test_every_reason_is_there() -> None:
    assert set(rows("Dead letters", "reason")) == set(get_args(DeadLetterReason))


def test_every_header_is_there() -> None:
    sent = headers(DeadLetter(record=record(click()), stage="parse", reason="bad_json", message="x"))
    assert list(rows("Dead letters", "header")) == [name for name, _ in sent]
    policy = unresolved.RetryPolicy(base_ms=1, cap_ms=1, deadline_ms=1, group="interests")
    waiting = unresolved.next_attempt(record(click()), now_ms=NOW_MS, policy=policy)
    assert list(rows("Events that wait", "header")) == [name for name, _ in waiting or ()]


def test_the_examples_are_valid() -> None:
    sent = re.findall(r"-t (\w+) .*?<<'EOF'\n(.*?)EOF", SECTIONS["By hand"], re.DOTALL)
    assert [topic for topic, _ in sent] == ["clicks", "items", "events"]
    for topic, lines in sent:
        pairs = [line.split("|", 1) for line in lines.splitlines()]
        records = [record(key=key.encode(), value=value.encode() or None, topic=topic) for key, value in pairs]
        parsed: Any = (parse_items if topic == "items" else parse_events)(records, now_ms=NOW_MS)
        assert [dead.message for dead in parsed.dead] == []
        assert (parsed.unknown_fields, parsed.clamped) == (0, 0)
