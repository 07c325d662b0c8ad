"""Events after validation: what the rest of the path works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from msgspec import Struct

from streams.events.items import Item
from streams.events.wire import EventType

__all__ = ["WITHOUT_ITEM", "Event", "EventType", "Header", "Outcome", "RecordLike", "Source", "UnreadBatch"]

Header = tuple[str, bytes | None]
"""A record's header: Kafka allows one without a value, and several of one name."""

Outcome = Literal["applied", "redelivered", "duplicate", "erased", "unresolved", "rerouted", "reread"]
"""What may become of an event on its path; docs/metrics.md says what each means, a test holds the two together."""

# The only types that need not say what item they are about.
WITHOUT_ITEM: Final[frozenset[str]] = frozenset({"search", "impression", "erase"})


class RecordLike(Protocol):
    """A Kafka record as the parser reads it; aiokafka's ConsumerRecord is one. `timestamp` is in ms, -1 is none."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int | None: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[Header]: ...


class Source(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """Topic, partition and offset joined by dashes: the event id of an event that brought none."""
        return f"{self.topic}-{self.partition}-{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadBatch:
    """Stands among a partition's records for those that could not be read, from `first_offset` to `offset`.

    That is a batch, what is left of one, or a single record. It has neither key nor value nor time, so nothing applies
    it: it becomes a dead letter with its own `reason` and `message`.
    """

    topic: str
    partition: int
    first_offset: int
    offset: int
    reason: Literal["batch_too_large", "batch_unreadable", "record_unreadable"]
    message: str
    timestamp: int = -1
    key: None = None
    value: None = None
    headers: tuple[()] = ()
    serialized_key_size: int = -1
    serialized_value_size: int = -1


class Event(Struct, frozen=True, gc=False):
    """Something a user did: validated, text normalised, time settled.

    `event_id` is the producer's, or else (`named` is False) the topic-partition-offset of the record that first
    carried the event.
    `ts_ms` is milliseconds since 1970. `source` is the record it came in this time: for an event that waited
    on the unresolved topic, that topic's own position.
    """

    event_id: str
    user_id: str
    type: EventType
    ts_ms: int
    item_id: str | None
    text: str | None
    rating: float | None
    dwell_ms: int | None
    items: tuple[str, ...]
    clicked: tuple[str, ...]
    item: Item | None
    context: dict[str, str | float | bool]
    source: Source
    named: bool = True
