"""The processor's instructions that an event takes, by valgrind: `python -m tests.bench.instructions`.

They count what C code does within a call, which `work` cannot see, and like its counts they do not hang on the clock:
two runs differ by a third of a per cent at most. They do hang on the builds of Python and numpy, so no test compares
them; `--write` keeps those of this machine in `work.json` before a change, and a run after it that finds a
twentieth more ends with 1. Needs `valgrind` (`apt-get install valgrind`), and takes a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.bench.work import ALLOWED, FILE, INSTRUCTIONS, kept, works

_TIMES: Final = 3
_COMMAND_S: Final = 60


def control(*command: str) -> None:
    """Tell the valgrind that this process runs under what to do."""
    subprocess.run(
        ["callgrind_control", *command, str(os.getpid())], check=True, capture_output=True, timeout=_COMMAND_S
    )


def counting(run: Callable[[], object]) -> None:
    """Count while `run` runs, and write the count to the next file."""
    control("--instr=on")
    for _ in range(_TIMES):
        run()
    control("--instr=off")
    control("--dump")


def run_all() -> None:
    """What runs under valgrind: nothing at all, for what counting itself takes, then each work."""
    everything = works()
    for work in everything.values():
        work.run()
    counting(lambda: None)
    for work in everything.values():
        counting(work.run)


def instructions() -> dict[str, int]:
    """Instructions a unit, by work. RuntimeError where valgrind is missing or fails."""
    if not shutil.which("valgrind"):
        raise RuntimeError("expected valgrind on the path: apt-get install valgrind")
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        done = subprocess.run(
            [*command, sys.executable, "-m", __spec__.name, "--inside"],
            env={**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"valgrind ended with {done.returncode}: {done.stderr[-2000:]}")
        everything = works()
        own, *totals = (_total(Path(folder, f"out.{number}")) for number in range(1, len(everything) + 2))
    return {
        name: round((total - own) / work.units / _TIMES)
        for (name, work), total in zip(everything.items(), totals, strict=True)
    }


def _total(file: Path) -> int:
    """The count of one file of callgrind's."""
    [total] = [int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith("totals: ")]
    return total


def main() -> int:
    """Count, and print how it compares with the file, or write the file."""
    options = argparse.ArgumentParser(prog="tests.bench.instructions", description=__doc__)
    options.add_argument("--write", action="store_true", help="keep them in the file")
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.inside:
        run_all()
        return 0
    counted, figures = instructions(), kept()
    more = {name: number / was["instructions"] - 1 for name, was in figures.get(INSTRUCTIONS, {}).items()
            if (number := counted.get(name)) is not None}  # fmt: skip
    for name, number in counted.items():
        sys.stdout.write(f"{name}: {number:,}" + (f" ({more[name]:+.1%})\n" if name in more else "\n"))
    if chosen.write:
        figures[INSTRUCTIONS] = {name: {"instructions": number} for name, number in counted.items()}
        FILE.write_text(json.dumps(dict(sorted(figures.items())), indent=2) + "\n")
        return 0
    return 1 if any(share > ALLOWED for share in more.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
