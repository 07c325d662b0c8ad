"""What a panel asks for: a few forms of query that Prometheus answers, and that can be worked out from scrapes alone.

Each form says itself in PromQL: `promql(window, also)` takes the window of rates, and selectors that every series must
match as well (`instance=~"…"`). The forms are few on purpose: what Grafana, the page `/dashboard` and the tests ask is
the same, whether a Prometheus runs or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

#: Over what a rate is taken, in PromQL; whoever asks puts its own window in place of it.
WINDOW: Final = "$__rate_interval"

Labels: TypeAlias = Mapping[str, str]
NO_LABELS: Final[Labels] = {}
#: How values of several processes become one.
Across: TypeAlias = Literal["sum", "max", "min", "avg"]


@dataclass(frozen=True, slots=True)
class Rate:
    """How much a counter grows a second, summed over processes; one line for each value of the labels `by`."""

    counter: str
    by: tuple[str, ...] = ()
    where: Labels = field(default_factory=dict)

    def promql(self, window: str = WINDOW, also: str = "") -> str:
        """The query in PromQL."""
        return f"sum{_by(self.by)} (rate({_selected(self.counter, self.where, also)}[{window}]))"


@dataclass(frozen=True, slots=True)
class Value:
    """A gauge as it is now, over processes as `across` says; one line for each value of the labels `by`."""

    gauge: str
    by: tuple[str, ...] = ()
    where: Labels = field(default_factory=dict)
    across: Across = "sum"

    def promql(self, window: str = WINDOW, also: str = "") -> str:
        """The query in PromQL; it needs no window."""
        return f"{self.across}{_by(self.by)} ({_selected(self.gauge, self.where, also)})"


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of what a histogram counted within the window, but for series that match `without`; `q` in (0, 1)."""

    q: float
    histogram: str
    by: tuple[str, ...] = ()
    where: Labels = field(default_factory=dict)
    without: Labels = field(default_factory=dict)

    def promql(self, window: str = WINDOW, also: str = "") -> str:
        """The query in PromQL."""
        counted = f"rate({_selected(self.histogram + '_bucket', self.where, also, self.without)}[{window}])"
        return f"histogram_quantile({self.q:g}, sum{_by(('le', *self.by))} ({counted}))"


@dataclass(frozen=True, slots=True)
class Ratio:
    """One rate as a share of another, line by line: a mean, or a share of errors. Both have the same labels `by`."""

    part: Rate
    whole: Rate

    def promql(self, window: str = WINDOW, also: str = "") -> str:
        """The query in PromQL."""
        return f"{self.part.promql(window, also)} / {self.whole.promql(window, also)}"


Query: TypeAlias = Rate | Value | Quantile | Ratio


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


def _selected(metric: str, where: Labels, also: str, without: Labels = NO_LABELS) -> str:
    wanted = [f'{name}="{value}"' for name, value in where.items()]
    wanted += [f'{name}!="{value}"' for name, value in without.items()]
    matchers = ", ".join([*wanted, also] if also else wanted)
    return f"{metric}{{{matchers}}}" if matchers else metric
