"""Bounded caches: the least recently used value falls out; hits and misses are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

from cachetools import Cache, LRUCache, TTLCache

K = TypeVar("K")
V = TypeVar("V")


_size_now = Cache.currsize.fget  # type: ignore[attr-defined]  # a property, which mypy takes for its function


class CacheStats(NamedTuple):
    """Look-ups that found a value, look-ups that did not, and what the values take in bytes."""

    hits: int
    misses: int
    nbytes: int


class BoundedCache(Generic[K, V]):
    """Values by key, the least recently used falling out beyond `limit`; of `ttl_s` none is older. Not for threads.

    `limit` is in what `size_of` gives for a value, bytes, and without it a number of values. A value that is larger
    than the limit by itself is not kept. `clock` gives seconds that never go back.
    """

    def __init__(
        self, limit: int, *, size_of: Callable[[V], int] | None = None, ttl_s: float | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:  # fmt: skip
        self._values: Cache[K, V] = (
            LRUCache(limit, size_of) if ttl_s is None else TTLCache(limit, ttl_s, clock, size_of)
        )
        self._hits = self._misses = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[K]:
        """The keys as they are now, in no order."""
        return iter(list(self._values))

    def get(self, key: K) -> V | None:
        """The value, now the most recently used; None where there is none."""
        try:
            value = self._values[key]
        except KeyError:
            self._misses += 1
            return None
        self._hits += 1
        return value

    def among(self, keys: Iterable[K]) -> tuple[dict[K, V], list[K]]:
        """The values there are for some keys, and the other keys."""
        found: dict[K, V] = {}
        missing: list[K] = []
        for key in keys:
            try:
                found[key] = self._values[key]
            except KeyError:
                missing.append(key)
        self._hits += len(found)
        self._misses += len(missing)
        return found, missing

    def put(self, key: K, value: V) -> None:
        """Keep a value in place of what was there."""
        try:
            self._values[key] = value
        except ValueError:  # larger than the limit by itself: neither it nor what it replaces is kept
            self._values.pop(key, None)

    def drop(self, key: K) -> None:
        """Forget one value."""
        self._values.pop(key, None)

    def clear(self) -> None:
        """Forget everything; the counts of hits and misses go on."""
        self._values.clear()

    def stats(self) -> CacheStats:
        """Hits, misses and bytes, values that are too old but still there among them; changes nothing.

        Metrics are read by another thread: a TTLCache's own `currsize` would delete what is too old under the reader.
        """
        return CacheStats(self._hits, self._misses, int(_size_now(self._values)))
