"""How large a batch may be: as large as is done within a moment, by what the last ones took."""

from __future__ import annotations

from typing import Final

#: Records that a batch may have however slow they are: a call to the encoder is worth as many.
_LEAST: Final = 64
_FIRST: Final = 1_000


class Pace:
    """Bounds batches to what takes about `within_s` seconds, and to `most` records.

    What waits for its vectors is slow, known items are fast: under lag a batch of clicks is large and writes each node
    once, a batch of comments is small and does not hold up what comes behind it. A batch that was over half full and
    done in time is followed by one of twice the size, one that took too long by one that would have been in time.
    """

    def __init__(self, most: int, within_s: float) -> None:
        self._most, self._within_s = most, within_s
        self._limit = min(most, _FIRST)

    def took(self, records: int, seconds: float) -> None:
        """Learn from a batch that is done."""
        if seconds > self._within_s:
            self._limit = min(self._most, max(_LEAST, int(records * self._within_s / seconds)))
        elif 2 * records > self._limit:
            self._limit = min(self._most, 2 * self._limit)

    def limit(self) -> int:
        """How many records the next batch may have."""
        return self._limit
