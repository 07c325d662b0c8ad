"""Queries worked out from scrapes: what is kept of these, and the edges that a comparison with Prometheus leaves out.

`tests/integration/test_panels_like_prometheus.py` holds the numbers to those of a real Prometheus.
"""

from __future__ import annotations

import pytest

from streams.dashboards.catalogue import DASHBOARDS
from streams.dashboards.evaluate import LOOKBACK_MS, Curve, Grid, evaluate
from streams.dashboards.history import History, Sample
from streams.dashboards.jobs import jobs_of, metrics_of
from streams.dashboards.queries import Quantile, Query, Rate, Ratio, Value

T = 1_700_000_000_000
WORKER = {"job": "worker", "instance": "a:1"}
OTHER = {"job": "worker", "instance": "b:1"}


def history(**options: float) -> History:
    return History(**{"keep_s": 600.0, "every_s": 5.0, **options})  # type: ignore[arg-type]  # most_series is an int


def at(query: Query, kept: History, seconds: float, window_s: float = 20) -> list[Curve]:
    moment = int(T + seconds * 1000)
    return evaluate(query, kept.select, Grid(moment, moment, 5000, int(window_s * 1000)))


def value(query: Query, kept: History, seconds: float, window_s: float = 20) -> float | None:
    found = at(query, kept, seconds, window_s)
    return float(found[0].values[0]) if found else None


def count(kept: History, values: list[float], name: str = "c_total", target: dict[str, str] = WORKER) -> None:
    for index, one in enumerate(values):
        kept.add(T + 5000 * index, target, [Sample(name, {}, one)])


def test_a_rate_needs_two_scrapes_and_begins_again_at_nought() -> None:
    kept = history()
    count(kept, [100.0])
    assert value(Rate("c_total"), kept, 1) is None
    kept = history()
    count(kept, [100, 110, 120, 5, 15])  # started again after the third
    assert value(Rate("c_total"), kept, 20, 25) == pytest.approx(35 * (25 / 20) / 25)


def test_a_process_that_is_gone_counts_no_more_at_once_and_two_are_added_up() -> None:
    kept = history()
    for index in range(4):
        kept.add(T + 5000 * index, WORKER, [Sample("g", {"topic": "x"}, 3.0)])
        kept.add(T + 5000 * index, OTHER, [Sample("g", {"topic": "x"}, 4.0)] if index < 3 else [])
    assert value(Value("g"), kept, 14) == 7.0
    assert value(Value("g"), kept, 15) == 3.0
    assert [value(Value("g", across=how), kept, 14) for how in ("max", "min", "avg")] == [4.0, 3.0, 3.5]
    assert at(Value("g", by=("topic",)), kept, 14)[0].labels == {"topic": "x"}
    assert at(Value("g", where={"topic": "y"}), kept, 14) == []


def test_a_value_that_nobody_renews_is_believed_for_five_minutes() -> None:
    kept = history()
    kept.add(T, WORKER, [Sample("g", {}, 3.0)])
    assert value(Value("g"), kept, LOOKBACK_MS / 1000 - 1) == 3.0
    assert value(Value("g"), kept, LOOKBACK_MS / 1000) is None
    assert value(Value("g"), kept, -1) is None


def buckets(kept: History, rows: list[dict[str, float]]) -> None:
    for index, row in enumerate(rows):
        kept.add(T + 5000 * index, WORKER, [Sample("h_bucket", {"le": le}, n) for le, n in row.items()])


@pytest.mark.parametrize(
    ("q", "expected"), [(0.25, 0.05), (0.5, 0.1), (0.75, 0.55), (0.99, 0.982)]
)  # fmt: skip
def test_a_quantile_is_interpolated_within_its_bucket(q: float, expected: float) -> None:
    kept = history()
    buckets(kept, [{"0.1": 5.0 * n, "1": 10.0 * n, "+Inf": 10.0 * n} for n in range(4)])
    assert value(Quantile(q, "h"), kept, 15) == pytest.approx(expected)


