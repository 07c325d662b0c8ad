"""What the service does on this machine, measured on the real parts: a table, and with `--out` a file.

    python -m tests.bench --out docs/bench.json        everything; what is measured is written as soon as it is there
    python -m tests.bench --only peers --rounds 3      ours and others in turn, and the ratio
    python -m tests.bench --only consume --quick       the batch path beside bare aiokafka

Figures of a shared machine move by tens of per cent from run to run; compare ratios within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.embedded.stack import Stack
from streams.encoder.client import TritonEncoder
from tests.bench import bench_consume, bench_parse, learned, lost_worker, memory, scale
from tests.bench.api import api_latency
from tests.bench.encoder import figures as encoder_figures
from tests.bench.interests import figures as interest_figures
from tests.bench.path import ages, bytes_a_user, describe_items, events_per_s, texts_per_s
from tests.bench.peers import race

CONSOLE = Console(stderr=True)
PARTS = ("parse", "consume", "encoder", "interests", "path", "peers", "api", "scale", "learned", "lost", "memory")
QUIET = {"INTERESTS_LOG__LEVEL": "warning", "INTERESTS_WORKER__SWEEP_EVERY_S": "0"}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    flags = next((line for line in lines if line.startswith("flags")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": ", ".join(sorted(names)) or platform.processor(),
        "cores": os.cpu_count(),
        "amx_bf16": "amx_bf16" in flags,
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


async def path_figures(events: int, load_s: float) -> dict[str, Any]:
    """The figures that need the whole stack."""
    with tempfile.TemporaryDirectory(prefix="interests-bench-") as folder:
        async with Stack(Path(folder), ports="free", environment=QUIET) as stack:
            CONSOLE.print("texts through Triton …")
            figures: dict[str, Any] = {"triton": await texts_per_s(stack)}
            CONSOLE.print("describing items …")
            figures["items"] = await describe_items(stack)
            CONSOLE.print("events with item vectors cached …")
            figures["events"] = await events_per_s(stack, events)
            CONSOLE.print("age at apply, at a sixth and half of the most, beside a busy core …")
            figures["age_at_apply"] = await ages(stack, figures["events"]["events_per_s"], load_s)
            figures["bytes_a_user"] = await bytes_a_user(stack)
    return figures


async def api_figures(seconds: float) -> dict[str, Any]:
    """The figures of the API, on a stack of their own."""
    with tempfile.TemporaryDirectory(prefix="interests-bench-") as folder:
        async with Stack(Path(folder), ports="free", environment=QUIET) as stack:
            encoder = TritonEncoder(stack.settings.triton.url)
            info = await encoder.info()
            await encoder.close()
            return await api_latency(stack, info.encoder_id, info.dim, seconds)


def main() -> int:
    """Measure, print a table, and write the file."""
    options = argparse.ArgumentParser(
        prog="tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    options.add_argument("--events", type=int, default=20_000, help="events of the parts `path` and `scale`")
    options.add_argument("--peer-events", type=int, default=40_000, help="events of a run of ours and of each peer")
    options.add_argument("--load-s", type=float, default=20.0, help="seconds of events at each of three loads")
    options.add_argument("--api-s", type=float, default=20.0, help="seconds of requests to each of the API's routes")
    options.add_argument(
        "--only",
        choices=PARTS,
        help="one part; the file keeps the rest",
    )
    options.add_argument("--rounds", type=int, default=5, help="rounds of ours and theirs in turn")
    options.add_argument(
        "--people", type=int, nargs="*", default=[1_000, 2_000, 10_000, 100_000],
        help="people in the store for the part `scale`, rising",
    )  # fmt: skip
    options.add_argument("--lost-rate", type=float, default=400.0, help="events a second of the part `lost`")
    options.add_argument("--memory-min", type=float, default=30.0, help="minutes of the part `memory`")
    options.add_argument("--quick", action="store_true", help="fewer records to parse and consume")
    chosen = options.parse_args()
    before = json.loads(chosen.out.read_text()) if chosen.only and chosen.out and chosen.out.is_file() else {}
    figures: dict[str, Any] = {"machine": machine(), "measured": {}} | before
    for name, measure in parts(chosen).items():
        if chosen.only in (None, name):
            CONSOLE.print(f"{name} …")
            on = machine()
            figures |= measure()
            figures["measured"][name] = on | {"quick": chosen.quick}
            if chosen.out:
                chosen.out.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    table = Table("measured", "figure")
    for name, value in flat(figures):
        table.add_row(name, f"{value:,}" if isinstance(value, (int, float)) else str(value))
    Console().print(table)
    return 0


def parts(chosen: argparse.Namespace) -> dict[str, Callable[[], dict[str, Any]]]:
    """The parts of the bench, in order: what each measures is written as soon as it is there."""
    quick = chosen.quick
    return {
        "parse": lambda: {"parse": bench_parse.figures(20_000, 3) if quick else bench_parse.figures()},
        "consume": lambda: {"consume": bench_consume.figures(200_000, 1) if quick else bench_consume.figures()},
        "encoder": lambda: {"encoder": encoder_figures(256, 2) if quick else encoder_figures(rounds=chosen.rounds)},
        "interests": lambda: {"interests": interest_figures(*((256, 2) if quick else (1_024, chosen.rounds)))},
        "path": lambda: asyncio.run(path_figures(chosen.events, chosen.load_s)),
        "peers": lambda: {"peers": race.figures(chosen.peer_events, chosen.rounds, CONSOLE)},
        "api": lambda: {"api": asyncio.run(api_figures(chosen.api_s))},
        "scale": lambda: scale.figures(chosen.events, chosen.people, chosen.rounds, CONSOLE),
        "learned": lambda: {"learned": learned.figures(chosen.peer_events, chosen.rounds, chosen.load_s, CONSOLE)},
        "lost": lambda: {"lost_worker": lost_worker.figures(chosen.lost_rate, chosen.rounds, CONSOLE)},
        "memory": lambda: {"memory": memory.figures(chosen.memory_min, CONSOLE)},
    }


def flat(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested figures as rows."""
    rows: list[tuple[str, Any]] = []
    for name, value in figures.items():
        rows += flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
