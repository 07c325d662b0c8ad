"""After an erasure among younger events: these are read from the log again and folded into the tree that follows.

Sums cannot be parted, so a tree that holds events of before and after its erasure goes whole. What is younger is in
the log still. The tombstone says that it is to be read again, until the profile is written that has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from streams.events.event import Event, Source
from streams.events.parse import ParseLimits, parse_events
from streams.events.privacy import Pseudonyms, pseudonymous
from streams.events.spans import ReadSpans, Slot, Span
from streams.events.times import FUTURE_MS
from streams.events.unresolved import RetryPolicy
from streams.interests.applied import Applied
from streams.interests.nodes import Node, NodeKey
from streams.interests.plan import Plan, Remembered, gate


class Reading(Protocol):
    """What reading again needs of the path's dependencies."""

    @property
    def read_spans(self) -> ReadSpans | None: ...
    @property
    def pseudonyms(self) -> Pseudonyms | None: ...
    @property
    def retries(self) -> RetryPolicy: ...


@dataclass(slots=True)
class ReadAgain:
    """The younger events of those whose tombstones ask for them, by `profiles`, and where they lay.

    `incomplete` counts the people of whom the log no longer holds all.
    """

    profiles: dict[str, Node] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    incomplete: int = 0

    @property
    def sources(self) -> set[Source]:
        """Where the events lie. What became of these records was settled when they came first."""
        return {event.source for event in self.events}

    def with_others(self, others: Sequence[Event], log: int) -> tuple[Sequence[Event], list[Event]]:
        """All events to fold, what is read again first, and the duplicates of it among the others."""
        if not self.profiles:
            return others, []
        read = self.sources
        others = [one for one in others if one.source not in read]
        theirs = [one for one in others if one.user_id in self.profiles and one.type != "erase"]
        gated = gate([*self.events, *theirs], self._empty(), log, whole_trees=True)
        twice = {one.source for one in gated.duplicates}
        self.events = [one for one in self.events if one.source not in twice]
        kept = [one for one in others if one.source not in twice]
        return [*self.events, *kept], [one for one in gated.duplicates if one.source not in read]

    def remember(self, planned: Plan) -> None:
        """Have the plan leave on each profile that all is folded that was before, so that nothing is read again."""
        for user, profile in self.profiles.items():
            memory = planned.remembered.setdefault(user, Remembered(votes=profile.votes, firsts=profile.firsts))
            memory.sources += [Source(*_slot(name), offset) for name, offset in profile.applied.offsets.items()]

    def nodes(self, stored: Iterable[Node]) -> dict[NodeKey, Node]:
        """The nodes to fold into: of those whose events come again, the profile as if it had had none."""
        nodes = {node.key: node for node in stored}
        return nodes | {node.key: node for node in self._empty().values()}

    def _empty(self) -> dict[str, Node]:
        return {user: replace(each, applied=Applied(each.applied.log)) for user, each in self.profiles.items()}


async def read_again(profiles: Mapping[str, Node], deps: Reading, log: int, now_ms: int) -> ReadAgain:
    """Read what those profiles ask for that say so; without any nothing is done. Raises RetryableError."""
    asking = {user: profile for user, profile in profiles.items() if profile.reread and profile.applied.log == log}
    if not asking or deps.read_spans is None:
        return ReadAgain()
    users = frozenset(asking)
    found = await deps.read_spans(_spans(asking.values()), lambda key: _named(key, deps.pseudonyms) in users)
    parsed = parse_events(found.records, now_ms=now_ms, limits=ParseLimits(unresolved_topic=deps.retries.topic))
    events, _ = pseudonymous(parsed.events, deps.pseudonyms)
    again = ReadAgain(asking)
    again.events = [
        event for event in events
        if (profile := asking.get(event.user_id)) is not None and event.type != "erase"
        and event.ts_ms > profile.erased_at_ms and profile.applied.covers(event.source, log)
    ]  # fmt: skip
    short = {f"{topic}/{partition}" for topic, partition in found.short}
    again.incomplete = sum(not short.isdisjoint(profile.applied.offsets) for profile in asking.values())
    return again


def _spans(profiles: Iterable[Node]) -> dict[Slot, Span]:
    """What to read: an event is at most `FUTURE_MS` younger than its record's timestamp."""
    spans: dict[Slot, Span] = {}
    for profile in profiles:
        since_ms = profile.erased_at_ms - FUTURE_MS
        for name, offset in profile.applied.offsets.items():
            before = spans.get(_slot(name), Span(since_ms, offset))
            spans[_slot(name)] = Span(min(before.since_ms, since_ms), max(before.last, offset))
    return spans


def _slot(name: str) -> Slot:
    topic, _, partition = name.rpartition("/")
    return topic, int(partition)


def _named(key: bytes | None, pseudonyms: Pseudonyms | None) -> str | None:
    """Whose record it is, by its key; None where the key is no text."""
    try:
        user_id = (key or b"").decode()
    except UnicodeDecodeError:
        return None
    return pseudonyms.of(user_id) if pseudonyms else user_id
