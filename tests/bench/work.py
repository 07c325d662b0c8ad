"""How much work an event makes, counted and not timed: `python -m tests.bench.work`.

A clock on a shared machine moves by tens of per cent; these counts are the same on every machine:

- `bytecodes`: instructions of Python's interpreter, by a trace
- `calls`: calls of functions, those of C among them
- `blocks`: objects that are left when the work is done, by the interpreter's allocator
- `bytes`: the most memory at one time, numpy's included

`tests/unit/test_work.py` holds them to `work.json`, which has figures by version of Python: each version compiles to
bytecodes of its own. `--write` puts the figures of this version there. What C code does within a call is not counted
here; `tests.bench.instructions` counts it with valgrind.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

import numpy as np
from qdrant_client import grpc

from streams.events.event import Event, Source
from streams.events.parse import parse_events
from streams.interests.fold import fold
from streams.interests.nodes import Node
from streams.interests.plan import Weighed, gate, plan
from streams.settings.policies import NodeSettings
from streams.store import codec
from streams.store.base import Fence
from streams.store.node_wire import nodes_bytes
from tests.bench.bench_parse import NOW_MS, event_records

FILE: Final = Path(__file__).with_suffix(".json")
VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
INSTRUCTIONS: Final = "valgrind"  # the section of the file that `instructions` writes

#: How much more than the file says is let pass. The counts are exact, so it is little: one more call into C code, such
#: as decoding a record twice, is a twelfth of the calls of a click, and a sixth of its time.
ALLOWED: Final = 0.05
#: What makes no difference, by count: an object that is made once, and not once an event.
SLACK: Final = {"bytecodes": 1.0, "calls": 0.2, "blocks": 0.2, "bytes": 16.0}

EVENTS, ITEMS, DIM = 500, 50, 384
POLICY: Final = NodeSettings().policy()


class Work(NamedTuple):
    """Something to do: `units` times what is counted, an event or a node; `run` gives what it made."""

    unit: str
    units: int
    run: Callable[[], object]


def parsing(mix: str, events: int) -> Work:
    """Records to events."""
    records = event_records(mix, events)
    return Work("event", events, lambda: parse_events(records, now_ms=NOW_MS))


def clicks(batch: int, count: int) -> list[Event]:
    """Clicks of users who come again in the next batch, ten of each."""
    return [
        Event(
            f"e-{batch}-{n}", f"user-{n // 10}", "click", NOW_MS + batch * count + n, f"item-{n * 7 % ITEMS}",
            None, None, None, (), (), None, {}, Source("clicks", 0, batch * count + n),
        )
        for n in range(count)
    ]  # fmt: skip


def plan_and_fold(events: Sequence[Event], before: Sequence[Node]) -> list[Node]:
    """A batch of clicks into the nodes that were there before."""
    stored = {node.key: node for node in before}
    profiles = {node.key.user_id: node for node in before if node.key.level == "profile"}
    fresh = gate(events, profiles, 1, whole_trees=True).fresh
    weighed = [Weighed(e, n * 7 % ITEMS, f"/t{n % 5}/s{n % 10}", 1.0, e.item_id or "") for n, e in enumerate(fresh)]
    return fold(plan(weighed, fresh, profiles, POLICY, 1), _VECTORS, stored, POLICY, 1)


def answer(points: bytes) -> bytes:
    """Qdrant's answer that holds these points."""
    sent = grpc.UpsertPoints.FromString(points).points
    return grpc.GetResponse(
        result=[
            grpc.RetrievedPoint(
                id=point.id,
                payload=dict(point.payload),
                vectors=grpc.VectorsOutput(
                    vector=grpc.VectorOutput(dense=grpc.DenseVector(data=point.vectors.vector.dense.data))
                ),
            )
            for point in sent
        ]
    ).SerializeToString()


def read_back(response: bytes) -> list[Node]:
    """Nodes from Qdrant's answer."""
    points = grpc.GetResponse.FromString(response).result
    return [codec.node_of(point.payload, codec.row_of(point.vectors)) for point in points]


