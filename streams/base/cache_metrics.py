"""Metrics of the caches, the same for workers and the API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.base.caches import CacheStats


class CacheCollector(Collector):
    """Look-ups and size of caches, read when Prometheus asks, under names that begin with `prefix`."""

    def __init__(self, prefix: str, caches: Mapping[str, Callable[[], CacheStats]]) -> None:
        self._prefix, self._caches = prefix, caches

    def describe(self) -> Iterable[Metric]:
        """The families without samples: by these a scrape may ask for one of them alone."""
        return self._families({})

    def collect(self) -> Iterable[Metric]:
        """Hits, misses and bytes of each cache."""
        return self._families({name: read() for name, read in self._caches.items()})

    def _families(self, caches: Mapping[str, CacheStats]) -> Iterable[Metric]:
        labels = ["cache", "result"]
        about = "Look-ups in a cache: of nodes, items and texts in a worker, of item cards and texts in the API."
        lookups = CounterMetricFamily(f"{self._prefix}_cache_lookups", about, labels=labels)
        size = GaugeMetricFamily(f"{self._prefix}_cache_bytes", "Bytes that a cache holds.", labels=["cache"])
        for name, stats in caches.items():
            lookups.add_metric([name, "hit"], stats.hits)
            lookups.add_metric([name, "miss"], stats.misses)
            size.add_metric([name], stats.nbytes)
        return lookups, size
