"""Which votes of a person stand side by side: the pairs of items they touched together, and what changes in them. Pure.

A person's pairs are their counted votes of one topic (`ballot.py`) at most so many places apart in time. That follows
from the votes that stand alone: a vote that moves, falls out or is taken back takes back the pairs it was in.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from streams.events.event import Source
from streams.interests.ballot import Ballot, StandingVote, VoteChange, by_erasure
from streams.interests.pair_records import PairChange

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

    def changed(self, changes: Sequence[VoteChange]) -> list[PairChange]:
        """Follow what one event changes in the votes; gives what that changes in the pairs."""
        if not changes:
            return []
        net: dict[_TwoPlaces, int] = {}
        for change in changes:
            self._follow(change, net)
        return _both_ways(net, changes[0].source)

    def _follow(self, change: VoteChange, net: dict[_TwoPlaces, int]) -> None:
        order, places = self._orders.setdefault(change.topic, []), self._places
        place, sign = (change.ts_ms, change.item_id), 1 if change.weight > 0 else -1
        at = bisect_left(order, place)
        if sign < 0:
            del order[at]
        before, after = order[max(0, at - places) : at], order[at : at + places]
        if sign > 0:
            order.insert(at, place)
        for other in before:
            net[other, place] = net.get((other, place), 0) + sign
        for other in after:
            net[place, other] = net.get((place, other), 0) + sign
        # Those that are just near enough without it, and not with it between them.
        for other, far in zip(before[::-1][places - len(after) :], after[::-1], strict=False):
            net[other, far] = net.get((other, far), 0) - sign


def withdrawn_pairs(
    standing: Iterable[StandingVote], until_ms: int, source: Source, half_life_ms: float, places: int
) -> list[PairChange]:
    """What an erasure of time `until_ms` by the event at `source` changes: the pairs of what is younger are left."""
    standing = list(standing)
    net: dict[_TwoPlaces, int] = {}
    for votes, sign in ((standing, -1), ([vote for vote in standing if vote.ts_ms > until_ms], 1)):
        for pair in _pairs(Ballot(votes, 0, half_life_ms).counted(), places):
            net[pair] = net.get(pair, 0) + sign
    return _both_ways(net, by_erasure(source))


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


def _both_ways(net: Mapping[_TwoPlaces, int], source: Source) -> list[PairChange]:
    changes: list[PairChange] = []
    for ((_, one), (ts_ms, other)), people in net.items():
        weight = 1.0 if people > 0 else -1.0
        for _ in range(abs(people)):
            changes.append(PairChange(one, other, source, ts_ms, weight))
            changes.append(PairChange(other, one, source, ts_ms, weight))
    return changes
