"""Dead letters: their topic and their headers."""

from __future__ import annotations

from streams.base.errors import PoisonError
from streams.events.dead_letters import MAX_MESSAGE_BYTES, DeadLetter, headers, topic_of
from tests.fixtures.records import NOW_MS, click, record


def test_the_topic_is_named_after_its_own() -> None:
    assert topic_of("clicks") == "clicks.dead"


def test_headers_say_where_and_why() -> None:
    error = PoisonError("text: got 9000 characters, expected at most 8000", reason="out_of_range", stage="encode")
    dead = DeadLetter.of(record(click(), timestamp=NOW_MS), error)
    assert headers(dead) == [
        ("dead-letter-topic", b"clicks"),
        ("dead-letter-partition", b"3"),
        ("dead-letter-offset", b"17"),
        ("dead-letter-timestamp-ms", str(NOW_MS).encode()),
        ("dead-letter-stage", b"encode"),
        ("dead-letter-error", b"out_of_range"),
        ("dead-letter-message", b"text: got 9000 characters, expected at most 8000"),
    ]


def test_a_record_without_a_timestamp_says_minus_one() -> None:
    dead = DeadLetter(record=record(click(), timestamp=None), stage="parse", reason="bad_json", message="x")
    assert dict(headers(dead))["dead-letter-timestamp-ms"] == b"-1"


def test_own_headers_are_kept_and_those_of_an_earlier_death_replaced() -> None:
    others = [("trace", b"\x00\xff"), ("trace", None), ("empty", None), ("empty", b""), ("dead-letter-else", b"1")]
    own = [*others[:2], ("dead-letter-error", b"old"), *others[2:4], ("dead-letter-body", None), *others[4:]]
    dead = DeadLetter(record=record(click(), headers=own), stage="parse", reason="bad_json", message="x")
    found = headers(dead)
    assert found[:5] == others
    assert "dead-letter-body" not in dict(found)
    assert [value for name, value in found if name == "dead-letter-error"] == [b"bad_json"]


def test_a_long_message_is_cut_between_characters() -> None:
    message = dict(
        headers(DeadLetter(record=record(click()), stage="parse", reason="bad_json", message="é" * 400 + "x"))
    )["dead-letter-message"]
    assert message is not None
    assert len(message) == MAX_MESSAGE_BYTES
    assert message.decode() == "é" * 250
    odd = dict(headers(DeadLetter(record=record(click()), stage="parse", reason="bad_json", message="x" + "é" * 400)))[
        "dead-letter-message"
    ]
    assert odd is not None
    assert odd.decode() == "x" + "é" * 249
