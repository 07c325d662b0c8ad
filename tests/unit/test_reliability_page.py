"""docs/reliability.md names tests that exist: every row of hostile and unlucky input has one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def rows() -> list[list[str]]:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    section = page.split("## Hostile and unlucky input")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_row_is_whole_and_its_test_exists() -> None:
    wrong = []
    for row in rows():
        if len(row) != 5 or not all(row):
            wrong.append(f"not five filled cells: {row}")
            continue
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[4])
        if not tests:
            wrong.append(f"no test named as `tests/….py::name`: {row}")
        for file, name in tests:
            if not (ROOT / file).is_file() or name not in functions(ROOT / file):
                wrong.append(f"no such test: {file}::{name}")
    assert not wrong
