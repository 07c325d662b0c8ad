"""A log's records parsed and judged: what counts, what does not, and whether there is anything to learn from.

Nothing is encoded here, so a log that does not do is refused before a model is loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.base.errors import ConfigurationError
from streams.events.dead_letters import DeadLetter
from streams.events.event import Event, RecordLike
from streams.events.items import Item, item_text
from streams.events.parse import parse_events, parse_items
from streams.pipeline.describe import ITEM_CHARS

#: People with two events or a list at least: fewer say nothing of what follows what.
FEWEST_PEOPLE: Final = 5
#: With fewer cases an evaluation cannot be split in time.
FEWEST_CASES: Final = 50


@dataclass(slots=True, kw_only=True)
class LogCounts:
    """What became of a log's records: `records` of events, and `types`, how many of each type are in the set.

    `unknown_items` are events that name no item with something to read, `without_item` those that are about none, such
    as searches; `repeated` came twice, `erased` lie before an erasure of their person.
    """

    records: int = 0
    dead: int = 0
    repeated: int = 0
    erased: int = 0
    without_item: int = 0
    unknown_items: int = 0
    types: Counter[str] = field(default_factory=Counter)
    first_ms: int = 0
    last_ms: int = 0


class ParsedLog(NamedTuple):
    """The events that count, in time order, the items with what there is to read of them, and what was left out."""

    events: list[Event]
    described: list[tuple[Item, str]]
    counts: LogCounts


def parse_log(items: Sequence[RecordLike], events: Sequence[RecordLike], *, now_ms: int) -> ParsedLog:
    """Parse a log; times up to `now_ms` are believed.

    Raises ConfigurationError where there are no items with something to read, or no events about such an item.
    """
    counts = LogCounts(records=len(events))
    happened, dead = _events(events, counts, now_ms)
    described, dead_items = _items(items, happened, now_ms)
    if not described:
        raise ConfigurationError(
            f"got {len(items):,} records of items, none of which has anything to read{_first(dead_items)}: expected "
            "lines of JSON with an item_id and a title, description, categories or tags"
        )
    known = {item.item_id for item, _ in described}
    if not any(_met(event, known) for event in happened):
        strangers = sum(1 for event in happened if event.item_id or event.items)
        raise ConfigurationError(
            f"got {len(events):,} records of events, none of which is about one of the {len(described):,} items "
            f"({counts.dead:,} are no valid events{_first(dead)}; {strangers:,} name an item that nobody described): "
            "expected lines of JSON with a user_id, a type, a ts and the item_id of such an item"
        )
    return ParsedLog(happened, described, counts)


def judge(log: ParsedLog, *, name: str = "the log", people: int = 0, cases: int = 0) -> None:
    """ConfigurationError where fewer than `people` did two things, or fewer than `cases` can be ranked at the most.

    What can be ranked is each list that was shown, and in a log without lists each first event with an item.
    """
    known = {item.item_id for item, _ in log.described}
    touched: Counter[str] = Counter()
    shown: set[str] = set()
    first: set[tuple[str, str | None]] = set()
    lists = 0
    for event in log.events:
        if not _met(event, known):
            continue
        if event.type == "impression":
            shown.add(event.user_id)
            lists += 1
        else:
            touched[event.user_id] += 1
            first.add((event.user_id, event.item_id))
    enough_people(len(shown | {user_id for user_id, count in touched.items() if count > 1}), people)
    most = lists or len(first)
    if most < cases:
        raise ConfigurationError(f"{name} has {most:,} cases at most, expected at least {cases:,}: take a longer log")


def enough_people(able: int, fewest: int = FEWEST_PEOPLE) -> None:
    """ConfigurationError where too few people did two things or more."""
    if able < fewest:
        raise ConfigurationError(
            f"{able:,} people did two things or more, expected at least {fewest:,}: a model of what people do next "
            "needs a longer log"
        )


def _met(event: Event, known: set[str]) -> list[str]:
    """The described items that an event is about."""
    named = event.items if event.type == "impression" else (event.item_id,)
    return [item_id for item_id in named if item_id in known]


def _first(dead: Sequence[DeadLetter]) -> str:
    """What is wrong with the first record that cannot be read, in words; nothing where all can."""
    return f", the first because {dead[0].message}" if dead else ""


def _events(
    records: Sequence[RecordLike], counts: LogCounts, now_ms: int
) -> tuple[list[Event], list[DeadLetter]]:  # fmt: skip
    """The events that count, in time order, each once, none that an erasure took; and what is no event."""
    parsed = parse_events(records, now_ms=now_ms)
    counts.dead = len(parsed.dead)
    erased: dict[str, int] = {}
    for event in parsed.events:
        if event.type == "erase":
            erased[event.user_id] = max(event.ts_ms, erased.get(event.user_id, 0))
    kept: list[Event] = []
    known: set[tuple[str, str]] = set()
    for event in sorted(parsed.events, key=lambda event: event.ts_ms):
        if event.type == "erase":
            continue
        if event.ts_ms <= erased.get(event.user_id, -1):
            counts.erased += 1
        elif (event.user_id, event.event_id) in known:
            counts.repeated += 1
        else:
            known.add((event.user_id, event.event_id))
            kept.append(event)
    if kept:
        counts.first_ms, counts.last_ms = kept[0].ts_ms, kept[-1].ts_ms
    return kept, parsed.dead


def _items(
    records: Sequence[RecordLike], events: Iterable[Event], now_ms: int
) -> tuple[list[tuple[Item, str]], list[DeadLetter]]:
    """Every item with what there is to read of it: those of the records, and those that only an event brought along."""
    found = {event.item.item_id: event.item for event in events if event.item is not None}
    parsed = parse_items(records, now_ms=now_ms)
    found |= {item_id: item for item_id, (item, _) in parsed.latest().items() if item is not None}
    texts = ((item, item_text(item, ITEM_CHARS)) for item in found.values())
    return [(item, text) for item, text in texts if text], parsed.dead
