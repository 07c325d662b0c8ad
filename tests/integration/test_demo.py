"""`make demo`, as a person runs it: its own data through the whole stack, the books in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.demo.traffic import READERS, generate
from deploy.embedded.processes import marked

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_plays_the_day_and_closes_its_books(tmp_path: Path) -> None:
    data_dir = tmp_path / "demo"
    ran = subprocess.run(
        [sys.executable, "-m", "deploy.demo", "--data-dir", str(data_dir)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    told = ran.stdout
    produced = f"{len(generate(0)):,}"
    assert f"{produced} produced = {produced} applied\n" in told
    assert f"remember {produced} different events" in told
    assert "invented readers" in told
    assert max(map(len, told.splitlines())) <= 100

    parts = re.split(r"^(\w+ (?:at half-time|now)) ─+$", told, flags=re.MULTILINE)
    trees = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(trees) == ["Ana at half-time", "Bo at half-time", "Ana now", "Bo now"]
    assert "Food & drink" not in trees["Ana at half-time"]
    assert re.search(r"Food & drink .*new", trees["Ana now"])
    assert re.search(r"Outdoors & adventure .*new", trees["Bo now"])

    asked = told.partition("A question in words")[2].partition("The books")[0]
    names = {reader.name.capitalize() for reader in READERS}
    answers = [words for line in asked.splitlines() if len(words := line.split()) > 2 and words[1] in names]
    assert answers[0][1] == "Bo"  # who went camping
    scores = [float(words[0]) for words in answers]
    assert scores == sorted(scores, reverse=True)
    assert marked(data_dir) == []  # nothing runs on
