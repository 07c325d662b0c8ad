"""Which precision is fastest on this machine: measured once, written down beside the graphs."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import openvino as ov

from encoders.backends.openvino import OpenvinoBackend, float_precisions
from encoders.int8 import Ranges
from encoders.layout import Layout
from encoders.text import TokenBatch

ROWS, WIDTH, BATCHES = 16, 32, 8
"""What is timed: as many tokens as some 200 short texts have."""
ROUNDS = 3


def float_precision(layout: Layout, extra_layers: Sequence[int], cache: Path) -> str:
    """The floating-point type to run a model in here: the only one it can run in, else the faster one."""
    can = float_precisions(layout)
    if len(can) == 1:
        return can[0]
    speeds = measured(layout, extra_layers, cache, can)
    return max(speeds, key=speeds.__getitem__)


def measured(
    layout: Layout, extra_layers: Sequence[int], cache: Path, precisions: Sequence[str], ranges: Ranges | None = None
) -> dict[str, int]:
    """Tokens a second of a model in each precision on this machine's cores, all of them at work.

    Kept in `cache` for this model, processor and version of OpenVINO; only what is not there yet is measured.
    """
    path = cache / "openvino" / f"speed-{layout.fingerprint}.json"
    machine = {"cpu": _processor(), "cores": len(os.sched_getaffinity(0)), "openvino": ov.get_version()}
    names = {p: p if ranges is None or p != "int8" else f"int8-{ranges.digest}" for p in precisions}
    known = _read(path, machine)
    if not known.keys() >= set(names.values()):
        backends = {
            names[p]: OpenvinoBackend(layout, extra_layers, cache=cache, precision=p, ranges=ranges) for p in precisions
        }
        known |= tokens_per_second(backends)
        _write(path, {"machine": machine, "tokens_per_second": known})
    return {p: known[name] for p, name in names.items()}


def tokens_per_second(backends: Mapping[str, OpenvinoBackend]) -> dict[str, int]:
    """The best of three rounds of each backend, taking turns, after one to warm up."""
    best = dict.fromkeys(backends, float("inf"))
    for at in range(ROUNDS + 1):
        for name, backend in backends.items():
            start = perf_counter()
            for _ in backend.run(_batches()):
                pass
            if at:
                best[name] = min(best[name], perf_counter() - start)
    return {name: round(ROWS * WIDTH * BATCHES / seconds) for name, seconds in best.items()}


def _batches() -> Iterator[TokenBatch]:
    ids = np.arange(ROWS * WIDTH, dtype=np.int64).reshape(ROWS, WIDTH) % 16  # small: any vocabulary has these
    for at in range(BATCHES):
        yield TokenBatch(ids, np.ones_like(ids), np.arange(at * ROWS, (at + 1) * ROWS))


def _read(path: Path, machine: Mapping[str, object]) -> dict[str, int]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(k): int(v) for k, v in found["tokens_per_second"].items()} if found["machine"] == machine else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(path: Path, record: Mapping[str, object]) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".writing-", delete=False, encoding="utf-8") as file:
        json.dump(record, file, indent=1)
    Path(file.name).replace(path)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
