"""Producer and admin client on real brokers: acknowledged means written, lag is exact, secrets are wanted."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.embedded.ports import free_ports
from streams.base.errors import BrokerUnavailable, ConfigurationError, PoisonError
from streams.broker import Batch, KafkaConfig, Record
from streams.broker.admin import Admin, Topic, TopicSpec
from streams.broker.log_ends import LogEnds
from streams.broker.producer import Outgoing, Producer
from tests.fixtures.brokers import Broker, Kafka
from tests.fixtures.workers import produce, running, until

pytestmark = pytest.mark.integration


async def read_all(config: KafkaConfig, topic: str, count: int, partitions: int = 1) -> list[Record]:
    consumer = AIOKafkaConsumer(**config.connection(), auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
    await consumer.start()
    try:
        return [await asyncio.wait_for(consumer.getone(), 10) for _ in range(count)]
    finally:
        await consumer.stop()


async def test_send_many_writes_everything_and_returns_the_offsets(broker: Broker) -> None:
    topic = await broker.new_topic(partitions=1)
    records = [
        Outgoing(b"key-%d" % n, b"value-%d" % n, headers=(("stage", b"parse"),), timestamp_ms=1_700_000_000_000 + n)
        for n in range(500)
    ]
    async with Producer(broker.config()) as producer:
        assert await producer.send_many(topic, records) == list(range(500))
        assert await producer.send_many(topic, []) == []
    written = await read_all(broker.config(), topic, 500)
    assert [(record.key, record.value) for record in written] == [(record.key, record.value) for record in records]
    assert [record.timestamp for record in written] == [record.timestamp_ms for record in records]
    assert all(tuple(record.headers) == (("stage", b"parse"),) for record in written)


async def test_a_key_keeps_its_partition_and_a_partition_may_be_chosen(broker: Broker) -> None:
    topic = await broker.new_topic(partitions=4)
    async with Producer(broker.config()) as producer:
        await producer.send_many(topic, [Outgoing(b"same", b"%d" % n) for n in range(50)])
        await producer.send_many(topic, [Outgoing(b"same", b"chosen", partition=3) for _ in range(5)])
    records = await read_all(broker.config(), topic, 55, partitions=4)
    by_key = {record.partition for record in records if record.value != b"chosen"}
    assert len(by_key) == 1
    assert {record.partition for record in records if record.value == b"chosen"} == {3}


async def test_packed_records_lie_where_others_would_in_their_order(broker: Broker) -> None:
    topic = await broker.new_topic(partitions=4)
    records = [Outgoing(b"key-%d" % (n % 37), b"%d" % n + b"." * 900, headers=(("group", b"g"),)) for n in range(1_000)]
    records.insert(500, Outgoing(b"key-1", b"500" + b"." * 300_000, headers=(("group", b"g"),)))
    async with Producer(broker.config()) as producer:
        await producer.send_many(topic, [Outgoing(b"key-%d" % n, b"-1.") for n in range(37)])
        await producer.send_packed(topic, records)
        await producer.send_packed(topic, [])
        with pytest.raises(PoisonError):
            await producer.send_packed(topic, [Outgoing(b"k", b"small"), Outgoing(b"k", b"x" * (1 << 20))])
    written = await read_all(broker.config(), topic, len(records) + 37, partitions=4)
    assert len({(record.key, record.partition) for record in written}) == 37
    for key in {record.key for record in records}:
        mine = [record.value for record in written if record.key == key]
        assert mine[1:] == [record.value for record in records if record.key == key]
    assert all(tuple(record.headers) == (("group", b"g"),) for record in written if record.value != b"-1.")


async def test_an_oversize_record_is_poison_and_nothing_of_its_batch_is_written(broker: Broker) -> None:
    topic = await broker.new_topic(partitions=1)
    async with Producer(broker.config()) as producer:
        with pytest.raises(PoisonError):
            await producer.send_many(topic, [Outgoing(b"k", b"small"), Outgoing(b"k", b"x" * (1 << 20))])
        assert await producer.send_many(topic, [Outgoing(b"k", b"x" * 900_000)]) == [0]


async def test_the_brokers_own_limit_is_poison_too(kafka: Broker) -> None:
    topic = await kafka.new_topic(partitions=1, max_message_bytes="1000")
    async with Producer(kafka.config()) as producer:
        with pytest.raises(PoisonError) as caught:
            await producer.send_many(topic, [Outgoing(b"k", b"x" * 5_000)])
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("send", [Producer.send_many, Producer.send_packed])
async def test_what_the_broker_refused_does_not_hold_up_what_follows(kafka: Broker, send: Any) -> None:
    """A refused batch leaves a hole in an idempotent producer's numbers: Kafka refuses whatever comes behind it."""
    topic = await kafka.new_topic(partitions=2, max_message_bytes="1000")
    small = [Outgoing(b"k%d" % n, b"v") for n in range(8)]
    async with Producer(kafka.config()) as producer:
        for _ in range(3):
            await send(producer, topic, small)
            with pytest.raises(PoisonError):
                await send(producer, topic, [Outgoing(b"k", b"x" * 5_000)])
        await asyncio.gather(*(send(producer, topic, small) for _ in range(3)))
    written = await read_all(kafka.config(), topic, 8 * 6, partitions=2)
    assert Counter(record.key for record in written) == {record.key: 6 for record in small}


