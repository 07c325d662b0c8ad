"""What leaves the path: poison for the dead letters, events without their item for the unresolved topic. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.base.errors import PoisonError
from streams.events.dead_letters import DeadLetter
from streams.events.event import Event, Header, RecordLike, Source
from streams.events.unresolved import RetryPolicy, next_attempt


class Waiting(NamedTuple):
    """A record to send to the unresolved topic, key and value unchanged, with the headers that say when it is due."""

    record: RecordLike
    headers: list[Header]


@dataclass(slots=True)
class SideOutputs:
    """Dead letters, and the records that go to the unresolved topic."""

    dead: list[DeadLetter] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)


def side_outputs_of(
    records: Sequence[RecordLike], events: Sequence[Event], poison: Mapping[Source, PoisonError],
    retries: RetryPolicy, now_ms: int,
) -> SideOutputs:  # fmt: skip
    """Find the records of waiting `events` and of `poison`; one that has waited past its deadline is dead."""
    outputs = SideOutputs()
    if not events and not poison:
        return outputs
    by_source = {Source(record.topic, record.partition, record.offset): record for record in records}
    outputs.dead = [DeadLetter.of(by_source[source], error) for source, error in poison.items()]
    for event in events:
        record = by_source[event.source]
        headers = next_attempt(record, now_ms=now_ms, policy=retries)
        if headers is None:
            waited = f"its item was not described within {retries.deadline_ms / 1000:g} s"
            outputs.dead.append(DeadLetter(record=record, stage="resolve", reason="unresolved", message=waited))
        else:
            outputs.waiting.append(Waiting(record, headers))
    return outputs
