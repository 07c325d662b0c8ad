"""The part `learned` of a row: what the model's nodes say of each target, and which node added what."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from streams.interests.nodes import LearnedPart, Level, Node, NodeKey, Vector
from streams.interests.score import Interest, RankPolicy
from streams.pipeline.ranking_view import interests_in, learned_view
from streams.ranking.features import FeatureRows, feature_rows
from streams.ranking.learned_features import answers
from streams.ranking.parts import TASKS
from streams.ranking.rows import COLUMN, NAMES, LearnedNode, LearnedView, PersonView, TargetItems, fixed_weights
from tests.fixtures.plain_path import POLICY as NODES

NOW: Final = 1_700_000_000_000
POLICY: Final = RankPolicy()
EAST: Final = np.array([1.0, 0.0, 0.0], np.float32)
NORTH: Final = np.array([0.0, 1.0, 0.0], np.float32)
LEARNED: Final = ("learned_cosine", *(f"learned_{task}" for task in TASKS))
MODEL: Final = "interest-hierarchy-0badc0de"


def targets(*vectors: Vector) -> TargetItems:
    n = len(vectors)
    return TargetItems(
        ids=tuple(f"t{at}" for at in range(n)), vectors=np.array(vectors, np.float32).reshape(n, 3), paths=("",) * n,
        ts_ms=np.full(n, np.nan), popularity=np.zeros(n), langs=(None,) * n, attributes=(frozenset[str](),) * n,
        popularities=np.zeros((n, 3)), touched_ms=np.full(n, np.nan),
    )  # fmt: skip


def view(*nodes: LearnedNode) -> LearnedView:
    return LearnedView(model=MODEL, nodes=nodes)


WHOLE: Final = view(
    LearnedNode("n0", "/", EAST), LearnedNode("n1", "/click", NORTH, 4.0, -1.0),
    LearnedNode("n2", "/exposure", -NORTH, 2.0, 0.5), LearnedNode("n3", "/purchase", EAST, 10.0, -6.0),
)  # fmt: skip


def rows(learned: LearnedView | None, *vectors: Vector, interests: tuple[Interest, ...] = ()) -> FeatureRows:
    person = PersonView(interests=interests, recents=(), learned=learned)
    return feature_rows(person, targets(*vectors), POLICY, at_ms=NOW)


def columns(made: FeatureRows) -> list[list[float]]:
    return made.values[:, [COLUMN[name] for name in LEARNED]].tolist()


def sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def test_each_node_fills_its_column() -> None:
    east, north = columns(rows(WHOLE, EAST, NORTH))
    assert east == pytest.approx([1.0, sigmoid(-1.0), sigmoid(0.5), sigmoid(4.0)])
    assert north == pytest.approx([0.0, sigmoid(3.0), sigmoid(-1.5), sigmoid(-6.0)])


def test_without_a_node_or_a_task_a_feature_is_0() -> None:
    assert columns(rows(None, EAST)) == [[0.0] * 4]
    assert columns(rows(view(), EAST)) == [[0.0] * 4]
    assert columns(rows(view(LearnedNode("n", "/click", EAST, 1.0, 0.0)), NORTH)) == [[0.0, 0.5, 0.0, 0.0]]
    unknown = view(LearnedNode("n", "/a-task-to-come", EAST), LearnedNode("m", "/", EAST))
    made = rows(unknown, EAST)
    assert columns(made) == [[1.0, 0.0, 0.0, 0.0]]
    assert made.by_learned(np.ones(len(NAMES))).tolist() == [[0.0, 1.0]]
    assert rows(WHOLE).values.shape == (0, len(NAMES))
    assert rows(WHOLE).by_learned(np.ones(len(NAMES))).shape == (0, 4)


def test_with_the_fixed_weights_nothing_changes() -> None:
    interests = (Interest("i", "topic", "/a", EAST, 2.0, 2.0),)
    weights = fixed_weights(POLICY)
    assert not weights[[COLUMN[name] for name in LEARNED]].any()
    with_model, without = rows(WHOLE, EAST, NORTH, interests=interests), rows(None, EAST, NORTH, interests=interests)
    assert with_model.score(weights).tolist() == without.score(weights).tolist()
    assert with_model.by_node(weights).tolist() == without.by_node(weights).tolist()
    assert with_model.values[:, : COLUMN["learned_cosine"]].tolist() == without.values[:, :-4].tolist()


def test_what_the_nodes_add_is_the_part() -> None:
    weights = np.random.default_rng(2).normal(size=len(NAMES))
    made = rows(WHOLE, EAST, NORTH)
    for row in range(2):
        assert made.by_learned(weights)[row].sum() == pytest.approx(made.parts(row, weights)["learned"])
        assert made.by_learned(weights)[row, 1] == made.values[row, COLUMN["learned_click"]] * weights[-3]


def test_absurd_scales_stay_finite() -> None:
    for scale, bias in ((1e30, 0.0), (-1e30, 1e30), (0.0, -1e9)):
        found = answers([LearnedNode("n", "/click", EAST, scale, bias)], np.stack([EAST, -EAST, NORTH]))
        assert np.isfinite(found).all()
        assert ((found >= 0) & (found <= 1)).all()


@given(st.integers(0, 2**32 - 1), st.floats(-50, 50), st.floats(-50, 50))
def test_a_probability_is_the_sigmoid_of_its_logit(seed: int, scale: float, bias: float) -> None:
    chance = np.random.default_rng(seed)
    vectors = chance.normal(size=(5, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    direction = vectors[0]
    found = answers([LearnedNode("n", "/purchase", direction, scale, bias)], vectors[1:])[:, 0]
    np.testing.assert_allclose(found, [sigmoid(scale * float(v @ direction) + bias) for v in vectors[1:]], atol=1e-6)


# -- from nodes -------------------------------------------------------------------------------------------------------


def node(path: str, *, model: str = MODEL, t0_ms: int = NOW, level: Level = "learned", mass: float = 3.0) -> Node:
    part = LearnedPart(model, 2.0, -0.5) if level == "learned" else None
    return Node(
        key=NodeKey("ann", level, path), direction=EAST, norm=mass, mass=mass, net=mass, t0_ms=t0_ms, first_ms=t0_ms,
        last_ms=t0_ms, count=3, learned=part,
    )  # fmt: skip


def seen(*nodes: Node, at_ms: int = NOW) -> tuple[str, list[str]] | None:
    found = learned_view(nodes, at_ms, NODES)
    return None if found is None else (found.model, [one.path for one in found.nodes])


def test_the_nodes_of_a_person_are_seen_and_are_no_interests() -> None:
    nodes = [node("/purchase"), node("/"), node("/", level="profile"), node("/click")]
    assert seen(*nodes) == (MODEL, ["/", "/click", "/purchase"])
    assert [one.level for one in interests_in(nodes, frozenset(), NOW, NODES)] == ["profile"]
    (first, *_) = learned_view(nodes, NOW, NODES).nodes  # type: ignore[union-attr]  # there is one
    assert (first.id, first.scale, first.bias) == (node("/").id, 2.0, -0.5)


def test_two_models_are_not_mixed() -> None:
    old = [node(path, model="interest-mean-00000000", t0_ms=NOW - 5_000) for path in ("/", "/click", "/exposure")]
    assert seen(*old[1:], node("/"), node("/purchase")) == (MODEL, ["/", "/purchase"])
    assert seen(*old) == ("interest-mean-00000000", ["/", "/click", "/exposure"])


def test_a_task_left_over_from_a_model_of_before_says_nothing_once_the_newer_interest_counts_no_more() -> None:
    left = node("/purchase", model="interest-mean-00000000", t0_ms=NOW - 5_000)
    assert seen(left, node("/"), node("/click")) == (MODEL, ["/", "/click"])
    assert seen(left, node("/", mass=0.0), node("/click", mass=0.0)) is None


def test_what_has_faded_or_has_no_direction_says_nothing() -> None:
    assert seen() is None
    assert seen(node("/", level="profile")) is None
    assert seen(replace(node("/"), direction=np.zeros(3, np.float32))) is None
    assert seen(node("/", mass=1e-3)) is None
    assert seen(node("/"), at_ms=NOW + 400 * 86_400_000) is None


def test_500_targets_cost_little_more() -> None:
    """0.1 ms on one quiet core, of 3 ms for the whole row; the bound is for a busy machine."""
    chance = np.random.default_rng(1)
    units = chance.normal(size=(504, 384)).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    nodes = [LearnedNode(path, path, vector, 5.0, -1.0) for path, vector in zip(
        ("/", "/click", "/exposure", "/purchase"), units[500:], strict=True)]  # fmt: skip
    took = []
    with threadpool_limits(1):
        for _ in range(20):
            began = perf_counter()
            answers(nodes, units[:500])
            took.append(perf_counter() - began)
    assert min(took) < 0.005
