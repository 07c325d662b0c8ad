"""A person's recent items: of each item their latest event, of all items the latest ones. Pure.

What is kept is the greatest entry of each item by (time, taken back before given, weight), and of these the `length`
latest by time. Both are maxima, so neither the order in which events arrive nor their repetition matters, and what has
fallen out does not come back: it would be older than all that is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from streams.interests.evidence import ENTRY, FIELD


class Recent(NamedTuple):
    """An item and a person's latest event with it: its time in ms, its signed weight, 0 where it was taken back."""

    item_id: str
    ts_ms: int
    weight: float


def merged(recents: Iterable[Recent], more: Iterable[Recent], length: int) -> tuple[Recent, ...]:
    """The `length` latest of both, latest first, an item once. Commutative, associative and idempotent."""
    latest: dict[str, Recent] = {}
    for one in (*recents, *more):
        had = latest.get(one.item_id)
        if had is None or _rank(one) > _rank(had):
            latest[one.item_id] = one
    return tuple(sorted(latest.values(), key=_order)[:length])


def younger(recents: Iterable[Recent], than_ms: int) -> tuple[Recent, ...]:
    """Those whose event is younger: what an erasure leaves."""
    return tuple(one for one in recents if one.ts_ms > than_ms)


def pack_recents(recents: Iterable[Recent]) -> str:
    """Recent items as one string; weights keep all digits."""
    return ENTRY.join(f"{one.item_id}{FIELD}{one.ts_ms}{FIELD}{one.weight!r}" for one in recents)


def unpack_recents(packed: str) -> tuple[Recent, ...]:
    """Read back what `pack_recents` wrote."""
    rows = (entry.split(FIELD) for entry in packed.split(ENTRY)) if packed else ()
    return tuple(Recent(item_id, int(ts_ms), float(weight)) for item_id, ts_ms, weight in rows)


def _rank(one: Recent) -> tuple[int, bool, float]:
    return one.ts_ms, one.weight == 0.0, one.weight


def _order(one: Recent) -> tuple[int, str]:
    return -one.ts_ms, one.item_id
