"""A person's recent items: of each item their latest event, of all items the latest ones. Pure.

What is kept is the greatest entry of each item by (time, taken back before given, weight, type), and of these the
`length` latest by time. Both are maxima, so neither the order in which events arrive nor their repetition matters, and
what has fallen out does not come back: it would be older than all that is kept.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final, NamedTuple

from streams.interests.evidence import ENTRY, FIELD

#: What stands for an event's type in a packed entry; a type that is not here stands for itself.
_CODES: Final = {
    "click": "c", "view": "v", "post": "o", "comment": "m", "like": "l", "dislike": "d", "bookmark": "b",
    "share": "s", "follow": "f", "purchase": "p", "rating": "r", "search": "q", "hide": "h", "impression": "i",
}  # fmt: skip
_TYPES: Final = {code: name for name, code in _CODES.items()}


class Recent(NamedTuple):
    """An item and a person's latest event with it: its time in ms, its signed weight, 0 where it was taken back.

    `type` is that of the event, also of one that was taken back; "" in what was folded before it was kept.
    """

    item_id: str
    ts_ms: int
    weight: float
    type: str = ""


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
    """Recent items as one string; weights keep all digits, types are one letter each."""
    return ENTRY.join(map(_packed, recents))


def unpack_recents(packed: str) -> tuple[Recent, ...]:
    """Read back what `pack_recents` wrote, before entries had a type too."""
    return tuple(map(_unpacked, packed.split(ENTRY))) if packed else ()


def oldest_ms(packed: str) -> int:
    """The time of the oldest of packed recent items, in ms; ValueError where there is none."""
    return -_order_of(packed[packed.rfind(ENTRY) + 1 :])[0]


def extend_recents(packed: str, more: Iterable[Recent], length: int) -> str:
    """`merged` on packed recent items: those that stay are neither unpacked nor packed again."""
    if not length:
        return ""
    kept = packed.split(ENTRY) if packed else []
    renewed: list[Recent] = []
    for one in merged((), more, length):
        name = f"{one.item_id}{FIELD}"
        had = _entry_of(packed, name) if name in packed else ""
        if had and _rank(_unpacked(had)) >= _rank(one):
            continue
        if had:
            kept.remove(had)
        renewed.append(one)
    if kept and renewed and _order_of(kept[0]) < _order(renewed[-1]):
        at = 0
        for one in renewed:
            at = bisect_left(kept, _order(one), at, key=_order_of)
            kept.insert(at, _packed(one))
    else:  # all of it is younger than what was kept, as it mostly is
        kept[:0] = map(_packed, renewed)
    return ENTRY.join(kept[:length])


def _entry_of(packed: str, name: str) -> str:
    """The entry that begins with `name`, "" where none does: it may also be the end of another item's."""
    at = f"{ENTRY}{packed}".find(f"{ENTRY}{name}")
    return packed[at:].partition(ENTRY)[0] if at >= 0 else ""


def _packed(one: Recent) -> str:
    kind = one.type
    return f"{one.item_id}{FIELD}{one.ts_ms}{FIELD}{one.weight!r}{FIELD}{_CODES.get(kind, kind)}"


def _unpacked(entry: str) -> Recent:
    item_id, ts_ms, weight, *kind = entry.split(FIELD)
    return Recent(item_id, int(ts_ms), float(weight), _TYPES.get(kind[0], kind[0]) if kind else "")


def _rank(one: Recent) -> tuple[int, bool, float, str]:
    return one.ts_ms, one.weight == 0.0, one.weight, one.type


def _order(one: Recent) -> tuple[int, str]:
    return -one.ts_ms, one.item_id


def _order_of(entry: str) -> tuple[int, str]:
    item_id, ts_ms, *_ = entry.split(FIELD)
    return -int(ts_ms), item_id
