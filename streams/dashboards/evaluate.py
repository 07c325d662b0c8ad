"""Queries worked out from scrapes alone, to the numbers that Prometheus gives for the same samples.

Rates, their extrapolation and counter resets, and quantiles of histograms are those of Prometheus' functions `rate` and
`histogram_quantile` (promql/functions.go, promql/quantile.go); `tests/integration/test_evaluate_panels.py` compares
both. Windows are open on the left, as in Prometheus 3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from streams.dashboards.history import Floats, Series
from streams.dashboards.queries import Across, Labels, Quantile, Query, Rate, Ratio, Value

#: How old the last sample may be to count as the value now.
LOOKBACK_MS: Final = 300_000.0
_NEAR: Final = 1.1  # of the mean distance of samples: a series that begins or ends nearer to the edge reaches it

Select: TypeAlias = Callable[[str, Labels], Sequence[Series]]
_Key: TypeAlias = tuple[tuple[str, str], ...]


class Grid(NamedTuple):
    """The moments to answer for, in ms since 1970, from `start_ms` to `end_ms`, and the window of rates."""

    start_ms: int
    end_ms: int
    step_ms: int
    window_ms: int

    @property
    def times_ms(self) -> Floats:
        """The moments, shape (n,)."""
        return np.arange(self.start_ms, self.end_ms + 1, self.step_ms, dtype=np.float64)


class Curve(NamedTuple):
    """One line of an answer: the labels that tell it from others, and its values (n,), NaN where there is none."""

    labels: Labels
    values: Floats


def evaluate(query: Query, select: Select, grid: Grid) -> list[Curve]:
    """The lines of a query at the moments of `grid`, from the series that `select` gives for a name and labels."""
    times = grid.times_ms
    found = _lines(query, select, times, float(grid.window_ms))
    return [Curve(dict(key), values) for key, values in found.items() if not np.isnan(values).all()]


def _lines(query: Query, select: Select, times: Floats, window: float) -> dict[_Key, Floats]:
    if isinstance(query, Value):
        held = [(one.labels, _held(one, times)) for one in select(query.gauge, query.where)]
        return _together(held, query.by, query.across)
    if isinstance(query, Rate):
        rates = [(one.labels, _rate(one, times, window)) for one in select(query.counter, query.where)]
        return _together(rates, query.by, "sum")
    if isinstance(query, Quantile):
        found = select(f"{query.histogram}_bucket", query.where)
        without = query.without.items()
        counted = [one for one in found if all(one.labels.get(name) != value for name, value in without)]
        rates = [(one.labels, _rate(one, times, window)) for one in counted]
        return _quantiles(query.q, _together(rates, ("le", *query.by), "sum"))
    return _ratio(query, select, times, window)


def _ratio(query: Ratio, select: Select, times: Floats, window: float) -> dict[_Key, Floats]:
    part, whole = (_lines(one, select, times, window) for one in (query.part, query.whole))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {key: values / whole[key] for key, values in part.items() if key in whole}


def _held(series: Series, times: Floats) -> Floats:
    """The last sample at each moment (n,); NaN where it is too old or the series has ended."""
    if not len(series.times_ms):
        return np.full(len(times), np.nan)
    last = np.searchsorted(series.times_ms, times, side="right") - 1
    age = times - series.times_ms[last]
    return np.where((last >= 0) & (age < LOOKBACK_MS), series.values[last], np.nan)


def _rate(series: Series, times: Floats, window: float) -> Floats:
    """How much a counter grew a second in the window before each moment (n,); NaN with under two samples in it."""
    there = ~np.isnan(series.values)
    at, values = series.times_ms[there], series.values[there]
    rates = np.full(len(times), np.nan)
    if len(at) < 2:
        return rates
    first = np.searchsorted(at, times - window, side="right")
    last = np.searchsorted(at, times, side="right") - 1
    enough = last > first
    first, last, moments = first[enough], last[enough], times[enough]
    dropped = np.where(values[1:] < values[:-1], values[:-1], 0.0)  # a counter begins again at 0
    grown = values + np.concatenate(([0.0], np.cumsum(dropped)))
    growth = grown[last] - grown[first]
    covered = (at[last] - at[first]) / 1000  # from here on in seconds, as Prometheus: what is near is a close call
    apart = covered / (last - first)
    before = (at[first] - (moments - window)) / 1000
    after = (moments - at[last]) / 1000
    with np.errstate(divide="ignore", invalid="ignore"):  # a counter was 0 no longer ago than its growth explains
        since_zero = np.where(growth > 0, covered * values[first] / growth, np.inf)
    before = np.minimum(before, since_zero)
    near = _NEAR * apart
    reach = covered + np.where(before < near, before, apart / 2) + np.where(after < near, after, apart / 2)
    rates[enough] = growth * (reach / covered) / (window / 1000)
    return rates


def _together(lines: Iterable[tuple[Labels, Floats]], by: tuple[str, ...], across: Across) -> dict[_Key, Floats]:
    """Lines with the same values of the labels `by` as one; a label that is not there or empty is left out."""
    groups: defaultdict[_Key, list[Floats]] = defaultdict(list)
    for labels, values in lines:
        groups[tuple((name, labels[name]) for name in by if labels.get(name))].append(values)
    return {key: _across(np.stack(values), across) for key, values in groups.items()}


def _across(values: Floats, across: Across) -> Floats:
    """Rows (m, n) as one (n,); NaN only where all are."""
    there = ~np.isnan(values)
    count = there.sum(axis=0)
    if across in {"sum", "avg"}:
        found = np.where(there, values, 0.0).sum(axis=0)
        found = found / np.maximum(count, 1) if across == "avg" else found
    elif across == "max":
        found = np.where(there, values, -np.inf).max(axis=0)
    else:
        found = np.where(there, values, np.inf).min(axis=0)
    return np.where(count > 0, found, np.nan)


def _quantiles(q: float, buckets: Mapping[_Key, Floats]) -> dict[_Key, Floats]:
    groups: defaultdict[_Key, dict[float, Floats]] = defaultdict(dict)
    for key, rates in buckets.items():
        labels = dict(key)
        if (bound := _bound(labels.get("le", ""))) is not None:
            groups[tuple(one for one in key if one[0] != "le")][bound] = rates
    return {key: _quantile(q, rates) for key, rates in groups.items()}


def _bound(le: str) -> float | None:
    """The upper bound of a bucket; None where it is no number, and the bucket then none, as in Prometheus."""
    try:
        bound = float(le)
    except ValueError:
        return None
    return None if np.isnan(bound) else bound


def _quantile(q: float, rates: Mapping[float, Floats]) -> Floats:
    """A quantile (n,) of cumulative rates by upper bound: linear within a bucket, from 0 on within the first.

    In the open last bucket it is the bound below; NaN where nothing was counted.
    """
    bounds = np.array(sorted(rates))
    counts = np.maximum.accumulate(np.nan_to_num(np.stack([rates[bound] for bound in bounds])), axis=0)
    total = counts[-1]
    if len(bounds) < 2 or not np.isposinf(bounds[-1]):
        return np.full(len(total), np.nan)
    rank = q * total
    reached = counts[:-1] >= rank
    bucket = np.where(reached.any(axis=0), reached.argmax(axis=0), len(bounds) - 1)
    columns = np.arange(len(total))
    inside = np.minimum(bucket, len(bounds) - 2)
    lower = np.where(inside > 0, bounds[inside - 1], 0.0)
    below = np.where(inside > 0, counts[inside - 1, columns], 0.0)
    in_bucket = counts[inside, columns] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        found = lower + (bounds[inside] - lower) * (rank - below) / in_bucket
    found = np.where((inside == 0) & (bounds[0] <= 0), bounds[0], found)
    found = np.where(bucket == len(bounds) - 1, bounds[-2], found)
    return np.where(total > 0, found, np.nan)
