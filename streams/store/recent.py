"""A bounded memory of what was read a moment ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by key, none older than `ttl_s`, the least recently written falling out beyond `length`."""

    def __init__(self, length: int, ttl_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._length, self._ttl_s, self._clock = length, ttl_s, clock
        self._rows: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def known(self, keys: Iterable[K]) -> tuple[dict[K, V], list[K]]:
        """The values that are fresh, and the keys of those that are not."""
        now = self._clock()
        found: dict[K, V] = {}
        missing: list[K] = []
        for key in keys:
            row = self._rows.get(key)
            if row is not None and now < row[0]:
                found[key] = row[1]
            else:
                missing.append(key)
        return found, missing

    def put(self, key: K, value: V) -> None:
        """Keep a value."""
        self._rows[key] = (self._clock() + self._ttl_s, value)
        self._rows.move_to_end(key)
        while len(self._rows) > self._length:
            self._rows.popitem(last=False)
