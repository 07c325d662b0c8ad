"""The demo's catalogue and day of traffic: valid by the contract, as varied as it says, and the same every time."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import msgspec
import pytest

from deploy.demo.phrases import COMPLAINT, SEARCHES
from deploy.demo.traffic import READERS, catalogue, generate, topic_of
from streams.concepts.tree_file import load_taxonomy
from streams.events.wire import StrictEvent, StrictItem
from streams.interests.signed_weight import DEFAULT_BASE, UNDOES, WeightTable, comment_factor, rating_factor

DAY_MS = 1_795_046_400_000
HOUR_MS = 3_600_000
ITEMS = {item["item_id"]: item for item in catalogue()}
EVENTS = generate(DAY_MS)
BY_READER: dict[str, list[dict[str, Any]]] = defaultdict(list)
for _event in EVENTS:
    BY_READER[_event["user_id"]].append(_event)
COMPLAINTS = {text for texts in COMPLAINT.values() for text in texts}
TABLE = WeightTable()


def weight(event: dict[str, Any]) -> float:
    """The event's signed weight by the default table, its text's sentiment being what it was written as."""
    base = -DEFAULT_BASE[UNDOES[event["type"]]] if event["type"] in UNDOES else DEFAULT_BASE[event["type"]]
    if "rating" in event:
        return base * rating_factor(event["rating"], TABLE.rating_neutral)
    if event["type"] == "comment":
        return base * comment_factor(-0.9 if event["text"] in COMPLAINTS else 0.9, TABLE.comment_engagement)
    return base


def by_topic(events: list[dict[str, Any]], *, negative: bool = False) -> Counter[str]:
    sums: Counter[str] = Counter()
    for event in events:
        if "item_id" in event and (not negative or (weight(event) < 0 and event["type"] not in UNDOES)):
            sums[topic_of(event["item_id"])] += weight(event)  # type: ignore[assignment]  # Counter holds floats too
    return sums


def test_items_keep_the_contract() -> None:
    for item in ITEMS.values():
        msgspec.json.decode(json.dumps(item).encode(), type=StrictItem)


def test_the_catalogue_is_broad_and_in_two_languages() -> None:
    assert len(ITEMS) == len(catalogue()) >= 300
    topics = Counter(map(topic_of, ITEMS))
    assert len(topics) >= 12
    assert min(topics.values()) >= 8
    assert set(topics) <= {concept.id for concept in load_taxonomy().concepts if concept.is_topic}
    chinese = sum(item["lang"].startswith("zh") for item in ITEMS.values()) / len(ITEMS)
    assert 0.35 < chinese < 0.5
    assert all(any("\u4e00" <= c <= "\u9fff" for c in i["title"]) == i["lang"].startswith("zh") for i in ITEMS.values())


def test_items_differ_in_what_they_say_of_themselves() -> None:
    kinds = Counter(
        "categories" if i.get("categories") else "tags" if i.get("tags") else "text" for i in ITEMS.values()
    )
    assert min(kinds.values()) >= len(ITEMS) // 5
    assert (
        len({item["title"] for item in ITEMS.values()}) == len({i["description"] for i in ITEMS.values()}) == len(ITEMS)
    )


def test_items_can_be_dated_to_end_at_a_days_start() -> None:
    dated = catalogue(DAY_MS)
    assert max(item["ts"] for item in dated) == DAY_MS - 60_000
    assert len({item["ts"] - ITEMS[item["item_id"]]["ts"] for item in dated}) == 1


def test_events_keep_the_contract() -> None:
    for event in EVENTS:
        msgspec.json.decode(json.dumps(event).encode(), type=StrictEvent)
        assert {event.get("item_id"), *event.get("items", ())} - {None} <= set(ITEMS)
        assert set(event.get("clicked", ())) <= set(event.get("items", ()))
        assert event["type"] in {"search", "impression"} or "item_id" in event
        assert (event["type"] == "rating") <= ("rating" in event)
        assert (event["type"] in {"comment", "post", "search"}) == ("text" in event)
        assert DAY_MS <= event["ts"] < DAY_MS + 24 * HOUR_MS


def test_the_day_is_in_order_and_has_the_size_it_should() -> None:
    assert 1_500 <= len(EVENTS) <= 2_500
    assert len({event["event_id"] for event in EVENTS}) == len(EVENTS)
    assert [event["ts"] for event in EVENTS] == sorted(event["ts"] for event in EVENTS)


def test_every_type_of_the_contract_that_a_reader_can_send_is_there() -> None:
    assert set(DEFAULT_BASE) - {"erase"} == {event["type"] for event in EVENTS}


def test_the_same_seed_gives_the_same_day_and_another_one_does_not() -> None:
    assert generate(DAY_MS) == EVENTS
    other = generate(DAY_MS, seed=8)
    assert other != EVENTS
    assert len({event["event_id"] for event in other}) == len(other)


def test_another_day_is_the_same_day_moved() -> None:
    moved = generate(DAY_MS + 24 * HOUR_MS)
    assert [{**event, "ts": event["ts"] + 24 * HOUR_MS} for event in EVENTS] == moved


def test_readers_say_that_they_are_invented() -> None:
    assert len(READERS) == 6
    assert all(reader.id.endswith("-invented") and reader.portrait for reader in READERS)
    assert set(BY_READER) == {reader.id for reader in READERS}
    assert {topic for reader in READERS for phase in reader.phases for topic in phase.topics} <= set(
        map(topic_of, ITEMS)
    )
    assert set(SEARCHES) <= set(map(topic_of, ITEMS))


@pytest.mark.parametrize("reader", [r for r in READERS if r.top], ids=lambda reader: reader.name)
def test_readers_end_where_their_portrait_says(reader: Any) -> None:
    events = BY_READER[reader.id]
    sums = by_topic(events)
    assert {topic for topic, _ in sums.most_common(len(reader.top))} == reader.top
    last = [event for event in events if event["ts"] > events[-1]["ts"] - HOUR_MS]
    assert by_topic(last).most_common(1)[0][0] == reader.last
    against = by_topic(events, negative=True)
    assert {topic for topic, sum_ in against.items() if sum_ < -10} == reader.averse


def test_one_writes_in_two_languages() -> None:
    texts = [e["text"] for e in BY_READER["reader-chen-invented"] if e["type"] == "comment"]
    assert {any("\u4e00" <= c <= "\u9fff" for c in text) for text in texts} == {True, False}


def test_one_turns_from_praise_to_complaint() -> None:
    games = [e for e in BY_READER["reader-bo-invented"] if topic_of(e.get("item_id", "-")) == "games"]
    noon = DAY_MS + 12 * HOUR_MS
    assert sum(weight(e) for e in games if e["ts"] < noon and e["type"] != "click") > 10
    assert sum(weight(e) for e in games if e["ts"] > noon and e["type"] != "click") < -25
    assert {"comment", "dislike", "hide"} <= {e["type"] for e in games if e["ts"] > noon}


def test_one_takes_back_what_she_liked() -> None:
    mine = BY_READER["reader-dora-invented"]
    assert len(mine) < 60
    for undo, done in UNDOES.items():
        taken_back = [event["item_id"] for event in mine if event["type"] == undo]
        assert taken_back
        for item in taken_back:
            kinds = [event["type"] for event in mine if event.get("item_id") == item]
            assert kinds.index(done) < kinds.index(undo)
    assert by_topic(mine)["fashion"] == 0


def test_one_clicks_like_a_machine() -> None:
    mine = BY_READER["reader-emil-invented"]
    assert {event["type"] for event in mine} == {"click"}
    assert len(mine) > 2 * max(len(events) for user, events in BY_READER.items() if user != "reader-emil-invented")
    assert max(event["dwell_ms"] for event in mine) < 1_000


def test_one_buys_and_says_what_it_was_worth() -> None:
    mine = BY_READER["reader-fay-invented"]
    bought = {event["item_id"] for event in mine if event["type"] == "purchase"}
    rated = {event["item_id"]: event["rating"] for event in mine if event["type"] == "rating"}
    assert bought <= set(rated)
    assert min(rated[item] for item in bought) >= 4
    assert min(rated.values()) == 1
