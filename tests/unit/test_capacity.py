"""The capacity page: its calculation prints what it says, and it names settings and metrics that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "capacity.md").read_text(encoding="utf-8")


def fenced(language: str) -> str:
    [block] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)
    return str(block)


def test_the_calculation_prints_what_the_page_says() -> None:
    command = [sys.executable, "-c", fenced("python")]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    assert printed == fenced("text")


def test_metrics_and_settings_it_names_exist() -> None:
    metrics = set(re.findall(r"`(interests_[a-z_]+)", PAGE)) - {"interests_"}
    assert len(metrics) > 5
    assert metrics - {"interests__"} <= set(re.findall(r"`(interests_\w+)`", (DOCS / "metrics.md").read_text()))
    settings = set(re.findall(r"`((?:worker|kafka|qdrant)\.\w+)`", PAGE))
    assert len(settings) > 2
    assert settings <= set(re.findall(r"`(\w+\.\w+)`", (DOCS / "settings.md").read_text()))
