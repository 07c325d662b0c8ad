"""What was scraped lately: samples by series, a bounded time and a bounded number of series long."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streams.dashboards.queries import Labels

Floats: TypeAlias = NDArray[np.float64]

#: Series of all targets together, at most; one takes 16 bytes a sample.
MOST_SERIES: Final = 4096
_TRIM_AT: Final = 1.25


class Sample(NamedTuple):
    """One line of a page of metrics."""

    name: str
    labels: Labels
    value: float


class Series(NamedTuple):
    """Samples of one series, oldest first: times in ms since 1970 and values, each (n,). NaN: here it ended."""

    labels: Labels
    times_ms: Floats
    values: Floats


@dataclass(slots=True)
class _Kept:
    labels: Labels
    times_ms: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def add(self, at_ms: float, value: float, oldest_ms: float, most: int) -> None:
        self.times_ms.append(at_ms)
        self.values.append(value)
        if len(self.times_ms) > most:  # seldom, so that a sample is not moved at each scrape
            past = int(np.searchsorted(self.times_ms, oldest_ms))
            past = max(past, len(self.times_ms) - int(most / _TRIM_AT))
            del self.times_ms[:past], self.values[:past]

    @property
    def gone(self) -> bool:
        return self.values[-1] != self.values[-1]


_Key: TypeAlias = tuple[tuple[str, str], ...]


class History:
    """The samples of the last `keep_s` seconds, of targets that are scraped every `every_s` seconds.

    What does not fit into `most_series` is left out.
    """

    def __init__(self, *, keep_s: float, every_s: float, most_series: int = MOST_SERIES) -> None:
        self._keep_ms = keep_s * 1000
        self._most_samples = max(4, int(_TRIM_AT * keep_s / every_s))
        self._most_series = most_series
        self._names: dict[str, dict[_Key, _Kept]] = {}
        self._count = 0

    def add(self, at_ms: float, target: Labels, samples: Iterable[Sample]) -> int:
        """Take what a target's page holds, and give each sample the target's labels.

        A series that it had before and has no more ends here. Gives how many samples did not fit.
        """
        seen: set[int] = set()
        left_out = 0
        for sample in samples:
            kept = self._series(sample.name, {**sample.labels, **target})
            if kept is None:
                left_out += 1
            else:
                kept.add(at_ms, sample.value, at_ms - self._keep_ms, self._most_samples)
                seen.add(id(kept))
        self._end(at_ms, target, seen)
        self._forget(at_ms - self._keep_ms)
        return left_out

    def select(self, name: str, where: Labels) -> list[Series]:
        """The series of a metric whose labels have these values."""
        return [
            Series(kept.labels, np.array(kept.times_ms), np.array(kept.values))
            for kept in self._names.get(name, {}).values()
            if _has(kept.labels, where)
        ]

    def __len__(self) -> int:
        return self._count

    def _series(self, name: str, labels: Labels) -> _Kept | None:
        of_name = self._names.setdefault(name, {})
        key = tuple(sorted(labels.items()))
        kept = of_name.get(key)
        if kept is None and self._count < self._most_series:
            kept = of_name[key] = _Kept(labels)
            self._count += 1
        return kept

    def _end(self, at_ms: float, target: Labels, seen: set[int]) -> None:
        for of_name in self._names.values():
            for kept in of_name.values():
                if id(kept) not in seen and not kept.gone and _has(kept.labels, target):
                    kept.add(at_ms, nan, at_ms - self._keep_ms, self._most_samples)

    def _forget(self, oldest_ms: float) -> None:
        """Let go of series that have long ended."""
        for name in list(self._names):
            of_name = self._names[name]
            for key in [key for key, kept in of_name.items() if kept.times_ms[-1] < oldest_ms]:
                del of_name[key]
                self._count -= 1
            if not of_name:
                del self._names[name]


def _has(labels: Labels, where: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in where.items())
