"""Real logs of six services go through the parser whole: every event and item is valid."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from streams.events.items import item_text
from streams.events.parse import parse_events, parse_items
from tests.fixtures.records import NOW_MS, record

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
LOGS = ("cardano", "deskdrop", "magazines", "mind-zh", "movielens-small")
CATALOGUES = ("cardano", "magazines", "mind-zh", "movielens-small")


def records_of(path: Path, key: str) -> list[Any]:
    if not path.exists():
        pytest.skip(f"needs the real log {path.parent.name}/{path.name} beside the repository")
    with gzip.open(path) as lines:
        return [
            record(value=line.strip(), key=json.loads(line)[key].encode(), offset=offset)
            for offset, line in enumerate(lines)
        ]


@pytest.mark.parametrize("name", LOGS)
def test_every_event_is_valid(name: str) -> None:
    records = records_of(DATA / name / "events.jsonl.gz", "user_id")
    parsed = parse_events(records, now_ms=NOW_MS)
    assert {dead.message for dead in parsed.dead} == set()
    assert (len(parsed.events), parsed.unknown_fields, parsed.clamped) == (len(records), 0, 0)


@pytest.mark.parametrize("name", CATALOGUES)
def test_every_item_is_valid_and_has_text(name: str) -> None:
    records = records_of(DATA / name / "items.jsonl.gz", "item_id")
    parsed = parse_items(records, now_ms=NOW_MS)
    assert {dead.message for dead in parsed.dead} == set()
    assert (len(parsed.upserts), parsed.unknown_fields) == (len(records), 0)
    assert all(0 < len(item_text(item, 1_000) or "") <= 1_000 for item, _ in parsed.upserts)