async def test_every_compression_is_written_and_read(broker: Broker) -> None:
    topic = await broker.new_topic(partitions=1)
    codecs = ("none", "gzip", "snappy", "lz4", "zstd")
    for codec in codecs:
        async with Producer(broker.config(compression=codec)) as producer:
            await producer.send_many(topic, [Outgoing(b"k", codec.encode() * 50) for _ in range(100)])
    seen: Counter[bytes | None] = Counter()

    async def note(batch: Batch) -> None:
        seen.update(record.value for record in batch.records)

    async with running(broker.config(), topic, on_batch=note) as worker:
        await until(lambda: len(worker.seen) == 500, 20)
    assert seen == {codec.encode() * 50: 100 for codec in codecs}


async def test_more_records_than_may_be_in_flight_are_sent_in_turns(broker: Broker) -> None:
    topic = await broker.new_topic(partitions=1)
    async with Producer(broker.config(), in_flight_records=64) as producer:
        batches = [[Outgoing(b"k", b"%d-%d" % (run, n)) for n in range(200)] for run in range(3)]
        offsets = await asyncio.gather(*(producer.send_many(topic, batch) for batch in batches))
    assert sorted(offset for batch in offsets for offset in batch) == list(range(600))
    assert all(batch == sorted(batch) for batch in offsets)


async def test_a_missed_deadline_is_unavailable_and_leaves_the_producer_usable(kafka: Broker) -> None:
    topic = await kafka.new_topic(partitions=1)
    async with Producer(kafka.config()) as producer:
        with pytest.raises(BrokerUnavailable, match="producing 1 records"):
            await producer.send_many("no-such-topic", [Outgoing(b"k", b"v")], deadline_s=0.5)
        assert await producer.send_many(topic, [Outgoing(b"k", b"v")]) == [0]


async def test_an_idempotent_producer_is_refused_by_a_broker_without_it(broker: Broker) -> None:
    topic = await broker.new_topic(partitions=1)
    config = broker.config(implementation="kafka", producer_timeout_s=3.0)
    assert config.idempotent
    if broker.kind == "kafka":
        async with Producer(config) as producer:
            assert await producer.send_many(topic, [Outgoing(b"k", b"v")]) == [0]
        return
    assert not broker.config().idempotent
    with pytest.raises(BrokerUnavailable, match=r"set kafka\.implementation to tansu"):
        async with Producer(config) as producer:
            await producer.send_many(topic, [Outgoing(b"k", b"v")])


async def test_topics_are_created_once_and_left_as_they_are(broker: Broker) -> None:
    one, other = broker.unique("one"), broker.unique("other")
    async with Admin(broker.config()) as admin:
        assert await admin.create_topics([TopicSpec(one, 3)]) == [Topic(one, 3, replication=1, created=True)]
        both = await admin.create_topics([TopicSpec(one, 3), TopicSpec(other, 2, config={"cleanup.policy": "compact"})])
        assert both == [
            Topic(one, 3, replication=1),
            Topic(other, 2, replication=1, created=True),
        ]
        topics = await admin.topics()
        assert (topics[one].partitions, topics[other].partitions) == (3, 2)
        assert not [name for name in topics if name.startswith("__")]
        assert set(await admin.topics([one, "no-such-topic"])) == {one}
        assert "no-such-topic" not in await admin.topics(), "asking for a topic must not create it"
        await admin.delete_topics([one])
        async with asyncio.timeout(10):
            while one in await admin.topics():
                await asyncio.sleep(0.05)


async def test_another_number_of_partitions_is_refused_and_nothing_created(broker: Broker) -> None:
    topic, new = await broker.new_topic(partitions=3), broker.unique("new")
    async with Admin(broker.config()) as admin:
        with pytest.raises(ConfigurationError, match="with 3 partitions, expected 4"):
            await admin.create_topics([TopicSpec(new, 4), TopicSpec(topic, 4)])
        assert new not in await admin.topics()


async def test_two_that_create_at_once_both_get_the_topic(broker: Broker) -> None:
    name = broker.unique("race")
    async with Admin(broker.config()) as one, Admin(broker.config()) as other:
        results = await asyncio.gather(*(admin.create_topics([TopicSpec(name, 2)]) for admin in (one, other) * 3))
    assert all(topics[0].partitions == 2 for topics in results)


