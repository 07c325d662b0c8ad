"""Partitions change hands: stale batches count for nothing, and no record is lost on the way."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP

from streams.broker import Batch, FetchedBatch, GroupIdentity, KafkaConfig
from tests.fixtures.brokers import Broker
from tests.fixtures.workers import Running, committed, ends, produce, running, until

pytestmark = pytest.mark.integration


async def test_a_batch_held_over_a_rebalance_is_stale_and_its_records_come_again(broker: Broker) -> None:
    topic = await broker.new_topic()
    config = broker.config(batch_records=50)
    places = set(await produce(config, topic, 2_000))
    go_on, holding = asyncio.Event(), asyncio.Event()
    verdicts: list[bool] = []

    async def hold_the_first(batch: Batch) -> None:
        if not holding.is_set():
            holding.set()
            await go_on.wait()
            verdicts.append(batch.stale())

    async with running(config, topic, on_batch=hold_the_first, max_records=100) as first:
        await until(holding.is_set, 20)
        async with running(config, topic) as second:
            assert first.app.identity is not None
            assert second.app.identity is not None
            go_on.set()
            await until(lambda: set(first.seen) | set(second.seen) == places, 30)
            assert verdicts == [True]
            assert first.stale, "the held batch must not have counted"
            assert first.seen, "the first worker keeps a share"
            assert second.seen, "the second worker gets a share"
        # The second's last commit may fall into the rebalance its leaving starts: then the first reads those again.
        deadline_s = time.monotonic() + 20
        while await committed(config, topic) != await ends(config, topic) and time.monotonic() < deadline_s:
            await asyncio.sleep(0.2)
        assert await first.stop() == 0
    assert await committed(config, topic) == await ends(config, topic)


async def test_batches_waiting_in_the_agents_queue_over_a_rebalance_are_read_again(broker: Broker) -> None:
    """A partition that stays with its worker starts again at its committed offset: nothing that waited is lost."""
    topic = await broker.new_topic(partitions=2)
    config = broker.config(batch_records=20, buffer_batches=8)
    places = set(await produce(config, topic, 1_000))
    slowly = 0.05

    async def slow(_: Batch) -> None:
        await asyncio.sleep(slowly)

    async with running(config, topic, on_batch=slow, max_records=20) as first:
        await until(lambda: len(first.seen) > 60, 20)
        async with running(config, topic, on_batch=slow, max_records=20) as second:
            await until(lambda: bool(second.seen), 20)
        slowly = 0.0
        await until(lambda: set(first.seen) | set(second.seen) == places, 30)


async def test_what_was_acknowledged_before_a_rebalance_is_committed_by_it(broker: Broker) -> None:
    topic = await broker.new_topic()
    config = broker.config(commit_interval_s=60.0)
    await produce(config, topic, 400)
    async with running(config, topic) as first:
        await until(lambda: len(first.seen) == 400, 20)
        async with running(config, topic) as second:
            await produce(config, topic, 400, start=400)
            await until(lambda: len(first.seen) + len(second.seen) >= 800, 20)
            await asyncio.sleep(0.3)
            assert sorted(first.seen + second.seen) == sorted(set(first.seen + second.seen)), "none was seen twice"


async def test_a_partition_without_a_commit_loses_nothing_when_the_group_changes(broker: Broker) -> None:
    """Faust seeks to committed offsets only; where there is none, what was fetched meanwhile must be given back."""
    topic = await broker.new_topic()
    config = broker.config(batch_records=50)
    allow = asyncio.Event()

    async def wait(_: Batch) -> None:
        await allow.wait()

    async with running(config, topic, on_batch=wait) as first:
        places = set(await produce(config, topic, 400))
        for _ in range(2):
            async with running(config, topic, on_batch=wait, drain_s=0.05):
                places |= set(await produce(config, topic, 200, start=1_000))
        allow.set()
        await until(lambda: set(first.seen) == places, 30)
        assert first.task is not None
        assert not first.task.done()


async def test_seeking_back_reads_again_from_exactly_there(broker: Broker) -> None:
    topic = await broker.new_topic(partitions=1)
    config = broker.config(batch_records=100)
    await produce(config, topic, 500)
    async with running(config, topic) as worker:
        await until(lambda: len(worker.seen) == 500, 20)
        await worker.app.consumer.seek(TP(topic, 0), 123)
        await until(lambda: len(worker.seen) == 877, 20)
        assert worker.seen[500] == (0, 123)
        assert [offset for _, offset in worker.seen[500:]] == list(range(123, 500))
        await worker.app.consumer.seek(TP(topic, 0), 0)
        await until(lambda: len(worker.seen) == 1_377, 20)
        assert worker.seen[877] == (0, 0)
        assert await worker.stop() == 0
    assert await committed(config, topic) == {0: 500}, "reading again must not move the commit back"


async def test_every_join_is_a_new_identity(broker: Broker) -> None:
    topic = await broker.new_topic()
    config = broker.config()
    async with running(config, topic) as first:
        alone = first.app.identity
        assert alone is not None
        assert alone.leader_id == alone.member_id
        assert alone.cluster_id
        async with running(config, topic) as second:
            await until(lambda: (first.app.identity or alone) is not alone, 20)
            await until(lambda: same_generation(first.app.identity, second.app.identity), 20)
            together, other = first.app.identity, second.app.identity
            assert together is not None
            assert other is not None
            assert together.generation > alone.generation
            assert together.member_id == alone.member_id
            assert other.member_id != together.member_id
            assert other.leader_id == together.leader_id
            assert other.cluster_id == together.cluster_id
        await until(lambda: (first.app.identity or together) is not together, 20)


def same_generation(one: GroupIdentity | None, other: GroupIdentity | None) -> bool:
    return one is not None and other is not None and one.generation == other.generation


def shared_out(topic: str, *workers: Running) -> bool:
    """Whether the workers are in one generation, each with partitions of a topic."""
    identities = [worker.app.identity for worker in workers]
    if not all(same_generation(identities[0], other) for other in identities):
        return False
    return all(any(source.topic == topic for source in worker.app.consumer.assignment()) for worker in workers)


async def test_three_workers_share_the_partitions_and_leave_one_after_another(broker: Broker) -> None:
    topic = await broker.new_topic(partitions=6)
    config = broker.config(batch_records=20)
    places: set[tuple[int, int]] = set()
    seen: set[tuple[int, int]] = set()
    async with running(config, topic) as first:
        async with running(config, topic) as second:
            async with running(config, topic) as third:
                # A worker is ready with the first partitions it gets; the other two may be about to join again then.
                await until(lambda: shared_out(topic, first, second, third), 30)
                places |= set(await produce(config, topic, 1_200))
                await until(lambda: set(first.seen) | set(second.seen) | set(third.seen) >= places, 30)
                assert all(worker.seen for worker in (first, second, third))
            seen |= set(third.seen)
            places |= set(await produce(config, topic, 600, start=1_200))
            await until(lambda: seen | set(first.seen) | set(second.seen) >= places, 30)
        seen |= set(second.seen)
        places |= set(await produce(config, topic, 600, start=1_800))
        await until(lambda: seen | set(first.seen) == places, 30)
    assert await committed(config, topic) == await ends(config, topic)


async def test_workers_that_stop_amid_a_rebalance_end_cleanly(broker: Broker) -> None:
    """Leaked sockets and unfinished tasks fail the test: warnings are errors."""
    topic = await broker.new_topic()
    for pause_s in (0.05, 0.4):
        config = broker.config()
        async with running(config, topic) as first, running(config, topic, wait_ready=False) as second:
            await asyncio.sleep(pause_s)
            codes = await asyncio.gather(first.stop(), second.stop())
        assert codes == [0, 0]
    gc.collect()


@pytest.mark.slow
async def test_a_group_whose_leader_left_amid_a_join_does_not_stay_without_one(broker: Broker) -> None:
    """Tansu goes on naming the leader that left; without `LostLeader` no later worker ever gets a partition."""
    topic = await broker.new_topic()
    config = broker.config()
    await produce(config, topic, 20)
    async with running(config, topic) as first, running(config, topic, wait_ready=False) as second:
        await asyncio.sleep(0.12)
        await asyncio.gather(first.stop(), second.stop())
    places = await produce(config, topic, 20, start=20)
    async with running(config, topic) as last:
        await until(lambda: len(last.seen) >= 20, 20)
    assert await committed(config, topic) == await ends(config, topic)
    assert len(places) == 40


async def test_a_batch_of_an_ended_assignment_that_comes_late_leaves_no_trace(broker: Broker) -> None:
    """Its offsets must not be taken for read: the records after them would be dropped."""
    topic = await broker.new_topic(partitions=1)
    config = broker.config()
    await produce(config, topic, 10)
    async with running(config, topic) as worker:
        await until(lambda: len(worker.seen) == 10, 20)
        consumer = worker.app.consumer
        ended = GroupIdentity(generation=1, leader_id="leader", member_id="member", cluster_id=None)
        records = await one_record(config, topic, offset=9)
        await consumer._deliver(
            FetchedBatch(
                topic=topic,
                partition=0,
                records=records,
                next_offset=1_000,
                highwater=1_000,
                size_bytes=10,
                identity=ended,
            )
        )
        await produce(config, topic, 10, start=10)
        await until(lambda: len(worker.seen) == 20, 20)
        assert await worker.stop() == 0
    assert worker.seen == [(0, offset) for offset in range(20)]
    assert await committed(config, topic) == {0: 20}


async def one_record(config: KafkaConfig, topic: str, *, offset: int) -> list[Any]:
    """A record as aiokafka gives it."""
    consumer = AIOKafkaConsumer(**config.connection())
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.start()
    try:
        consumer.seek(TopicPartition(topic, 0), offset)
        return [await consumer.getone()]
    finally:
        await consumer.stop()
