"""The page that keeps what the faults came to: a part for each broker, with date and machine."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.fault.arena import Options
from tests.fault.registry import Result

_HEAD = """\
# Reliability

Each event's effect, exactly once, under faults. Every row is one fault of `make fault` (`tests/fault/`): events from a
seed are produced and their acknowledgements written into a ledger; the fault is injected; when all is quiet again, what
lies in Qdrant is held against a plain fold of the ledger (`tests/oracle/`): vectors to 1e-4, masses to 1e-6, counts
exactly. *Lost* are events whose effect is missing, *doubled* those that count twice, *rolled back* those that a profile
had and then had no more. *Recovered* is from the end of the fault until the group has committed the end of every topic.

After an `erase` the oracle also looks past what readers are given: no point, no evidence and no last word on the topic
of updates may be of before it. `kill-on-log` holds every node of a real log, played with kills, against a run without.

`make fault` runs all of it, `make fault NAME=zombie` one, `BROKER=kafka` on Apache Kafka, `MUTANT=no-fence` on a worker
with a guard taken out, which must fail. `make fault NAME=mix MINUTES=60` is the long random mix, `make fault
NAME=kill-on-log DATA=path` plays the log in a folder.
"""


def write(page: Path, results: Sequence[Result], broker: str, options: Options, seconds: float) -> None:
    """Put this run's table into its broker's part of the page; the other parts stay."""
    kept = {} if not page.is_file() else _parts(page.read_text(encoding="utf-8"))
    kept[broker] = "\n".join(_part(results, broker, options, seconds))
    text = "\n\n".join([_HEAD.rstrip(), *(kept[name] for name in sorted(kept, reverse=True))]) + "\n"
    page.write_text(text, encoding="utf-8")


def _parts(text: str) -> dict[str, str]:
    parts = re.split(r"^(?=## On )", text, flags=re.MULTILINE)[1:]
    return {part.split()[2].rstrip(","): part.rstrip() for part in parts}


def _part(results: Sequence[Result], broker: str, options: Options, seconds: float) -> list[str]:
    took = f"{len(results)} faults in {seconds / 60:.0f} min"
    lines = [
        f"## On {broker}",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}, seed {options.seed}: {took}.",
        "",
        "| fault | injected | events | lost | doubled | rolled back | recovered s |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for r in results:
        if r.skipped:
            lines.append(f"| {r.name} | skipped: {r.skipped} | | | | | |")
            continue
        v = r.verdict
        told = f"{v.events} | {len(v.lost)} | {v.doubled} | {v.rolled_back} | {r.recovered_s:.1f}"
        failed = "" if r.fine else " **failed**"
        lines.append(f"| {r.name}{failed} | {r.injected} | {told} |")
    return lines


def _machine() -> str:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(": ")[2]
            break
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({model}), {memory_gib:.0f} GiB, Python {platform.python_version()}"
