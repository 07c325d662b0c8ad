"""What documents tell to type is typed as it is written, in a shell that knows nothing else, on the embedded stack.

First the README's first steps and those of `interests up`; then, on the same stack, all of docs/operations.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
import pytest
import pytest_asyncio
from rich.console import Console

from deploy.embedded.stack import Stack
from deploy.embedded.up import greet
from tests.fixtures.blocks import blocks
from tests.fixtures.prometheus import needs_prometheus

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES: Final = [page for name in ("operations", "deployment") if (page := ROOT / "docs" / f"{name}.md").exists()]
ADDRESSES: Final = ". .interests/env\n"
#: What a service has met that has run for a while: a record that it cannot read.
MET: Final = """echo '{"user_id": "ana", "type": "ponder"}' | interests produce - --no-check --topic clicks\n"""


def typed(folder: Path, script: str) -> str:
    """What a shell prints in a folder, asking again until an event is folded; fails with it where a line fails."""
    script = re.sub(r"^(interests (show|recommend) .*)$", r"until \1; do sleep 0.2; done", script, flags=re.MULTILINE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INTERESTS_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["sh", "-exc", script], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack whose addresses lie in `.interests/env` of the folder that is the working one meanwhile.

    The repository's files are found there, too, as in the folder of a checkout.
    """
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("deploy", "docs", "streams", "encoders", "model_repo"):
        (folder / name).symlink_to(ROOT / name)
    with contextlib.chdir(folder):
        async with Stack(folder / ".interests", ports="free") as running:
            yield running


async def test_the_first_steps_work_as_they_are_written(stack: Stack) -> None:
    folder = stack.data_dir.parent
    (block,) = re.findall(r"^In another shell.*?\n\n(.*?)\n\nThe broker of", README, re.MULTILINE | re.DOTALL)
    steps = [line.strip() for line in block.splitlines() if line.strip() != ". .venv/bin/activate"]
    assert steps[0].startswith(". .interests/env")
    shown = await asyncio.to_thread(typed, folder, "\n".join(steps))
    assert "Coffee & tea" in shown
    assert "A hand grinder for the road" in shown
    told = io.StringIO()
    greet(stack, Console(file=told, width=200))
    _, _, tries = told.getvalue().partition("Try, in another terminal:")
    commands = [re.split(r" {2,}", line.strip())[0] for line in tries.splitlines() if line.strip()]
    assert commands[0] == ". .interests/env"
    assert "all is well" in await asyncio.to_thread(typed, folder, "\n".join(commands))


@needs_prometheus
@pytest.mark.skipif(shutil.which("amtool") is None, reason="no amtool on PATH: apt-get install prometheus-alertmanager")
@pytest.mark.timeout(300)
async def test_every_command_of_operations_runs_as_it_is_written(stack: Stack) -> None:
    folder, ran = stack.data_dir.parent, 0
    await asyncio.to_thread(typed, folder, ADDRESSES + MET)
    for page in PAGES:
        for block in blocks(page):
            if block.kind == "run":
                await asyncio.to_thread(typed, folder, ADDRESSES + block.text)
                ran += len(block.commands)
    assert ran == sum(len(block.commands) for page in PAGES for block in blocks(page) if block.kind == "run") > 15


@needs_prometheus
async def test_every_query_of_operations_is_one_that_prometheus_reads(stack: Stack) -> None:
    url = stack.addresses()["Prometheus"] + "/api/v1/query"
    queries = [block for page in PAGES for block in blocks(page) if block.language == "promql"]
    assert queries
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        for block in queries:
            answer = (await http.post(url, data={"query": block.text})).json()
            assert answer["status"] == "success", (block.line, answer)
