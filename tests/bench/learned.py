"""What the level `learned` costs the path: a worker with it and one without, in turn, on people of their own."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from rich.console import Console

from deploy.embedded.stack import Stack
from encoders.hierarchy_files import LearnedHierarchy, save_learned
from encoders.hierarchy_model import HierarchyConfig, HierarchyModel
from tests.bench.path import APPLIED, clicks, describe_items, quantile, scraped, send, send_evenly, total
from tests.bench.peers.race import QUIET
from tests.bench.scale import Running, another_worker, course, figures_of, medians_of
from tests.fixtures.learned_path import DIM, MODEL, text_encoder_id

PEOPLE: Final = 1_000
STEADY_SHARE: Final = 0.15
_DRAIN_S: Final = 300.0
_OFF, _ON = "without", "with"


def untrained(folder: Path) -> Path:
    """The folder of a model of the size that is trained by default, which costs what a trained one does."""
    model = HierarchyModel(HierarchyConfig(dim=DIM))
    torch.nn.init.normal_(model.newcomer)  # at first it has no direction, and no such model is exported
    save_learned(LearnedHierarchy(model.eval(), text_encoder_id()), folder)
    return folder


def rows_of(label: str, count: int) -> list[dict[str, Any]]:
    """Clicks of a thousand people whom nobody has met before: with 40,000, all have a full history at the end."""
    rows = clicks(count, label, PEOPLE)
    return [row | {"user_id": f"{label}-{row['user_id']}"} for row in rows]


async def backlog(stack: Stack, running: Running, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A worker applies what waits: figures over its second half; whom it made learned nodes of, and for how long on."""
    sending = asyncio.create_task(send(stack, stack.settings.kafka.event_topics[0], rows, "user_id"))
    began_s = time.perf_counter()
    came = await course(stack, [running], len(rows))
    await sending
    took_s, at_end = time.perf_counter() - began_s, await scraped(running.metrics_url)
    async with asyncio.timeout(_DRAIN_S):
        while total(await scraped(running.metrics_url, "interests_learned_oldest_seconds"), "interests_learned_old"):
            await asyncio.sleep(0.1)
    return figures_of(came, len(rows)) | {
        "people_asked_about_a_second": round(total(at_end, "interests_learned_people_total") / took_s),
        "people_left_out": round(total(at_end, r"interests_learned_dropped_total")),
        "drained_within_s": round(time.perf_counter() - began_s - took_s, 1),
    }


async def steady(stack: Stack, running: Running, label: str, rate: float, seconds: float) -> dict[str, Any]:
    """Events come evenly: their age at apply, and the longest that anybody waited for learned nodes."""
    before, oldest = await scraped(running.metrics_url), 0.0
    rows = rows_of(f"{label}-steady", int(rate * seconds))
    sending = asyncio.create_task(send_evenly(stack, rows, rate))
    goal = total(before, APPLIED) + len(rows)
    async with asyncio.timeout(seconds + 120):
        while total(after := await scraped(running.metrics_url), APPLIED) < goal:
            oldest = max(oldest, total(after, "interests_learned_oldest_seconds"))
            await asyncio.sleep(0.5)
    await sending
    p50, p99 = (quantile(before, after, q) for q in (0.5, 0.99))
    return {
        "rate_events_per_s": round(rate),
        "p50_s": round(p50, 3),
        "p99_s": round(p99, 3),
        "oldest_s": round(oldest, 2),
    }


async def one(stack: Stack, kind: str, label: str, count: int, rate: float, seconds: float) -> dict[str, Any]:
    """A fresh worker of one kind on a backlog, then under an even load (`rate` 0: a share of what it made)."""
    async with another_worker(stack, label, INTERESTS_LEARNED__MODEL=MODEL if kind == _ON else "") as running:
        found = await backlog(stack, running, rows_of(label, count))
        rate = rate or STEADY_SHARE * found["events_per_s"]
        return found | {"steady": await steady(stack, running, label, rate, seconds)}


def compared(runs: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The median of each figure, and how much of the throughput is left with the level."""
    ratios = [on["events_per_s"] / off["events_per_s"] for off, on in zip(runs[_OFF], runs[_ON], strict=True)]
    return {
        **{name: medians_of(of) for name, of in runs.items()},
        "with_to_without_events_per_s": round(median(ratios), 2),
        "each_round": [round(ratio, 2) for ratio in ratios],
    }


async def learned(count: int, rounds: int, seconds: float, console: Console) -> dict[str, Any]:
    """Both kinds in turn, the order turned round from one round to the next; both under the same even load."""
    runs: dict[str, list[dict[str, Any]]] = {_OFF: [], _ON: []}
    with tempfile.TemporaryDirectory(prefix="interests-bench-") as folder:
        model = untrained(Path(folder) / "model")
        async with Stack(Path(folder) / "stack", ports="free", environment=QUIET, interest_model=model) as stack:
            console.print("describing items …")
            await describe_items(stack)
            await stack.stop_worker()
            rate = 0.0
            for number in range(rounds):
                for kind in (_OFF, _ON) if number % 2 == 0 else (_ON, _OFF):
                    console.print(f"round {number + 1} of {rounds}: {kind} learned nodes …")
                    runs[kind].append(await one(stack, kind, f"{kind}-{number}", count, rate, seconds))
                    rate = rate or runs[kind][-1]["steady"]["rate_events_per_s"]
                    console.print(runs[kind][-1])
    return {"events": count, "people": PEOPLE, "rounds": rounds, **compared(runs)}


def figures(count: int, rounds: int, seconds: float, console: Console) -> dict[str, Any]:
    """Measure."""
    return asyncio.run(learned(count, rounds, seconds, console))
