"""Whose learned nodes are to be made again: a bounded queue in which a person stands once, and who is in hand now."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import NamedTuple

from streams.interests.learned import LearnedSource, source_of
from streams.interests.levels import LEARNED
from streams.interests.nodes import Node, is_put_back
from streams.store.base import Fence


class Waiting(NamedTuple):
    """A person who waits: what to make their nodes of, the fence of the batch that changed them, and since when."""

    source: LearnedSource
    fence: Fence
    since_s: float


class LearnedQueue:
    """People by how long they wait, `limit` at most; the oldest falls out. Nobody is held back for it.

    `dropped` hears how many people left without an answer, for `queue_full` or `erased`. `clock` gives seconds.
    """

    def __init__(self, limit: int, dropped: Callable[[str, int], None], clock: Callable[[], float] = monotonic) -> None:
        self._limit, self._dropped, self._clock = limit, dropped, clock
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()
        self._in_hand: dict[str, Waiting] = {}
        self._oldest_at_s = math.inf
        self._noted: set[str] | None = None

    def __len__(self) -> int:
        """How many people wait, those in hand not among them."""
        return len(self._waiting)

    def oldest_s(self) -> float:
        """How long the one who waits longest, or is in hand, has waited, in s; 0 for nobody. Any thread may ask."""
        return max(0.0, self._clock() - self._oldest_at_s)

    def changed(self, nodes: Iterable[Node], fence: Fence) -> None:
        """Put in the people whose profiles are among a batch's nodes, once these are durable.

        Who waits already keeps their place, and is asked about as they are now. Who was erased is forgotten, also
        while they are in hand.
        """
        now_s, erased = self._clock(), 0
        for node in nodes:
            if node.key.level != "profile":
                continue
            user_id, source = node.key.user_id, source_of(node)
            if self._noted is not None:
                self._noted.add(user_id)
            if node.erased_at_ms:
                erased += self._forget(user_id, node.erased_at_ms)
            if source is None:
                erased += self._waiting.pop(user_id, None) is not None
            else:
                had = self._waiting.get(user_id)
                self._waiting[user_id] = Waiting(source, fence, had.since_s if had else now_s)
        if erased:
            self._dropped("erased", erased)
        self._bound()

    def note_changes(self, *, wanted: bool) -> None:
        """Remember from here on whom a batch changes, so that `offer` passes over them; or remember nobody."""
        self._noted = set() if wanted else None

    def offer(self, profile: Node, fence: Fence) -> bool:
        """Put in somebody by their profile as it was read from the store after `note_changes`; whether they were.

        Not who was changed since then, nor who waits or is in hand under no older fence: what is known of them is
        younger than what was read, or as young. Under an older one it is of before their partition was another's.
        """
        user_id, source = profile.key.user_id, source_of(profile)
        known = [one.fence for one in (self._waiting.get(user_id), self._in_hand.get(user_id)) if one]
        younger = self._noted is None or user_id in self._noted or any(one >= fence for one in known)
        if source is None or younger:
            return False
        self._waiting[user_id] = Waiting(source, fence, self._clock())
        self._bound()
        return True

    def room(self, most: int) -> int:
        """How many more people may wait until there are `most`, or as many as it holds."""
        return max(0, min(most, self._limit) - len(self._waiting))

    def take(self, most: int) -> None:
        """Take people in hand, those who wait longest first, until there are `most`."""
        while self._waiting and len(self._in_hand) < most:
            user_id, one = self._waiting.popitem(last=False)
            self._in_hand[user_id] = one
        self._look()

    def in_hand(self, among: Sequence[Waiting] | None = None) -> list[Waiting]:
        """Who is in hand still; of some of them, those who were not erased since."""
        if among is None:
            return list(self._in_hand.values())
        return [one for one in among if self._in_hand.get(one.source.user_id) is one]

    def done(self, people: Iterable[Waiting]) -> None:
        """These are answered, or given up."""
        for one in people:
            self._in_hand.pop(one.source.user_id, None)
        self._look()

    def put_back(self) -> None:
        """Whoever is in hand waits again, before the others; a batch may have changed them meanwhile."""
        for user_id, one in reversed(self._in_hand.items()):
            newer = self._waiting.get(user_id)
            self._waiting[user_id] = newer._replace(since_s=one.since_s) if newer else one
            self._waiting.move_to_end(user_id, last=False)
        self._in_hand.clear()
        self._bound()

    def _forget(self, user_id: str, erased_at_ms: int) -> bool:
        """Drop who is in hand with events that an erasure has ended; whether they were."""
        one = self._in_hand.get(user_id)
        if one is None or not is_put_back(LEARNED, one.source.earliest_ms, erased_at_ms):
            return False
        del self._in_hand[user_id]
        return True

    def _bound(self) -> None:
        over = len(self._waiting) - self._limit
        for _ in range(over):
            self._waiting.popitem(last=False)
        if over > 0:
            self._dropped("queue_full", over)
        self._look()

    def _look(self) -> None:
        first = next(iter(self._in_hand.values()), None) or next(iter(self._waiting.values()), None)
        self._oldest_at_s = first.since_s if first else math.inf
