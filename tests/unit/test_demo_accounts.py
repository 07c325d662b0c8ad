"""The demo's books: counters read from a metrics page, quantiles, and when the accounts hold."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from deploy.demo.accounts import ReportedCounts, distinct, quantile, read_counters, verdict
from streams.events.event import Source
from streams.interests.evidence import extend_ring, ring_entry
from streams.worker.metrics import Metrics


def counted(**outcomes: int) -> ReportedCounts:
    dead = outcomes.pop("dead", 0)
    return ReportedCounts(outcomes=outcomes, dead=dead)


def test_counters_are_read_from_the_workers_own_page() -> None:
    metrics = Metrics()
    metrics.events.labels("clicks", "click", "applied").inc(3)
    metrics.events.labels("comments", "comment", "applied").inc(2)
    metrics.events.labels("clicks", "click", "duplicate").inc()
    metrics.dead_letters.labels("clicks", "parse", "bad_json").inc(4)
    metrics.dead_letters.labels("items", "parse", "bad_json").inc(5)
    metrics.nodes_written.labels("topic").inc(6)
    metrics.nodes_written.labels("profile").inc(1)
    metrics.items.inc(9)
    for age_s in (0.02, 0.02, 4.0):
        metrics.age.labels("clicks").observe(age_s)
    read = read_counters(generate_latest(metrics.registry).decode(), "items")
    assert read.outcomes == {"applied": 5, "duplicate": 1}
    assert (read.dead, read.dead_items, read.nodes, read.items) == (4, 5, 7, 9)
    assert read.ended == 10
    assert read.ages[0.025] == 2
    assert read.ages[inf] == 3


@given(st.lists(st.floats(0, 9), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    bounds = [1.0, 2.0, 4.0, 8.0]
    registry = CollectorRegistry()
    histogram = Histogram("h", "h", buckets=bounds, registry=registry)
    for value in values:
        histogram.observe(value)
    ages = {
        float(sample.labels["le"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "h_bucket"
    }
    rank = max(1, -(-share * len(values) // 1))
    true = sorted(values)[int(min(rank, len(values))) - 1]
    upper = next((bound for bound in bounds if true <= bound), inf)
    lower = max((bound for bound in [0.0, *bounds] if bound < upper), default=0.0)
    found = quantile(ages, share)
    assert found is not None
    assert lower - 1e-9 <= found <= upper + 1e-9


def test_there_is_no_quantile_of_nothing() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({1.0: 0, inf: 0}, 0.5) is None


@pytest.mark.parametrize(
    ("produced", "seen", "remembered", "fine"),
    [
        (10, counted(applied=10), 10, True),
        (10, counted(applied=7, duplicate=2, dead=1), 7, True),
        (10, counted(applied=9, erased=1, redelivered=30, unresolved=4), 9, True),
        (10, counted(applied=9), 9, False),  # one is missing
        (10, counted(applied=11), 11, False),  # one was applied twice
        (10, counted(applied=10), 9, False),  # the trees do not have what was counted
    ],
)
def test_when_the_accounts_hold(produced: int, seen: ReportedCounts, remembered: int, fine: bool) -> None:
    held, lines = verdict(produced, seen, remembered, [])
    assert held is fine
    assert len(lines) == 2


def test_full_rings_are_not_counted() -> None:
    held, lines = verdict(10, counted(applied=10), 3, ["u1"])
    assert held
    assert "not counted" in lines[1]


def test_rings_are_counted_by_event() -> None:
    sources = [Source("clicks", 0, n) for n in range(4)]
    ring = extend_ring(b"", [ring_entry(f"e{n}", source, 1) for n, source in enumerate(sources)], 10)
    again = ring_entry("e1", Source("clicks", 0, 99), 1)
    assert distinct([ring, b""]) == 4
    assert distinct([ring + again]) == 4
