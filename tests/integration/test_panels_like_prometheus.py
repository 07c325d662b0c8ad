"""What the API works out of its own scrapes is what a real Prometheus answers on the same samples."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest

from streams.api.panel_sources import Unanswered
from streams.api.prometheus_source import PrometheusSource
from streams.base.jobs import JOBS
from streams.dashboards.catalogue import DASHBOARDS
from streams.dashboards.evaluate import Curve, Grid, evaluate
from streams.dashboards.history import History, Sample
from streams.dashboards.jobs import jobs_of
from streams.dashboards.queries import Quantile, Query, Rate, Ratio, Value
from tests.fixtures.prometheus import Written, needs_prometheus, prometheus_with

pytestmark = [pytest.mark.integration, needs_prometheus]

EVERY_MS, SCRAPES = 5_000, 360
BOUNDS = (0.005, 0.05, 0.25, 1, 5, float("inf"))
QUERIES = [line.query for board in DASHBOARDS for panel in board.panels for line in panel.lines] + [
    Value("interests_lag_records", across=across) for across in ("max", "min", "avg")
]  # fmt: skip


class Both(NamedTuple):
    """The same samples in both: our history, and the address of a Prometheus. `last_ms` is the last scrape's time."""

    kept: History
    url: str
    last_ms: int


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Half an hour of scrapes of every metric of the catalogue: counters restart, a process comes late, gaps."""
    dice = random.Random(14)
    last_ms = int(time.time()) // 60 * 60_000 - 600_000
    first_ms = last_ms - EVERY_MS * (SCRAPES - 1)
    kept, rows = History(keep_s=7200, every_s=5), list[Written]()
    for instance in ("a", "b"):
        pages = _process(dice, late=instance == "b")
        for index, page in enumerate(pages):
            if page is None:
                continue
            at_ms = first_ms + EVERY_MS * index + dice.randrange(3, 90)  # scrapes are never quite in time
            for job in JOBS:
                target = {"job": job, "instance": instance}
                samples = [sample for sample, of in page if of == job]
                kept.add(at_ms, target, samples)
                rows += [Written(one.name, {**one.labels, **target}, at_ms, one.value) for one in samples]
    with prometheus_with(rows, tmp_path_factory.mktemp("prometheus")) as url:
        yield Both(kept, url, last_ms)


def _process(dice: random.Random, *, late: bool) -> Iterator[list[tuple[Sample, str]] | None]:
    """What a process says at each scrape, with the job that has it; None where the scrape is left out."""
    counters: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for index in range(SCRAPES):
        if index in {100, 240}:  # it starts again
            counters.clear()
        if dice.random() < 0.02 or (late and index < 50):
            yield None
            continue
        page: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Sample, str]] = {}
        for query in QUERIES:
            for name, labels, grown in _samples(query, dice, index):
                key = (name, tuple(sorted(labels.items())))
                if key in page:
                    continue
                counters[key] = counters.get(key, 0.0) + grown if grown is not None else dice.random() * 100
                page[key] = (Sample(name, labels, counters[key]), jobs_of(query)[0])
        yield list(page.values())


def _samples(query: Query, dice: random.Random, index: int) -> Iterator[tuple[str, dict[str, str], float | None]]:
    """Samples that a query reads: name, labels, and by how much a counter grew (None: a gauge)."""
    if isinstance(query, Ratio):
        yield from _samples(query.part, dice, index)
        yield from _samples(query.whole, dice, index)
        return
    name = {Value: "gauge", Rate: "counter", Quantile: "histogram"}[type(query)]
    metric: str = getattr(query, name)
    left_out = query.without if isinstance(query, Quantile) else {}
    series = [dict.fromkeys(query.by, f"v{number}") for number in range(2 if query.by else 1)]
    for labels in [{**one, **query.where} for one in (*series, *([left_out] if left_out else []))]:
        if isinstance(query, Quantile):
            grown = 0.0
            for bound in BOUNDS:
                grown += dice.randrange(4) if index % 50 > 5 else 0  # now and then nothing is counted
                yield f"{metric}_bucket", {**labels, "le": f"{bound:g}".replace("inf", "+Inf")}, grown
        else:
            yield metric, labels, None if isinstance(query, Value) else float(dice.randrange(30))


@pytest.mark.parametrize(("step_s", "window_s"), [(5, 20), (90, 95)])
async def test_every_query_of_the_catalogue_has_the_same_lines(both: Both, step_s: int, window_s: int) -> None:
    refused: list[str] = []
    source = PrometheusSource(both.url, token=None, deadline_s=20, failed=refused.append)
    end_ms = both.last_ms + 30_000  # beyond the last scrape
    grid = Grid(end_ms - 1_700_000 // (step_s * 1000) * step_s * 1000, end_ms, step_s * 1000, window_s * 1000)
    try:
        answers = await source.ask(QUERIES, grid)
    finally:
        await source.close()
    assert refused == []
    compared = 0
    for query, theirs in zip(QUERIES, answers, strict=True):
        assert not isinstance(theirs, Unanswered), query
        ours = {_key(one): one.values for one in evaluate(query, both.kept.select, grid)}
        assert ours.keys() == {_key(one) for one in theirs}, query
        for one in theirs:
            np.testing.assert_allclose(ours[_key(one)], one.values, rtol=1e-6, atol=1e-9, err_msg=str(query))
            compared += int((~np.isnan(one.values)).sum())
    assert compared > 500 * len(QUERIES) / step_s


def _key(curve: Curve) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(curve.labels.items()))
