"""Texts that were being encoded when the encoder went down: tried again in ever smaller groups, until one stands alone.

A text that makes the encoder crash looks like an outage from here, and would be waited out for ever. What tells the
two apart is that the encoder could read a plain sentence just before, and went down over this text again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cachetools import LRUCache

_SHRINK = 4
_ALONE = 2


class _Crashes(NamedTuple):
    """How often a text was there when the encoder crashed, and how often it was there alone."""

    times: int = 0
    alone: int = 0


_NO_CRASHES = _Crashes()


class CrashSuspects:
    """How often texts, by key, were there when the encoder crashed; the latest `limit` of them. Not for threads."""

    def __init__(self, limit: int = 10_000) -> None:
        self._crashes: LRUCache[bytes, _Crashes] = LRUCache(limit)

    def __contains__(self, key: bytes) -> bool:
        return key in self._crashes

    def suspect(self, keys: Sequence[bytes]) -> None:
        """These were on their way when the encoder failed; it may have been for another reason."""
        for key in keys:
            self._crashes.setdefault(key, _Crashes(times=1))

    def crashed(self, keys: Sequence[bytes]) -> bool:
        """The encoder was well, was asked for these, and went down. True where one text alone did that twice."""
        alone = len(keys) == 1
        for key in keys:
            before = self._crashes.get(key, _NO_CRASHES)
            self._crashes[key] = _Crashes(before.times + 1, before.alone + alone)
        return alone and self.quarantined(keys[0])

    def quarantined(self, key: bytes) -> bool:
        """Whether this text is known to crash the encoder: it is not to be sent again."""
        return self._crashes.get(key, _NO_CRASHES).alone >= _ALONE

    def clear(self, keys: Sequence[bytes]) -> None:
        """These have been encoded: they were not at fault."""
        for key in keys:
            self._crashes.pop(key, None)

    def groups(self, places: Sequence[int], keys: Sequence[bytes], most: int) -> list[list[int]]:
        """`places` of suspects in groups to ask for one by one: a quarter of `most` after a crash, and so on to one."""
        groups: list[list[int]] = []
        by_count: dict[int, list[int]] = {}
        for place in places:
            by_count.setdefault(self._crashes.get(keys[place], _NO_CRASHES).times, []).append(place)
        for count, mine in sorted(by_count.items()):
            size = max(1, most // _SHRINK**count)
            groups += [mine[start : start + size] for start in range(0, len(mine), size)]
        return groups
