"""Answers are made of rows: parts, nodes, recent items and features each add up to the score."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.api.score_models import ScoreParts
from streams.api.score_view import PARTS, ScoreView
from streams.api.served_weights import Weights
from streams.interests.popularity import ItemPopularity
from streams.interests.recents import Recent
from streams.interests.score import Interest, RankPolicy, score
from streams.interests.together import ItemPartners
from streams.pipeline.ranking_view import recent_items, target_items, with_texts
from streams.ranking.features import feature_rows
from streams.ranking.parts import Part
from streams.ranking.rows import (
    COLUMN,
    NAMES,
    PART_OF,
    LearnedNode,
    LearnedView,
    PersonView,
    TargetItems,
    fixed_weights,
)
from streams.store.cards import Card

NOW = 1_785_000_000_000
DAY_MS = 86_400_000
UNIT = np.eye(4, dtype=np.float32)
POLICY = RankPolicy()
HALF_LIFE_S = 180 * 86_400.0


def card(item_id: str, axis: int, **more: object) -> Card:
    return Card(item_id, _between(axis), "/x/y", ts_ms=NOW - axis * DAY_MS, **more)  # type: ignore[arg-type]


def _between(axis: int) -> np.ndarray:
    mixed = UNIT[axis] + 0.5 * UNIT[(axis + 1) % 4]
    return (mixed / np.linalg.norm(mixed)).astype(np.float32)


CARDS = [
    card("a", 0, lang="en", tags=("tea",), categories=("Food",)), card("b", 1, lang="zh", brand="acme"),
    card("c", 2, lang="en", tags=("tea", "jazz")),
]  # fmt: skip
POPULAR = {"a": ItemPopularity(item_id="a", masses=(3.0, 1.0, 2.0, 2.5), t0_ms=NOW, last_ms=NOW - 3_600_000, count=3)}
PARTNERS = {"c": ItemPartners(item_id="c", counts={"a": 2.0, "b": 1.0}, total=5.0, t0_ms=NOW)}
TARGETS = target_items(CARDS, POPULAR, NOW, HALF_LIFE_S)
RECENTS = recent_items(
    [Recent("c", NOW, 2.0), Recent("b", NOW - DAY_MS, -1.0), Recent("gone", NOW, 1.0), Recent("a", NOW - DAY_MS, 1.0)],
    {one.item_id: one for one in CARDS}, PARTNERS, NOW, HALF_LIFE_S,
)  # fmt: skip
INTERESTS = [
    Interest("n1", "topic", "/x", _between(0), 3.0, 3.0), Interest("n2", "interest", "/x/y", _between(1), 2.0, 2.0),
    Interest("n3", "aversion", "/", _between(3), 1.0, 1.0), Interest("n4", "topic", "/p", _between(2), 1.0, 1.0, True),
]  # fmt: skip
LEARNED = LearnedView(
    model="m", nodes=[LearnedNode("l1", "/", _between(0)), LearnedNode("l2", "/click", _between(2), 3.0, -1.0)]
)
SEEN = PersonView(interests=INTERESTS, recents=RECENTS, learned=LEARNED)


def view_of(weights: Weights, targets: TargetItems = TARGETS) -> ScoreView:
    return ScoreView(feature_rows(SEEN, targets, POLICY, at_ms=NOW), weights, lambda _, path: path, frozenset({"n4"}))


@given(st.lists(st.floats(-2, 2), min_size=len(NAMES), max_size=len(NAMES)))
def test_whatever_the_weights_every_answer_adds_up_to_the_score(values: list[float]) -> None:
    weights = Weights(np.array(values), 7)
    view = view_of(weights)
    for row, one in enumerate(CARDS):
        item = view.item(row, one, pulls=2, titles={})
        assert sum(item.parts.model_dump().values()) == pytest.approx(item.score, abs=1e-9)
        pulls, recents, others = view.pulls(row), view.recents(row, {}), view.others(row)
        added = sum(pull.contribution for pull in pulls) + sum(one.contribution for one in recents)
        assert added + sum(one.contribution for one in others) == pytest.approx(item.score, abs=1e-9)
        features = view.features(row)
        assert sum(one.value * one.weight for one in features) == pytest.approx(item.score, abs=1e-9)
        assert [one.name for one in features] == list(NAMES)
        assert (item.because, item.recents, item.others) == (pulls[:2], recents[:2], others)
        bare = view.item(row, one)
        assert (bare.because, bare.recents, bare.others) == ([], [], [])
        assert {pull.node_id for pull in pulls if pull.prior} <= {"n4"}


def test_with_the_fixed_weights_an_answer_is_the_fixed_score_and_no_recent_item_counts() -> None:
    view, fixed = view_of(Weights(fixed_weights(POLICY), 0)), score(INTERESTS, TARGETS, POLICY, at_ms=NOW)
    assert view.scores == pytest.approx(fixed.total, abs=1e-12)
    assert view.version == 0
    for row in range(len(CARDS)):
        parts = view.parts(row)
        assert (parts.relevance, parts.aversion) == pytest.approx((fixed.relevance[row], fixed.aversion[row]))
        assert (parts.freshness, parts.popularity) == pytest.approx((fixed.freshness[row], fixed.popularity[row]))
        assert (parts.recent, parts.together, parts.attributes, parts.shares, parts.touched) == (0.0,) * 5
        assert view.recents(row, {}) == []
        assert [pull.contribution for pull in view.pulls(row, 9)] == pytest.approx(
            sorted((by for by in fixed.by_node[row] if by), key=lambda by: -abs(by))
        )


def test_the_nodes_of_a_model_are_shown_beside_the_interests() -> None:
    weights = fixed_weights(POLICY)
    weights[COLUMN["learned_cosine"]], weights[COLUMN["learned_click"]] = 0.5, -2.0
    view = view_of(Weights(weights, 3))
    for row in range(len(CARDS)):
        values = {one.name: one.value for one in view.features(row)}
        shown = {pull.node_id: pull for pull in view.pulls(row)}
        assert shown["l2"].contribution == pytest.approx(-2.0 * values["learned_click"])
        assert (shown["l2"].level, shown["l2"].path, shown["l2"].attention) == ("learned", "/click", 0.0)
        by_model = sum(pull.contribution for pull in shown.values() if pull.level == "learned")
        assert by_model == pytest.approx(view.parts(row).learned)
        assert [abs(pull.contribution) for pull in view.pulls(row)] == sorted(
            (abs(pull.contribution) for pull in shown.values()), reverse=True
        )


def test_the_share_of_a_language_is_the_recent_items_alone() -> None:
    only = np.zeros(len(NAMES))
    only[COLUMN["share_language"]] = 1.0
    view = view_of(Weights(only, 1))
    assert view.parts(0).shares > 0
    assert sum(one.contribution for one in view.recents(0, {})) == pytest.approx(view.parts(0).shares)
    assert view.others(0) == []


def test_recent_items_come_with_title_time_and_weight_and_undescribed_ones_are_left_out() -> None:
    view = view_of(Weights(np.ones(len(NAMES)), 1))
    assert view.recent_ids() == ["c", "b", "a"]
    shown = {one.item_id: one for one in view.recents(0, {"c": "Sea"})}
    assert (shown["c"].title, shown["c"].ts_ms, shown["c"].weight) == ("Sea", NOW, 2.0)
    assert shown["a"].title is None


def test_of_a_text_nothing_is_known_but_what_it_says() -> None:
    both = with_texts(TARGETS, UNIT[:2])
    assert both.ids == ("a", "b", "c", "", "")
    rows = feature_rows(SEEN, both, POLICY, at_ms=NOW).values[len(CARDS) :]
    known = [PART_OF[name] for row in rows for name, value in zip(NAMES, row, strict=True) if value]
    assert set(known) <= {"relevance", "aversion", "recent", "learned"}
    assert with_texts(target_items([], {}, NOW, HALF_LIFE_S), UNIT[:2]).vectors.shape == (2, 4)


def test_the_parts_of_an_answer_are_those_of_the_rows() -> None:
    assert tuple(dict.fromkeys(PART_OF.values())) == PARTS
    assert set(PARTS) == set(get_args(Part)) == set(ScoreParts.model_fields)
