"""What holds of every score: parts add up, targets are scored apart, evidence for a match never harms it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.interests.mmr import mmr
from streams.interests.nodes import LEVELS
from streams.interests.score import PRIOR_AT_MOST, Interest, RankPolicy, Targets, prior_share, score

NOW = 1_700_000_000_000
DIM = 6


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    vectors = rng.normal(size=(n, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Interest], Targets, RankPolicy]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, m = draw(st.integers(0, 12)), draw(st.integers(0, 8))
    directions = unit(rng, m) * (rng.random((m, 1)) > 0.1)
    masses = draw(st.lists(st.floats(1e-6, 1e6), min_size=m, max_size=m))
    levels = draw(st.lists(st.sampled_from(LEVELS), min_size=m, max_size=m))
    nodes = [Interest(str(at), levels[at], "/", directions[at], masses[at], masses[at]) for at in range(m)]
    ts_ms = np.where(rng.random(n) > 0.3, NOW - rng.exponential(1e10, n), np.nan)
    targets = Targets(
        ids=tuple(map(str, range(n))),
        vectors=unit(rng, n),
        paths=("",) * n,
        ts_ms=ts_ms,
        popularity=rng.exponential(10.0, n),
    )
    policy = RankPolicy(
        beta=draw(st.floats(0, 100)), evidence=draw(st.floats(0, 10)), aversion=draw(st.floats(0, 3)),
        levels={level: draw(st.sampled_from([0.0, 0.1, 1.0])) for level in LEVELS},
    )  # fmt: skip
    return nodes, targets, policy


@given(cases())
def test_parts_add_up_and_are_finite(case: tuple[list[Interest], Targets, RankPolicy]) -> None:
    nodes, targets, policy = case
    scored = score(nodes, targets, policy, at_ms=NOW)
    parts = (scored.relevance, scored.aversion, scored.freshness, scored.popularity)
    assert np.allclose(scored.total, sum(parts), atol=1e-9)
    assert np.allclose(scored.relevance + scored.aversion, scored.by_node.sum(axis=1), atol=1e-9)
    assert all(np.isfinite(values).all() for values in (scored.total, scored.by_node, scored.attention, *parts))
    assert (scored.aversion <= 0).all()
    assert (scored.relevance >= 0).all()
    assert (scored.attention >= 0).all()
    assert (scored.attention.sum(axis=1) <= 2 + 1e-9).all()


@given(cases(), st.randoms(use_true_random=False))
def test_targets_are_scored_apart(case: tuple[list[Interest], Targets, RankPolicy], chance: object) -> None:
    nodes, targets, policy = case
    order = list(range(len(targets.ids)))
    chance.shuffle(order)  # type: ignore[attr-defined]  # a random.Random
    some = order[: max(1, len(order) // 2)] if order else []
    mixed = Targets(
        ids=tuple(targets.ids[row] for row in some), vectors=targets.vectors[some],
        paths=tuple(targets.paths[row] for row in some), ts_ms=targets.ts_ms[some],
        popularity=targets.popularity[some],
    )  # fmt: skip
    whole, part = score(nodes, targets, policy, at_ms=NOW), score(nodes, mixed, policy, at_ms=NOW)
    assert np.allclose(whole.total[some], part.total, atol=1e-5)
    assert np.allclose(whole.by_node[some], part.by_node, atol=1e-5)


@given(cases(), st.floats(1.01, 100))
def test_more_evidence_for_the_nearest_interest_never_lowers_a_target(
    case: tuple[list[Interest], Targets, RankPolicy], more: float
) -> None:
    nodes, targets, policy = case
    before = score(nodes, targets, policy, at_ms=NOW)
    if not len(targets.ids):
        return
    cosines = targets.vectors @ np.stack([node.direction for node in nodes]).T if nodes else np.zeros((1, 0))
    candidates = [at for at, node in enumerate(nodes) if node.level != "aversion" and policy.levels[node.level]]
    if not candidates:
        return
    nearest = max(candidates, key=lambda at: cosines[0, at])
    nodes[nearest] = nodes[nearest]._replace(mass=nodes[nearest].mass * more)
    after = score(nodes, targets, policy, at_ms=NOW)
    assert after.relevance[0] >= before.relevance[0] - 1e-7


@given(cases(), st.floats(1.01, 100))
def test_more_aversion_never_raises_a_target(case: tuple[list[Interest], Targets, RankPolicy], more: float) -> None:
    nodes, targets, policy = case
    one = [node for node in nodes if node.level != "aversion"]
    against = Interest("x", "aversion", "/", np.eye(DIM, dtype=np.float32)[0], 1.0, 1.0)
    before = score([*one, against], targets, policy, at_ms=NOW)
    after = score([*one, against._replace(mass=more)], targets, policy, at_ms=NOW)
    assert (after.total <= before.total + 1e-9).all()


@given(st.integers(0, 2**32), st.integers(1, 40), st.floats(0.011, 10), st.floats(0, 50), st.floats(1e-3, 1e6))
def test_own_evidence_leads_from_the_first_event_whatever_a_prior_holds(
    seed: int, lent: int, mass: float, beta: float, heaviest: float
) -> None:
    """What somebody turned to once comes before all that only a prior speaks for, at equal freshness and popularity."""
    rng = np.random.default_rng(seed)
    own_direction, *others = unit(rng, lent + 1)
    own = [Interest(level, level, "/", own_direction, mass, mass) for level in ("profile", "topic", "interest")]
    prior = [
        Interest(str(at), own[at % 3].level, "/", direction, heaviest * rng.random(), 1.0, prior=True)
        for at, direction in enumerate(others)
    ]
    vectors = np.stack([own_direction, *others, *unit(rng, 20)])
    n = len(vectors)
    targets = Targets(
        ids=tuple(map(str, range(n))), vectors=vectors, paths=("",) * n, ts_ms=np.full(n, np.nan),
        popularity=np.full(n, 3.0),
    )  # fmt: skip
    scored = score([*own, *prior], targets, RankPolicy(beta=beta), at_ms=NOW)
    nearness = np.maximum(vectors @ own_direction, 0.0)
    only_lent = nearness < 1 - PRIOR_AT_MOST / (1 - PRIOR_AT_MOST) - 1e-4
    assert (scored.total[0] > scored.total[only_lent]).all()
    assert prior_share([*own, *prior]) <= PRIOR_AT_MOST
    assert prior_share(own) == 0.0
    assert prior_share(prior) == 1.0
    disliked = [one._replace(net=-one.net) for one in own]
    assert prior_share([*disliked, *prior]) >= prior_share([*own, *prior])


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(0, 30), st.integers(0, 40), st.floats(0, 1))
def test_mmr_takes_each_at_most_once_best_first(seed: int, n: int, k: int, diversity: float) -> None:
    rng = np.random.default_rng(seed)
    vectors, scores = unit(rng, n), rng.normal(size=n)
    taken = mmr(vectors, scores, k, diversity)
    assert len(taken) == len(set(taken)) == min(n, k)
    assert set(taken) <= set(range(n))
    if taken:
        assert taken[0] == int(np.argmax(scores))
        assert mmr(vectors, scores, k, 0.0) == [int(row) for row in np.argsort(-scores, kind="stable")[: len(taken)]]
        assert mmr(vectors, scores, max(k - 1, 0), diversity) == taken[: max(k - 1, 0)]
