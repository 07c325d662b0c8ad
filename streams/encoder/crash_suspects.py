"""Texts that were being encoded when the encoder went down: tried again in ever smaller groups, until one stands alone.

A text that makes the encoder crash looks like an outage from here, and would be waited out for ever. What tells the
two apart is that the encoder could read a plain sentence just before, and went down over this text again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

_SHRINK = 4
_ALONE = 2


class CrashSuspects:
    """How often texts, by key, were there when the encoder crashed; the latest `limit` of them. Not for threads."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._crashes: OrderedDict[bytes, int] = OrderedDict()
        self._alone: dict[bytes, int] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._crashes

    def doubt(self, keys: Sequence[bytes]) -> None:
        """These were on their way when the encoder failed; it may have been for another reason."""
        for key in keys:
            self._crashes.setdefault(key, 1)
        while len(self._crashes) > self._limit:
            key, _ = self._crashes.popitem(last=False)
            self._alone.pop(key, None)

    def crashed(self, keys: Sequence[bytes]) -> bool:
        """The encoder was well, was asked for these, and went down. True where one text alone did that twice."""
        for key in keys:
            self._crashes[key] = self._crashes.get(key, 0) + 1
        if len(keys) > 1:
            return False
        self._alone[keys[0]] = self._alone.get(keys[0], 0) + 1
        return self.convicted(keys[0])

    def convicted(self, key: bytes) -> bool:
        """Whether this text is known to crash the encoder: it is not to be sent again."""
        return self._alone.get(key, 0) >= _ALONE

    def clear(self, keys: Sequence[bytes]) -> None:
        """These have been encoded: they were not at fault."""
        for key in keys:
            if self._crashes.pop(key, None) is not None:
                self._alone.pop(key, None)

    def groups(self, places: Sequence[int], keys: Sequence[bytes], most: int) -> list[list[int]]:
        """`places` of suspects in groups to ask for one by one: a quarter of `most` after a crash, and so on to one."""
        groups: list[list[int]] = []
        by_count: dict[int, list[int]] = {}
        for place in places:
            by_count.setdefault(self._crashes.get(keys[place], 0), []).append(place)
        for count, mine in sorted(by_count.items()):
            size = max(1, most // _SHRINK**count)
            groups += [mine[start : start + size] for start in range(0, len(mine), size)]
        return groups
