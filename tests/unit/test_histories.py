"""Histories cut from a log are what a profile's recent items keep."""

from __future__ import annotations

import numpy as np
import pytest

from encoders.histories import TYPES, Histories, PersonLog, TrainingSet, cuts, histories_at, id_ranks, type_code
from streams.interests.recents import Recent, merged


def _person(rng: np.random.Generator, items: int, events: int, name: str = "u") -> PersonLog:
    return PersonLog(
        name,
        np.sort(rng.integers(0, events // 2, events)).astype(np.int64) * 1000,  # many events of one time
        rng.integers(0, items, events).astype(np.int32),
        rng.integers(1, len(TYPES) + 1, events).astype(np.int8),
        rng.choice(np.array([-1, 0, 1, 2], np.float32), events),
    )


def _log(people: list[PersonLog], items: int) -> TrainingSet:
    vectors = np.eye(items, dtype=np.float32)
    return TrainingSet(vectors, [f"i{n}" for n in range(items)], people, np.full(items, np.nan))


@pytest.mark.parametrize("length", [1, 4, 50])
def test_a_history_is_what_recents_keep(length: int) -> None:
    rng = np.random.default_rng(1)
    person = _person(rng, 9, 60)
    data = _log([person], 9)
    places = cuts(person, id_ranks(data.item_ids), length)
    for end in range(61):
        recents: tuple[Recent, ...] = ()
        for row, time, weight in zip(person.rows[:end], person.times_ms, person.weights, strict=False):
            recents = merged(recents, [Recent(f"i{row}", int(time), float(weight))], length)
        used = [at for at in places[end] if at >= 0]
        got = [Recent(f"i{person.rows[at]}", int(person.times_ms[at]), float(person.weights[at])) for at in used]
        assert got == list(reversed(recents))
        assert (places[end][len(used) :] == -1).all()


def test_padding_is_at_the_end_and_ages_count_from_the_latest_event() -> None:
    person = PersonLog(
        "u", np.array([0, 5000, 9000]), np.array([2, 0, 1], np.int32), np.array([1, 4, 5], np.int8),
        np.array([1, -1, 2], np.float32),
    )  # fmt: skip
    data = _log([person, PersonLog("v", *(np.zeros(0, np.int64),) * 2, *(np.zeros(0, np.int8),) * 2)], 3)  # type: ignore[arg-type]
    made = histories_at(data, np.inf, 5)
    assert made.types.tolist() == [[1, 4, 5, 0, 0], [0] * 5]
    assert made.ages_s[0].tolist() == [9, 4, 0, 0, 0]
    assert made.weights[0].tolist() == [1, -1, 2, 0, 0]
    assert (made.vectors[0, :3] == data.items[[2, 0, 1]]).all()
    assert not made.vectors[0, 3:].any()
    assert histories_at(data, 5000, 5).types[0].tolist() == [1, 0, 0, 0, 0]
    assert len(made[:1]) == 1


def test_parts_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="time order"):
        PersonLog("u", np.array([1, 0]), np.zeros(2, np.int32), np.ones(2, np.int8), np.ones(2, np.float32))
    with pytest.raises(ValueError, match="differ in length"):
        PersonLog("u", np.array([1]), np.zeros(2, np.int32), np.ones(2, np.int8), np.ones(2, np.float32))
    with pytest.raises(ValueError, match="histories are"):
        Histories(*(np.zeros((1, 2), np.float32),) * 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="items are"):
        TrainingSet(np.zeros((2, 3), np.float32), ["a"], [], np.zeros(2))


def test_types_that_are_not_known_are_other() -> None:
    assert type_code("click") == 1
    assert type_code("unlike") == type_code("other") == len(TYPES)


def test_nobody_has_no_history() -> None:
    assert len(histories_at(_log([], 2), np.inf)) == 0
