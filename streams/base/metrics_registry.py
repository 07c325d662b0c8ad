"""A process's metrics, each of them one series."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, disable_created_metrics


def metrics_registry() -> CollectorRegistry:
    """A registry of its own. In this process counters and histograms no longer say when they were made: that is a
    second series for each, half of a page that Prometheus reads all the time, and nothing is made of it.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
    return CollectorRegistry()
