"""What version 1 of the features wrote is read as if the part `learned` had been 0: examples, weights, states."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from streams.base.errors import PoisonError
from streams.learner.rankers import LEARNED_LEVEL
from streams.learner.state import LearnerState, Rules
from streams.ranking.examples import Example, pack_example, packed_rows, unpack_example
from streams.ranking.judge import JudgePolicy
from streams.ranking.learner import Learner, LearnerPolicy
from streams.ranking.rows import COLUMN, NAMES, NAMES_OF, VERSION, fixed_weights
from streams.ranking.weights import unpack_weights
from streams.settings.policies import RankingSettings
from tests.fixtures.learner import ENCODER, examples
from tests.fixtures.released import HERE

#: Written by the release before: 40 examples of `next` and 10 of `impression`, what they taught, what was published.
FOLDER: Final = HERE / "features-1"
RULES: Final = Rules(fixed=fixed_weights(RankingSettings().policy()))  # type: ignore[call-arg]  # all have defaults
NEW: Final = len(NAMES_OF[1])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1, user_api="blas"):
        yield


def made() -> list[Example]:
    """The same lists as version 1 was given."""
    return examples(40) + examples(10, seed=3, start=40, kind="impression")


def test_each_version_s_names_begin_those_of_the_next() -> None:
    assert NAMES_OF[VERSION] == NAMES
    assert NAMES_OF[1] == NAMES[:37]


def test_examples_get_zeros() -> None:
    lines = (FOLDER / "examples.jsonl").read_bytes().splitlines()
    given = made()
    for line, wanted in zip(lines, (given[0], given[1], given[45]), strict=True):
        read = unpack_example(line)
        assert read is not None
        assert (read.features, read.taken, read.kind) == (VERSION, wanted.taken, wanted.kind)
        assert read.values().shape == (20, len(NAMES))
        assert read.values().tolist() == wanted.values().tolist()
        assert not read.values()[:, NEW:].any()
        assert read.values()[:, :NEW].any()


def test_rows_of_another_length_than_their_version_has_are_refused() -> None:
    said = json.loads((FOLDER / "examples.jsonl").read_bytes().splitlines()[0])
    with pytest.raises(PoisonError, match="of 41 numbers"):
        unpack_example(json.dumps({**said, "features": VERSION}).encode())
    (today,) = examples(1)
    with pytest.raises(PoisonError, match="of 37 numbers"):
        unpack_example(pack_example(msgspec.structs.replace(today, features=1)))
    assert unpack_example(json.dumps({**said, "features": VERSION + 1}).encode()) is None


def test_weights_are_0_for_what_was_not_known() -> None:
    value = (FOLDER / "weights.json").read_bytes()
    read = unpack_weights(value)
    assert read is not None
    assert (read.features, read.lists, read.version) == (VERSION, 40, 1)
    assert read.array()[:NEW].tolist() == list(json.loads(value)["values"].values())
    assert not read.array()[NEW:].any()
    said = json.loads(value)
    for wrong in ({**said, "features": VERSION}, {**said, "values": said["values"] | {"learned_cosine": 1.0}}):
        with pytest.raises(PoisonError, match="one for every feature"):
            unpack_weights(json.dumps(wrong).encode())


def test_a_state_goes_on_as_if_it_had_seen_zeros() -> None:
    state = LearnerState.unpack((FOLDER / "state.json").read_text("utf-8"), ENCODER, RULES)
    fresh = LearnerState(ENCODER, RULES)
    for one in made():
        fresh.fold(one)
    more = examples(20, seed=9, start=50, features=VERSION)  # of which the new columns say something
    for step in range(3):
        for kind, learned in state.kinds.items():
            ours, wanted = learned.learner, fresh.kinds[kind].learner
            assert ours.lists == wanted.lists
            np.testing.assert_allclose(ours.weights(), wanted.weights(), rtol=1e-9, atol=1e-12)
            for had, new in zip(ours._experts, wanted._experts, strict=True):
                np.testing.assert_allclose(had.precision, new.precision, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(list(ours.shares().values()), list(wanted.shares().values()), rtol=1e-9)
        assert [(label, figure.lists) for label, figure in state.figures] == [
            (label, figure.lists) for label, figure in fresh.figures
        ]
        for one in more[10 * step : 10 * step + 10]:
            assert state.fold(one) == fresh.fold(one) == "learned"
    assert state.kinds["next"].learner.weights()[NEW:].any()
    assert state.place.next == {0: 50}
    again = LearnerState.unpack(state.pack(), ENCODER, RULES)
    assert again.pack() == state.pack()


def test_experts_learn_what_the_model_says() -> None:
    """With nothing but the learned probability to tell the taken from the rest, it is found."""
    learner = Learner.start(RULES.fixed, LearnerPolicy())
    chance = np.random.default_rng(4)
    for _ in range(150):
        values = chance.normal(0.0, 0.3, (20, len(NAMES)))
        values[:, NEW:] = 0.0
        values[:, COLUMN["learned_click"]] = chance.uniform(size=20)
        taken = int(np.argmax(6.0 * values[:, COLUMN["learned_click"]] + chance.gumbel(size=20)))
        learner.learn(values, np.arange(20) == taken)
    assert learner.weights()[COLUMN["learned_click"]] > 0.5


@pytest.mark.parametrize(
    "spoil", [lambda state: state[:10], lambda state: state[:-8], lambda state: state + b"8bytes.."]
)
def test_a_state_of_version_1_of_another_size_is_refused(spoil: object) -> None:
    packed = json.loads((FOLDER / "state.json").read_text("utf-8"))["kinds"]["next"]["learner"]
    whole = msgspec.json.decode(json.dumps(packed), type=bytes)
    Learner.unpack(whole, RULES.fixed, LearnerPolicy())
    with pytest.raises(PoisonError):
        Learner.unpack(spoil(whole), RULES.fixed, LearnerPolicy())  # type: ignore[operator]


def test_the_level_alone_ranks_once_there_is_one() -> None:
    state = LearnerState(ENCODER, Rules(fixed=RULES.fixed, judge=JudgePolicy()))

    def lists() -> int:
        return sum(figure.lists for label, figure in state.figures if label.ranker == LEARNED_LEVEL)

    for one in examples(3):
        state.fold(one)
    assert lists() == 0
    (told,) = examples(1, start=3, features=VERSION)
    values = told.values()
    values[:, COLUMN["learned_cosine"]] = np.arange(len(values)) == told.taken[0]
    state.fold(msgspec.structs.replace(told, rows=packed_rows(values)))
    (figure,) = (figure for label, figure in state.figures if label.ranker == LEARNED_LEVEL)
    assert figure.reciprocal_rank == 1.0
    state = LearnerState.unpack(state.pack(), ENCODER, RULES)
    for one in examples(2, start=4):
        state.fold(one)
    assert lists() == 3