def test_in_the_open_bucket_it_is_the_bound_below_and_of_nothing_there_is_none() -> None:
    kept = history()
    buckets(kept, [{"0.1": 0.0, "1": 0.0, "+Inf": 7.0 * n} for n in range(4)])
    assert value(Quantile(0.5, "h"), kept, 15) == 1.0
    kept = history()
    buckets(kept, [{"0.1": 5.0, "+Inf": 5.0}] * 4)
    assert at(Quantile(0.5, "h"), kept, 15) == []
    kept = history()
    buckets(kept, [{"0.1": 5.0 * n, "1": 5.0 * n} for n in range(4)])
    assert at(Quantile(0.5, "h"), kept, 15) == [], "without a bucket for all it is no histogram"


def test_a_quantile_leaves_series_out() -> None:
    kept = history()
    for index in range(4):
        for topic, seconds in (("clicks", "0.1"), ("waited", "1")):
            counts = {"0.1": 0.0, "1": 0.0, "+Inf": 5.0 * index, seconds: 5.0 * index}
            counts["1"] = 5.0 * index
            page = [Sample("h_bucket", {"topic": topic, "le": le}, n) for le, n in counts.items()]
            kept.add(T + 5000 * index, {**WORKER, "instance": topic}, page)
    assert value(Quantile(0.99, "h"), kept, 15) == pytest.approx(0.982)
    assert value(Quantile(0.99, "h", without={"topic": "waited"}), kept, 15) == pytest.approx(0.099)


def test_a_ratio_goes_line_by_line_and_nought_by_nought_is_none() -> None:
    kept = history()
    for index in range(4):
        kept.add(T + 5000 * index, WORKER, [
            Sample("hit_total", {"k": "a"}, 3.0 * index), Sample("all_total", {"k": "a"}, 4.0 * index),
            Sample("hit_total", {"k": "b"}, 5.0), Sample("all_total", {"k": "b"}, 5.0),
            Sample("all_total", {"k": "c"}, 1.0 * index),
        ])  # fmt: skip
    found = at(Ratio(Rate("hit_total", by=("k",)), Rate("all_total", by=("k",))), kept, 15)
    assert [(one.labels, one.values.tolist()) for one in found] == [({"k": "a"}, [pytest.approx(0.75)])]


def test_what_is_kept_is_bounded_in_time_and_in_series() -> None:
    kept = history(keep_s=50.0)
    count(kept, [float(n) for n in range(1000)])
    [series] = kept.select("c_total", {})
    assert 10 <= len(series.times_ms) <= 13
    assert series.times_ms[-1] == T + 5000 * 999
    kept = history(most_series=3)
    assert kept.add(T, WORKER, [Sample("g", {"k": str(n)}, 1.0) for n in range(10)]) == 7
    assert len(kept) == 3
    for index in range(1, 300):  # what has long ended makes room
        kept.add(T + 5000 * index, WORKER, [])
    assert len(kept) == 0
    kept.add(T + 5000 * 300, WORKER, [Sample("g", {"k": "new"}, 1.0)])
    assert len(kept) == 1


def test_every_query_of_the_catalogue_can_be_worked_out_and_says_whom_to_scrape() -> None:
    kept = history()
    for board in DASHBOARDS:
        for panel in board.panels:
            for line in panel.lines:
                grid = Grid(T, T + 5000, 5000, 20_000)
                assert evaluate(line.query, kept.select, grid) == [], panel.key
                assert jobs_of(line.query), panel.key
                assert metrics_of(line.query), panel.key
    assert jobs_of(Value("up")) == ("worker", "learner", "api", "triton", "qdrant")
    assert jobs_of(Value("up", where={"job": "triton"})) == ("triton",)
    assert jobs_of(Rate("interests_store_seconds_count")) == ("worker", "learner")
    assert jobs_of(Rate("rest_responses_total")) == ("qdrant",)
