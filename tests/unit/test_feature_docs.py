"""Every feature is explained in docs/api.md, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from streams.ranking.rows import NAMES

API = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def test_the_table_of_features_has_them_all_in_their_order() -> None:
    section = API.read_text(encoding="utf-8").partition("#### Features\n")[2].partition("\n#")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == list(NAMES)
