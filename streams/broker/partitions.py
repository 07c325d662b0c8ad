"""Which partition a key belongs to: murmur2, as the Java client and aiokafka choose."""

from __future__ import annotations

from functools import lru_cache

from aiokafka.partitioner import murmur2


@lru_cache(maxsize=200_000)
def partition_of(key: str, partitions: int) -> int:
    """The partition of a key's UTF-8 bytes among `partitions`: murmur2 without its sign bit, modulo."""
    return int(murmur2(key.encode()) & 0x7FFFFFFF) % partitions
