"""Commands of the documents on operation: a test runs each, or it is marked as one that needs a cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.fixtures.blocks import Block, blocks

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
PAGES: Final = [DOCS / name for name in ("operations.md", "deployment.md", "kubernetes.md") if (DOCS / name).exists()]
#: What is not on a machine that only has this repository's packages, and the secrets of a compose project.
ELSEWHERE: Final = re.compile(r"\b(docker|kubectl|helm)\b|\bsecrets/")


def test_blocks_are_told_apart(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n    ls -l\n    # a comment\n    cat \\\n      x\n\n- a list\n    goes on\n\n"
        "```sh\nmake\n```\n\n```console\nkubectl get pods\n```\n\n```yaml\na: 1\n```\n"
    )
    assert [(block.kind, block.line, block.commands) for block in blocks(page)] == [
        ("run", 3, ["ls -l", "cat x"]), ("run", 12, ["make"]), ("elsewhere", 16, ["kubectl get pods"]),
        ("shown", 20, ["a: 1"]),
    ]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_what_needs_a_cluster_is_marked_and_nothing_else(page: Path) -> None:
    for block in blocks(page):
        needs = bool(ELSEWHERE.search(block.text))
        if block.kind == "run":
            assert not needs, f"{page.name}:{block.line}: mark it with ```console"
        elif block.kind == "elsewhere":
            assert needs, f"{page.name}:{block.line}: it can run here, so let it: an indented block"


def test_more_is_run_than_is_not() -> None:
    found: dict[str, list[Block]] = {"run": [], "elsewhere": [], "shown": []}
    for page in PAGES:
        for block in blocks(page):
            found[block.kind].append(block)
    run, elsewhere = (sum(len(block.commands) for block in found[kind]) for kind in ("run", "elsewhere"))
    assert run > 15
    assert elsewhere < run
