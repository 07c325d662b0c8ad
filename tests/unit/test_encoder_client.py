"""The pure parts of the Triton client: text cache, breaker, checks of a reply."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.base.errors import EncoderUnavailable, WrongModelOutput
from streams.encoder.breaker import Breaker
from streams.encoder.text_cache import TextCache, text_key
from streams.encoder.text_model import checked


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def unit_rows(n: int, dim: int) -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class TestTextCache:
    def test_rows_come_back_in_the_order_asked(self) -> None:
        cache = TextCache(10_000, 3)
        keys = [text_key(text) for text in ("a", "b", "c")]
        rows = np.arange(9, dtype=np.float32).reshape(3, 3)
        cache.put(keys, rows)
        found, missing = cache.get([keys[2], text_key("x"), keys[0], keys[2]])
        assert missing == [1]
        np.testing.assert_array_equal(found, [rows[2], [0, 0, 0], rows[0], rows[2]])
        assert (cache.hits, cache.misses) == (3, 1)

    def test_the_least_recently_used_goes_first(self) -> None:
        cache = TextCache(3 * (4 * 2 + 200), 2)
        keys = [text_key(text) for text in "abcd"]
        cache.put(keys[:3], np.ones((3, 2), np.float32))
        cache.get([keys[0]])
        cache.put(keys[3:], np.full((1, 2), 4, np.float32))
        assert cache.get(keys)[1] == [1]
        assert cache.get([keys[3]])[0].tolist() == [[4, 4]]

    def test_a_rewritten_row_takes_no_second_place(self) -> None:
        cache = TextCache(2 * (4 + 200), 1)
        for value in range(5):
            cache.put([text_key("a")], np.array([[value]], np.float32))
        cache.put([text_key("b")], np.array([[9]], np.float32))
        assert len(cache) == 2
        assert cache.get([text_key("a")])[0].tolist() == [[4]]

    def test_without_room_nothing_is_kept(self) -> None:
        cache = TextCache(0, 4)
        cache.put([text_key("a")], np.ones((1, 4), np.float32))
        assert (len(cache), cache.nbytes) == (0, 0)
        assert cache.get([text_key("a")])[1] == [0]

    @given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=8), max_size=30), st.integers(0, 8))
    def test_it_is_bounded_and_never_answers_with_another_text(self, puts: list[list[int]], room: int) -> None:
        cache = TextCache(room * (4 * 2 + 200), 2)
        for numbers in puts:
            keys = [text_key(str(number)) for number in numbers]
            cache.put(keys, np.array([[number, -number] for number in numbers], np.float32))
            assert len(cache) <= room
            found, missing = cache.get(keys)
            for place, number in enumerate(numbers):
                assert place in missing or found[place].tolist() == [number, -number]


class TestBreaker:
    def test_it_opens_after_failures_in_a_row_only(self) -> None:
        breaker = Breaker(failures=3, clock=Clock())
        for _ in range(5):
            breaker.failed()
            breaker.failed()
            breaker.succeeded()
        assert not breaker.is_open
        for _ in range(3):
            breaker.failed()
        assert breaker.is_open
        assert breaker.admit(1.0) == pytest.approx(0.5)

    def test_one_trial_at_a_time(self) -> None:
        clock = Clock()
        breaker = Breaker(failures=1, open_s=2.0, clock=clock)
        breaker.failed()
        clock.now += 2.0
        assert breaker.admit(5.0) == 0
        assert breaker.admit(5.0) == pytest.approx(5.0)
        breaker.succeeded()
        assert breaker.admit(5.0) == 0
        assert not breaker.is_open

    def test_a_failed_trial_doubles_the_pause_up_to_a_bound(self) -> None:
        clock = Clock()
        breaker = Breaker(failures=1, open_s=1.0, longest_s=3.0, clock=clock)
        breaker.failed()
        pauses = []
        for _ in range(4):
            pauses.append(breaker.admit(1.0))
            clock.now += pauses[-1]
            assert breaker.admit(1.0) == 0
            breaker.failed()
        assert pauses == pytest.approx([1, 2, 3, 3])

    def test_a_trial_that_vanished_lets_another_one_in(self) -> None:
        clock = Clock()
        breaker = Breaker(failures=1, open_s=1.0, clock=clock)
        breaker.failed()
        clock.now += 1
        assert breaker.admit(4.0) == 0
        clock.now += 4
        assert breaker.admit(4.0) == 0

    def test_late_failures_of_calls_from_before_do_not_lengthen_the_pause(self) -> None:
        breaker = Breaker(failures=1, open_s=1.0, clock=Clock())
        breaker.failed()
        breaker.failed()
        breaker.failed()
        assert breaker.admit(1.0) == pytest.approx(1.0)


class TestReplies:
    def test_a_right_reply_passes(self) -> None:
        vectors, sentiment = unit_rows(3, 4), np.array([[-1], [0], [1]], np.float32)
        block = checked(vectors, sentiment, 3, 4)
        np.testing.assert_array_equal(block[:, :4], vectors)
        np.testing.assert_array_equal(block[:, 4:], sentiment)

    def test_an_empty_reply_to_nothing_passes(self) -> None:
        assert checked(np.empty((0, 4), np.float32), np.empty((0, 1), np.float32), 0, 4).shape == (0, 5)

    @pytest.mark.parametrize(
        ("vectors", "sentiment", "says"),
        [
            (None, np.zeros((2, 1), np.float32), "expected a tensor EMBEDDING"),
            (unit_rows(2, 4), None, "expected a tensor SENTIMENT"),
            (unit_rows(3, 4), np.zeros((3, 1), np.float32), "of shape"),
            (unit_rows(2, 5), np.zeros((2, 1), np.float32), "of shape"),
            (unit_rows(2, 4).astype(np.float64), np.zeros((2, 1), np.float32), "float32"),
            (unit_rows(2, 4), np.zeros(2, np.float32), "of shape"),
            (unit_rows(2, 4) * 1.02, np.zeros((2, 1), np.float32), "length 1"),
            (unit_rows(2, 4) * 0, np.zeros((2, 1), np.float32), "length 1"),
            (unit_rows(2, 4) * np.float32("nan"), np.zeros((2, 1), np.float32), "finite"),
            (unit_rows(2, 4), np.full((2, 1), np.inf, np.float32), "finite"),
            (unit_rows(2, 4), np.full((2, 1), -1.5, np.float32), "sentiments"),
        ],
    )
    def test_a_wrong_reply_never_passes(self, vectors: object, sentiment: object, says: str) -> None:
        with pytest.raises(WrongModelOutput, match=says):
            checked(vectors, sentiment, 2, 4)

    def test_a_wrong_reply_is_asked_again(self) -> None:
        assert issubclass(WrongModelOutput, EncoderUnavailable)
