"""Events that wait: what their headers say, when they are due, and that parsing them again gives the same event."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from streams.base.errors import ConfigurationError, PoisonError
from streams.events.dead_letters import headers as dead_headers
from streams.events.event import Source
from streams.events.parse import parse_events
from streams.events.unresolved import ORIGIN, RetryPolicy, Wait, due_ms, next_attempt, of_another_group, read
from tests.fixtures.records import NOW_MS, click, record

POLICY = RetryPolicy(base_ms=1_000, cap_ms=10_000, deadline_ms=60_000)


TOPIC = POLICY.topic


def again(waiting: Any, headers: Any, offset: int, now_ms: int) -> Any:
    """Make the record as it comes back from the unresolved topic."""
    return record(
        value=waiting.value,
        key=waiting.key,
        topic=TOPIC,
        offset=offset,
        timestamp=now_ms,
        headers=headers,
    )


def due(headers: Any) -> Wait:
    wait = read(record(topic=TOPIC, headers=headers), TOPIC)
    assert wait is not None
    return wait


def test_a_record_that_never_waited_says_nothing() -> None:
    assert read(record(topic=TOPIC), TOPIC) is None
    assert read(record(topic=TOPIC, headers=[("trace", b"1"), ("unresolved-else", None)]), TOPIC) is None


def test_first_wait() -> None:
    headers = next_attempt(record(click(), timestamp=NOW_MS - 7), now_ms=NOW_MS, policy=POLICY)
    assert due(headers) == Wait(
        attempt=1,
        first_ms=NOW_MS,
        not_before_ms=NOW_MS + 1_000,
        origin=Source("clicks", 3, 17),
        timestamp_ms=NOW_MS - 7,
    )


def test_a_group_passes_over_what_another_one_waits_with() -> None:
    ours, theirs = replace(POLICY, group="ours"), replace(POLICY, group="theirs")
    headers = next_attempt(record(click(), headers=[("trace", b"1")]), now_ms=NOW_MS, policy=ours)
    waiting = record(topic=TOPIC, headers=headers)
    assert (of_another_group(waiting, ours), of_another_group(waiting, theirs)) == (False, True)
    assert not of_another_group(record(topic="clicks", headers=headers), theirs)  # there it is some producer's
    before = record(topic=TOPIC, headers=next_attempt(record(click()), now_ms=NOW_MS, policy=POLICY))
    assert not of_another_group(before, ours)  # written before groups were named
    assert next_attempt(waiting, now_ms=NOW_MS, policy=theirs) is not None


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
    own = [("trace", b"\x00\xff"), ("trace", None), ("trace", b"")]
    first = record(click(), headers=own)
    headers = next_attempt(first, now_ms=NOW_MS, policy=POLICY)
    headers = next_attempt(again(first, headers, 0, NOW_MS), now_ms=NOW_MS, policy=POLICY)
    assert headers is not None
    assert headers[:3] == own
    ours = [name for name, _ in headers[3:]]
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
    {"unresolved-origin": b"a" * 250 + b"-1-2"},
    {"unresolved-origin": b"a\x1fb-1-2"},
]


@pytest.mark.parametrize("change", MALFORMED, ids=[str(change)[:60] for change in MALFORMED])
def test_malformed_headers_are_poison(change: dict[str, bytes | None]) -> None:
    good = next_attempt(record(click()), now_ms=NOW_MS, policy=POLICY)
    headers = [(name, change.get(name, value)) for name, value in good or ()]
    with pytest.raises(PoisonError):
        due(headers)
    parsed = parse_events([record(click(), topic=TOPIC, headers=headers)], now_ms=NOW_MS)
    assert [dead.reason for dead in parsed.dead] == ["bad_header"]
    assert dict(dead_headers(parsed.dead[0]))[ORIGIN] == dict(headers)[ORIGIN]


def test_when_a_record_is_due() -> None:
    headers = next_attempt(record(click()), now_ms=NOW_MS, policy=POLICY)
    assert when(headers) == NOW_MS + 1_000
    # At once: parsing it again finds out what is wrong with it.
    assert when(()) == when([(ORIGIN, b"x")]) == 0


def when(headers: Any, now_ms: int = NOW_MS) -> int:
    return due_ms(record(click(), topic=TOPIC, headers=headers), now_ms=now_ms, policy=POLICY)


def claiming(**claims: int) -> list[tuple[str, bytes | None]]:
    """Headers of a waiting event with some of its numbers replaced, in their order."""
    good = next_attempt(record(click()), now_ms=NOW_MS, policy=POLICY) or []
    numbers = {f"unresolved-{name.replace('_', '-')}": b"%d" % number for name, number in claims.items()}
    return [(name, numbers.get(name, value)) for name, value in good]


@pytest.mark.parametrize("far", [NOW_MS + 1, 9_200_000_000_000_000_000])
def test_a_wait_never_began_later_than_now_and_its_deadline_holds(far: int) -> None:
    headers: Any = claiming(first_ms=far, not_before_ms=far)
    assert when(headers) <= NOW_MS + POLICY.cap_ms, "others wait behind it: no longer than the longest wait"
    now_ms, turns = NOW_MS, 0
    while headers is not None:
        now_ms = when(headers, now_ms)
        headers = next_attempt(again(record(click()), headers, turns, now_ms), now_ms=now_ms, policy=POLICY)
        turns += 1
    assert now_ms <= NOW_MS + POLICY.cap_ms + POLICY.deadline_ms
    assert turns < POLICY.attempts


@pytest.mark.parametrize("claims", [{"first_ms": 0}, {"attempt": 10**17}, {"first_ms": 0, "not_before_ms": 9 * 10**18}])
def test_a_wait_that_claims_to_be_over_is_over(claims: dict[str, int]) -> None:
    headers = claiming(**claims)
    assert when(headers) <= NOW_MS + POLICY.cap_ms
    assert next_attempt(again(record(click()), headers, 0, NOW_MS), now_ms=NOW_MS, policy=POLICY) is None


def test_of_a_header_that_is_there_twice_the_last_counts_and_both_are_replaced() -> None:
    twice = [*claiming(first_ms=1), *claiming(first_ms=NOW_MS - 5)]
    assert due(twice).first_ms == NOW_MS - 5
    headers = next_attempt(again(record(click()), twice, 0, NOW_MS), now_ms=NOW_MS, policy=POLICY) or []
    assert sorted(name for name, _ in headers) == sorted({name for name, _ in twice})


HOSTILE: list[Any] = [
    claiming(first_ms=9_200_000_000_000_000_000), claiming(attempt=10**17), claiming(first_ms=0),
    [("unresolved-first-ms", b"-1")], [("unresolved-attempt", None)], [("unresolved-origin", b"clicks-0-5")],
    [("unresolved-first-ms", b"x"), ("unresolved-first-ms", b"y")],
]  # fmt: skip


@pytest.mark.parametrize("headers", HOSTILE)
def test_on_an_ordinary_topic_they_are_some_producers_and_say_nothing(headers: Any) -> None:
    foreign = record(click(event_id=...), headers=[*headers, ("unresolved-else", None)])
    (event,) = parse_events([foreign], now_ms=NOW_MS).events
    assert event.event_id == "clicks-3-17"
    sent = next_attempt(foreign, now_ms=NOW_MS, policy=POLICY)
    assert sent is not None
    assert sent[0] == ("unresolved-else", None)
    assert [name for name, _ in sent[1:]] == [name for name, _ in claiming()]
    assert due(sent) == Wait(
        attempt=1, first_ms=NOW_MS, not_before_ms=NOW_MS + 1_000, origin=Source("clicks", 3, 17),
        timestamp_ms=NOW_MS - 1_000,
    )  # fmt: skip


def test_a_missing_header_is_poison() -> None:
    good = next_attempt(record(click()), now_ms=NOW_MS, policy=POLICY) or []
    for missing, _ in good:
        with pytest.raises(PoisonError, match=missing):
            due([(name, value) for name, value in good if name != missing])


def test_a_forged_attempt_number_is_capped() -> None:
    assert POLICY.delay_ms(10**18) == POLICY.cap_ms


@pytest.mark.parametrize(
    "wrong", [{"base_ms": 0}, {"base_ms": 20_000, "cap_ms": 10_000}, {"deadline_ms": 0}, {"base_ms": -5}]
)
def test_a_schedule_that_cannot_work_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        RetryPolicy(**{"base_ms": 1_000, "cap_ms": 10_000, "deadline_ms": 60_000} | wrong)