def works(grown: float = 1.0) -> dict[str, Work]:
    """All that is counted, by name, on `grown` times as many users; what it begins with is ready."""
    events = round(EVENTS * grown)
    batch = clicks(1, events)
    before = plan_and_fold(clicks(0, events), [])
    nodes = plan_and_fold(batch, before)
    points = nodes_bytes(nodes, POLICY, Fence(1, 1))
    response = answer(points)
    return {
        "parse clicks": parsing("clicks", events),
        "parse comments": parsing("comments_english", events),
        "plan and fold": Work("event", events, lambda: plan_and_fold(batch, before)),
        "build points": Work("node", len(nodes), lambda: nodes_bytes(nodes, POLICY, Fence(1, 1))),
        "read points": Work("node", len(nodes), lambda: read_back(response)),
    }


def _vectors() -> Any:
    rows = np.random.default_rng(1).normal(size=(ITEMS, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


_VECTORS: Final = _vectors()


# -- counting ----------------------------------------------------------------------------------------------------------


def count(work: Work) -> dict[str, float]:
    """What one unit of a work takes, each count from a run of its own after one that fills caches."""
    work.run()
    counts = {
        "bytecodes": bytecodes(work.run), "calls": calls(work.run), "blocks": blocks(work.run), "bytes": peak(work.run)
    }  # fmt: skip
    return {name: round(number / work.units, 2) for name, number in counts.items()}


def bytecodes(run: Callable[[], object]) -> int:
    """Instructions of the interpreter."""
    number = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal number
        if event == "opcode":
            number += 1
        elif event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return trace

    before = sys.gettrace()
    for traced in (lambda: None, run):  # Python 3.12 counts none until it is set again after a frame has asked for it
        number = 0
        sys.settrace(trace)
        try:
            traced()
        finally:
            sys.settrace(before)
    return number


def calls(run: Callable[[], object]) -> int:
    """Calls, of functions in Python and in C."""
    number = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal number
        number += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    return number


def blocks(run: Callable[[], object]) -> int:
    """Blocks of memory that are still there while the result is."""
    gc.collect()
    before = sys.getallocatedblocks()
    made = run()
    gc.collect()
    left = sys.getallocatedblocks() - before
    del made
    return left


def peak(run: Callable[[], object]) -> int:
    """The most bytes at one time above those at the beginning."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        made = run()
        most = tracemalloc.get_traced_memory()[1]
        del made
    finally:
        tracemalloc.stop()
    return most - before


# -- comparing ---------------------------------------------------------------------------------------------------------


def kept() -> dict[str, dict[str, dict[str, float]]]:
    """The figures of the file, by version of Python and work."""
    found: dict[str, dict[str, dict[str, float]]] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found


def worse(name: str, unit: str, counted: Mapping[str, float], expected: Mapping[str, float]) -> list[str]:
    """A line for each count that is more than the file lets pass."""
    return [
        f"{name}: {counted[what]:,.2f} {what} a{'n' if unit == 'event' else ''} {unit}, {FILE.name} has "
        f"{was:,.2f} ({counted[what] / was - 1 if was else 1:+.0%}); if it is worth that: "
        "python -m tests.bench.work --write"
        for what, was in expected.items()
        if counted[what] > was * (1 + ALLOWED) + SLACK[what]
    ]


def main() -> int:
    """Count everything, and print how it compares with the file, or write the file."""
    options = argparse.ArgumentParser(prog="tests.bench.work", description=__doc__)
    options.add_argument("--write", action="store_true", help="the file's figures for this version of Python")
    chosen = options.parse_args()
    everything = works()
    counted = {name: count(work) for name, work in everything.items()}
    figures = kept()
    if chosen.write:
        figures[VERSION] = counted
        FILE.write_text(json.dumps(dict(sorted(figures.items())), indent=2) + "\n")
    json.dump(counted, sys.stdout, indent=2)
    sys.stdout.write("\n")
    lines = [
        line
        for name, expected in figures.get(VERSION, {}).items()
        for line in worse(name, everything[name].unit, counted[name], expected)
    ]
    for line in lines:
        sys.stderr.write(f"{line}\n")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
