"""What leaves the path goes as it came; where a broker refuses that, without what it refuses, and never not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from streams.base.clock import now_ms
from streams.base.errors import PoisonError
from streams.broker.producer import Outgoing, sane_ms
from streams.events.dead_letters import OURS, DeadLetter
from streams.events.privacy import DeadLetterPolicy
from streams.events.side_outputs import Waiting
from streams.pipeline.outbox import KafkaOutbox
from tests.fixtures.records import NOW_MS, click, record

HEADERS = [("source", None), ("source", b""), ("b", b"\x00\xff"), ("source", b"2"), ("", None)]


class FakeProducer:
    """Takes what a broker takes that knows no time but its own, where `timeless`; only keyed records, if `keyed`."""

    def __init__(self, *, timeless: bool = False, keyed: bool = False, most_bytes: int = 1 << 20) -> None:
        self.sent: list[tuple[str, Outgoing]] = []
        self.refused: list[str] = []
        self._timeless, self._keyed, self._most_bytes = timeless, keyed, most_bytes

    async def send_many(self, topic: str, records: Sequence[Outgoing]) -> None:
        for one in records:
            if one.size_bytes > self._most_bytes or (self._timeless and one.timestamp_ms is not None):
                raise PoisonError("refused", reason="bad_timestamp", stage="produce")
            if self._keyed and one.key is None:
                raise PoisonError("refused", reason="invalid_record", stage="produce")
        self.sent += [(topic, one) for one in records]


def outbox(producer: Any) -> KafkaOutbox:
    return KafkaOutbox(producer, "waits", DeadLetterPolicy(), producer.refused.append)


def letter(**fields: Any) -> DeadLetter:
    return DeadLetter(record=record(click(), **fields), stage="parse", reason="bad_json", message="x")


async def test_headers_go_as_they_came_with_ours_behind_them() -> None:
    producer = FakeProducer()
    await outbox(producer).dead_letter([letter(headers=HEADERS)])
    await outbox(producer).defer([Waiting(record(click()), [*HEADERS, ("unresolved-attempt", b"1")])])
    (dead_topic, dead), (waits, waiting) = producer.sent
    assert (dead_topic, waits) == ("clicks.dead", "waits")
    assert list(dead.headers[:5]) == list(waiting.headers[:5]) == HEADERS
    assert {name for name, _ in dead.headers[5:]} <= OURS
    assert dead.timestamp_ms == NOW_MS - 1_000


@pytest.mark.parametrize("stamp", [-(2**63), -5, -1, None, 9_200_000_000_000_000_000, 2**63 - 1])
async def test_a_timestamp_that_no_broker_takes_is_left_out_and_told_in_a_header(stamp: int | None) -> None:
    assert sane_ms(stamp) is None
    producer = FakeProducer()
    await outbox(producer).dead_letter([letter(timestamp=stamp)])
    ((_, sent),) = producer.sent
    assert sent.timestamp_ms is None
    assert dict(sent.headers)["dead-letter-timestamp-ms"] == str(-1 if stamp is None else stamp).encode()


def test_timestamps_up_to_now_are_kept() -> None:
    assert (sane_ms(0), sane_ms(NOW_MS)) == (0, NOW_MS)
    assert sane_ms(now_ms() + 60_000) is None


async def test_a_topic_that_refuses_the_time_gets_the_record_without_it_and_whole() -> None:
    producer = FakeProducer(timeless=True)
    await outbox(producer).dead_letter([letter(headers=HEADERS), letter(timestamp=None)])
    assert [one.timestamp_ms for _, one in producer.sent] == [None, None]
    assert list(producer.sent[0][1].headers[:5]) == HEADERS


async def test_a_compacted_topic_gets_a_dead_letter_without_a_key_under_its_place() -> None:
    producer = FakeProducer(keyed=True)
    without, keyed = record(click(), key=None, headers=HEADERS), letter()
    await outbox(producer).dead_letter(
        [DeadLetter(record=without, stage="parse", reason="bad_json", message="x"), keyed]
    )
    (_, placed), (_, other) = producer.sent
    assert (placed.key, placed.value, placed.timestamp_ms) == (b"clicks-3-17", without.value, NOW_MS - 1_000)
    assert list(placed.headers[:5]) == HEADERS
    assert other.key == keyed.record.key
    assert producer.refused == []
    both = FakeProducer(keyed=True, timeless=True)
    await outbox(both).dead_letter([DeadLetter(record=without, stage="parse", reason="bad_json", message="x")])
    assert [(one.key, one.value) for _, one in both.sent] == [(b"clicks-3-17", None)]
    small = FakeProducer(keyed=True, most_bytes=900)  # a key that has no room
    large = record(value=b"x" * 2_000, key=b"k" * 2_000)
    await outbox(small).dead_letter([DeadLetter(record=large, stage="parse", reason="bad_json", message="x")])
    assert [(one.key, one.value) for _, one in small.sent] == [(b"clicks-3-17", None)]


async def test_headers_without_room_go_and_ours_stay() -> None:
    producer = FakeProducer(most_bytes=50_000)
    await outbox(producer).dead_letter([letter(headers=[("h", None)] * 40_000), letter()])
    assert {name for name, _ in producer.sent[0][1].headers} <= OURS
    assert producer.sent[0][1].value == letter().record.value


@pytest.mark.parametrize(
    ("most_bytes", "key_bytes", "value_bytes"),
    [(500_000, 2_000, 200_000), (250_000, 2_000, 200_000), (190_000, 2_000, 0), (3_000, 2_000, 0), (900, 0, 0)],
)
async def test_a_dead_letter_for_which_there_is_no_room_goes_with_less_of_itself(
    most_bytes: int, key_bytes: int, value_bytes: int
) -> None:
    producer = FakeProducer(most_bytes=most_bytes)
    large = record(value=b"x" * 200_000, key=b"k" * 2_000, headers=[("h", b"y" * 100_000)])
    fine = letter()
    await outbox(producer).dead_letter([DeadLetter(record=large, stage="parse", reason="bad_json", message="x"), fine])
    (_, sent), (_, other) = producer.sent
    assert (len(sent.key or b""), len(sent.value or b"")) == (key_bytes, value_bytes)
    assert dict(sent.headers)["dead-letter-offset"] == b"17"
    assert other.value == fine.record.value
    assert producer.refused == []


async def test_a_dead_letter_that_is_refused_in_every_form_is_told_and_ends_nothing() -> None:
    producer = FakeProducer(most_bytes=100)
    with capture_logs() as lines:
        await outbox(producer).dead_letter([letter(), letter(offset=18)])
    assert (producer.sent, producer.refused) == ([], ["clicks.dead"] * 2)
    assert [(one["event"], one["topic"], one["partition"], one["offset"]) for one in lines] == [
        ("record_refused", "clicks", 3, 17),
        ("record_refused", "clicks", 3, 18),
    ]


async def test_a_waiting_event_for_which_there_is_no_room_is_a_dead_letter_and_whole() -> None:
    class SmallTopic(FakeProducer):
        async def send_many(self, topic: str, records: Sequence[Outgoing]) -> None:
            self._most_bytes = 300 if topic == "waits" else 1 << 20
            await super().send_many(topic, records)

    producer, event = SmallTopic(), record(click(context={"x": "y" * 500}), headers=HEADERS)
    await outbox(producer).defer([Waiting(event, [*HEADERS, ("unresolved-attempt", b"1")]), Waiting(record({}), [])])
    (first, waiting), (second, dead) = producer.sent
    assert (first, waiting.value, second, dead.value) == ("waits", b"{}", "clicks.dead", event.value)
    assert dict(dead.headers)["dead-letter-stage"] == b"defer"
    assert list(dead.headers[:5]) == HEADERS
    assert producer.refused == ["waits"]
