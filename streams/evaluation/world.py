"""What is known at a moment of a replayed log: the items there are, who has met what, and what everybody did.

Votes, pairs and popularity are the service's own functions (`streams.interests`), event by event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from streams.events.event import Event
from streams.interests.ballot import Ballot
from streams.interests.item_vectors import ItemPoint
from streams.interests.neighbours import Neighbours
from streams.interests.nodes import NodePolicy, Vector
from streams.interests.pair_records import pairs_of
from streams.interests.popularity import ItemPopularity, count, tally
from streams.interests.recents import Recent
from streams.interests.signed_weight import UNDOES
from streams.interests.together import ItemPartners, PartnerPolicy, count_pairs
from streams.pipeline.ranking_view import recent_items, target_items
from streams.ranking.rows import RecentItem, TargetItems
from streams.store.cards import Card

Floats = NDArray[np.float64]
Undated = Literal["known", "met"]
_GROUP: Final = "evaluation"
_UNDOABLE: Final = frozenset(UNDOES.values())


class KnownItems:
    """The items that a log can be about, a row each: `vectors` float32 (n, dim), `ts_ms` float64 (n,), nan unknown."""

    def __init__(self, points: Sequence[ItemPoint], dim: int) -> None:
        self.cards = [_card(point) for point in points]
        self.rows = {card.item_id: row for row, card in enumerate(self.cards)}
        self.by_id = {card.item_id: card for card in self.cards}
        self.ts_ms: Floats = np.array([np.nan if p.item.ts_ms is None else p.item.ts_ms for p in points], np.float64)
        self.vectors: Vector = np.stack([p.vector for p in points]) if points else np.zeros((0, dim), np.float32)


def _card(point: ItemPoint) -> Card:
    item = point.item
    return Card(
        item_id=item.item_id, vector=point.vector, path=point.path, categories=item.categories, tags=item.tags,
        brand=item.brand, lang=item.lang, ts_ms=item.ts_ms,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldPolicy:
    """The constants of what everybody did, as the settings have them; votes up to `places` apart are pairs.

    An item is known from its own time on, or once somebody has met it; one without a time from the start, as a
    catalogue's items are, or with `undated` as "met" only once somebody has met it.
    """

    popularity_half_life_s: float = 180 * 86_400.0
    partners: PartnerPolicy = field(default_factory=PartnerPolicy)
    places: int = 5
    undated: Undated = "known"


@dataclass(slots=True)
class ReplayedUser:
    """What a user did before: the rows of their items with times, in order, how many events, and their votes.

    `standing` has by type and item the time and weight of each like that was not taken back.
    """

    ballot: Ballot
    neighbours: Neighbours
    standing: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=dict)
    events: int = 0
    rows: list[int] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)


class World:
    """The state of a log between two events."""

    def __init__(self, catalogue: KnownItems, policy: WorldPolicy, nodes: NodePolicy) -> None:
        self.catalogue, self._policy, self._nodes = catalogue, policy, nodes
        self.popularity: dict[str, ItemPopularity] = {}
        self.partners: dict[str, ItemPartners] = {}
        self.users: dict[str, ReplayedUser] = {}
        self._met: NDArray[np.bool_] = np.isnan(catalogue.ts_ms) & (policy.undated == "known")

    def user(self, user_id: str) -> ReplayedUser:
        """The user's past."""
        user = self.users.get(user_id)
        if user is None:
            ballot = Ballot((), self._nodes.votes_length, self._nodes.half_life_ms("profile"))
            user = self.users[user_id] = ReplayedUser(ballot, Neighbours((), self._policy.places))
        return user

    def unseen(self, user_id: str, at_ms: int) -> NDArray[np.int64]:
        """The rows of items that are known at `at_ms` and that the user has not met, in order."""
        with np.errstate(invalid="ignore"):
            known = self._met | (self.catalogue.ts_ms <= at_ms)
        known[self.user(user_id).rows] = False
        return np.flatnonzero(known)

    def targets(self, rows: NDArray[np.int64], at_ms: int) -> TargetItems:
        """The items at `rows` (n,) as targets, with what everybody did with them."""
        cards = [self.catalogue.cards[row] for row in rows]
        return target_items(cards, self.popularity, at_ms, self._policy.popularity_half_life_s)

    def recents(self, recents: Iterable[Recent], at_ms: int) -> list[RecentItem]:
        """A person's recent items, those that are described."""
        half_life_s = self._policy.partners.half_life_s
        return recent_items(recents, self.catalogue.by_id, self.partners, at_ms, half_life_s)

    def meet(self, event: Event, weights: Sequence[tuple[str, float]]) -> None:
        """Note whom and what an event has brought together; `weights` are the items it is about."""
        user = self.user(event.user_id)
        user.events += 1
        for item_id in (*event.items, *(item_id for item_id, _ in weights)):
            if (row := self.catalogue.rows.get(item_id)) is not None:
                self._met[row] = True
        for item_id, _ in weights:
            if (row := self.catalogue.rows.get(item_id)) is not None:
                user.rows.append(row)
                user.times_ms.append(event.ts_ms)

    def apply(self, event: Event, weights: Sequence[tuple[str, float]]) -> None:
        """Count an event's positive evidence, each item with its signed weight, in what everybody did.

        An event that takes back others takes their votes back.
        """
        user = self.user(event.user_id)
        for item_id, weight in weights:
            if item_id not in self.catalogue.rows:
                continue
            if (undone := UNDOES.get(event.type)) is not None:
                taken = user.standing.pop((undone, item_id), [])
                changes = [one for given in taken for one in user.ballot.take_back(event.source, item_id, *given)]
            elif weight > 0:
                undoable = event.type in _UNDOABLE
                changes = user.ballot.give(event.source, item_id, event.ts_ms, weight, undoable=undoable)
                if undoable:
                    user.standing.setdefault((event.type, item_id), []).append((event.ts_ms, weight))
            else:
                continue
            pairs = user.neighbours.changed(changes)
            votes = tally(changes, _GROUP, 0)
            for item in count(votes, self.popularity, self._policy.popularity_half_life_s).changed:
                self.popularity[item.item_id] = item
            for partners in count_pairs(pairs_of(pairs, _GROUP, 0), self.partners, self._policy.partners).changed:
                self.partners[partners.item_id] = partners
