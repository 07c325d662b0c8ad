"""What became of a batch: the answer of the path to whoever acknowledges, counts and follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.events.dead_letters import DeadLetter
from streams.events.event import Event, Outcome
from streams.interests.nodes import Node
from streams.interests.plan import Weighed


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of a batch's records: events by outcome, and what was written.

    `reread_incomplete` counts people of whose events after an erasure the log no longer holds all.
    """

    events: dict[Outcome, list[Event]] = field(default_factory=dict)
    dead: list[DeadLetter] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    items: int = 0
    unknown_fields: int = 0
    clamped: int = 0
    weighed: Sequence[Weighed] = ()
    reread_incomplete: int = 0
