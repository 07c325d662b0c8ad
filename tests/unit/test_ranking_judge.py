"""The judge: learned weights are served until they are worse than the fixed ones, and again when they are not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from streams.base.errors import PoisonError
from streams.ranking.judge import Judge, JudgePolicy

POLICY = JudgePolicy()
_SPREAD = 0.3


def served(seed: int, *stretches: tuple[int, float]) -> list[bool]:
    """Whether a judge serves after each list of stretches, each so many lists with a mean difference."""
    judge, chance, seen = Judge(POLICY), np.random.default_rng(seed), []
    for lists, mean in stretches:
        for by in chance.normal(mean, _SPREAD, lists).tolist():
            judge.observe(0.5 + by / 2, 0.5 - by / 2)
            seen.append(judge.serve)
    return seen


def test_it_serves_before_it_knows_anything() -> None:
    judge = Judge(POLICY)
    assert judge.serve
    for _ in range(POLICY.least - 1):
        judge.observe(0.1, 1.0)
        assert judge.serve
    judge.observe(0.1, 1.0)
    assert not judge.serve
    assert judge.difference.mean == pytest.approx(-0.9)


def test_worse_weights_are_given_up_and_better_ones_come_back() -> None:
    for seed in range(20):
        seen = served(seed, (400, 0.05), (400, -0.15), (600, 0.05))
        assert not seen[799], seed
        assert seen[-1], seed
        changes = sum(one != other for one, other in pairwise(seen))
        assert changes <= 4, seed  # it does not flutter


def test_equal_weights_are_seldom_given_up_and_are_back_soon() -> None:
    runs = [served(seed, (5_000, 0.0)) for seed in range(60)]
    assert sum(not all(run) for run in runs) / len(runs) < 0.5
    assert np.mean(runs) > 0.97


def test_weights_that_stay_worse_stay_away() -> None:
    for seed in range(20):
        assert np.mean(served(seed, (3_000, -0.15))[200:]) < 0.01, seed


def test_equal_ranks_alone_give_nothing_up() -> None:
    judge = Judge(POLICY)
    for _ in range(1_000):
        judge.observe(0.5, 0.5)
    assert judge.serve
    assert judge.difference == (0.0, 0.0)


def test_its_state_is_read_back_to_the_bit() -> None:
    judge, chance = Judge(POLICY), np.random.default_rng(3)
    for learned, fixed in chance.random((300, 2)).tolist():
        judge.observe(learned * 0.8, fixed)
        again = Judge.unpack(judge.pack(), POLICY)
        assert again.pack() == judge.pack()
        assert again.serve == judge.serve
    judge.observe(0.3, 0.9)
    again.observe(0.3, 0.9)
    assert again.pack() == judge.pack()


@pytest.mark.parametrize("packed", [b"", b"x", Judge(POLICY).pack() + b"x", b"\xff" * len(Judge(POLICY).pack())])
def test_a_state_that_is_none_is_refused(packed: bytes) -> None:
    with pytest.raises(PoisonError):
        Judge.unpack(packed, POLICY)
