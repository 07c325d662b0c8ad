"""What lag is: never more than there can be to read."""

from __future__ import annotations

import pytest

from streams.broker.config import KafkaConfig
from streams.broker.lag import lag_of, readable_end


@pytest.mark.parametrize(
    ("end", "committed", "begin", "lag"),
    [
        (10, 4, 0, 6),
        (10, None, 0, 10),
        (10, None, 7, 3),
        (10, 4, 7, 3),  # retention has moved the log's start past the commit
        (10, 4, 10, 0),  # all was deleted
        (10, 10, 0, 0),
        (0, None, 0, 0),
        (5, 9, 0, 0),  # a log made anew: less than nothing is nothing
    ],
)
def test_lag_is_from_the_commit_or_the_start_of_the_log_whichever_is_later(
    end: int, committed: int | None, begin: int, lag: int
) -> None:
    assert lag_of(end, committed=committed, begin=begin) == lag


def test_an_open_transaction_ends_what_can_be_read() -> None:
    kafka, tansu = (KafkaConfig(brokers=("b",), implementation=kind) for kind in ("kafka", "tansu"))
    assert readable_end(10, 6, kafka) == 6
    assert readable_end(10, 6, KafkaConfig(brokers=("b",), read_committed=False)) == 10
    assert readable_end(10, 6, tansu) == 10
    assert readable_end(10, -1, kafka) == readable_end(10, None, kafka) == 10
    assert readable_end(None, None, kafka) is None
