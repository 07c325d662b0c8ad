"""Which items the same people touch: of each item decayed counts of its partners, folded as popularity is. Pure.

A person's pairs (`neighbours.py`) go to both their items, by the topic `items.together` (`pair_records.py`).
"""

from __future__ import annotations

import math
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.interests.applied import Applied
from streams.interests.decay import decay, runs_out_ms
from streams.interests.evidence import ENTRY, FIELD
from streams.interests.pair_records import Pair, Pairs

#: People added to a total, who touched something else: so little evidence says little.
DOUBT: Final = 3.0
_NOTHING_LEFT = 1e-9  # a count under this share of what was taken from it is rounding error


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerPolicy:
    """How an item's partners are kept: the half-life of their counts, and how many of them."""

    half_life_s: float = 365 * 86_400.0
    kept: int = 64

    @property
    def half_life_ms(self) -> int:
        """The half-life in whole ms."""
        return max(1, round(self.half_life_s * 1000.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPartners:
    """An item's partners that are kept, by id, and the total of all it ever had, both in people as of `t0_ms`."""

    item_id: str
    counts: Mapping[str, float] = field(default_factory=dict)
    total: float = 0.0
    t0_ms: int = 0
    applied: Applied = field(default_factory=Applied)


def partners_at(partners: ItemPartners, at_ms: int, half_life_s: float) -> tuple[dict[str, float], float]:
    """The counts of an item's partners and their total as they are at a moment."""
    left = decay(max(0, at_ms - partners.t0_ms), half_life_s * 1000.0)
    return {other: count * left for other, count in partners.counts.items()}, partners.total * left


def strength(people: float, total: float, other_total: float) -> float:
    """How much two items belong together: n / √((a + 3)(b + 3)), from 0 to 1.

    n is how many people touched both, a and b the totals of the two items: a cosine, which what everybody touches does
    not lead. The 3 keep a pair of which little is known below one of which much is.
    """
    return people / math.sqrt((total + DOUBT) * (other_total + DOUBT))


class PartnerCounts:
    """One item's partners while pairs are counted: after each the weakest that is too many falls out.

    Of equally weak ones that is the one whose id comes first. So what is kept depends on the pairs in their order, and
    not on how they come by records and batches. To hold that to the bit, all counts are as of a `t0_ms` that only moves
    by whole half-lives, which multiplies them by powers of two.
    """

    def __init__(self, partners: ItemPartners, policy: PartnerPolicy) -> None:
        self.counts, self.total, self.t0_ms = dict(partners.counts), partners.total, partners.t0_ms
        self._half_life_ms, self._kept = policy.half_life_ms, policy.kept
        if self.t0_ms % self._half_life_ms:  # kept under another half-life
            self._move(self.t0_ms - self.t0_ms % self._half_life_ms)
        while len(self.counts) > self._kept:
            del self.counts[self._weakest()[1]]

    def add(self, other: str, ts_ms: int, weight: float) -> None:
        """Count a pair, or with weight -1 take it back; of a partner that is not kept only in the total.

        Neither a count nor the total falls below 0.
        """
        if ts_ms >= self.t0_ms + self._half_life_ms:
            self._move(ts_ms - ts_ms % self._half_life_ms)
        one = decay(self.t0_ms - ts_ms, self._half_life_ms)
        if weight < 0:
            self.total = _without(self.total, one)
            if other in self.counts:
                self.counts[other] = _without(self.counts[other], one)
                if not self.counts[other]:
                    del self.counts[other]
            return
        self.total += one
        if other in self.counts:
            self.counts[other] += one
        elif len(self.counts) < self._kept:
            self.counts[other] = one
        elif (weakest := self._weakest()) < (one, other):
            del self.counts[weakest[1]]
            self.counts[other] = one

    def _weakest(self) -> tuple[float, str]:
        least = min(self.counts.values())
        return least, min(other for other, count in self.counts.items() if count == least)

    def _move(self, t0_ms: int) -> None:
        left = decay(t0_ms - self.t0_ms, self._half_life_ms)
        self.counts = {other: count * left for other, count in self.counts.items() if count * left > 0}
        self.total, self.t0_ms = self.total * left, t0_ms


def _without(count: float, one: float) -> float:
    left = count - one
    return left if left > _NOTHING_LEFT * one else 0.0


class CountedPairs(NamedTuple):
    """The items that changed, and how many pairs counted and how many came again or too late."""

    changed: list[ItemPartners]
    counted: int
    repeated: int


def count_pairs(
    records: Iterable[Pairs], stored: Mapping[str, ItemPartners], policy: PartnerPolicy
) -> CountedPairs:  # fmt: skip
    """Fold pairs, in the order of their records, into the items they are for; exact over redelivery, as votes are.

    Pairs from an earlier incarnation of the log than an item has seen are passed over.
    """
    marks: dict[str, Applied] = {}
    folded: dict[str, PartnerCounts] = {}
    counted = repeated = 0
    for log, item_id, pairs in ((r.log, item.item_id, item.pairs) for r in records for item in r.items):
        before = stored.get(item_id) or ItemPartners(item_id=item_id)
        applied = marks.get(item_id, before.applied)
        fresh, reached = _fresh(pairs, log, applied)
        counted, repeated = counted + len(fresh), repeated + len(pairs) - len(fresh)
        if fresh:
            made = folded.get(item_id)
            if made is None:
                made = folded[item_id] = PartnerCounts(before, policy)
            for pair in fresh:
                made.add(pair.other, pair.ts_ms, pair.weight)
            marks[item_id] = applied.moved(reached.items(), log)
    changed = [
        ItemPartners(item_id=name, counts=made.counts, total=made.total, t0_ms=made.t0_ms, applied=marks[name])
        for name, made in folded.items()
    ]
    return CountedPairs(changed, counted, repeated)


def _fresh(pairs: Iterable[Pair], log: int, applied: Applied) -> tuple[list[Pair], dict[str, int]]:
    """The pairs that an item has not had, and up to where these come by `topic/partition`."""
    if log < applied.log:
        return [], {}
    fresh: list[Pair] = []
    reached: dict[str, int] = {}
    had: dict[str, int] = {}
    for pair in pairs:
        slot = f"{pair.topic}/{pair.partition}"
        if slot not in had:
            had[slot] = applied.up_to(slot, log)
        if pair.offset > had[slot]:
            fresh.append(pair)
            reached[slot] = max(reached.get(slot, -1), pair.offset)
    return fresh, reached


def forgotten_at_ms(partners: ItemPartners, half_life_s: float, below: float) -> int:
    """When the total falls under `below`, in ms."""
    return runs_out_ms(partners.total, partners.t0_ms, half_life_s * 1000.0, below)


def pack_counts(counts: Mapping[str, float]) -> str:
    """Partners as one string: their ids, then the counts as little-endian doubles in base64, exact."""
    if not counts:
        return ""
    doubles = b64encode(struct.pack(f"<{len(counts)}d", *counts.values())).decode()
    return f"{ENTRY.join(counts)}{FIELD}{doubles}"


def unpack_counts(packed: str) -> dict[str, float]:
    """Read back what `pack_counts` wrote."""
    if not packed:
        return {}
    ids, _, doubles = packed.partition(FIELD)
    others = ids.split(ENTRY)
    return dict(zip(others, struct.unpack(f"<{len(others)}d", b64decode(doubles)), strict=True))
