"""Offsets that hold no record: a worker passes over them, commits its position and stays well.

Markers and aborted records of transactions, what DeleteRecords, retention and compaction removed. Each of these logs
was once a lag that nobody could work off, and the worker ended itself over it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from streams.broker import KafkaConfig
from streams.broker.admin import Admin
from streams.broker.consumer_state import ConsumerState
from streams.broker.read_all import read_topic
from tests.fixtures.brokers import Broker, Kafka
from tests.fixtures.workers import Running, committed, ends, produce, running, until

pytestmark = pytest.mark.integration

STALL_S = 2.0


@asynccontextmanager
async def transactions(broker: Broker) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=broker.unique("transactions"))
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def delete_before(broker: Broker, topic: str, offset: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()


async def lag_outside(config: KafkaConfig, topic: str) -> int:
    async with Admin(config) as admin:
        return sum(row.lag for row in await admin.lag(config.group_id, [topic]))


async def stays_well(worker: Running, config: KafkaConfig, topic: str) -> None:
    """Until everything is committed, and then twice as long as it takes to be judged as stuck."""
    async with asyncio.timeout(20):
        while await committed(config, topic) != await ends(config, topic):
            await asyncio.sleep(0.1)
    state = ConsumerState(worker.app)
    await until(lambda: not sum(state.lag().values()), 10)
    assert await lag_outside(config, topic) == 0
    await asyncio.sleep(2 * STALL_S)
    assert worker.task is not None
    assert not worker.task.done(), "it ended itself"
    assert worker.app.liveness.facts().stuck_s < 0.5


async def test_a_transaction_that_commits_two_and_one_that_aborts_three(kafka: Kafka) -> None:
    topic, config = await kafka.new_topic(partitions=1), kafka.config()
    async with running(config, topic, stall_s=STALL_S) as worker, transactions(kafka) as producer:
        await producer.begin_transaction()
        for n in range(2):
            await producer.send_and_wait(topic, b"kept %d" % n)
        await producer.commit_transaction()
        await until(lambda: len(worker.seen) == 2, 20)
        await producer.begin_transaction()
        for n in range(3):
            await producer.send_and_wait(topic, b"aborted %d" % n)
        await producer.abort_transaction()
        await stays_well(worker, config, topic)
        assert await committed(config, topic) == {0: 7}
    assert worker.seen == [(0, 0), (0, 1)]


async def test_a_log_of_nothing_but_an_aborted_transaction(kafka: Kafka) -> None:
    topic, config = await kafka.new_topic(partitions=1), kafka.config()
    async with transactions(kafka) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted")
        await producer.abort_transaction()
    async with running(config, topic, stall_s=STALL_S) as worker:
        await stays_well(worker, config, topic)
    assert worker.seen == []


async def test_a_transaction_that_stays_open_is_nothing_to_read(kafka: Kafka) -> None:
    topic, config = await kafka.new_topic(partitions=1), kafka.config()
    await produce(config, topic, 5)
    async with running(config, topic, stall_s=STALL_S) as worker, transactions(kafka) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"not yet")
        await until(lambda: len(worker.seen) == 5, 20)
        await stays_well(worker, config, topic)
        await producer.commit_transaction()
        await until(lambda: len(worker.seen) == 6, 20)


async def test_records_deleted_before_and_while_a_worker_runs(kafka: Kafka) -> None:
    topic, config = await kafka.new_topic(partitions=1), kafka.config()
    await produce(config, topic, 100)
    await delete_before(kafka, topic, 60)
    assert await lag_outside(config, topic) == 40
    hold = asyncio.Event()

    async def wait(_: object) -> None:
        await hold.wait()

    async with running(config, topic, on_batch=wait, stall_s=10.0) as worker:
        await until(lambda: ConsumerState(worker.app).lag() == {(topic, 0): 40}, 20)
        hold.set()
        await until(lambda: len(worker.seen) == 40, 20)
    assert worker.seen == [(0, offset) for offset in range(60, 100)]
    await produce(config, topic, 50, start=100)
    await delete_before(kafka, topic, 150)
    assert await lag_outside(config, topic) == 0
    async with running(config, topic, stall_s=STALL_S) as second:
        await stays_well(second, config, topic)
        assert await committed(config, topic) == {0: 150}
        await produce(config, topic, 5, start=150)
        await until(lambda: len(second.seen) == 5, 20)
    assert second.seen == [(0, offset) for offset in range(150, 155)]


async def test_records_that_retention_removed(kafka: Kafka) -> None:
    topic, config = await kafka.new_topic(partitions=1, retention_ms="1", segment_ms="1"), kafka.config()
    await produce(config, topic, 100)
    async with asyncio.timeout(30):
        while await lag_outside(config, topic):
            await asyncio.sleep(0.2)
    async with running(config, topic, stall_s=STALL_S) as worker:
        await stays_well(worker, config, topic)
    assert worker.seen == []


async def test_records_that_compaction_removed(kafka: Kafka) -> None:
    compacted = {"cleanup_policy": "compact", "segment_ms": "100", "min_cleanable_dirty_ratio": "0.01"}
    topic, config = await kafka.new_topic(partitions=1, **compacted), kafka.config()
    for start in range(0, 400, 50):
        await produce(config, topic, 50, start=start, users=5)
        await asyncio.sleep(0.2)
    async with asyncio.timeout(40):
        while await _count(config, topic) > 100:
            await asyncio.sleep(0.5)
    async with running(config, topic, stall_s=STALL_S) as worker:
        await stays_well(worker, config, topic)
    assert len(worker.seen) <= 100


async def _count(config: KafkaConfig, topic: str) -> int:
    return sum([len(records) async for records in read_topic(config, topic)])


async def test_a_partition_nobody_ever_wrote_to(broker: Broker) -> None:
    topic, config = await broker.new_topic(partitions=4), broker.config()
    async with running(config, topic, stall_s=STALL_S) as worker:
        await stays_well(worker, config, topic)


async def test_a_commit_past_the_end_of_a_log_hides_nothing(kafka: Kafka) -> None:
    """As after a broker was lost together with what others had not copied of it."""
    topic, config = await kafka.new_topic(partitions=1), kafka.config()
    await produce(config, topic, 5)
    await commit(config, topic, 100)
    async with running(config, topic, stall_s=STALL_S) as worker:
        await until(lambda: len(worker.seen) == 5, 20)
        await stays_well(worker, config, topic)
        await produce(config, topic, 3)
        await until(lambda: len(worker.seen) == 8, 20)
        await stays_well(worker, config, topic)
        assert await committed(config, topic) == {0: 8}
    assert worker.seen == [(0, offset) for offset in range(8)]


async def commit(config: KafkaConfig, topic: str, offset: int) -> None:
    """Commit an offset for the group from outside, while it has no members."""
    source = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=config.connection()["bootstrap_servers"], group_id=config.group_id, enable_auto_commit=False
    )
    consumer.assign([source])
    await consumer.start()
    try:
        await consumer.commit({source: offset})
    finally:
        await consumer.stop()