async def test_a_refused_specification_names_the_topic(kafka: Broker) -> None:
    async with Admin(kafka.config()) as admin:
        with pytest.raises(ConfigurationError, match="InvalidReplicationFactor"):
            await admin.create_topics([TopicSpec(kafka.unique("wide"), 1, replication=3)])
        with pytest.raises(ConfigurationError, match="creating topic"):
            await admin.create_topics([TopicSpec(kafka.unique("odd"), 1, config={"cleanup.policy": "nonsense"})])


async def test_lag_is_exact_with_and_without_a_commit(broker: Broker) -> None:
    """Tansu's ListOffsets answers with the last batch's base offset + 1, which the lag must not repeat."""
    topic = await broker.new_topic(partitions=2)
    config = broker.config()
    async with Producer(config) as producer:
        await producer.send_many(topic, [Outgoing(b"k", b"v", partition=0) for _ in range(100)])
    async with Admin(config) as admin:
        rows = await admin.lag(config.group_id, [topic])
        assert [(row.partition, row.committed, row.end, row.lag) for row in rows] == [
            (0, None, 100, 100),
            (1, None, 0, 0),
        ]
        async with running(config, topic) as worker:
            await until(lambda: len(worker.seen) == 100, 20)
        async with Producer(config) as producer:
            await producer.send_many(topic, [Outgoing(b"k", b"v", partition=0) for _ in range(7)])
        rows = await admin.lag(config.group_id, [topic])
        assert (rows[0].committed, rows[0].end, rows[0].lag) == (100, 107, 7)
        assert await admin.lag(config.group_id, ["no-such-topic"]) == []


async def test_the_ends_of_logs_are_those_of_now_each_time_they_are_asked(broker: Broker) -> None:
    topic, other = await broker.new_topic(partitions=2), await broker.new_topic(partitions=1)
    ends = LogEnds(broker.config())
    try:
        async with Producer(broker.config()) as producer:
            for count in (0, 3, 8):
                sent = [Outgoing(None, b"v", partition=1)] * (count - (await ends([(topic, 1)]))[topic, 1])
                await producer.send_many(topic, sent)
                assert await ends([(topic, 0), (topic, 1), (other, 0)]) == {
                    (topic, 0): 0, (topic, 1): count, (other, 0): 0
                }  # fmt: skip
    finally:
        await ends.close()


async def test_ends_are_unavailable_while_the_broker_is_away_and_told_again_after(kafka: Broker) -> None:
    topic = await kafka.new_topic(partitions=1)
    away = LogEnds(replace(kafka.config(), brokers=(f"127.0.0.1:{free_ports(1)[0]}",)))
    for _ in range(2):
        with pytest.raises(BrokerUnavailable):
            await away([(topic, 0)])
    await away.close()


async def test_a_groups_members_and_what_they_hold(broker: Broker) -> None:
    topic = await broker.new_topic(partitions=3)
    config = broker.config()
    async with running(config, topic) as worker, Admin(config) as admin:
        assert worker.app.identity is not None
        group = await admin.group(config.group_id)
        assert group.state == "Stable"
        assert [member.member_id for member in group.members] == [worker.app.identity.member_id]
        if broker.kind == "kafka":
            assert [tuple(source) for source in group.members[0].partitions] == [(topic, n) for n in range(3)]
        assert (await admin.group(broker.unique("nobody"))).members == ()


async def test_the_cluster_tells_its_id(broker: Broker) -> None:
    async with Admin(broker.config()) as admin:
        first = await admin.cluster_id()
    async with Admin(broker.config()) as admin:
        assert first == await admin.cluster_id()
    assert first


async def test_every_client_proves_who_it_is(kafka: Kafka) -> None:
    topic = await kafka.new_topic()
    config = kafka.secure_config()
    places = await produce(config, topic, 50)
    async with running(config, topic) as worker:
        await until(lambda: len(worker.seen) == 50, 20)
    assert sorted(worker.seen) == sorted(places)


async def test_a_wrong_password_is_told_and_ends_the_worker(kafka: Kafka, caplog: pytest.LogCaptureFixture) -> None:
    wrong = kafka.secure_config(password="another-password", request_timeout_s=3.0, producer_timeout_s=3.0)
    with pytest.raises(BrokerUnavailable, match="do password and certificate fit"):
        async with Producer(wrong):
            pass
    with pytest.raises(BrokerUnavailable, match="do password and certificate fit"):
        async with Admin(wrong):
            pass
    async with running(wrong, "topic") as worker:
        assert worker.task is not None
        assert await worker.task == 1
    assert "another-password" not in caplog.text


async def test_a_certificate_nobody_vouches_for_is_refused(kafka: Kafka) -> None:
    if kafka.cafile is None:
        pytest.skip("no openssl to make a certificate with")
    strange = replace(kafka.secure_config(request_timeout_s=3.0), cafile=None)
    with pytest.raises(BrokerUnavailable):
        async with Admin(strange):
            pass
