"""Stretches of the log that are to be read a second time, and what was found there: what reader and path agree on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from streams.events.event import RecordLike

Slot = tuple[str, int]
"""A topic and the number of one of its partitions."""


class Span(NamedTuple):
    """What to read of one partition: the records with a timestamp from `since_ms` on, up to the offset `last`."""

    since_ms: int
    last: int


class Found(NamedTuple):
    """The records that were wanted, a partition's in offset order, and the partitions that no longer hold them all."""

    records: Sequence[RecordLike]
    short: frozenset[Slot] = frozenset()


ReadSpans = Callable[[Mapping[Slot, Span], Callable[[bytes | None], bool]], Awaitable[Found]]
"""Reads spans and keeps the records whose key is wanted. Raises RetryableError where the broker is away."""
