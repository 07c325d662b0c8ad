"""The worker's lag as a metric, read from where it is known whenever the metrics are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class LagCollector(Collector):
    """Lag by topic and partition, in offsets, as `read` gives it."""

    def __init__(self, read: Callable[[], Mapping[tuple[str, int], int]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return self._families({})

    def collect(self) -> Iterable[Metric]:
        return self._families(self._read())

    def _families(self, lags: Mapping[tuple[str, int], int]) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "interests_lag_records",
            "Offsets between what is committed, or the start of the log where that is later, and the end of what can "
            "be read.",
            labels=["topic", "partition"],
        )
        for (topic, partition), lag in lags.items():
            family.add_metric([topic, str(partition)], lag)
        return (family,)
