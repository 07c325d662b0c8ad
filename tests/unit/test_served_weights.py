"""Which weights rank: the latest believable ones of the encoder and the kind of list, or else the fixed ones."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from streams.api.served_weights import ServedWeights, take_all
from streams.ranking.rows import NAMES, VERSION
from streams.ranking.weights import PublishedWeights, pack_weights
from tests.fixtures.records import record

NOW = 1_785_000_000_000
FIXED = np.full(len(NAMES), 0.5)
MAX_AGE_MS = 3_600_000


def published(value: float = 1.0, **more: Any) -> PublishedWeights:
    fields = {
        "encoder": "e5", "kind": "next", "version": 3, "features": VERSION, "lists": 100, "made_ms": NOW,
        "serve": True, "values": dict.fromkeys(NAMES, value), **more,
    }  # fmt: skip
    return PublishedWeights(**fields)


def served(*weights: PublishedWeights) -> ServedWeights:
    made = ServedWeights(FIXED, MAX_AGE_MS)
    for one in weights:
        made.take(one)
    return made


def test_without_any_and_for_another_encoder_the_fixed_ones_count() -> None:
    assert served().at("e5", "next", NOW) == (FIXED, 0, None)
    assert served(published()).at("minilm", "next", NOW) == (FIXED, 0, None)
    assert served(published()).at("e5", "next", NOW).version == 3


def test_too_old_or_not_to_be_served_they_give_way_and_come_back() -> None:
    one = served(published())
    assert one.at("e5", "next", NOW + MAX_AGE_MS).version == 3
    assert one.at("e5", "next", NOW + MAX_AGE_MS + 1) == (FIXED, 0, None)
    one.take(published(version=4, made_ms=NOW + 1, serve=False))
    assert one.at("e5", "next", NOW + 1) == (FIXED, 0, None)
    one.take(published(2.0, version=5, made_ms=NOW + 2))
    values, version, kind = one.at("e5", "next", NOW + 2)
    assert (values.tolist(), version, kind) == ([2.0] * len(NAMES), 5, "next")


def test_a_kind_without_its_own_has_the_others_and_one_that_is_held_back_has_none() -> None:
    one = served(published())
    assert one.at("e5", "impression", NOW)[1:] == (3, "next")
    one.take(published(kind="impression", version=1, serve=False))
    assert one.at("e5", "impression", NOW).version == 0
    assert one.at("e5", "next", NOW).version == 3


def test_of_equal_versions_the_later_counts_and_keeps_them_believed() -> None:
    one = served(published(1.0, version=3), published(2.0, version=3, made_ms=NOW + 2), published(1.0, version=3))
    assert one.at("e5", "next", NOW + 2 + MAX_AGE_MS).values.tolist() == [2.0] * len(NAMES)


def test_read_again_from_the_beginning_the_latest_stays() -> None:
    old, new = published(1.0, version=3), published(2.0, version=4, made_ms=NOW + 1)
    assert served(new, old).at("e5", "next", NOW).version == 4
    begun_anew = published(3.0, version=1, made_ms=NOW + 2)  # a learner that lost its state counts from 1 again
    assert served(old, new, begun_anew).at("e5", "next", NOW).version == 1


@pytest.mark.parametrize(
    "key_value",
    [
        (b"e5/next", b"{"), (b"e5/next", None), (b"e5/impression", pack_weights(published())),
        (b"e5/next", pack_weights(published(float("1e9")))),
        (b"e5/next", pack_weights(published(features=VERSION + 1))),
        (b"e5/next", pack_weights(published(made_ms=NOW + 600_000))),
        (b"e5/next", msgspec.json.encode({"encoder": "e5", "kind": "next"})),
        (b"e" * 257 + b"/next", pack_weights(published(encoder="e" * 257))),
    ],
    ids=["no JSON", "nothing", "another key", "too great", "other features", "to come", "half of it", "long name"],
)  # fmt: skip
def test_what_no_learner_can_have_sent_changes_nothing(key_value: tuple[bytes, bytes | None]) -> None:
    one = served(published(version=2, made_ms=NOW - 1))
    key, value = key_value
    bad, good = record(key=key, value=value), record(key=b"e5/next", value=pack_weights(published()))
    take_all(one, [bad], NOW)
    assert one.at("e5", "next", NOW).version == 2
    assert one.at("e" * 257, "next", NOW).version == 0
    take_all(one, [bad, good], NOW)
    assert one.at("e5", "next", NOW).version == 3
