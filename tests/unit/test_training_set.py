"""A log as arrays to train on: what counts, with which weight, and what does not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import xxhash

from encoders.histories import histories_at, type_code
from streams.base.errors import ConfigurationError, PoisonError
from streams.encoder.base import Encoded
from streams.events.drafts import Draft
from streams.interests.signed_weight import WeightTable, comment_factor
from streams.training.training_set import LogSet, training_set

T0 = 1_700_000_000_000
TABLE = WeightTable()
BAD = "cannot be encoded"


class WordEncoder:
    """A text is the sum of its words' random vectors, its sentiment that of the words good and bad."""

    dim = 16

    async def encode(self, texts: Sequence[str]) -> Encoded:
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for at, text in enumerate(texts):
            for word in text.lower().split():
                vectors[at] += np.random.default_rng(xxhash.xxh32_intdigest(word.encode())).normal(size=self.dim)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        sentiment = np.array([("good" in text) - 1.0 * ("bad" in text) for text in texts], np.float32)
        poison = {at: PoisonError("no", reason="no_content") for at, text in enumerate(texts) if text == BAD}
        return Encoded(vectors, sentiment, poison)


def records(*rows: dict[str, Any], key: str = "user_id") -> list[Draft]:
    return [
        Draft("a topic", 0, at, None, row.get(key, row.get("item_id", "")).encode(), json.dumps(row).encode())
        for at, row in enumerate(rows)
    ]


def event(user: str, about: str | None, at: int, kind: str = "click", **more: Any) -> dict[str, Any]:
    return (
        {"event_id": f"{user}-{about}-{at}-{kind}", "user_id": user, "type": kind, "ts": T0 + at}
        | ({"item_id": about} if about else {})
        | more
    )


ITEMS = records(*({"item_id": f"i{n}", "title": f"title {n}", "ts": T0 + n} for n in range(4)), key="item_id")


async def made(*rows: dict[str, Any], items: Sequence[Draft] = ITEMS) -> LogSet:
    return await training_set(items, records(*rows), WordEncoder(), TABLE, now_ms=T0 + 10_000)


async def test_events_are_weighed_as_the_service_weighs_them() -> None:
    data, counts = await made(
        event("u", "i1", 20, "comment", text="good stuff"), event("u", "i0", 10), event("v", "i2", 5, "hide"),
        event("v", "i2", 6, "rating", rating=5.0),
    )  # fmt: skip
    assert data.item_ids == ["i0", "i1", "i2", "i3"]
    assert np.linalg.norm(data.items, axis=1) == pytest.approx(np.ones(4))
    assert data.dated_ms.tolist() == [T0 + n for n in range(4)]
    v, u = data.people
    assert (v.user_id, u.user_id) == ("v", "u")
    assert u.rows.tolist() == [0, 1]
    assert u.types.tolist() == [type_code("click"), type_code("comment")]
    assert u.weights.tolist() == pytest.approx([1.0, 1.5 * comment_factor(1.0, TABLE.comment_engagement)])
    assert v.weights.tolist() == pytest.approx([-2.0, 3.0])
    assert counts.types == {"click": 1, "comment": 1, "hide": 1, "rating": 1}
    assert (counts.first_ms, counts.last_ms) == (T0 + 5, T0 + 20)


async def test_what_was_shown_is_kept_and_what_was_taken_of_it_is_recent() -> None:
    shown = {"items": ["i0", "i3", "nobody described it", "i0"], "clicked": ["i3"]}
    data, _ = await made(event("u", "i1", 1), event("u", None, 2, "impression", **shown))
    (person,) = data.people
    assert person.rows.tolist() == [1, 3]
    assert person.types[1] == type_code("impression")
    (one,) = person.shown
    assert (one.time_ms, one.rows.tolist(), one.clicked.tolist()) == (T0 + 2, [0, 3], [False, True])
    assert histories_at(data, np.inf).types[0, :3].tolist() == [type_code("click"), type_code("impression"), 0]


async def test_what_does_not_count_is_counted_apart() -> None:
    again = event("u", "i0", 1)
    data, counts = await made(
        again, again, event("u", "unheard of", 2), event("u", None, 3, "search", text="a thing"),
        event("u", "i1", 4, "no such type"), event("u", "i2", 5, "comment", text=BAD),
        event("u", "own", 6, "post", item={"title": "brought along"}),
    )  # fmt: skip
    assert [data.item_ids[row] for row in data.people[0].rows] == ["i0", "own"]
    assert (counts.records, counts.dead, counts.repeated) == (7, 2, 1)
    assert (counts.unknown_items, counts.without_item) == (1, 1)


async def test_what_a_person_had_erased_is_not_learned_from() -> None:
    data, counts = await made(
        event("u", "i0", 1), event("u", "i1", 2), {"user_id": "u", "type": "erase", "ts": T0 + 2}, event("u", "i2", 3),
        event("v", "i3", 1),
    )  # fmt: skip
    assert {person.user_id: person.rows.tolist() for person in data.people} == {"v": [3], "u": [2]}
    assert counts.erased == 2


async def test_a_like_that_is_taken_back_weighs_nothing_from_then_on() -> None:
    data, _ = await made(event("u", "i0", 1, "like"), event("u", "i0", 5, "unlike"), event("u", "i1", 6))
    history = histories_at(data, np.inf)
    assert history.weights[0, :2].tolist() == [0.0, 1.0]
    assert history.types[0, 0] == type_code("like")


@pytest.mark.parametrize(
    ("items", "said"), [([], "anything to read"), (records({"item_id": "x", "title": "t"}), "none of which is about")]
)
async def test_a_log_without_anything_to_learn_from_is_refused(items: list[Draft], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        await made(event("u", "i0", 1), items=items)
