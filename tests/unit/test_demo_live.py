"""The demo's table of live quality: means of what came between two readings of the learner's metrics."""

from __future__ import annotations

import io

from prometheus_client import generate_latest
from rich.console import Console

from deploy.demo.live import LiveCounts, read_live, table
from streams.learner.figures import Figures
from streams.learner.metrics import LearnerMetrics
from streams.learner.rankers import Quality


def page(*qualities: Quality) -> str:
    metrics, figures = LearnerMetrics(), Figures()
    for number, quality in enumerate(qualities):
        figures.add("next", "e", ("new", "light")[number % 2], {"ours": quality, "level:topic": quality})
    metrics.figures = list(figures)
    metrics.version.labels("next").set(4)
    metrics.lag.labels("ranking.examples", "0").set(2)
    return generate_latest(metrics.registry).decode()


def test_means_are_of_what_came_between() -> None:
    first = [Quality(1.0, 1.0), Quality(1.0, 0.5)]
    before = read_live(page(*first))
    now = read_live(page(*first, Quality(0.0, 0.1), Quality(1.0, 0.4)))
    assert (now.version, now.behind, now.by_ranker["ours"].lists) == (4, 2, 4)
    out = io.StringIO()
    Console(file=out, width=100).print(table(before, now))
    (ours,) = (line.split() for line in out.getvalue().splitlines() if line.strip().startswith("ours"))
    assert ours[1:4] == ["2", "0.500", "0.250"]


def test_without_examples_there_are_dashes() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(table(LiveCounts({}, 0, 0), read_live("")))
    assert out.getvalue().count("–") == 8
