"""Which votes of a person stand side by side: the pairs of items they touched together, and what changes in them. Pure.

A person's pairs are their counted votes of one topic (`ballot.py`) at most so many places apart in time. That follows
from the votes that stand alone: a vote that moves, falls out or is taken back takes back the pairs it was in.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from streams.events.event import Source
from streams.interests.ballot import Ballot, StandingVote, VoteChange, by_erasure
from streams.interests.together import PairChange

#: A vote's time and item.
_Place = tuple[int, str]
_TwoPlaces = tuple[_Place, _Place]


class Neighbours:
    """One person's counted votes in order of time, then item, topic by topic, while their ballot changes.

    Two votes are a pair where they are at most `places` apart.
    """

    def __init__(self, counted: Iterable[StandingVote], places: int) -> None:
        self._places = places
        self._orders: dict[str, list[_Place]] = {}
        for vote in counted:
            self._orders.setdefault(vote.topic, []).append((vote.ts_ms, vote.item_id))
        for order in self._orders.values():
            order.sort()

    def changed(self, changes: Iterable[VoteChange]) -> list[PairChange]:
        """Follow what one event changes in the votes; gives what that changes in the pairs."""
        net: dict[_TwoPlaces, int] = {}
        source = None
        for change in changes:
            source = change.source
            for pair, sign in self._moved(change):
                net[pair] = net.get(pair, 0) + sign
        return list(_both_ways(net, source)) if source else []

    def _moved(self, change: VoteChange) -> Iterator[tuple[_TwoPlaces, int]]:
        order, place = self._orders.setdefault(change.topic, []), (change.ts_ms, change.item_id)
        at = bisect_left(order, place)
        sign = 1 if change.weight > 0 else -1
        if sign < 0:
            del order[at]
        before, after = order[max(0, at - self._places) : at], order[at : at + self._places]
        if sign > 0:
            order.insert(at, place)
        for other in before:
            yield (other, place), sign
        for other in after:
            yield (place, other), sign
        # Those that are just near enough without it, and not with it between them.
        for back, other in enumerate(reversed(before), start=1):
            if self._places - back < len(after):
                yield (other, after[self._places - back]), -sign


def withdrawn_pairs(
    standing: Iterable[StandingVote], until_ms: int, source: Source, half_life_ms: float, places: int
) -> list[PairChange]:
    """What an erasure of time `until_ms` by the event at `source` changes: the pairs of what is younger are left."""
    standing = list(standing)
    net: dict[_TwoPlaces, int] = {}
    for votes, sign in ((standing, -1), ([vote for vote in standing if vote.ts_ms > until_ms], 1)):
        for pair in _pairs(Ballot(votes, 0, half_life_ms).counted(), places):
            net[pair] = net.get(pair, 0) + sign
    return list(_both_ways(net, by_erasure(source)))


def pairs_standing(standing: Iterable[StandingVote], places: int) -> int:
    """How many pairs a person's standing votes make."""
    items = Counter(topic for topic, _ in {(vote.topic, vote.item_id) for vote in standing})
    return sum(max(0, count - apart) for count in items.values() for apart in range(1, places + 1))


def _pairs(counted: Iterable[StandingVote], places: int) -> Iterator[_TwoPlaces]:
    orders: dict[str, list[_Place]] = {}
    for vote in counted:
        orders.setdefault(vote.topic, []).append((vote.ts_ms, vote.item_id))
    for order in map(sorted, orders.values()):
        for at, place in enumerate(order):
            for other in order[at + 1 : at + 1 + places]:
                yield place, other


def _both_ways(net: Mapping[_TwoPlaces, int], source: Source) -> Iterator[PairChange]:
    for ((_, one), (ts_ms, other)), people in net.items():
        for _ in range(abs(people)):
            weight = 1.0 if people > 0 else -1.0
            yield PairChange(one, other, source, ts_ms, weight)
            yield PairChange(other, one, source, ts_ms, weight)
