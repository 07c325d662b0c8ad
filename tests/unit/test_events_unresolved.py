"""Events that wait: what their headers say, when they are due, and that parsing them again gives the same event."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from streams.base.errors import ConfigurationError, PoisonError
from streams.events.dead_letters import headers as dead_headers
from streams.events.event import Source
from streams.events.parse import parse_events
from streams.events.unresolved import ORIGIN, RetryPolicy, Wait, due_ms, next_attempt, read
from tests.fixtures.records import NOW_MS, click, record

POLICY = RetryPolicy(base_ms=1_000, cap_ms=10_000, deadline_ms=60_000)


def again(waiting: Any, headers: Any, offset: int, now_ms: int) -> Any:
    """Make the record as it comes back from the unresolved topic."""
    return record(
        value=waiting.value,
        key=waiting.key,
        topic="events.unresolved",
        offset=offset,
        timestamp=now_ms,
        headers=headers,
    )


def due(headers: Any) -> Wait:
    wait = read(headers)
    assert wait is not None
    return wait


def test_a_record_that_never_waited_says_nothing() -> None:
    assert read(()) is None
    assert read([("trace", b"1")]) is None


def test_first_wait() -> None:
    headers = next_attempt(record(click(), timestamp=NOW_MS - 7), now_ms=NOW_MS, policy=POLICY)
    assert due(headers) == Wait(
        attempt=1,
        first_ms=NOW_MS,
        not_before_ms=NOW_MS + 1_000,
        origin=Source("clicks", 3, 17),
        timestamp_ms=NOW_MS - 7,
    )


def test_waits_double_to_the_cap_and_end_at_the_deadline() -> None:
    waiting, now_ms, waits = record(click()), NOW_MS, []
    while (headers := next_attempt(waiting, now_ms=now_ms, policy=POLICY)) is not None:
        wait = due(headers)
        assert wait.origin == Source("clicks", 3, 17)
        assert wait.attempt == len(waits) + 1
        waits.append(wait.not_before_ms - now_ms)
        now_ms = wait.not_before_ms
        waiting = again(waiting, headers, len(waits), now_ms)
    assert waits == [1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000, 10_000, 5_000]
    assert now_ms == NOW_MS + POLICY.deadline_ms


def test_other_headers_are_kept_and_ours_appear_once() -> None:
    first = record(click(), headers=[("trace", b"\x00\xff"), ("trace", b"2")])
    headers = next_attempt(first, now_ms=NOW_MS, policy=POLICY)
    headers = next_attempt(again(first, headers, 0, NOW_MS), now_ms=NOW_MS, policy=POLICY)
    assert headers is not None
    assert headers[:2] == [("trace", b"\x00\xff"), ("trace", b"2")]
    ours = [name for name, _ in headers[2:]]
    assert len(ours) == len(set(ours)) == 5


@pytest.mark.parametrize(
    "fields", [{}, {"event_id": ...}, {"ts": ...}, {"ts": NOW_MS + 10**9}, {"event_id": ..., "ts": ...}]
)
@pytest.mark.parametrize("timestamp", [NOW_MS - 9_000, None])
def test_an_event_is_the_same_after_it_waited(fields: dict[str, Any], timestamp: int | None) -> None:
    first = record(click(**fields), timestamp=timestamp)
    headers = next_attempt(first, now_ms=NOW_MS, policy=POLICY)
    later = again(first, headers, 99, NOW_MS + 50_000)
    (before,) = parse_events([first], now_ms=NOW_MS).events
    # Without any timestamp there is only the clock to go by, so the clock is held here.
    (after,) = parse_events([later], now_ms=NOW_MS + 50_000 if timestamp else NOW_MS).events
    assert after.source == Source("events.unresolved", 3, 99)
    assert msgspec.structs.replace(after, source=before.source) == before


def test_a_topic_with_dashes_is_read_back() -> None:
    headers = next_attempt(record(click(), topic="eu-west-clicks"), now_ms=NOW_MS, policy=POLICY)
    assert due(headers).origin == Source("eu-west-clicks", 3, 17)


MALFORMED: list[dict[str, bytes | None]] = [
    {"unresolved-attempt": b"0"},
    {"unresolved-attempt": b"one"},
    {"unresolved-attempt": None},
    {"unresolved-first-ms": b""},
    {"unresolved-first-ms": b"1.5"},
    {"unresolved-not-before-ms": b"9" * 5_000},
    {"unresolved-not-before-ms": b"-1"},
    {"unresolved-timestamp-ms": b"--1"},
    {"unresolved-timestamp-ms": "１".encode()},
    {"unresolved-origin": b"clicks"},
    {"unresolved-origin": b"-1-2"},
    {"unresolved-origin": b"clicks-1-x"},
    {"unresolved-origin": b"clicks-" + b"1" * 11 + b"-2"},
    {"unresolved-origin": b"\xff-1-2"},
]


@pytest.mark.parametrize("change", MALFORMED, ids=[str(change)[:60] for change in MALFORMED])
def test_malformed_headers_are_poison(change: dict[str, bytes | None]) -> None:
    good = next_attempt(record(click()), now_ms=NOW_MS, policy=POLICY)
    headers = [(name, change.get(name, value)) for name, value in good or ()]
    with pytest.raises(PoisonError):
        read(headers)  # type: ignore[arg-type]  # Kafka allows a header without a value
    parsed = parse_events([record(click(), headers=headers)], now_ms=NOW_MS)
    assert [dead.reason for dead in parsed.dead] == ["bad_header"]
    assert dict(dead_headers(parsed.dead[0]))[ORIGIN] == dict(headers)[ORIGIN]


def test_when_a_record_is_due() -> None:
    headers = next_attempt(record(click()), now_ms=NOW_MS, policy=POLICY)
    assert due_ms(record(click(), headers=headers)) == NOW_MS + 1_000
    # At once: parsing it again finds out what is wrong with it.
    assert due_ms(record(click())) == due_ms(record(click(), headers=[(ORIGIN, b"x")])) == 0


def test_a_missing_header_is_poison() -> None:
    good = next_attempt(record(click()), now_ms=NOW_MS, policy=POLICY) or []
    for missing, _ in good:
        with pytest.raises(PoisonError, match=missing):
            read([(name, value) for name, value in good if name != missing])


def test_a_forged_attempt_number_is_capped() -> None:
    assert POLICY.delay_ms(10**18) == POLICY.cap_ms


@pytest.mark.parametrize(
    "wrong", [{"base_ms": 0}, {"base_ms": 20_000, "cap_ms": 10_000}, {"deadline_ms": 0}, {"base_ms": -5}]
)
def test_a_schedule_that_cannot_work_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        RetryPolicy(**{"base_ms": 1_000, "cap_ms": 10_000, "deadline_ms": 60_000} | wrong)
