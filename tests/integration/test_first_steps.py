"""What the README and `interests up` tell to type first, typed as it is written, in a shell that knows nothing else."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from deploy.embedded.stack import Stack
from deploy.embedded.up import greet

pytestmark = [pytest.mark.integration, pytest.mark.slow]

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def type_in(folder: Path, lines: Sequence[str]) -> str:
    """The output of lines typed in a folder, by somebody who asks again until an event is folded."""
    script = [re.sub(r"^(interests (show|recommend) .*)$", r"until \1; do sleep 0.2; done", line) for line in lines]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INTERESTS_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", "\n".join(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_the_first_steps_work_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with Stack(tmp_path / ".interests", ports="free") as stack:
        (block,) = re.findall(r"^In another shell.*?\n\n(.*?)\n\nThe broker of", README, re.MULTILINE | re.DOTALL)
        steps = [line.strip() for line in block.splitlines() if line.strip() != ". .venv/bin/activate"]
        assert steps[0].startswith(". .interests/env")
        shown = await asyncio.to_thread(type_in, tmp_path, steps)
        assert "Coffee & tea" in shown
        assert "A hand grinder for the road" in shown
        told = io.StringIO()
        greet(stack, Console(file=told, width=200))
        _, _, tries = told.getvalue().partition("Try, in another terminal:")
        commands = [re.split(r" {2,}", line.strip())[0] for line in tries.splitlines() if line.strip()]
        assert commands[0] == ". .interests/env"
        assert "all is well" in await asyncio.to_thread(type_in, tmp_path, commands)
