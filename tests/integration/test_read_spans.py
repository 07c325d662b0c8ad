"""Stretches of the log that are read a second time, on real brokers: whose, since when, up to where, and how much."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from streams.base.errors import BrokerUnavailable
from streams.broker import read_spans as module
from streams.broker.producer import Outgoing, Producer
from streams.broker.read_spans import read_spans
from streams.events.spans import Found, Span
from tests.fixtures.brokers import Broker, Kafka

pytestmark = pytest.mark.integration

T0 = 1_760_000_000_000


async def written(broker: Broker, count: int = 20) -> str:
    """A topic of two partitions: in the first the records of `ann` and `bob` in turns, a second apart."""
    topic = await broker.new_topic(partitions=2)
    records = [
        Outgoing(b"bob" if n % 2 else b"ann", b"%d" % n, partition=0, timestamp_ms=T0 + 1000 * n) for n in range(count)
    ]
    async with Producer(broker.config()) as producer:
        for record in records:
            await producer.send_many(topic, [record])
        await producer.send_many(topic, [Outgoing(b"ann", b"other", partition=1, timestamp_ms=T0)])
    return topic


def offsets(found: Found) -> list[tuple[int, int]]:
    return sorted((record.partition, record.offset) for record in found.records)


async def test_those_of_one_key_up_to_an_offset_and_not_far_before_a_time(broker: Broker) -> None:
    topic = await written(broker)
    spans = {(topic, 0): Span(T0 + 10_000, 15), (topic, 1): Span(T0, 0)}
    found = await read_spans(broker.config(), spans, lambda key: key == b"ann")
    expected = [(0, 10), (0, 12), (0, 14), (1, 0)]
    if broker.kind == "tansu":  # it looks no times up: what is older comes too, and the path passes over it
        expected = [*((0, n) for n in range(0, 15, 2)), (1, 0)]
    assert (offsets(found), found.short) == (expected, frozenset())
    # None is as young, and an end that the log has not reached is waited for by nobody.
    late = await read_spans(broker.config(), {(topic, 0): Span(T0 + 19_000, 500)}, lambda key: key == b"bob")
    assert offsets(late)[-1] == (0, 19)


async def test_of_much_the_newest_is_read_and_it_says_so(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = await written(broker)
    monkeypatch.setattr(module, "MOST_RECORDS", 6)
    found = await read_spans(broker.config(), {(topic, 0): Span(T0, 19)}, lambda key: key == b"ann")
    assert (offsets(found), found.short) == ([(0, 14), (0, 16), (0, 18)], {(topic, 0)})
    monkeypatch.undo()
    small = replace(broker.config(), max_unpacked_bytes=10)  # two records of key and two digits
    found = await read_spans(small, {(topic, 0): Span(T0, 19)}, lambda key: key == b"ann")
    assert (offsets(found), found.short) == ([(0, 16), (0, 18)], {(topic, 0)})


async def test_what_is_removed_from_the_log_is_told(kafka: Kafka) -> None:
    topic = await written(kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=12)})
    finally:
        await admin.close()
    found = await read_spans(kafka.config(), {(topic, 0): Span(T0 + 5_000, 17)}, lambda key: key == b"ann")
    assert (offsets(found), found.short) == ([(0, 12), (0, 14), (0, 16)], {(topic, 0)})
    gone = await read_spans(kafka.config(), {(topic, 0): Span(T0 + 5_000, 9)}, lambda key: key == b"ann")
    assert (offsets(gone), gone.short) == ([], {(topic, 0)})
    young = await read_spans(kafka.config(), {(topic, 0): Span(T0 + 15_000, 17)}, lambda key: key == b"ann")
    assert (offsets(young), young.short) == ([(0, 16)], frozenset())


async def test_a_broker_that_is_away_is_one_to_wait_for(broker: Broker) -> None:
    nobody = replace(broker.config(), brokers=("127.0.0.1:9",), request_timeout_s=12.0)
    with pytest.raises(BrokerUnavailable):
        await read_spans(nobody, {("clicks", 0): Span(0, 0)}, lambda _: True)
