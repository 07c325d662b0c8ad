"""docs/export.md describes every column of every table, and what every file says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from streams.commands.export_tables import ExportPlan, _metadata
from streams.history import tables
from streams.ranking.rows import NAMES
from streams.settings.service import Settings
from streams.store.collections import Collections

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text()
SCHEMAS = {
    "trees": tables.trees_schema(3), "items": tables.items_schema(3), "popularity": tables.POPULARITY_SCHEMA,
    "events": tables.EVENTS_SCHEMA,
}  # fmt: skip


def names_in(section: str) -> list[str]:
    """What the first column of a section's table names."""
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


def test_every_column_of_features_is_described() -> None:
    section = PAGE.split("\n### features\n")[1].split("\n#")[0]
    described = [name for name in names_in(section) if name not in {NAMES[0], NAMES[-1]}]
    assert [*described, *NAMES] == tables.FEATURES_SCHEMA.names
    assert f"the {len(NAMES)} [features" in section


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_is_described(name: str) -> None:
    section = PAGE.split(f"\n### {name}\n")[1].split("\n#")[0]
    assert sorted(names_in(section)) == sorted(SCHEMAS[name].names)


def test_what_files_say_of_themselves_is_described() -> None:
    section = PAGE.split("\n## Files\n")[1].split("\n### ")[0]
    plan = ExportPlan(out=Path("x"), at_ms=0, by="happened", replays=True)
    assert sorted(names_in(section)) == sorted(_metadata(Settings(), plan, Collections("e", 3)))


def test_vectors_have_a_fixed_length() -> None:
    assert tables.trees_schema(3).field("direction").type == pa.list_(pa.float32(), 3)
