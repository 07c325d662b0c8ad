"""What a worker serves: a scrape may ask for some families alone, as a bench does that would not disturb the worker."""

from __future__ import annotations

from prometheus_client import generate_latest

from streams.base.caches import CacheStats
from streams.worker.metrics import Metrics


def page(metrics: Metrics, family: str) -> str:
    return generate_latest(metrics.registry.restricted_registry([family])).decode()


def test_what_is_read_at_the_scrape_can_be_asked_for_alone() -> None:
    metrics, hits = Metrics(), [0]
    metrics.watch_lag(lambda: {("clicks", 0): 5})
    metrics.watch_caches({"nodes": lambda: CacheStats(hits=hits[0], misses=0, nbytes=7)})
    hits[0] = 3
    assert 'interests_cache_lookups_total{cache="nodes",result="hit"} 3.0' in page(
        metrics, "interests_cache_lookups_total"
    )
    assert 'interests_cache_bytes{cache="nodes"} 7.0' in page(metrics, "interests_cache_bytes")
    alone = page(metrics, "interests_lag_records")
    assert 'interests_lag_records{partition="0",topic="clicks"} 5.0' in alone
    assert "interests_cache" not in alone
