"""Events that wait for their item to be described: the headers they carry and when they are tried again.

These headers count on the topic of waiting events only, which nobody but workers writes to; elsewhere they are some
producer's. Even there they are not believed beyond reason: no wait began later than now, and none ends after the
deadline.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from streams.base.errors import ConfigurationError, PoisonError
from streams.events.event import Header, RecordLike, Source

PREFIX: Final = "unresolved-"
ATTEMPT: Final = PREFIX + "attempt"
FIRST_MS: Final = PREFIX + "first-ms"
NOT_BEFORE_MS: Final = PREFIX + "not-before-ms"
ORIGIN: Final = PREFIX + "origin"
TIMESTAMP_MS: Final = PREFIX + "timestamp-ms"
GROUP: Final = PREFIX + "group"
OURS: Final = frozenset({ATTEMPT, FIRST_MS, NOT_BEFORE_MS, ORIGIN, TIMESTAMP_MS, GROUP})

# A topic as Kafka lets it be called: the place becomes an event's id, where it has no other.
_PLACE: Final = re.compile(rb"([A-Za-z0-9._-]{1,249})-([0-9]{1,10})-([0-9]{1,19})")
_MAX_INT64: Final = 2**63 - 1
_MAX_DOUBLINGS: Final = 40  # beyond it the cap holds for any base; keeps a forged attempt number from a huge power


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When an unresolved event is tried again: `min(base · 2ⁿ, cap)` after try n, up to the deadline; all in ms.

    `topic` is where waiting events lie, `group` whose they are: several groups may read the same events, and each has
    its own wait there.
    """

    base_ms: int
    cap_ms: int
    deadline_ms: int
    topic: str = "events.unresolved"
    group: str = ""

    def __post_init__(self) -> None:
        """Refuse a schedule that never waits or never ends."""
        if not 0 < self.base_ms <= self.cap_ms or self.deadline_ms <= 0:
            raise ConfigurationError(
                f"retry of unresolved events: got base {self.base_ms} ms, cap {self.cap_ms} ms, deadline "
                f"{self.deadline_ms} ms; expected 0 < base <= cap and deadline > 0"
            )

    @property
    def attempts(self) -> int:
        """More waits than fit before the deadline, however long each is."""
        return self.deadline_ms // self.base_ms + 2

    def delay_ms(self, attempt: int) -> int:
        """Milliseconds to wait after `attempt` earlier waits (0 for the first)."""
        return min(self.base_ms << min(attempt, _MAX_DOUBLINGS), self.cap_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What the headers of a waiting event say.

    `attempt` counts the waits so far. `origin` and `timestamp_ms` are those of the record that first carried
    the event (None: it had no timestamp); `first_ms` is when it first waited, `not_before_ms` when it is due.
    """

    attempt: int
    first_ms: int
    not_before_ms: int
    origin: Source
    timestamp_ms: int | None


def read(record: RecordLike, topic: str) -> Wait | None:
    """Read the headers of a waiting event; None where the record has none of them, or does not lie in `topic`.

    PoisonError `bad_header` where some are missing or malformed: then nobody knows what event this was.
    """
    if record.topic != topic:
        return None
    by_name = {name: value for name, value in record.headers or () if name in OURS}
    if not by_name:
        return None
    timestamp_ms = _integer(by_name, TIMESTAMP_MS, least=-1)
    return Wait(
        attempt=_integer(by_name, ATTEMPT, least=1),
        first_ms=_integer(by_name, FIRST_MS, least=0),
        not_before_ms=_integer(by_name, NOT_BEFORE_MS, least=0),
        origin=_origin(by_name),
        timestamp_ms=None if timestamp_ms < 0 else timestamp_ms,
    )


def next_attempt(record: RecordLike, *, now_ms: int, policy: RetryPolicy) -> list[Header] | None:
    """Give the headers a record waits (again) with, or None where its deadline has passed and it is a dead letter.

    Key and value are to be sent unchanged; other headers are kept as they are. The last wait ends at the deadline, so
    the deadline itself is still tried.
    """
    wait = read(record, policy.topic)
    first_ms = min(wait.first_ms, now_ms) if wait else now_ms
    ends_ms = first_ms + policy.deadline_ms
    attempt = wait.attempt if wait else 0
    if now_ms >= ends_ms or attempt >= policy.attempts:
        return None
    origin = wait.origin if wait else Source(record.topic, record.partition, record.offset)
    timestamp_ms = wait.timestamp_ms if wait else record.timestamp
    kept = [header for header in record.headers or () if header[0] not in OURS]
    return [
        *kept,
        (ATTEMPT, b"%d" % (attempt + 1)),
        (FIRST_MS, b"%d" % first_ms),
        (NOT_BEFORE_MS, b"%d" % min(now_ms + policy.delay_ms(attempt), ends_ms)),
        (ORIGIN, str(origin).encode()),
        (TIMESTAMP_MS, b"%d" % (-1 if timestamp_ms is None else timestamp_ms)),
        *([(GROUP, policy.group.encode())] if policy.group else []),
    ]


def of_another_group(record: RecordLike, policy: RetryPolicy) -> bool:
    """Whether another group waits with this record; one that names no group, as before there were several, is ours."""
    if record.topic != policy.topic:
        return False
    named = next((value for name, value in record.headers or () if name == GROUP), None)
    return named is not None and named != policy.group.encode()


def _integer(by_name: dict[str, bytes | None], name: str, *, least: int) -> int:
    digits = by_name.get(name) or b""  # Kafka allows a header without a value
    sign, magnitude = (-1, digits[1:]) if digits.startswith(b"-") else (1, digits)
    if magnitude.isdigit() and len(magnitude) < 20:
        number = sign * int(magnitude)
        if least <= number < _MAX_INT64:
            return number
    raise PoisonError(f"header {name}: expected a whole number of at least {least}", reason="bad_header")


def _origin(by_name: dict[str, bytes | None]) -> Source:
    found = _PLACE.fullmatch(by_name.get(ORIGIN) or b"")
    if found is None:
        raise PoisonError(f"header {ORIGIN}: expected topic-partition-offset", reason="bad_header")
    topic, partition, offset = found.groups()
    return Source(topic.decode(), int(partition), int(offset))


def due_ms(record: RecordLike, *, now_ms: int, policy: RetryPolicy) -> int:
    """When a waiting record is to be tried again, in ms since 1970; 0, at once, where its headers cannot be read.

    Never later than the longest wait from now, nor than the record's deadline: others wait behind it.
    """
    try:
        wait = read(record, policy.topic)
    except PoisonError:
        return 0  # parsing it again makes it a dead letter
    if wait is None:
        return 0
    return min(wait.not_before_ms, now_ms + policy.cap_ms, min(wait.first_ms, now_ms) + policy.deadline_ms)
