"""Going over to another encoder: what is asked of whom, what speaks against a switch, and how lists are compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streams.base.errors import ConfigurationError
from streams.commands.encoder_migrate import _starts, second_group, settings_for
from streams.commands.encoder_plan import Estimate
from streams.commands.encoder_sides import Side, objections
from streams.learner.paired import paired
from streams.ranking.examples import Example, packed_rows
from streams.ranking.rows import COLUMN, NAMES, VERSION
from streams.settings.service import Settings
from streams.store.collections import Collections

OLD = Side("old", "text_encoder", "interests", nodes=100, people=10, items=1000, members=1, erased={"ana": 5})
NEW = Side("new", "second", "interests--new", nodes=90, people=9, items=995, members=1, lag={"clicks": 0})


@pytest.mark.parametrize(
    ("to", "url", "model"),
    [
        ("second", "127.0.0.1:8001", "second"),
        ("triton-2:8001", "triton-2:8001", "text_encoder"),
        ("triton-2:8001/second", "triton-2:8001", "second"),
    ],
)
def test_a_model_by_name_or_another_triton(to: str, url: str, model: str) -> None:
    triton = settings_for(Settings(), to).triton
    assert (triton.url, triton.model) == (url, model)


def test_the_second_group_is_named_by_its_encoder_alone() -> None:
    settings = Settings()
    assert second_group(settings, "minilm", None) == "interests--minilm"
    third = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"group": "interests--minilm"})})
    assert second_group(third, "e5", None) == "interests--e5"
    assert second_group(third, "e5", "mine") == "mine"


def test_items_come_whole_and_what_groups_write_is_left_to_them() -> None:
    kafka = Settings().kafka
    starts = _starts(Settings(), "2026-01-31")
    assert starts[kafka.items_topic] == "beginning"
    assert {starts[topic] for topic in kafka.event_topics} == {1_769_817_600_000}
    assert {starts[topic] for topic in (kafka.unresolved_topic, *kafka.derived_topics)} == {"end"}


def test_nothing_speaks_against_an_encoder_that_is_complete() -> None:
    assert objections(OLD, NEW, {}, 0) == []
    assert objections(OLD, NEW, {"ana": 5}, 0) == []


@pytest.mark.parametrize(
    ("wanted", "erased", "says"),
    [
        (replace(NEW, group=""), {}, "no group is known"),
        (replace(NEW, members=0), {}, "no worker"),
        (replace(NEW, lag={"clicks": 8, "events": 0}), {}, "8 records behind"),
        (replace(NEW, items=989), {}, "989 items"),
        (NEW, {"ana": 4}, "1 people were erased"),
        (NEW, {"ana": 0}, "1 people were erased"),
    ],
)
def test_what_speaks_against_a_switch(wanted: Side, erased: dict[str, int], says: str) -> None:
    [reason] = objections(OLD, wanted, erased, 7)
    assert says in reason


@pytest.mark.parametrize(
    ("lag", "members", "refused"), [(0, 0, False), (1, 0, True), (7, 1, False), (8, 1, True), (0, 1, False)]
)
def test_what_the_group_that_serves_has_not_read_is_not_left_to_nobody(lag: int, members: int, refused: bool) -> None:
    against = objections(replace(OLD, lag={"clicks": lag}, members=members), NEW, {"ana": 5}, 7)
    assert bool(against) == refused
    assert all("interests, which serves" in reason for reason in against)


def test_an_estimate_adds_encoding_and_folding() -> None:
    records = {"items": 100, "clicks": 1300}
    cost = Estimate(records=records, items=100, texts=600, texts_per_s=300.0, points=1000, dim=384)
    assert cost.seconds == pytest.approx(2.0 + 1.0)
    assert cost.bytes == 1000 * (4 * 384 + 1500)


def example(encoder: str, offset: int, place: int) -> Example:
    """A list of five whose taken item is at `place` for who goes by the last item."""
    rows = np.zeros((5, len(NAMES)))
    rows[:, COLUMN["recent_last"]] = [0.9, 0.8, 0.7, 0.6, 0.5]
    return Example(
        group="g", log=1, topic="clicks", partition=0, offset=offset, ts_ms=0, kind="next", cohort="new",
        encoder=encoder, features=VERSION, rows=packed_rows(rows), taken=(place,),
    )  # fmt: skip


def test_only_lists_of_the_same_events_are_compared_with_an_error_of_their_differences() -> None:
    lists = [example("old", n, place) for n, place in enumerate((0, 1, 1))]
    lists += [example("new", n, place) for n, place in enumerate((0, 0, 0))]
    lists += [example("old", 8, 4), example("new", 9, 4), example("third", 1, 4)]
    found = paired(lists, "old", "new", np.zeros(len(NAMES)))["last_item"]
    assert found.lists == 3
    assert (found.reciprocal_rank.before, found.reciprocal_rank.new) == (pytest.approx(2 / 3), 1.0)
    assert found.reciprocal_rank.error == pytest.approx(np.std([0, 0.5, 0.5], ddof=1) / np.sqrt(3))
    assert found.disagree == pytest.approx(2 / 3)


def test_one_pair_says_nothing() -> None:
    assert paired([example("old", 1, 0), example("new", 1, 0)], "old", "new", np.zeros(len(NAMES))) == {}


def test_no_encoder_is_called_like_what_holds_the_control_points() -> None:
    with pytest.raises(ConfigurationError, match="no encoder may be called control"):
        Collections("control", 1)
