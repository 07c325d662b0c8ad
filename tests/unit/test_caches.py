"""Bounded caches: what stays, what falls out, what is counted."""

from __future__ import annotations

from streams.base.cache_metrics import CacheCollector
from streams.base.caches import BoundedCache, CacheStats


def test_the_least_recently_used_falls_out_and_bytes_are_bounded() -> None:
    cache: BoundedCache[str, str] = BoundedCache(10, size_of=len)
    cache.put("a", "four")
    cache.put("b", "four")
    assert cache.get("a") == "four"
    cache.put("c", "four")
    assert [cache.get(key) for key in "abc"] == ["four", None, "four"]
    assert cache.stats() == CacheStats(hits=3, misses=1, nbytes=8)
    cache.put("a", "a")
    assert cache.stats().nbytes == 5
    cache.clear()
    assert (len(cache), cache.stats()) == (0, CacheStats(hits=3, misses=1, nbytes=0))


def test_what_is_too_large_by_itself_is_not_kept_and_nor_is_what_it_replaces() -> None:
    cache: BoundedCache[str, str] = BoundedCache(10, size_of=len)
    cache.put("a", "old")
    cache.put("b", "four")
    cache.put("a", "much longer than ten")
    assert cache.get("a") is None
    assert cache.get("b") == "four"
    assert cache.stats().nbytes == 4
    none: BoundedCache[str, str] = BoundedCache(0, size_of=len)
    none.put("a", "a")
    assert len(none) == 0


def test_a_value_is_used_for_its_time() -> None:
    now = [0.0]
    cache: BoundedCache[str, int | None] = BoundedCache(2, ttl_s=5.0, clock=lambda: now[0])
    for name in "abc":
        cache.put(name, ord(name))
    assert cache.among("abc") == ({"b": 98, "c": 99}, ["a"])
    cache.put("b", None)
    assert cache.among("b") == ({"b": None}, [])
    now[0] = 4.999
    cache.put("c", 1)
    now[0] = 5.0
    assert cache.among("bc") == ({"c": 1}, ["b"])
    assert "b" not in cache


def test_reading_the_counts_changes_nothing() -> None:
    """Another thread reads them for Prometheus while the owner's loop works on the cache."""
    now = [0.0]
    cache: BoundedCache[str, str] = BoundedCache(10, size_of=len, ttl_s=5.0, clock=lambda: now[0])
    cache.put("a", "four")
    now[0] = 60.0
    assert cache.stats() == CacheStats(0, 0, 4)
    assert cache._values._Cache__data == {"a": "four"}  # type: ignore[attr-defined]  # as it lies there
    cache.put("b", "b")
    assert cache.stats() == CacheStats(0, 0, 1)


def test_dropping_and_walking() -> None:
    cache: BoundedCache[str, int] = BoundedCache(9)
    for name in "abc":
        cache.put(name, 1)
    for key in cache:
        cache.drop(key)
        cache.drop(key)
    assert len(cache) == 0


def test_the_counts_are_metrics() -> None:
    lookups, size = CacheCollector("interests", {"nodes": lambda: CacheStats(3, 2, 100)}).collect()
    assert {(s.name, *s.labels.values()): s.value for s in (*lookups.samples, *size.samples)} == {
        ("interests_cache_lookups_total", "nodes", "hit"): 3,
        ("interests_cache_lookups_total", "nodes", "miss"): 2,
        ("interests_cache_bytes", "nodes"): 100,
    }
