"""Vectors of texts already encoded, bounded in bytes, least recently used first out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xxhash

from streams.base.caches import CacheStats

Floats = npt.NDArray[np.float32]

_ENTRY_BYTES = 200
"""What a key, its slot number and their place in the ordered dict take in CPython 3.11, measured."""


def text_key(text: str) -> bytes:
    """16 bytes for a normalised text: with 2⁴⁰ texts, two of them meet with a chance of 2⁻⁴⁹."""
    return xxhash.xxh3_128_digest(text.encode())


class TextCache:
    """Rows of `width` float32 by text key, at most `limit_bytes` of them, in one preallocated block.

    Not one of `streams.base.caches`: the rows of a batch are copied out of one block at once, and no row is an object
    of its own. The block's pages are taken from the system only as they fill. Not for use from several threads.
    """

    def __init__(self, limit_bytes: int, width: int) -> None:
        self._capacity = limit_bytes // (4 * width + _ENTRY_BYTES)
        self._rows = np.empty((self._capacity, width), np.float32)
        self._slots: OrderedDict[bytes, int] = OrderedDict()
        self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def nbytes(self) -> int:
        """Bytes held now, keys and bookkeeping included."""
        return len(self._slots) * (4 * self._rows.shape[1] + _ENTRY_BYTES)

    def stats(self) -> CacheStats:
        """Hits, misses and bytes."""
        return CacheStats(self.hits, self.misses, self.nbytes)

    def get(self, keys: Sequence[bytes]) -> tuple[Floats, list[int]]:
        """Rows for `keys`, shape (n, width), and the places of those that are missing, whose rows are zero."""
        slots = [self._slots.get(key, -1) for key in keys]
        missing = [place for place, slot in enumerate(slots) if slot < 0]
        self.hits += len(keys) - len(missing)
        self.misses += len(missing)
        out = np.zeros((len(keys), self._rows.shape[1]), np.float32)
        if len(missing) < len(keys):
            at = np.array(slots, np.intp)
            found = at >= 0
            out[found] = self._rows[at[found]]
            for key, slot in zip(keys, slots, strict=True):
                if slot >= 0:
                    self._slots.move_to_end(key)
        return out, missing

    def put(self, keys: Sequence[bytes], rows: Floats) -> None:
        """Keep rows of shape (n, width); the least recently used ones make room."""
        for key, row in zip(keys, rows, strict=True):
            slot = self._slots.pop(key, -1)
            if slot < 0:
                if len(self._slots) < self._capacity:
                    slot = len(self._slots)
                elif self._capacity:
                    _, slot = self._slots.popitem(last=False)
                else:
                    return
            self._rows[slot] = row
            self._slots[key] = slot
