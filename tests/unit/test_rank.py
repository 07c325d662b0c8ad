"""Scores on small cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streams.interests.mmr import mmr
from streams.interests.nodes import Level, Node, NodeKey, NodePolicy, expires_at_ms
from streams.interests.score import Interest, RankPolicy, Targets, freshness, interests_of, score
from streams.settings.policies import RankingSettings
from streams.settings.service import Settings

DAY_MS = 86_400_000
NOW = 1_700_000_000_000
EAST, NORTH, UP = np.eye(3, dtype=np.float32)
POLICY = RankPolicy()
NODES = NodePolicy(half_life_s=dict.fromkeys(("profile", "topic", "interest", "session", "aversion"), 86_400.0))


def interest(direction: np.ndarray, *, level: Level = "interest", mass: float = 1.0) -> Interest:
    return Interest(f"{level}{direction.tolist()}", level, "/a", direction.astype(np.float32), mass, mass)


def targets(*vectors: np.ndarray, ts_ms: float = np.nan, popularity: float = 0.0) -> Targets:
    n = len(vectors)
    ids = tuple(f"i{row}" for row in range(n))
    stacked = np.stack(vectors).astype(np.float32) if n else np.zeros((0, 3), np.float32)
    return Targets(
        ids=ids, vectors=stacked, paths=("",) * n, ts_ms=np.full(n, ts_ms), popularity=np.full(n, popularity)
    )


def test_one_interest_is_its_cosine_as_far_as_its_evidence_is_believed() -> None:
    halfway = (EAST + NORTH) / np.sqrt(2)
    scored = score([interest(EAST, mass=3.0)], targets(EAST, halfway, UP, -EAST), POLICY, at_ms=NOW)
    believed = 3.0 / (3.0 + POLICY.evidence)
    assert scored.relevance == pytest.approx([believed, believed / np.sqrt(2), 0.0, 0.0], abs=1e-6)
    assert scored.attention.ravel() == pytest.approx([believed] * 4)
    assert scored.total == pytest.approx(scored.relevance)


def test_attention_goes_by_mass_and_sharpens_with_beta() -> None:
    nodes = [interest(EAST, mass=1.0), interest(NORTH, mass=3.0)]
    plain = score(nodes, targets(EAST), replace(POLICY, beta=0.0, evidence=0.0), at_ms=NOW)
    assert plain.attention[0] == pytest.approx([0.25, 0.75])
    sharp = score(nodes, targets(EAST), replace(POLICY, beta=5.0, evidence=0.0), at_ms=NOW)
    assert sharp.attention[0, 0] == pytest.approx(np.exp(5) / (np.exp(5) + 3))


def test_a_level_of_weight_0_gets_no_attention() -> None:
    nodes = [interest(EAST, level="session"), interest(NORTH)]
    scored = score(nodes, targets(EAST), replace(POLICY, levels={"interest": 1.0}), at_ms=NOW)
    assert scored.attention[0, 0] == 0.0
    nobody = score(nodes, targets(EAST), replace(POLICY, levels={}), at_ms=NOW)
    assert nobody.total == pytest.approx([0.0])


def test_aversion_pushes_away_what_is_like_it_and_nothing_else() -> None:
    nodes = [interest(NORTH, mass=2.0), interest(EAST, level="aversion", mass=2.0)]
    scored = score(nodes, targets(EAST, NORTH, -EAST), POLICY, at_ms=NOW)
    share = 2.0 / (2.0 + 2.0 + POLICY.evidence)
    assert scored.aversion == pytest.approx([-POLICY.aversion * share, 0.0, 0.0], abs=1e-6)
    assert scored.relevance[1] == pytest.approx(2.0 / (2.0 + POLICY.evidence))


def test_freshness_is_full_at_birth_nothing_after_a_half_life_and_where_no_time_is_known() -> None:
    half_life_ms = POLICY.freshness_half_life_s * 1000
    ts = np.array([NOW, NOW - half_life_ms, NOW - 100 * half_life_ms, np.nan, NOW + 5.0])
    full = POLICY.freshness
    assert freshness(ts, NOW, POLICY) == pytest.approx([full, 0.0, -full, 0.0, full])


def test_popularity_grows_with_the_logarithm() -> None:
    scored = score([], targets(EAST, popularity=np.e - 1), POLICY, at_ms=NOW)
    assert scored.popularity == pytest.approx([POLICY.popularity])
    assert scored.total == pytest.approx(scored.popularity)


def test_nobody_and_nothing_are_empty_and_not_wrong() -> None:
    scored = score([], targets(EAST, NORTH), POLICY, at_ms=NOW)
    assert scored.by_node.shape == scored.attention.shape == (2, 0)
    assert scored.total == pytest.approx([0.0, 0.0])
    assert score([interest(EAST)], targets(), POLICY, at_ms=NOW).by_node.shape == (0, 1)


def test_a_direction_that_cancelled_out_adds_nothing() -> None:
    scored = score([interest(np.zeros(3))], targets(EAST), POLICY, at_ms=NOW)
    assert scored.total == pytest.approx([0.0])


def test_interests_are_the_nodes_aged_to_now_without_the_expired() -> None:
    node = Node(key=NodeKey("u", "topic", "/a"), direction=EAST, norm=2.0, mass=2.0, net=-1.0, t0_ms=NOW)
    (aged,) = interests_of([node], NOW + DAY_MS, NODES)
    assert (aged.id, aged.level, aged.path) == (node.id, "topic", "/a")
    assert (aged.mass, aged.net) == pytest.approx((1.0, -0.5))
    (early,) = interests_of([node], NOW - DAY_MS, NODES)
    assert early.mass == 2.0
    assert interests_of([node], expires_at_ms(node, NODES) + 1000, NODES) == []
    assert interests_of([replace(node, mass=0.0)], NOW, NODES) == []


def test_the_settings_are_the_policy() -> None:
    assert Settings().ranking.policy() == POLICY
    changed = RankingSettings(levels={"session": 3.0}, beta=2.0).policy()
    assert changed.levels == {**POLICY.levels, "session": 3.0}
    assert changed.beta == 2.0


def test_mmr_takes_the_unlike_before_the_alike() -> None:
    vectors = np.stack([EAST, EAST, NORTH])
    scores = np.array([1.0, 0.9, 0.2])
    assert mmr(vectors, scores, 3, 0.0) == [0, 1, 2]
    assert mmr(vectors, scores, 2, 0.7) == [0, 2]
    assert mmr(vectors, scores, 0, 0.5) == []
    assert mmr(vectors[:0], scores[:0], 3, 0.5) == []
