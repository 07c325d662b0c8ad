"""Workers die and brokers die: every record is seen at least once, and nothing unseen is ever committed."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from streams.base.errors import BrokerUnavailable
from streams.broker import Batch, KafkaConfig
from streams.broker.admin import Admin, TopicSpec
from streams.broker.producer import Outgoing, Producer
from tests.fixtures.brokers import Broker
from tests.fixtures.workers import WorkerProcess, committed, ends, produce, running, until

pytestmark = [pytest.mark.integration, pytest.mark.slow]


async def assert_nothing_unseen_is_committed(workers: list[WorkerProcess], topic: str) -> None:
    offsets = await committed(workers[0].config, topic)
    seen = set().union(*(worker.seen() for worker in workers))
    unseen = {(partition, at) for partition, end in offsets.items() for at in range(end)} - seen
    assert not unseen, f"{len(unseen)} committed but never seen, first {min(unseen)}"


async def keep_producing(config: KafkaConfig, topic: str, stop: asyncio.Event, *, packed: bool = False) -> int:
    """Produce 20 records every 20 ms until `stop` is set; returns how many."""
    count = 0
    async with Producer(config) as producer:
        send = producer.send_packed if packed else producer.send_many
        while not stop.is_set():
            await send(topic, [Outgoing(b"u%d" % n, b"%d" % (count + n)) for n in range(20)])
            count += 20
            await asyncio.sleep(0.02)
    return count


async def test_two_workers_killed_and_stopped_again_and_again_see_every_record(broker: Broker, tmp_path: Path) -> None:
    topic = await broker.new_topic()
    config = broker.config(batch_records=40, max_poll_records=400)
    workers = [WorkerProcess(config, topic, tmp_path / name, pause_s=0.01) for name in ("one", "two")]
    deaths = [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGTERM]
    enough = asyncio.Event()
    with ExitStack() as stack:
        producing = asyncio.create_task(keep_producing(config, topic, enough))
        for worker in workers:
            stack.callback(worker.end)
            worker.start()
        for number, death in enumerate(deaths):
            victim = workers[number % 2]
            lines = len(victim.lines())
            await until(lambda victim=victim, lines=lines: len(victim.lines()) > lines + 150, 30)
            victim.signal(death)
            code = await asyncio.to_thread(victim.wait)
            assert code == (0 if death == signal.SIGTERM else -death), victim.log()
            await assert_nothing_unseen_is_committed(workers, topic)
            victim.start()
        lines = len(victim.lines())
        await until(lambda: len(victim.lines()) > lines, 30)
        enough.set()
        count = await producing
        end = await ends(config, topic)
        places = {(partition, at) for partition, last in end.items() for at in range(last)}
        await until(lambda: workers[0].seen() | workers[1].seen() == places, 60)
        for worker in workers:
            worker.signal(signal.SIGTERM)
        for worker in workers:
            assert await asyncio.to_thread(worker.wait) == 0, worker.log()
    assert len(places) == count
    await assert_nothing_unseen_is_committed(workers, topic)
    assert await committed(config, topic) == end


@pytest.mark.parametrize("death", ["kill", "stop"])
async def test_worker_and_producers_go_on_after_kafka_was_away(kafka: Broker, death: str) -> None:
    """Nothing is lost, an idempotent producer doubles nothing, and the cluster is recognised as the same."""
    topic, once, packed = [await kafka.new_topic(partitions=count) for count in (4, 2, 2)]
    config = kafka.config(batch_records=50)
    patient = replace(config, producer_timeout_s=60.0)
    assert patient.idempotent
    places, stop = set(await produce(config, topic, 500)), asyncio.Event()
    async with running(config, topic) as worker, Producer(config) as producer:
        await until(lambda: len(worker.seen) >= 500, 20)
        before = worker.app.identity
        idempotent = asyncio.create_task(keep_producing(patient, once, stop))
        of_batches = asyncio.create_task(keep_producing(patient, packed, stop, packed=True))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(getattr(kafka, death))
        with pytest.raises(BrokerUnavailable):
            await producer.send_many(topic, [Outgoing(b"u", b"while away")], deadline_s=0.5)
        await asyncio.to_thread(kafka.start)
        await producer.send_many(topic, [Outgoing(b"u%d" % n, b"after") for n in range(500)], deadline_s=60.0)
        stop.set()
        places |= {(partition, at) for partition, end in (await ends(config, topic)).items() for at in range(end)}
        await until(lambda: set(worker.seen) == places, 40)
        async with asyncio.timeout(20):
            while await committed(config, topic) != await ends(config, topic):
                await asyncio.sleep(0.1)
        after = worker.app.identity
        assert await worker.stop() == 0
    assert len(places) >= 1_000
    assert await idempotent == sum((await ends(config, once)).values())
    assert await of_batches == sum((await ends(config, packed)).values())
    assert before is not None
    assert after is not None
    assert after.cluster_id == before.cluster_id
    assert after.generation >= before.generation
    assert after.generation > before.generation or after.member_id == before.member_id


async def test_offsets_with_holes_from_transactions_are_committed_past(kafka: Broker) -> None:
    """Aborted records are not seen; commit markers and aborted ranges are holes the commit must pass."""
    topic = await kafka.new_topic(partitions=1)
    config = kafka.config()
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=kafka.unique("tx"))
    await producer.start()
    try:
        for run in range(6):
            await producer.begin_transaction()
            for n in range(10):
                await producer.send(topic, b"%d-%d" % (run, n), key=b"k", partition=0)
            await (producer.abort_transaction() if run % 2 else producer.commit_transaction())
    finally:
        await producer.stop()
    values: list[bytes | None] = []

    async def note(batch: Batch) -> None:
        values.extend(record.value for record in batch.records)

    async with running(config, topic, on_batch=note) as worker:
        await until(lambda: len(worker.seen) >= 30, 20)
        await asyncio.sleep(0.5)
        assert await worker.stop() == 0
    assert values == [b"%d-%d" % (run, n) for run in (0, 2, 4) for n in range(10)]
    offsets = [offset for _, offset in worker.seen]
    assert offsets != list(range(30)), "the log has holes"
    assert await committed(config, topic) == await ends(config, topic), "markers after the last record are passed too"
    async with running(config, topic) as again:
        await asyncio.sleep(0.7)
        assert again.seen == []


async def test_a_compacted_topic_is_read_and_committed_over_its_holes(kafka: Broker) -> None:
    settings = {"segment_ms": "200", "min_cleanable_dirty_ratio": "0.01", "max_compaction_lag_ms": "200"}
    topic = await kafka.new_topic(partitions=1, cleanup_policy="compact", **settings)
    config = kafka.config(batch_records=50)
    async with Producer(config) as producer:
        for n in range(12):
            await producer.send_many(topic, [Outgoing(b"k%d" % (i % 10), b"%d" % n) for i in range(100)])
            await asyncio.sleep(0.25)
    await until_compacted(config, topic)
    async with running(config, topic) as worker:
        await until(lambda: bool(worker.seen) and worker.seen[-1] == (0, 1_199), 20)
        assert await worker.stop() == 0
    offsets = [offset for _, offset in worker.seen]
    assert len(offsets) < 1_200
    assert offsets == sorted(set(offsets))
    assert await committed(config, topic) == {0: 1_200}


async def until_compacted(config: KafkaConfig, topic: str) -> None:
    from aiokafka import AIOKafkaConsumer

    for _ in range(60):
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=config.brokers[0], auto_offset_reset="earliest")
        await consumer.start()
        try:
            count = 0
            while (await consumer.getone()).offset < 1_199:
                count += 1
        finally:
            await consumer.stop()
        if count < 1_199:
            return
        await asyncio.sleep(0.25)
    pytest.fail("the broker compacted nothing within 15 s")


async def test_a_worker_stops_in_bounded_time_while_its_broker_is_away(tansu: Broker) -> None:
    config = tansu.config(commit_interval_s=60.0)
    topic = await tansu.new_topic()
    await produce(config, topic, 10)
    async with running(config, topic) as worker:
        await until(lambda: len(worker.seen) == 10, 20)
        tansu.kill()
        async with asyncio.timeout(20):
            assert await worker.stop() == 0


async def test_a_worker_whose_broker_is_not_there_exits_1(tansu: Broker, tmp_path: Path) -> None:
    tansu.kill()
    worker = WorkerProcess(tansu.config(request_timeout_s=3.0), "topic", tmp_path / "worker")
    worker.start()
    try:
        assert await asyncio.to_thread(worker.wait) == 1
    finally:
        worker.end()
    assert "the worker failed: KafkaConnectionError" in worker.log()


async def test_a_restarted_embedded_broker_is_another_cluster_that_forgot_everything(tansu: Broker) -> None:
    """What the epoch in the store must notice: generations and offsets start again, under another cluster id."""
    config = tansu.config()
    topic = await tansu.new_topic(partitions=2)
    await produce(config, topic, 100)
    async with running(config, topic) as worker:
        await until(lambda: len(worker.seen) == 100, 20)
        before = worker.app.identity
        assert await worker.stop() == 0
    tansu.kill()
    tansu.start()
    async with Admin(config) as admin:
        assert topic not in await admin.topics()
        await admin.create_topics([TopicSpec(topic, 2)])
    await produce(config, topic, 10)
    async with running(config, topic) as worker:
        await until(lambda: len(worker.seen) == 10, 20)
        after = worker.app.identity
    assert before is not None
    assert after is not None
    assert before.cluster_id != after.cluster_id
    assert before.leader_id != after.leader_id
    assert after.generation <= before.generation


async def test_a_client_of_a_dead_broker_says_it_is_unavailable(tansu: Broker) -> None:
    tansu.kill()
    config = tansu.config(request_timeout_s=2.0, producer_timeout_s=2.0)
    with pytest.raises(BrokerUnavailable):
        async with Admin(config):
            pass
    with pytest.raises(BrokerUnavailable):
        async with Producer(config):
            pass
