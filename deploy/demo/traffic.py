"""A day of traffic of six invented readers over the demo's catalogue: the same day and seed give the same events."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from deploy.demo.phrases import COMPLAINT, POSTS, PRAISE, SEARCHES
from deploy.demo.readers import READERS, Phase, Reader
from streams.interests.signed_weight import UNDOES

__all__ = ["READERS", "Reader", "catalogue", "generate", "topic_of"]

CATALOGUE_FILE: Final = Path(__file__).with_name("catalogue.jsonl")

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_SHOWN: Final = 6
_CONTENT_LANGUAGE: Final = {"en": "en", "zh-Hans": "zh", "zh-Hant": "zh"}


def catalogue(day_start_ms: int | None = None) -> list[dict[str, Any]]:
    """The demo's items, in the item contract. Given a day's start (ms), the newest was published just before it."""
    items = [json.loads(line) for line in CATALOGUE_FILE.read_text(encoding="utf-8").splitlines()]
    if day_start_ms is not None:
        shift = day_start_ms - 60_000 - max(item["ts"] for item in items)
        items = [{**item, "ts": item["ts"] + shift} for item in items]
    return items


def topic_of(item_id: str) -> str:
    """The topic an item was written for: `home-garden` of `home-garden-07`."""
    return item_id.rpartition("-")[0]


def generate(day_start_ms: int, seed: int = 7) -> list[dict[str, Any]]:
    """The events of a day, in the event contract, sorted by time; `day_start_ms` is its midnight."""
    shelves = _Shelves(catalogue())
    events: list[dict[str, Any]] = []
    for reader in READERS:
        events += _Day(reader, shelves, Random(f"{seed}/{reader.id}"), day_start_ms).events()  # noqa: S311  no secret
    return sorted(events, key=lambda event: (event["ts"], event["event_id"]))


class _Shelves:
    """The catalogue by topic and language."""

    def __init__(self, items: Iterable[dict[str, Any]]) -> None:
        self._items: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.topics: list[str] = []
        self.language: dict[str, str] = {}
        for item in items:
            topic, language = topic_of(item["item_id"]), _CONTENT_LANGUAGE[item["lang"]]
            self._items[topic, language].append(item["item_id"])
            self.language[item["item_id"]] = language
            if topic not in self.topics:
                self.topics.append(topic)

    def of(self, topic: str, languages: Sequence[str]) -> list[str]:
        """The items of a topic that a reader of these languages can read."""
        return [item for language in languages for item in self._items[topic, language]]


class _Day:
    """One reader's events, written in order; times may overlap a little, as they do between tabs."""

    def __init__(self, reader: Reader, shelves: _Shelves, random: Random, day_start_ms: int) -> None:
        self._reader = reader
        self._shelves = shelves
        self._random = random
        self._start_ms = day_start_ms
        self._events: list[dict[str, Any]] = []
        self._context: dict[str, str] = {}

    def events(self) -> list[dict[str, Any]]:
        """Every event of the day."""
        for number, phase in enumerate(self._reader.phases):
            self._context = {
                "device": phase.device,
                "daypart": _daypart(phase.start_h),
                "session": f"{self._reader.name}-{number + 1}",
                "locale": self._reader.languages[0],
            }
            times = sorted(self._random.uniform(phase.start_h, phase.end_h) for _ in range(phase.visits))
            for hour in times:
                self._visit(phase, self._start_ms + int(hour * _HOUR_MS))
        if "takes-back" in self._reader.traits:
            self._take_back()
        if "buys" in self._reader.traits:
            self._buy()
        return self._events

    def _add(self, event_type: str, ts_ms: int, item_id: str | None = None, **fields: Any) -> None:
        event: dict[str, Any] = {
            "event_id": f"demo-{self._reader.name}-{len(self._events) + 1:04d}",
            "user_id": self._reader.id,
            "type": event_type,
            "ts": min(ts_ms, self._start_ms + _DAY_MS - 1),
        }
        if item_id is not None:
            event["item_id"] = item_id
        self._events.append(event | fields | {"context": dict(self._context)})

    def _visit(self, phase: Phase, ts_ms: int) -> None:
        random = self._random
        topics = dict(phase.topics) or dict.fromkeys(self._shelves.topics, 1.0)
        topic = random.choices(list(topics), list(topics.values()))[0]
        item = random.choice(self._shelves.of(topic, self._reader.languages))
        if "bot-like" in self._reader.traits:
            self._add("click", ts_ms, item, dwell_ms=random.randrange(80, 900))
            return
        if topic in SEARCHES and random.random() < 0.08:
            language = random.choice(self._reader.languages)
            self._add("search", ts_ms - 20_000, text=random.choice(SEARCHES[topic][language]))
        if random.random() < 0.25:
            self._show(item, ts_ms - 5_000)
        self._add("click", ts_ms, item)
        if topic in phase.against:
            self._turn_away(item, ts_ms, phase.keen)
            return
        dwell_ms = random.randrange(15_000, 240_000)
        self._add("view", ts_ms + dwell_ms, item, dwell_ms=dwell_ms)
        if random.random() < phase.keen:
            self._approve(item, ts_ms + dwell_ms)

    def _show(self, taken: str, ts_ms: int) -> None:
        """A page of items of which one is taken; the others come from all over the catalogue."""
        random = self._random
        others = [
            random.choice(self._shelves.of(topic, self._reader.languages))
            for topic in random.sample(self._shelves.topics, _SHOWN)
        ]
        shown = list(dict.fromkeys([taken, *others]))[:_SHOWN]
        random.shuffle(shown)
        self._add("impression", ts_ms, items=shown, clicked=[taken])

    def _approve(self, item: str, ts_ms: int) -> None:
        random = self._random
        language = self._shelves.language[item]
        kind = random.choices(
            ["like", "comment", "bookmark", "share", "rating", "follow", "post"], [8, 8, 4, 3, 2, 1, 1]
        )[0]
        if kind == "comment":
            self._add(kind, ts_ms + 40_000, item, text=random.choice(PRAISE[language]))
        elif kind == "post":
            self._add(kind, ts_ms + 90_000, item, text=random.choice(POSTS[language]))
        elif kind == "rating":
            self._add(kind, ts_ms + 8_000, item, rating=random.choice([4.0, 4.5, 5.0]))
        else:
            self._add(kind, ts_ms + 4_000, item)

    def _turn_away(self, item: str, ts_ms: int, keen: float) -> None:
        random = self._random
        if random.random() >= keen:
            return
        language = self._shelves.language[item]
        kind = random.choices(["comment", "dislike", "hide", "rating"], [5, 3, 3, 1])[0]
        if kind == "comment":
            self._add(kind, ts_ms + 50_000, item, text=random.choice(COMPLAINT[language]))
            self._add("dislike", ts_ms + 60_000, item)
        elif kind == "rating":
            self._add(kind, ts_ms + 10_000, item, rating=random.choice([0.5, 1.0]))
        else:
            self._add(kind, ts_ms + 6_000, item)

    def _take_back(self) -> None:
        """A like at breakfast, taken back ten minutes later, and so with all that can be taken back, over the day."""
        hours = {"unlike": 9.1, "undislike": 11.2, "unfollow": 13.3, "unhide": 17.4, "unbookmark": 20.2}
        items = self._shelves.of("fashion", ("en",))
        for (unlike, hour), item in zip(hours.items(), items, strict=False):
            like = UNDOES[unlike]
            ts_ms = self._start_ms + int(hour * _HOUR_MS)
            self._add(like, ts_ms, item)
            self._add(unlike, ts_ms + 600_000, item)

    def _buy(self) -> None:
        """Three things for the flat, well rated; one gadget with one star and an angry comment."""
        random = self._random
        for number, item in enumerate(random.sample(self._shelves.of("home-garden", ("zh",)), 3)):
            ts_ms = self._start_ms + int((11 + number) * _HOUR_MS)
            self._add("purchase", ts_ms, item)
            self._add("rating", ts_ms + 5 * _HOUR_MS, item, rating=[5.0, 4.5, 4.0][number])
        gadgets = self._shelves.of("technology", ("zh",))
        for number, gadget in enumerate(gadgets[-3:]):
            ts_ms = self._start_ms + int((16 + number * 0.2) * _HOUR_MS)
            self._add("rating", ts_ms, gadget, rating=1.0)
            self._add("comment", ts_ms + 60_000, gadget, text=COMPLAINT["zh"][number], rating=1.0)
            self._add("hide", ts_ms + 90_000, gadget)


def _daypart(hour: float) -> str:
    return "night" if hour < 6 else "morning" if hour < 12 else "afternoon" if hour < 18 else "evening"
