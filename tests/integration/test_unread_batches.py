"""Batches that nobody can read, on real brokers: whoever reads the topic sets them aside by place and goes on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress

import pytest
from aiokafka.codec import zstd_encode
from aiokafka.errors import KafkaError

from streams.broker.admin import Admin, TopicSpec
from streams.broker.follow import TopicFollower
from streams.broker.log_ends import LogEnds
from streams.broker.producer import Producer
from streams.broker.read_all import read_topic
from streams.events.event import UnreadBatch
from streams.events.parse import parse_events
from streams.events.privacy import DeadLetterPolicy
from streams.pipeline.outbox import KafkaOutbox
from tests.fixtures.batches import CODECS, batch, bomb, produce_raw, single_record
from tests.fixtures.brokers import Broker, Kafka
from tests.fixtures.workers import committed, ends, produce, running, until

pytestmark = pytest.mark.integration

PACKED = [codec for codec in CODECS if codec != "none"]
GOOD = [(b"u1", b"a"), (b"u2", b"b"), (b"u3", b"c")]
BACKWARDS = b"\x82SNAPPY\0" + b"\0\0\0\1" * 2 + b"\xff\xff\xff\xfc" * 8
#: What a broker may take as it comes; those that it refuses are no trouble.
FORGED = {
    "unknown codec": batch(GOOD, attributes=5),
    "wrong count": batch(GOOD, count=1),
    "noise": batch(GOOD, body=b"\xff" * 40),
    "zstd of noise": batch(GOOD, attributes=4, body=b"\x99" * 60),
    "gzip cut short": batch(GOOD, "gzip")[:-9] + b"\0" * 9,
    "snappy that leads back": batch(GOOD, attributes=2, body=BACKWARDS),
    "a header that is not UTF-8": batch(GOOD[:1], body=b"\x14\0\0\0\1\1\2\x02\xff\x00"),
    "a control batch": batch(GOOD, attributes=0x30, producer_id=7, producer_epoch=0),
}  # fmt: skip


def one_bad_of_three(codec: str) -> bytes:
    """A batch of three records, of which the second cannot be read."""
    body = single_record(0) + single_record(1, b"\1\1\2\x02\xff\0") + single_record(2)
    return batch(GOOD, attributes=CODECS[codec], body=zstd_encode(body) if codec == "zstd" else body)


async def filled(broker: Broker) -> tuple[str, list[int]]:
    """A topic of one partition: good, then a bomb of each codec and what the broker takes of the forged, then good."""
    config = broker.config()
    topic = await broker.new_topic(partitions=1, max_message_bytes=str(8 << 20))
    await produce(config, topic, 5)
    placed = await produce_raw(config, topic, 0, [bomb(codec, 48 << 20) for codec in PACKED])
    for one in FORGED.values():
        with suppress(KafkaError):
            await produce_raw(config, topic, 0, [one])
    await produce(config, topic, 5, start=5)
    return topic, placed


async def test_a_worker_sets_them_aside_and_goes_on(broker: Broker) -> None:
    topic, bombs = await filled(broker)
    config = broker.config(max_unpacked_bytes=8 << 20)
    end = await ends(config, topic)
    unread: list[UnreadBatch] = []

    async def note(got: object) -> None:
        unread.extend(record for record in got.records if isinstance(record, UnreadBatch))  # type: ignore[attr-defined]

    async with running(config, topic, on_batch=note) as worker:
        await until(lambda: worker.seen and max(offset for _, offset in worker.seen) == end[0] - 1, 30)
        assert await worker.stop() == 0
    large = {one.first_offset: one for one in unread if one.reason == "batch_too_large"}
    assert list(large) == bombs
    assert all(one.offset == one.first_offset for one in large.values())
    assert await committed(config, topic) == end
    again = broker.config(group_id=config.group_id)
    async with running(again, topic) as worker:
        await produce(config, topic, 3, start=10)
        await until(lambda: len(worker.seen) >= 3, 30)
        assert [offset for _, offset in sorted(worker.seen)] == [end[0], end[0] + 1, end[0] + 2]


async def test_what_a_worker_holds_of_many_partitions_full_of_bombs_is_bounded(broker: Broker) -> None:
    """Each batch unpacks to just less than the limit, and the agent is slow: what comes has to wait packed."""
    limit, partitions, each = 8 << 20, 12, 4
    topic = await broker.new_topic(partitions=partitions, max_message_bytes=str(8 << 20))
    config = broker.config(max_unpacked_bytes=limit)
    for partition in range(partitions):
        await produce_raw(config, topic, partition, [bomb("zstd", limit - 1_000)] * each)
    most, order = 0, list[int]()

    async def note(got: object) -> None:
        nonlocal most
        await asyncio.sleep(0.05)
        most = max(most, sum(got._app.consumer.ledger.held_bytes().values()))  # type: ignore[attr-defined]
        order.extend(record.partition for record in got.records)  # type: ignore[attr-defined]

    async with running(config, topic, on_batch=note) as worker:
        await until(lambda: len(order) == partitions * each, 60)
        assert await worker.stop() == 0
    assert most <= 2 * limit
    assert Counter(order) == dict.fromkeys(range(partitions), each)
    assert set(order[: len(order) // 2]) == set(range(partitions))  # nobody waits for the end of another's log
    assert await committed(config, topic) == await ends(config, topic)


@pytest.mark.parametrize("codec", ["none", "zstd"])
async def test_a_record_that_cannot_be_read_costs_its_own_place_only(broker: Broker, codec: str) -> None:
    topic = await broker.new_topic(partitions=1)
    config = broker.config()
    (base,) = await produce_raw(config, topic, 0, [one_bad_of_three(codec)])
    found: list[tuple[int, object]] = []

    async def note(got: object) -> None:
        records = got.records  # type: ignore[attr-defined]
        found.extend((r.offset, r.reason if isinstance(r, UnreadBatch) else r.value) for r in records)

    async with running(config, topic, on_batch=note) as worker:
        await until(lambda: len(found) >= 3, 30)
        assert await worker.stop() == 0
    assert found == [(base, b"v0"), (base + 1, "record_unreadable"), (base + 2, b"v2")]
    assert await committed(config, topic) == {0: base + 3}


async def test_the_dead_letter_of_a_batch_arrives(broker: Broker) -> None:
    """It has neither key nor value, which aiokafka alone refuses to send."""
    topic = await broker.new_topic(partitions=1)
    dead_topic = f"{topic}.dead"
    config = broker.config()
    async with Admin(config) as admin:
        await admin.create_topics([TopicSpec(dead_topic, 1)])
    unread = UnreadBatch(
        topic=topic, partition=0, first_offset=4, offset=9, reason="batch_too_large", message="it unpacks to too much"
    )
    refused: list[str] = []
    async with Producer(config) as producer:
        for bodies in ("keep", "drop"):
            outbox = KafkaOutbox(producer, "waits", DeadLetterPolicy(bodies=bodies), refused.append)
            await outbox.dead_letter(parse_events([unread], now_ms=1_760_000_000_000).dead)
    records = [record async for some in read_topic(config, dead_topic) for record in some]
    assert (len(records), refused) == (2, [])
    for record in records:
        about = dict(record.headers)
        assert (about["dead-letter-first-offset"], about["dead-letter-offset"]) == (b"4", b"9")
        assert about["dead-letter-error"] == b"batch_too_large"


async def test_the_dead_letter_of_a_record_without_a_key_arrives_in_a_compacted_topic(kafka: Kafka) -> None:
    """Kafka refuses it without a key (INVALID_RECORD), which aiokafka does not know."""
    topic = await kafka.new_topic(partitions=1)
    config = kafka.config()
    async with Admin(config) as admin:
        await admin.create_topics([TopicSpec(f"{topic}.dead", 1, config={"cleanup.policy": "compact"})])
        assert await admin.compacted([topic, f"{topic}.dead", "none"]) == {f"{topic}.dead"}
    offsets = await produce_raw(
        config, topic, 0, [batch([(None, b"{}"), (b"u1", b"{")], at_ms=int(time.time() * 1000))]
    )
    records = [record async for some in read_topic(config, topic) for record in some]
    refused: list[str] = []
    async with Producer(config) as producer:
        outbox = KafkaOutbox(producer, "waits", DeadLetterPolicy(), refused.append)
        async with asyncio.timeout(20):
            await outbox.dead_letter(parse_events(records, now_ms=int(time.time() * 1000)).dead)
    letters = [record async for some in read_topic(config, f"{topic}.dead") for record in some]
    assert [(one.key, one.value) for one in letters] == [(f"{topic}-0-{offsets[0]}".encode(), b"{}"), (b"u1", b"{")]
    assert refused == []


async def test_whoever_reads_a_topic_as_a_whole_gets_to_its_end(broker: Broker) -> None:
    topic, bombs = await filled(broker)
    records = [record async for some in read_topic(broker.config(max_unpacked_bytes=8 << 20), topic) for record in some]
    places = [record.offset for record in records]
    assert places == sorted(set(places))
    assert {*range(5), *bombs} <= set(places)
    assert records[-1].value is not None


async def test_whoever_follows_a_topic_goes_on(broker: Broker) -> None:
    topic = await broker.new_topic(partitions=1, max_message_bytes=str(8 << 20))
    config = broker.config(max_unpacked_bytes=8 << 20)
    follower = TopicFollower(config, topic)
    seen: list[object] = []

    async def follow() -> None:
        async for records in follower.batches():
            seen.extend(records or ())

    following = asyncio.create_task(follow())
    await asyncio.wait_for(follower.ready.wait(), 20)
    await produce_raw(config, topic, 0, [bomb("zstd", 48 << 20)])
    await produce(config, topic, 1)
    await until(lambda: len(seen) >= 2, 20)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert [type(record) is UnreadBatch for record in seen] == [True, False]


@pytest.mark.parametrize("codec", ["none", "zstd"])
async def test_a_log_that_ends_in_one_has_an_end_all_the_same(broker: Broker, codec: str) -> None:
    config = broker.config()
    topic = await broker.new_topic(partitions=1)
    await produce(config, topic, 2)
    (base,) = await produce_raw(config, topic, 0, [one_bad_of_three(codec)])
    log_ends = LogEnds(config)
    assert await log_ends([(topic, 0)]) == {(topic, 0): base + 3}
    await log_ends.close()
    async with Admin(config) as admin:
        assert [lag.end for lag in await admin.lag("nobody", [topic])] == [base + 3]
