"""The learner: finds planted weights, loses nothing on noise, and stays sane whatever comes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from streams.base.errors import PoisonError
from streams.interests.score import Floats, RankPolicy
from streams.ranking.learner import EXPERTS, Learner, LearnerPolicy
from streams.ranking.rows import COLUMN, NAMES, fixed_weights

FIXED = fixed_weights(RankPolicy())
POLICY = LearnerPolicy()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Products as small as these take many times as long on two threads of a busy machine."""
    with threadpool_limits(1):
        yield


def lists(seed: int, count: int, weights: Floats, targets: int = 20) -> list[tuple[Floats, np.ndarray]]:
    """Lists of which one target was taken, by a softmax of `weights` (F,) in units of the score."""
    chance = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        values = chance.normal(0.0, 0.5, (targets, len(NAMES)))
        chances = np.exp(values @ weights * POLICY.temperature)
        taken = chance.choice(targets, p=chances / chances.sum())
        made.append((values, np.arange(targets) == taken))
    return made


def reciprocal(scores: Floats, relevant: np.ndarray) -> float:
    return 1.0 / float((scores >= scores[relevant][0]).sum())


def learned(made: list[tuple[Floats, np.ndarray]], policy: LearnerPolicy = POLICY) -> Learner:
    learner = Learner.start(FIXED, policy)
    for values, relevant in made:
        learner.learn(values, relevant)
    return learner


def test_it_starts_with_the_fixed_weights() -> None:
    learner = Learner.start(FIXED, POLICY)
    np.testing.assert_allclose(learner.weights(), FIXED, rtol=1e-12)
    assert learner.lists == 0
    assert set(learner.shares()) == {"fixed", *EXPERTS}


def test_it_finds_planted_weights() -> None:
    planted = FIXED.copy()
    for name, weight in (("recent_max", 0.4), ("touched_1h", -0.3), ("relevance_topic", 0.2), ("popularity", 0.5)):
        planted[COLUMN[name]] = weight
    learner = learned(lists(1, 1_500, planted), LearnerPolicy(forget=1.0))
    assert np.abs(learner.weights() - planted).max() < 0.08
    assert learner.shares()["all"] > 0.95


def test_where_few_features_count_few_are_learned() -> None:
    planted = FIXED.copy()
    planted[COLUMN["popularity"]] = 0.4
    planted[COLUMN["relevance_profile"]] = 0.3
    shares = learned(lists(2, 150, planted)).shares()
    assert shares["few"] > 0.7


def test_where_the_fixed_weights_are_right_little_is_lost() -> None:
    for seed in range(3):
        learner, lost = Learner.start(FIXED, POLICY), []
        for values, relevant in lists(seed, 500, FIXED):
            lost.append(reciprocal(values @ FIXED, relevant) - reciprocal(values @ learner.weights(), relevant))
            learner.learn(values, relevant)
        assert np.mean(lost) < 0.02, seed


def test_choices_at_random_cost_no_more_than_their_error() -> None:
    nothing = np.zeros(len(NAMES))
    learner, lost = Learner.start(FIXED, POLICY), []
    for values, relevant in lists(5, 600, nothing):
        lost.append(reciprocal(values @ FIXED, relevant) - reciprocal(values @ learner.weights(), relevant))
        learner.learn(values, relevant)
    assert np.mean(lost) < 2 * np.std(lost) / np.sqrt(len(lost))


def test_the_order_of_targets_and_what_all_have_in_common_do_not_matter() -> None:
    made = lists(6, 30, FIXED)
    other = [(values[::-1] + 3.0, relevant[::-1]) for values, relevant in made]
    np.testing.assert_allclose(learned(made).weights(), learned(other).weights(), atol=1e-9)


def test_its_state_is_read_back_to_the_bit_and_goes_on_alike() -> None:
    made = lists(7, 60, FIXED)
    one = learned(made[:40])
    other = Learner.unpack(one.pack(), FIXED, POLICY)
    assert other.pack() == one.pack()
    assert other.lists == 40
    for values, relevant in made[40:]:
        one.learn(values, relevant)
        other.learn(values, relevant)
        assert other.pack() == one.pack()
    assert other.weights().tobytes() == one.weights().tobytes()


@pytest.mark.parametrize("spoil", [lambda p: b"", lambda p: p[:-1], lambda p: p + b"\0", lambda p: b"\xff" * len(p),
                                   lambda p: p[:16] + b"\xff" * (len(p) - 16)])  # fmt: skip
def test_a_state_that_is_none_is_refused(spoil: object) -> None:
    packed = Learner.start(FIXED, POLICY).pack()
    with pytest.raises(PoisonError):
        Learner.unpack(spoil(packed), FIXED, POLICY)  # type: ignore[operator]


def test_lists_that_say_nothing_change_nothing() -> None:
    learner = learned(lists(8, 20, FIXED))
    before = learner.pack()
    for relevant in (np.zeros(5, bool), np.ones(5, bool), np.zeros(0, bool), np.ones(1, bool)):
        learner.learn(np.ones((len(relevant), len(NAMES))), relevant)
    assert learner.pack() == before


def test_a_value_that_is_not_finite_is_refused_and_changes_nothing() -> None:
    learner = learned(lists(9, 20, FIXED))
    before, values = learner.pack(), np.zeros((4, len(NAMES)))
    for wrong in (np.nan, np.inf, -np.inf):
        values[2, 3] = wrong
        with pytest.raises(ValueError, match="not finite"):
            learner.learn(values, np.arange(4) == 1)
    assert learner.pack() == before


def test_equal_rows_teach_nothing_but_who_is_believed() -> None:
    learner = Learner.start(FIXED, POLICY)
    for _ in range(50):
        learner.learn(np.full((10, len(NAMES)), 7.0), np.arange(10) == 3)
    np.testing.assert_allclose(learner.weights(), FIXED, atol=1e-9)


@pytest.mark.parametrize("kind", ["huge", "same", "opposed", "one column", "all but one taken"])
def test_it_stays_finite_and_bounded_whatever_comes(kind: str) -> None:
    learner, chance = Learner.start(FIXED, POLICY), np.random.default_rng(10)
    for at in range(3_000):
        values = chance.normal(0.0, 1.0, (10, len(NAMES)))
        relevant = np.arange(10) == at % 10
        if kind == "huge":
            values *= 1e300
        elif kind == "same":
            values = np.tile(values[:1], (10, 1))
        elif kind == "opposed":
            values, relevant = np.outer(np.arange(10) - 4.5, np.ones(len(NAMES))), np.arange(10) == 9 * (at % 2)
        elif kind == "one column":
            values[:, 1:] = 0.0
        else:
            relevant = ~relevant
        learner.learn(values, relevant)
    assert np.isfinite(learner.weights()).all()
    assert np.abs(learner.weights()).max() < 1_000
    Learner.unpack(learner.pack(), FIXED, POLICY)  # refuses what is not finite


def test_what_it_knows_stays_bounded_over_very_many_lists() -> None:
    """A million lists in the limit: with the share `forget` kept, precision is at most the prior's and 1,000 lists'."""
    policy = LearnerPolicy(forget=0.9, decay=0.9)
    learner, made = Learner.start(FIXED, policy), lists(11, 300, FIXED)
    sizes = []
    for _ in range(10):
        for values, relevant in made:
            learner.learn(values, relevant)
        state = np.frombuffer(learner.pack(), "<f8", offset=16)
        sizes.append(float(np.abs(state).max()))
    assert max(sizes) < 2 * sizes[0]
    assert np.abs(learner.weights()).max() < 10
