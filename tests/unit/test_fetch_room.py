"""Batches that unpack to much, in many partitions at once: what is held has a bound, and all get their turn."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.record.memory_records import MemoryRecords

from streams.broker.fetch_room import Room, Rooms
from streams.broker.fetched_batch import AckLedger, FetchedBatch, GroupIdentity, Partition, total_bytes
from streams.broker.guarded_fetch import ReadableRecords
from tests.fixtures.batches import batch, bomb
from tests.unit.test_guarded_fetch import changed_base

LIMIT = 1 << 20
BOMB = bomb("zstd", LIMIT - 1_000)
SMALL = batch([(b"u1", b"v")])


class Log:
    """Partitions with the same batches each, fetched as aiokafka does; its reading is aiokafka's own."""

    def __init__(self, partitions: int, batches: list[bytes]) -> None:
        self.sources = [TopicPartition("clicks", number) for number in range(partitions)]
        self.batches = [changed_base(made, base) for base, made in enumerate(batches)]
        self.ends = len(batches)
        subscription = SubscriptionState()
        subscription.assign_from_user(self.sources)
        self.assignment = subscription.subscription.assignment
        self.fetcher = Fetcher.__new__(Fetcher)
        self.fetcher.__dict__.update(
            _subscriptions=subscription, _records={}, _closed=False, _fetch_waiters=set(), _wait_consume_future=None,
            _loop=asyncio.get_running_loop(),
        )  # fmt: skip
        self.rooms = Rooms(self.fetcher, LIMIT)
        for source in self.sources:
            subscription.seek(source, 0)

    def position(self, source: TopicPartition) -> int:
        return int(self.assignment.state_value(source).position)

    def fill(self) -> None:
        """Fetch for every partition of which nothing is left to read."""
        for source in self.sources:
            at = self.position(source)
            if source in self.fetcher._records or at == self.ends:
                continue
            given = PartitionRecords(source, MemoryRecords(b""), None, at, None, None, True, READ_UNCOMMITTED)
            reader = ReadableRecords(given, b"".join(self.batches[at:]), LIMIT, self.ends)
            result = FetchResult(source, assignment=self.assignment, partition_records=reader, backoff=0)
            self.rooms.bound(result)
            self.fetcher._records[source] = result

    async def read(self, wanted: frozenset[TopicPartition] = frozenset()) -> dict[TopicPartition, list[Any]]:
        self.fill()
        fetched: dict[TopicPartition, list[Any]] = await self.fetcher.fetched_records(wanted, 0, max_records=8_000)
        return fetched

    def done(self) -> bool:
        return all(self.position(source) == self.ends for source in self.sources)


@pytest.mark.parametrize("partitions", [1, 4, 32])
async def test_what_one_call_holds_does_not_grow_with_the_partitions(partitions: int) -> None:
    log, seen = Log(partitions, [BOMB] * 3), Counter[int]()
    most = 0
    for _ in range(3 * partitions):
        tracemalloc.start()
        fetched = await log.read()
        most = max(most, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        seen.update(source.partition for source, records in fetched.items() for _ in records)
        assert sum(total_bytes(records) for records in fetched.values()) <= 2 * LIMIT
        if log.done():
            break
    assert log.done()
    assert seen == dict.fromkeys(range(partitions), 3)
    assert most < 7 * LIMIT, f"{most / LIMIT:.1f} times the limit"


async def test_no_partition_waits_behind_anothers_whole_log() -> None:
    log = Log(4, [BOMB] * 12)
    order: list[int] = []
    while not log.done():
        order += [source.partition for source, records in (await log.read()).items() for _ in records]
    for at in range(0, len(order), 16):
        assert max(Counter(order[: at + 16]).values()) - min(Counter(order[: at + 16]).values()) <= 4


async def test_small_batches_of_all_partitions_come_in_one_call() -> None:
    log = Log(32, [SMALL] * 5)
    fetched = await log.read()
    assert {len(records) for records in fetched.values()} == {5}
    assert len(fetched) == 32
    assert log.done()


async def test_partitions_that_share_a_room_share_it_and_others_go_on() -> None:
    log = Log(3, [BOMB] * 2)
    one, two = Room(LIMIT), Room(LIMIT)
    log.rooms.give({log.sources[0]: one, log.sources[1]: one, log.sources[2]: two})
    fetched = await log.read(frozenset(log.sources))
    assert {source.partition: len(records) for source, records in fetched.items()} in ({0: 2, 2: 2}, {0: 1, 1: 1, 2: 2})
    assert one.left <= 0
    log.rooms.give({log.sources[0]: one, log.sources[1]: one, log.sources[2]: Room(LIMIT)})
    assert await log.read(frozenset(log.sources[:2])) == {}  # no room: it stays where it is, and is not lost
    log.rooms.give(dict.fromkeys(log.sources, Room(8 * LIMIT)))
    while not log.done():
        await log.read(frozenset(log.sources))


def test_what_is_handed_out_is_held_until_it_is_acknowledged() -> None:
    identity = GroupIdentity(generation=1, leader_id="a", member_id="a", cluster_id=None)

    def fetched(offset: int, size_bytes: int) -> FetchedBatch:
        return FetchedBatch(
            topic="clicks", partition=0, records=[SimpleNamespace(offset=offset)], next_offset=offset + 1,
            highwater=9, size_bytes=size_bytes, identity=identity,
        )  # fmt: skip

    ledger, source = AckLedger(), Partition("clicks", 0)
    first, second = fetched(0, 100), fetched(1, 20)
    ledger.enter(first)
    ledger.enter(second)
    assert ledger.held_bytes() == {source: 120}
    ledger.ack(second)  # behind a hole: it may have to be read again, and is not let go of
    assert ledger.held_bytes() == {source: 120}
    ledger.ack(first)
    assert ledger.held_bytes() == {source: 0}
    ledger.enter(fetched(2, 7))
    ledger.clear()
    assert ledger.held_bytes() == {}
