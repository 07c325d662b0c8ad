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


def write(page: Path, results: Sequence[Result], broker: str, options: Options, seconds: float) -> None:
    """Put this run's table into its broker's part of the page; the other parts, and all before them, stay."""
    before = page.read_text(encoding="utf-8") if page.is_file() else "# Reliability\n"
    kept = _parts(before)
    kept[broker] = "\n".join(_part(results, broker, options, seconds))
    head = re.split(r"^## On ", before, flags=re.MULTILINE)[0]
    text = "\n\n".join([head.rstrip(), *(kept[name] for name in sorted(kept, reverse=True))]) + "\n"
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
