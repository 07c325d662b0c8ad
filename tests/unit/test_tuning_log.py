"""From a log to what a language model is tuned on, and to the cases it may be measured on."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.tuning_pairs import NOBODY, Fold
from streams.base.errors import ConfigurationError
from streams.commands.encoder_tune import _fold
from streams.evaluation.encoder_contest import contestants
from streams.events.drafts import Draft
from streams.interests.signed_weight import WeightTable
from streams.training.pairs import PairPlan, tuning_set

T0 = 1_700_000_000_000
ITEMS = [
    {"item_id": "a", "title": "Tea", "categories": ["Drinks", "Hot"], "ts": T0},
    {"item_id": "b", "title": "Coffee", "categories": ["Drinks", "Hot"], "ts": T0},
    {"item_id": "c", "title": "Juice", "tags": ["cold"], "ts": T0},
    {"item_id": "d", "title": "Water", "ts": T0},
    {"item_id": "late", "title": "Wine", "tags": ["red"], "ts": T0 + 10_000},
]
EVENTS = [
    ("ana", "a", "click", None), ("ben", "b", "click", None), ("ana", "b", "rating", 1.0), ("ana", "c", "click", None),
    ("ana", "a", "click", None), ("ben", "a", "like", None), ("ana", "b", "click", None), ("ana", "d", "view", None),
]  # fmt: skip


def drafts(rows: list[dict[str, Any]], topic: str, key: str) -> list[Draft]:
    return [
        Draft(topic, 0, at, row.get("ts"), row[key].encode(), json.dumps(row).encode()) for at, row in enumerate(rows)
    ]  # fmt: skip


def made(**plan: Any) -> Any:
    events = [
        {"event_id": str(at), "user_id": user, "item_id": item, "type": kind, "ts": T0 + at}
        | ({} if rating is None else {"rating": rating})
        for at, (user, item, kind, rating) in enumerate(EVENTS)
    ]
    log = drafts(events, "events", "user_id")
    return tuning_set(drafts(ITEMS, "items", "item_id"), log, WeightTable(), PairPlan(**plan), now_ms=T0 + 99_999)


def test_a_pair_is_what_somebody_had_and_the_new_item_they_took_next() -> None:
    data = made(history=2)
    named = {row: text.split(".")[0] for row, text in enumerate(data.texts)}
    pairs = [
        ([named[row] for row in anchor if row >= 0], named[positive])
        for anchor, positive in zip(data.history.anchors, data.history.positives, strict=True)
    ]
    # One star is no interest, and what was met by it is no news later on.
    assert pairs == [(["Tea"], "Juice"), (["Coffee"], "Tea"), (["Tea", "Juice"], "Water")]
    assert [sorted(named[row] for row in rows) for rows in data.met] == [
        ["Coffee", "Juice", "Tea", "Water"], ["Coffee", "Tea"]
    ]  # fmt: skip
    assert (np.diff(data.history.times_ms) > 0).all()


def test_labels_are_titles_with_what_they_are_filed_under() -> None:
    data = made()
    pairs = {(data.texts[a], data.texts[p]) for (a,), p in zip(data.labels.anchors, data.labels.positives, strict=True)}
    assert pairs == {("Tea", "Drinks, Hot"), ("Coffee", "Drinks, Hot"), ("Juice", "cold")}
    assert set(data.labels.people) == {NOBODY}
    assert len(made(labels=False).labels) == 0


def test_nothing_of_a_later_time_is_learned_from() -> None:
    data = made(share=0.75)
    assert data.history.times_ms.max() == T0 + 5
    assert data.items == 4  # Wine is not there yet
    assert made().items == 4
    with pytest.raises(ConfigurationError, match="nothing can be paired"):
        made(share=0.2, labels=False)


def test_people_that_are_left_out_are_not_learned_from() -> None:
    fold = Fold(zlib.crc32(b"ana") % 2, 2)
    other = Fold(1 - fold.part, 2)
    assert fold.has("ana") is not other.has("ana")
    met = [made(without=one).met for one in (fold, other)]
    assert sum(map(len, met)) <= len(made().met)
    assert all(not fold.has("ana") or len(rows) <= 2 for rows in met[0])


def test_parts_of_the_people_are_written_as_fractions() -> None:
    assert _fold("") is None
    assert _fold("1/5") == Fold(1, 5)
    for wrong in ("5/5", "x", "1", "-1/2"):
        with pytest.raises(ConfigurationError, match="0/5"):
            _fold(wrong)


def test_a_tuned_model_is_measured_on_what_it_did_not_learn_from(tmp_path: Path) -> None:
    for name, log in (
        ("timed", {"events": 100, "first events learned from": 80, "people left out": ""}),
        ("half-a", {"events": 100, "first events learned from": 100, "people left out": "0/2"}),
        ("half-b", {"events": 100, "first events learned from": 100, "people left out": "1/2"}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text(json.dumps({"kind": "lora", "log": log}))
    found = contestants(["multilingual-e5-small", *(str(tmp_path / name) for name in ("timed", "half-a", "half-b"))])
    assert [one.name for one in found] == ["multilingual-e5-small", "timed", "lora, of other people"]
    assert [(part.fold, part.first) for one in found for part in one.parts] == [
        (None, 0), (None, 80), (Fold(0, 2), 0), (Fold(1, 2), 0)
    ]  # fmt: skip
