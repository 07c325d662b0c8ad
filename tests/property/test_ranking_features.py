"""Feature rows of any person and targets: the score of `interests.score`, and parts that add up to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.interests.score import Interest, RankPolicy, score
from streams.ranking.features import FeatureRows, feature_rows
from streams.ranking.rows import (
    COLUMN,
    LEVELS,
    NAMES,
    PART_OF,
    LearnedNode,
    LearnedView,
    PersonView,
    RecentItem,
    TargetItems,
    fixed_weights,
)

NOW = 1_700_000_000_000
POLICY = RankPolicy()
_TIMES = st.one_of(st.just(np.nan), st.integers(0, 2 * NOW).map(float))
_ATTRIBUTES = st.frozensets(st.sampled_from(["c:a", "c:b", "t:a", "b:a"]))
_LANGS = st.sampled_from([None, "en", "zh"])
_MASSES = st.floats(0.0, 100.0)
_IDS = [f"i{at}" for at in range(12)]


@st.composite
def vectors(draw: st.DrawFn) -> np.ndarray:
    values = np.array(draw(st.lists(st.integers(-3, 3), min_size=4, max_size=4)), np.float32)
    length = float(np.linalg.norm(values))
    return values / np.float32(length) if length else values


@st.composite
def interests(draw: st.DrawFn) -> Interest:
    mass = draw(st.floats(0.01, 100.0))
    return Interest(
        "n", draw(st.sampled_from((*LEVELS, "aversion"))), draw(st.sampled_from(["/", "/a", "/a/b"])), draw(vectors()),
        mass, mass * draw(st.sampled_from([-1.0, 0.3, 1.0])), draw(st.booleans()),
    )  # fmt: skip


@st.composite
def recents(draw: st.DrawFn) -> RecentItem:
    together = draw(st.dictionaries(st.sampled_from(_IDS), st.floats(0.0, 50.0), max_size=6))
    return RecentItem(
        draw(st.sampled_from(_IDS)), NOW, draw(st.sampled_from([-2.0, -0.1, 0.0, 0.1, 1.0, 3.0])), draw(vectors()),
        draw(_LANGS), draw(_ATTRIBUTES), together, sum(together.values()) + draw(_MASSES),
    )  # fmt: skip


@st.composite
def learned(draw: st.DrawFn) -> LearnedView:
    paths = draw(st.lists(st.sampled_from(["/", "/click", "/exposure", "/purchase", "/other"]), unique=True))
    scales = st.floats(-20, 20)
    return LearnedView(
        model="m", nodes=[LearnedNode(path, path, draw(vectors()), draw(scales), draw(scales)) for path in paths]
    )


@st.composite
def rows(draw: st.DrawFn) -> FeatureRows:
    n = draw(st.integers(0, 6))
    targets = TargetItems(
        ids=tuple(_IDS[:n]), vectors=np.array([draw(vectors()) for _ in range(n)], np.float32).reshape(n, 4),
        paths=tuple(draw(st.sampled_from(["", "/a", "/a/b", "/c"])) for _ in range(n)),
        ts_ms=np.array([draw(_TIMES) for _ in range(n)]), popularity=np.array([draw(_MASSES) for _ in range(n)]),
        langs=tuple(draw(_LANGS) for _ in range(n)), attributes=tuple(draw(_ATTRIBUTES) for _ in range(n)),
        popularities=np.array([[draw(_MASSES) for _ in range(3)] for _ in range(n)]).reshape(n, 3),
        touched_ms=np.array([draw(_TIMES) for _ in range(n)]),
    )  # fmt: skip
    person = PersonView(
        interests=draw(st.lists(interests(), max_size=6)), recents=draw(st.lists(recents(), max_size=5)),
        learned=draw(st.none() | learned()),
    )  # fmt: skip
    return feature_rows(person, targets, POLICY, at_ms=NOW)


@given(rows())
def test_with_fixed_weights_a_row_s_score_is_the_score(made: FeatureRows) -> None:
    expected = score(made.person.interests, made.targets, POLICY, at_ms=NOW)
    np.testing.assert_allclose(made.score(fixed_weights(POLICY)), expected.total, rtol=1e-12, atol=1e-12)
    assert np.isfinite(made.values).all()


@given(rows(), st.integers(0, 2**32 - 1))
def test_parts_nodes_and_recent_items_add_up_to_the_score(made: FeatureRows, seed: int) -> None:
    weights = np.random.default_rng(seed).normal(0.0, 3.0, len(NAMES))
    by_node, scores = made.by_node(weights), made.score(weights)
    for row in range(len(scores)):
        parts = made.parts(row, weights)
        assert sum(parts.values()) == pytest.approx(scores[row], rel=1e-9, abs=1e-9)
        assert set(parts) == set(PART_OF.values())
        assert by_node[row].sum() == pytest.approx(parts["relevance"] + parts["aversion"], abs=1e-9)
        assert made.by_learned(weights)[row].sum() == pytest.approx(parts["learned"], abs=1e-9)
        language = made.values[row, COLUMN["share_language"]] * weights[COLUMN["share_language"]]
        by_recent = made.by_recent(row, weights)
        expected = parts["recent"] + parts["together"] + parts["attributes"] + language
        # A cosine of one target is that of many but for what float32 leaves out.
        rounding = 4 * np.finfo(np.float32).eps * float(np.abs(weights).sum())
        assert by_recent.sum() == pytest.approx(expected, abs=rounding)
        assert not by_recent[[one.weight == 0.0 for one in made.person.recents]].any()


@given(rows())
def test_a_target_s_row_does_not_depend_on_the_others(made: FeatureRows) -> None:
    for row in range(len(made.values)):
        chosen = TargetItems(
            ids=made.targets.ids[row : row + 1], vectors=made.targets.vectors[row : row + 1],
            paths=made.targets.paths[row : row + 1], ts_ms=made.targets.ts_ms[row : row + 1],
            popularity=made.targets.popularity[row : row + 1], langs=made.targets.langs[row : row + 1],
            attributes=made.targets.attributes[row : row + 1],
            popularities=made.targets.popularities[row : row + 1], touched_ms=made.targets.touched_ms[row : row + 1],
        )  # fmt: skip
        alone = feature_rows(made.person, chosen, POLICY, at_ms=NOW)
        np.testing.assert_allclose(alone.values[0], made.values[row], atol=1e-6)
