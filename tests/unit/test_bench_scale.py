"""The bench of scale: what it makes of scrapes and processor times."""

from __future__ import annotations

import pytest

from tests.bench.peers.race import Sample
from tests.bench.scale import Settled, figures_of, medians_of, newcomers, summed


def settled(at_s: float, events: float, nodes: float, misses: float, *cpu_s: float) -> Settled:
    cpu = dict(zip(("worker_1", "worker_2", "qdrant", "broker"), cpu_s, strict=True))
    return Settled(Sample(at_s, events, nodes, cpu), misses)


def test_costs_are_those_of_the_second_half_and_workers_are_taken_together() -> None:
    course = [
        settled(0.0, 0, 0, 0, 5.0, 5.0, 9.0, 1.0),
        settled(1.0, 1_000, 4_000, 3_000, 6.0, 6.0, 10.0, 1.0),
        settled(2.0, 2_000, 6_000, 3_500, 6.1, 6.2, 10.5, 1.1),
    ]
    figures = figures_of(course, 2_000)
    assert figures["events_per_s"] == 1_000
    assert figures["nodes_an_event"] == 2
    assert figures["nodes_read_an_event"] == 1.75
    assert figures["cpu_us_an_event"] == {"workers": 300, "qdrant": 500, "broker": 100}
    assert figures["cpu_us_a_node"] == {"workers": 150, "qdrant": 250}
    assert figures["cores"] == {"worker_1": 0.1, "worker_2": 0.2, "qdrant": 0.5}


def test_a_backlog_written_at_once_leaves_nothing_to_time() -> None:
    with pytest.raises(ValueError, match="nothing is left to time"):
        figures_of([settled(0.0, 0, 0, 0, 0, 0, 0, 0), settled(1.0, 10, 40, 40, 1, 1, 1, 1)], 10)


def test_metrics_of_workers_are_summed() -> None:
    assert summed([{"a": 1.0, "b": 2.0}, {"a": 5.0}, {}]) == {"a": 6.0, "b": 2.0}


def test_each_newcomer_clicks_once() -> None:
    rows = newcomers(10, 30)
    assert [row["user_id"] for row in rows] == [f"user-{n}" for n in range(10, 30)]
    assert len({row["event_id"] for row in rows}) == 20


def test_medians_reach_into_figures() -> None:
    assert medians_of([{"a": 1, "b": {"c": 3}}, {"a": 5, "b": {"c": 1}}, {"a": 2, "b": {"c": 2}}]) == {
        "a": 2, "b": {"c": 2},
    }  # fmt: skip
