"""What a record of a derived topic may say, checked before anything of it is believed. Pure.

Workers alone are to write to these topics, but an access list is needed to hold that. Without these checks one forged
offset would have all later votes for an item passed over as known, one time would age an item by centuries, one weight
would drown everybody, and a topic's name of its own choice would make the marks unreadable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from streams.base.errors import PoisonError
from streams.events import decode, times
from streams.events.event import RecordLike
from streams.events.spans import Slot
from streams.events.text import has_invisible
from streams.events.wire import MAX_ID_CHARS, MIN_EVENT_TS_MS
from streams.interests.ballot import sent_by
from streams.interests.pair_records import Pairs
from streams.interests.popularity import VOTES_A_RECORD, Votes
from streams.interests.priors import Beginnings, First

#: An event may be ahead of its record, and that ahead of the worker that sends on what it says.
AHEAD_MS: Final = 2 * times.FUTURE_MS
_MOST_ENTRIES: Final = 2 * VOTES_A_RECORD
_MOST_KEY_CHARS: Final = 2 * MAX_ID_CHARS  # a cohort is a name and a value
_STAGE: Final = "derive"


R = TypeVar("R", Votes, Pairs, Beginnings)


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedLimits:
    """What is legal: partitions by topic that events come by, where a derived record belongs, the greatest weight.

    `home` tells of a derived topic, a key and a partition whether they fit: else two workers would fold one item.
    """

    partitions: Mapping[str, int]
    home: Callable[[str, str, int], bool]
    most_weight: float


def believed(record: RecordLike, said: R, limits: DerivedLimits, log: int, now_ms: int) -> R:
    """What a record says, its times settled as events' times are; `log` is the present incarnation of the topics.

    PoisonError where no worker of this group can have sent it. Ends of logs are not looked at: see `reached`.
    """
    _check_abouts(record, said.abouts, limits)
    if not 1 <= said.log <= log:
        raise PoisonError("log: expected one that this group has read", reason="bad_source", stage=_STAGE)
    entries = said.entries
    if len(entries) > _MOST_ENTRIES:
        raise PoisonError(f"more than {_MOST_ENTRIES} entries", reason="out_of_range", stage=_STAGE)
    latest_ms = times.reference_ms(record.timestamp, now_ms) + AHEAD_MS
    late = False
    for topic, partition in {(entry.topic, entry.partition) for entry in entries}:
        if not 0 <= partition < limits.partitions.get(sent_by(topic), 0):
            raise PoisonError(
                "expected topics that events come by, and partitions that these have", reason="bad_source", stage=_STAGE
            )
    for entry in entries:
        if entry.offset < 0:
            raise PoisonError("offset: expected 0 or more", reason="bad_source", stage=_STAGE)
        if not 0 < abs(entry.weight) <= limits.most_weight:
            raise PoisonError(f"weight: at most {limits.most_weight:g}, and not 0", reason="out_of_range", stage=_STAGE)
        times.milliseconds(entry.ts_ms, "ts_ms", MIN_EVENT_TS_MS)
        if isinstance(entry, First):
            _check_path(entry.path)
        late = late or entry.ts_ms > latest_ms
    if isinstance(said, Pairs):
        _check_others(said)
    return said.no_later_than(latest_ms) if late else said


def reached(said: Votes | Pairs | Beginnings) -> dict[Slot, int]:
    """The last offset that a record names of each partition of events' logs."""
    last: dict[Slot, int] = {}
    for entry in said.entries:
        slot = entry.topic, entry.partition
        if entry.offset > last.get(slot, -1):
            last[slot] = entry.offset
    ends: dict[Slot, int] = {}
    for (topic, partition), offset in last.items():
        slot = sent_by(topic), partition
        ends[slot] = max(ends.get(slot, -1), offset)
    return ends


def check_within(said: Votes | Pairs | Beginnings, ends: Mapping[Slot, int]) -> None:
    """PoisonError where a record names offsets past the ends of events' logs, which no event can have had."""
    if any(offset >= ends[slot] for slot, offset in reached(said).items()):
        raise PoisonError("an offset past the end of its log", reason="bad_source", stage=_STAGE)


def _check_abouts(record: RecordLike, about: Sequence[str], limits: DerivedLimits) -> None:
    if not about or record.key != about[0].encode():
        raise decode.key_error(record.key, "item or cohort")
    if len(about) > _MOST_ENTRIES:
        raise PoisonError(f"more than {_MOST_ENTRIES} items", reason="out_of_range", stage=_STAGE)
    for one in about:
        if not 0 < len(one) <= _MOST_KEY_CHARS or has_invisible(one):
            raise PoisonError("item or cohort: too long, or characters that none has", reason="bad_id", stage=_STAGE)
        if not limits.home(record.topic, one, record.partition):
            raise PoisonError("it belongs to another partition", reason="key_mismatch", stage=_STAGE)


def _check_others(said: Pairs) -> None:
    for item in said.items:
        for other in {pair.other for pair in item.pairs}:
            if not 0 < len(other) <= MAX_ID_CHARS or has_invisible(other) or other == item.item_id:
                raise PoisonError("other: expected another item's id", reason="bad_id", stage=_STAGE)


def _check_path(path: str) -> None:
    steps = path.split("/")
    if path and (steps[0] or len(steps) > 3 or len(path) > _MOST_KEY_CHARS or has_invisible(path)):
        raise PoisonError("path: expected at most two steps, each behind a slash", reason="out_of_range", stage=_STAGE)
