"""Feature rows worked out by hand, and what recent items add to a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from streams.interests.nodes import Level
from streams.interests.score import Floats, Interest, RankPolicy
from streams.ranking.features import FeatureRows, feature_rows
from streams.ranking.rows import COLUMN, NAMES, PART_OF, VERSION, PersonView, RecentItem, TargetItems, fixed_weights

NOW = 1_700_000_000_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
EAST, NORTH, UP = np.eye(3, dtype=np.float32)
BETWEEN = ((EAST + NORTH) / np.sqrt(2)).astype(np.float32)
POLICY = RankPolicy()


def recent(item_id: str, vector: np.ndarray = EAST, **values: object) -> RecentItem:
    plain = RecentItem(item_id, NOW, 1.0, vector, None, frozenset(), {}, 0.0)
    return plain._replace(**values)  # type: ignore[arg-type]


def target(vector: np.ndarray = EAST, **values: object) -> TargetItems:
    plain = TargetItems(
        ids=("t",), vectors=vector[None], paths=("",), ts_ms=np.array([np.nan]), popularity=np.zeros(1), langs=(None,),
        attributes=(frozenset(),), popularities=np.zeros((1, 3)), touched_ms=np.array([np.nan]),
    )  # fmt: skip
    return replace(plain, **values)  # type: ignore[arg-type]


def rows_of(targets: TargetItems, *recents: RecentItem, interests: Sequence[Interest] = ()) -> FeatureRows:
    return feature_rows(PersonView(interests=interests, recents=recents), targets, POLICY, at_ms=NOW)


def value(rows: FeatureRows, name: str) -> float:
    return float(rows.values[0, COLUMN[name]])


def only(name: str, weight: float = 1.0) -> Floats:
    weights = np.zeros(len(NAMES))
    weights[COLUMN[name]] = weight
    return weights


def traced(rows: FeatureRows, name: str) -> list[float]:
    """What each recent item adds to the first target through one feature of weight 2."""
    added = rows.by_recent(0, only(name, 2.0))
    assert added.sum() == pytest.approx(2.0 * value(rows, name))
    return list(added / 2.0)


def test_the_names_are_those_of_version_2() -> None:
    assert VERSION == 2
    assert len(NAMES) == 41
    assert NAMES[37:] == ("learned_cosine", "learned_click", "learned_exposure", "learned_purchase")
    assert set(PART_OF) == set(NAMES)


def test_nobody_and_nothing_are_no_errors() -> None:
    nobody = rows_of(target())
    assert not nobody.values.any()
    assert nobody.by_recent(0, np.ones(len(NAMES))).shape == (0,)
    assert nobody.by_node(np.ones(len(NAMES))).shape == (1, 0)
    empty = TargetItems(
        ids=(), vectors=np.zeros((0, 3), np.float32), paths=(), ts_ms=np.zeros(0), popularity=np.zeros(0), langs=(),
        attributes=(), popularities=np.zeros((0, 3)), touched_ms=np.zeros(0),
    )  # fmt: skip
    nothing = rows_of(empty, recent("a"), interests=(Interest("n", "topic", "/a", EAST, 1.0, 1.0),))
    assert nothing.values.shape == (0, len(NAMES))
    assert nothing.score(fixed_weights(POLICY)).shape == (0,)


def test_vectors_of_nothing_are_near_to_nothing() -> None:
    rows = rows_of(target(np.zeros(3, np.float32)), recent("a", np.zeros(3, np.float32)), recent("b"))
    assert not rows.values[:, [COLUMN[name] for name in NAMES if name.startswith("recent")]].any()
    assert np.isfinite(rows.values).all()


def test_relevance_is_by_level_a_prior_s_among_them() -> None:
    def one(level: Level, *, prior: bool = False) -> Interest:
        return Interest(level, level, "/a", EAST, 1.0, 1.0, prior)

    levels: tuple[Level, ...] = ("profile", "topic", "interest", "session", "context")
    rows = rows_of(target(), interests=(*map(one, levels), one("topic", prior=True), one("aversion")))
    by_node = rows.scored.by_node[0]
    assert value(rows, "relevance_topic") == pytest.approx(by_node[1] + by_node[5])
    assert value(rows, "relevance_context") == pytest.approx(by_node[4])
    assert value(rows, "aversion") == pytest.approx(by_node[6]) != 0.0
    weights = only("relevance_topic", 3.0)
    assert list(rows.by_node(weights)[0]) == pytest.approx([0, 3 * by_node[1], 0, 0, 0, 3 * by_node[5], 0])


def test_age_and_freshness_are_0_where_the_time_is_not_known() -> None:
    rows = rows_of(target(ts_ms=np.array([NOW - 6.0 * HOUR_MS])))
    assert value(rows, "freshness_6h") == pytest.approx(0.0)
    assert value(rows, "freshness_1h") == pytest.approx(2 / 64 - 1)
    assert value(rows, "freshness") == pytest.approx(2 * 2 ** (-0.25 / 3) - 1)
    assert value(rows_of(target(ts_ms=np.array([NOW + 1e9]))), "freshness_60d") == 1.0
    assert value(rows_of(target()), "freshness_1h") == 0.0


def test_popularity_and_last_touch() -> None:
    rows = rows_of(
        target(popularity=np.array([3.0]), popularities=np.array([[0.0, 1.0, 2.0]]),
               touched_ms=np.array([NOW - 1.0 * DAY_MS]))
    )  # fmt: skip
    assert value(rows, "popularity") == pytest.approx(np.log(4))
    assert value(rows, "popularity_1d") == 0.0
    assert value(rows, "popularity_7d") == pytest.approx(np.log(2))
    assert value(rows, "popularity_30d") == pytest.approx(np.log(3))
    assert value(rows, "touched_1d") == pytest.approx(0.5)
    assert value(rows, "touched_30d") == pytest.approx(2 ** (-1 / 30))
    assert value(rows_of(target(touched_ms=np.array([NOW + 1e9]))), "touched_1h") == 1.0


def test_cosines_to_recent_items_and_whose_they_are() -> None:
    rows = rows_of(target(), recent("a", NORTH), recent("b", BETWEEN), recent("c", -EAST), recent("d", BETWEEN))
    half = np.sqrt(0.5)
    assert value(rows, "recent_max") == pytest.approx(half)
    assert value(rows, "recent_top3") == pytest.approx(2 * half / 3, abs=1e-6)
    assert value(rows, "recent_mean") == pytest.approx((2 * half - 1) / 4)
    assert value(rows, "recent_last") == pytest.approx(0.0)
    assert traced(rows, "recent_max") == pytest.approx([0, half, 0, 0])
    assert traced(rows, "recent_top3") == pytest.approx([0, half / 3, 0, half / 3], abs=1e-6)
    assert traced(rows, "recent_mean") == pytest.approx([0, half / 4, -1 / 4, half / 4])
    assert value(rows_of(target(), recent("a", BETWEEN)), "recent_top3") == pytest.approx(half)


def test_what_was_disliked_or_taken_back_speaks_for_nothing() -> None:
    rows = rows_of(target(), recent("a", weight=0.0), recent("b", BETWEEN, weight=-1.0), recent("c", weight=-2.0))
    assert value(rows, "recent_disliked") == pytest.approx(1.0)
    assert traced(rows, "recent_disliked") == pytest.approx([0, 0, 1])
    assert value(rows, "recent_max") == value(rows, "together_sum") == value(rows, "share_language") == 0.0
    assert value(rows_of(target(), recent("a", -EAST, weight=-1.0)), "recent_disliked") == 0.0
    after = rows_of(target(), recent("a", weight=-1.0), recent("b", BETWEEN))
    assert traced(after, "recent_last") == pytest.approx([0, np.sqrt(0.5)])


def test_touched_together() -> None:
    rows = rows_of(
        target(), recent("a", together={"x": 5.0}, touched=5.0),
        recent("b", together={"t": 2.0, "x": 1.0}, touched=7.0),
        recent("c", together={"t": 1.0}, touched=1.0), recent("d", together={"t": 9.0}, touched=9.0, weight=-1.0),
    )  # fmt: skip
    assert value(rows, "together_sum") == pytest.approx(2 / 10 + 1 / 4)
    assert value(rows, "together_max") == pytest.approx(1 / 4)
    assert value(rows, "together_last") == 0.0
    assert value(rows, "together_count") == pytest.approx(np.log(4))
    assert traced(rows, "together_sum") == pytest.approx([0, 0.2, 0.25, 0])
    assert traced(rows, "together_max") == pytest.approx([0, 0, 0.25, 0])
    assert traced(rows, "together_count") == pytest.approx([0, np.log(4) * 2 / 3, np.log(4) / 3, 0])


def test_attributes_in_common() -> None:
    recents = (
        recent("a", attributes=frozenset({"c:x", "t:y", "b:other"})), recent("b", attributes=frozenset({"c:x"})),
        recent("c", attributes=frozenset({"t:z"}), weight=-1.0),
    )  # fmt: skip
    rows = rows_of(target(attributes=(frozenset({"c:x", "t:y", "t:z", "b:q"}),)), *recents)
    assert value(rows, "attributes_mean") == pytest.approx((1 + 0.5) / 4)
    assert value(rows, "attributes_max") == pytest.approx(1.0)
    assert value(rows, "attributes_min") == 0.0
    assert value(rows, "attributes_shared") == pytest.approx(2 / 5)
    assert traced(rows, "attributes_mean") == pytest.approx([0.25, 0.125, 0])
    assert traced(rows, "attributes_max") == pytest.approx([0.5, 0.5, 0])
    assert traced(rows, "attributes_shared") == pytest.approx([0.3, 0.1, 0])
    least = rows_of(target(attributes=(frozenset({"c:x", "t:y"}),)), *recents)
    assert traced(least, "attributes_min") == pytest.approx([0.5, 0, 0])
    assert value(rows_of(target(), *recents), "attributes_max") == 0.0


def test_shares_of_topic_interest_and_language() -> None:
    interests = (
        Interest("a", "topic", "/a", EAST, 2.0, 2.0), Interest("b", "topic", "/b", EAST, 3.0, -3.0),
        Interest("c", "interest", "/a/x", EAST, 1.0, 1.0), Interest("d", "topic", "/a", EAST, 9.0, 9.0, prior=True),
    )  # fmt: skip
    recents = (recent("a", lang="en", weight=3.0), recent("b", lang="de"), recent("c", lang="en", weight=-5.0))
    rows = rows_of(target(paths=("/a/x",), langs=("en",)), *recents, interests=interests)
    assert value(rows, "share_topic") == pytest.approx(2 / 2.5)
    assert value(rows, "share_interest") == pytest.approx(1 / 1.5)
    assert value(rows, "share_language") == pytest.approx(0.75)
    assert traced(rows, "share_language") == pytest.approx([0.75, 0, 0])
    assert value(rows_of(target(paths=("/b",)), interests=interests), "share_topic") == 0.0
    assert value(rows_of(target(), *recents), "share_language") == 0.0


def test_500_targets_are_quick() -> None:
    """3 ms on one quiet core; the bound is for a busy machine."""
    chance = np.random.default_rng(1)

    def units(n: int) -> np.ndarray:
        vectors = chance.normal(size=(n, 384)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    attributes = [frozenset(f"t:{one}" for one in chance.integers(0, 200, 5)) for _ in range(550)]
    targets = TargetItems(
        ids=tuple(map(str, range(500))), vectors=units(500), paths=("/a/b",) * 500, ts_ms=np.full(500, NOW - 1e9),
        popularity=np.ones(500), langs=("en",) * 500, attributes=tuple(attributes[:500]),
        popularities=np.ones((500, 3)), touched_ms=np.full(500, NOW - 1e9),
    )  # fmt: skip
    levels: list[Level] = ["profile", "session", *["topic"] * 18, *["interest"] * 40]
    interests = [
        Interest(str(at), level, "/a/b", vector, 1.0, 1.0)
        for at, (level, vector) in enumerate(zip(levels, units(60), strict=True))
    ]
    recents = [
        recent(str(at), vector, lang="en", attributes=attributes[500 + at], touched=90.0,
               together={str(other): 1.0 for other in chance.choice(2_000, 64, replace=False)})
        for at, vector in enumerate(units(50))
    ]  # fmt: skip
    person, weights, took = PersonView(interests=interests, recents=recents), fixed_weights(POLICY), []
    with threadpool_limits(1):
        for _ in range(20):
            began = perf_counter()
            feature_rows(person, targets, POLICY, at_ms=NOW).score(weights)
            took.append(perf_counter() - began)
    assert min(took) < 0.03
