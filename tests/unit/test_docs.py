"""Documents say what the code does: metrics, their labels and their outcomes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from prometheus_client.metrics import MetricWrapperBase

from streams.api.telemetry import ApiMetrics
from streams.base.caches import CacheStats
from streams.events.event import Outcome
from streams.worker.metrics import Metrics

DOCS = Path(__file__).resolve().parents[2] / "docs"


def documented() -> dict[str, tuple[str, set[str]]]:
    table = (DOCS / "metrics.md").read_text()
    rows = re.findall(r"^\| `(interests_\w+)` \| (\w+) \|([\w, ]*)\|", table, re.M)
    return {
        name: (kind, {label.strip() for label in labels.split(",") if label.strip()}) for name, kind, labels in rows
    }


def served() -> dict[str, tuple[str, set[str]]]:
    api = ApiMetrics()
    api.watch_caches({"cards": lambda: CacheStats(1, 2, 3)})
    return served_by_worker() | served_by(api)


def served_by_worker() -> dict[str, tuple[str, set[str]]]:
    metrics = Metrics()
    metrics.watch_lag(lambda: {("t", 0): 1})
    metrics.watch_caches({"nodes": lambda: CacheStats(1, 2, 3)})
    return served_by(metrics)


def served_by(metrics: Metrics | ApiMetrics) -> dict[str, tuple[str, set[str]]]:
    labels = {m._name: set(m._labelnames) for m in vars(metrics).values() if isinstance(m, MetricWrapperBase)}
    found = {}
    for family in metrics.registry.collect():
        mine = labels.get(family.name)
        if mine is None:
            mine = set(family.samples[0].labels)
        found[family.name + ("_total" if family.type == "counter" else "")] = (family.type, mine)
    return found


def test_every_metric_is_documented_and_nothing_else() -> None:
    assert documented() == served()
    assert len(served()) > 15


def test_outcomes_are_those_of_the_pipeline() -> None:
    table = (DOCS / "metrics.md").read_text().split("Outcomes of")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == set(get_args(Outcome))
