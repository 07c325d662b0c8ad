"""Documents say what the code does: metrics, their labels and their outcomes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from prometheus_client.metrics import MetricWrapperBase

from streams.api.telemetry import ApiMetrics
from streams.base.caches import CacheStats
from streams.commands.metrics_document import FILE, markdown
from streams.events.event import Outcome
from streams.learner.figures import Figure, Label
from streams.learner.metrics import LearnerMetrics
from streams.worker.metrics import Metrics

DOCS = Path(__file__).resolve().parents[2] / "docs"


def documented() -> dict[str, tuple[str, set[str], str]]:
    """Type, labels and meaning by name, as the page has them."""
    page = (DOCS / "metrics.md").read_text()
    items = re.findall(r"^- `(interests_\w+)` \((\w+)(?:; by ([\w, ]+))?\): (.+(?:\n  .+)*)$", page, re.M)
    return {
        name: (kind, set(filter(None, labels.split(", "))), re.sub(r"\s+", " ", about))
        for name, kind, labels, about in items
    }


def served() -> dict[str, tuple[str, set[str], str]]:
    api = ApiMetrics()
    api.watch_caches({"cards": lambda: CacheStats(1, 2, 3)})
    learner = LearnerMetrics()
    learner.figures = [(Label("fixed", "next", "an encoder", "new"), Figure(1, 1.0, 1.0, 1.0, 1.0, 1.0))]
    return served_by_worker() | served_by(learner) | served_by(api)


def served_by_worker() -> dict[str, tuple[str, set[str], str]]:
    metrics = Metrics()
    metrics.watch_lag(lambda: {("t", 0): 1})
    metrics.watch_caches({"nodes": lambda: CacheStats(1, 2, 3)})
    return served_by(metrics)


def served_by(metrics: Metrics | ApiMetrics | LearnerMetrics) -> dict[str, tuple[str, set[str], str]]:
    labels = {m._name: set(m._labelnames) for m in vars(metrics).values() if isinstance(m, MetricWrapperBase)}
    entries = {}
    for family in metrics.registry.collect():
        mine = labels.get(family.name)
        if mine is None:
            mine = set(family.samples[0].labels)
        about = family.documentation.replace("docs/events.md", "[events.md](events.md)")
        entries[family.name + ("_total" if family.type == "counter" else "")] = (family.type, mine, about)
    return entries


def test_the_page_is_what_the_code_makes_of_it() -> None:
    assert FILE.read_text(encoding="utf-8") == markdown(), "run python -m streams.commands.metrics_document"
    assert max(map(len, markdown().splitlines())) <= 120


def test_every_metric_is_documented_and_nothing_else() -> None:
    assert documented() == served()
    assert len(served()) > 15


def test_outcomes_are_those_of_the_pipeline() -> None:
    table = (DOCS / "metrics.md").read_text().split("Outcomes of")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\S.*\.) \|$", table, re.M)
    assert [outcome for outcome, _ in rows] == list(get_args(Outcome))
