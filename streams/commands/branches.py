"""A person's tree as it is drawn: branches aged to a moment, named, weighed against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streams.levels import Level

NameOf = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Reason:
    """One contribution to a node: what was done when, how much it weighed then, and its share of the node's mass.

    `path` is where its item lies on the concept tree, "" where that is not known.
    """

    event_id: str
    item_id: str
    title: str
    path: str
    ts_ms: int
    weight: float
    share: float


@dataclass(frozen=True, slots=True)
class Branch:
    """A node as it is seen at a moment.

    `share` is its mass over the mass of the whole it is shown in. `net` is P/W, from −1 (all of it pushed away) to 1.
    `expired` says that its mass has fallen under the threshold.
    """

    level: Level
    path: str
    name: str
    mass: float
    share: float
    net: float
    first_ms: int
    last_ms: int
    count: int
    expired: bool
    reasons: tuple[Reason, ...] = ()
    children: tuple[Branch, ...] = ()


@dataclass(frozen=True, slots=True)
class TreeView:
    """A user's tree at `at_ms`. Branches are heaviest first; `last_ms` is the last event's time, 0 where unknown."""

    user_id: str
    at_ms: int
    first_ms: int
    last_ms: int
    count: int
    erased_at_ms: int
    topics: tuple[Branch, ...]
    session: Branch | None
    contexts: tuple[Branch, ...]
    aversions: tuple[Branch, ...]
    expired: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to show at this moment."""
        return not (self.topics or self.session or self.contexts or self.aversions)
