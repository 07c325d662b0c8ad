"""Batches that overlap give the trees that they give one after another, whatever fails on the way."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.base.errors import FatalError, StoreUnavailable
from streams.broker.fetched_batch import FetchedBatch, GroupIdentity
from streams.broker.in_order import in_order
from streams.events.drafts import Draft
from streams.interests.nodes import Node, NodeKey
from streams.pipeline.in_flight import InFlight
from streams.pipeline.report import Report
from streams.store.base import Fence
from streams.store.cached import CachedStore
from streams.store.memory import MemoryStore
from streams.worker.batch_worker import BatchWorker
from streams.worker.crashes import Crashes, CrashSurroundings
from streams.worker.metrics import Metrics
from streams.worker.overlap import Overlap
from streams.worker.ownership import Owner
from streams.worker.pace import Pace
from tests.fixtures.crash_marks import MemoryCrashMarks
from tests.fixtures.loops import completed
from tests.property.test_erasure import (
    LOG,
    TOPICS,
    Log,
    assert_same,
    dependencies,
    drafts,
    erasures,
    lived,
    logs,
    placed,
)
from tests.property.test_fold import POLICY

IDENTITY = GroupIdentity(generation=1, leader_id="a", member_id="a", cluster_id=None)


class Wobbly(MemoryStore):
    """A store that takes its time, and now and then does not answer before or after it has written."""

    def __init__(self, random: Random, failures: int) -> None:
        super().__init__(POLICY)
        self._random, self.failures = random, failures

    async def _wobble(self) -> None:
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        if self.failures and self._random.random() < 0.2:
            self.failures -= 1
            raise StoreUnavailable("away", retry_after_s=0)

    async def read(self, keys: Sequence[NodeKey]) -> dict[NodeKey, Node]:
        await self._wobble()
        return await super().read(keys)

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        await self._wobble()
        await super().write(nodes, fence)
        await self._wobble()


class Whole:
    """A batch of records as they were fetched; tells when it is acknowledged."""

    generation, identity = 1, IDENTITY

    def __init__(
        self, records: Sequence[Draft], acked: list[int], number: int, ended: asyncio.Event | None = None
    ) -> None:
        self.records, self._acked, self.number, self._ended = list(records), acked, number, ended
        self.fetched = [
            FetchedBatch(
                topic=one.topic, partition=0, records=(one,), next_offset=one.offset + 1, highwater=one.offset + 1,
                size_bytes=1, identity=IDENTITY,
            )
            for one in records
        ]  # fmt: skip

    def __len__(self) -> int:
        return len(self.records)

    def stale(self) -> bool:
        return self._ended is not None and self._ended.is_set()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        yield

    async def ack(self) -> bool:
        if self.stale():
            return False
        self._acked.append(self.number)
        return True


class World:
    """A worker on a wobbly store, and what it has acknowledged and announced, in order."""

    def __init__(self, records: Sequence[Draft], random: Random, failures: int) -> None:
        self.store = Wobbly(random, 0)
        self.deps = dependencies(self.store, Log(records))
        self.store.failures = failures
        cached = CachedStore(self.store, nodes_bytes=1 << 20, items_bytes=1 << 20, items_ttl_s=60)
        self.deps.store = cached
        self.acked: list[int] = []
        self.announced: list[tuple[str, int]] = []
        self.metrics = Metrics()
        self.ended = asyncio.Event()
        self.dropped: set[int] = set()
        self._random = random
        around = CrashSurroundings(
            marks=MemoryCrashMarks(), members=self._nobody, committed=lambda _: None, dead_letter=self._none,
            healthy=self._nothing, count=lambda _: None, budget=0,
        )  # fmt: skip
        self.worker = BatchWorker(
            deps=self.deps, ownership=self, crashes=Crashes(around), metrics=self.metrics,  # type: ignore[arg-type]  # as much of it as is used
            progress=lambda: None, through=lambda _: None, pace=Pace(8, 2.0), updates=self,  # type: ignore[arg-type]  # as above
        )  # fmt: skip

    async def joins(self, _: Any) -> bool:
        await asyncio.sleep(0)
        return self._random.random() < 0.5

    async def enter(self, batch: Any) -> Owner | None:
        await asyncio.sleep(0)
        return None if batch.number in self.dropped else Owner(Fence(1, 1), LOG)

    async def verify(self, _: Any, __: Owner) -> bool:
        if self.store.failures and self._random.random() < 0.1:
            self.store.failures -= 1
            raise StoreUnavailable("away", retry_after_s=0)
        return True

    async def announce(self, report: Report, _: int) -> int:
        sources = [event.source for events in report.events.values() for event in events]
        self.announced += sorted((source.topic, source.offset) for source in sources)
        return 0

    async def work(self, records: Sequence[Draft], size: int) -> None:
        batches = [records[at : at + size] for at in range(0, len(records), size)]

        async def handed_out() -> AsyncIterator[Any]:
            for number, batch in enumerate(batches):
                await asyncio.sleep(0)
                yield Whole(batch, self.acked, number, self.ended)

        await in_order(handed_out(), self.worker.fold)
        assert self.acked == list(range(len(batches))) or self.ended.is_set() or self.dropped

    def tree(self) -> dict[NodeKey, Node]:
        trees = [completed(self.store.tree(user)) for user in "ab"]
        return {node.key: node for tree in trees for node in tree if node.count > 0}

    async def _nobody(self) -> frozenset[str]:
        return frozenset()

    async def _none(self, _: Any) -> None:
        raise AssertionError("nothing here is a dead letter")

    async def _nothing(self) -> None: ...


@settings(max_examples=100, deadline=None)
@given(log=logs, ended=st.one_of(st.just([]), erasures), size=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_overlapping_batches_are_as_those_one_after_another(
    log: list[tuple[str, str, int, str]], ended: list[tuple[int, str]], size: int, seed: int
) -> None:
    random = Random(seed)
    happened = drafts(log, ended)
    random.shuffle(happened)
    records = placed(happened, random.choice)
    world = World(records, random, failures=3)
    completed(world.work(records, size))
    assert_same(world.tree(), lived(records, size), log)
    places = [(one.topic, one.offset) for one in records]
    first = {place: world.announced.index(place) for place in places if place in world.announced}
    for topic in {topic for topic, _ in places}:  # a topic's changes are announced in their order
        offsets = [offset for _, offset in sorted((at, place[1]) for place, at in first.items() if place[0] == topic)]
        batch_of = {one.offset: n // size for n, one in enumerate(records) if one.topic == topic}
        assert [batch_of[one] for one in offsets] == sorted(batch_of[one] for one in offsets)


def many(count: int) -> list[Draft]:
    return placed(drafts([("click", f"i{n % 3 + 1}", n, "ab"[n % 2]) for n in range(count)], []), lambda _: "clicks")


class Waiting(MemoryStore):
    """A store whose first write ends once somebody new is read: by the batch after it."""

    patience_s = 10.0

    def __init__(self) -> None:
        super().__init__(POLICY)
        self.read_of_b = asyncio.Event()
        self.overtaken = False

    async def read(self, keys: Sequence[NodeKey]) -> dict[NodeKey, Node]:
        if any(key.user_id == "b" for key in keys):
            self.read_of_b.set()
        return await super().read(keys)

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        if any(node.key.user_id == "a" for node in nodes):
            with suppress(TimeoutError):
                await asyncio.wait_for(self.read_of_b.wait(), self.patience_s)
            self.overtaken = self.read_of_b.is_set()
        await super().write(nodes, fence)


def test_the_next_batch_is_folded_while_one_is_written() -> None:
    records = many(8)
    world = World(records, Random(4), failures=0)
    store = Waiting()
    world.deps = dependencies(store, Log(records))
    world.worker._deps = world.deps
    completed(world.work(records, 1))
    assert store.overtaken


class Joining(World):
    """Every partition joins under the epoch that holds, or none does."""

    joining = True

    async def joins(self, _: Any) -> bool:
        return self.joining


@pytest.mark.parametrize("joining", [True, False])
def test_a_batch_of_new_partitions_waits_for_the_one_before_only_where_they_may_begin_another_epoch(
    joining: bool,
) -> None:
    topics = iter(TOPICS)
    records = placed(drafts([("click", f"i{n}", n, "ab"[n]) for n in range(2)], []), lambda _: next(topics))
    world = Joining(records, Random(4), failures=0)
    world.joining = joining
    store = Waiting()
    world.deps = dependencies(store, Log(records))
    world.worker._deps = world.deps
    if not joining:
        store.patience_s = 0.05
    completed(world.work(records, 1))
    assert store.overtaken is joining


class Counting(World):
    """Counts the batches in flight that are kept, each time that one is announced."""

    most = 0

    async def announce(self, report: Report, at_ms: int) -> int:
        self.most = max(self.most, _in_flight())
        return await super().announce(report, at_ms)


@pytest.fixture
def counted_anew() -> Iterator[None]:
    """What the process has made before is looked through by no collection: it is most of what there is."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("counted_anew")
def test_what_is_done_is_not_kept() -> None:
    before, records = _in_flight(), many(60)
    world = Counting(records, Random(5), failures=0)
    completed(world.work(records, 2))
    assert 2 <= world.most - before <= 3


def _in_flight() -> int:
    gc.collect()
    return sum(type(one) is InFlight for one in gc.get_objects())


async def test_nothing_past_a_failure_is_acknowledged() -> None:
    done: list[int] = []
    second_began = asyncio.Event()

    async def work(batch: Any, begin: Any, before: Any) -> None:
        if batch.number == 0:
            begin()
            await second_began.wait()
            raise FatalError("no")
        second_began.set()
        await before()
        done.append(batch.number)

    @contextmanager
    def at_work() -> Iterator[None]:
        yield

    async def handed_out() -> AsyncIterator[Any]:
        for number in range(3):
            yield SimpleNamespace(number=number, at_work=at_work)

    with pytest.raises(FatalError):
        await in_order(handed_out(), work)
    assert not done


class Ending(MemoryStore):
    """A store that is away for the first write, once the next batch is folded; the assignment ends meanwhile."""

    def __init__(self, ended: asyncio.Event) -> None:
        super().__init__(POLICY)
        self.ended, self.read_of_b = ended, asyncio.Event()

    async def read(self, keys: Sequence[NodeKey]) -> dict[NodeKey, Node]:
        if any(key.user_id == "b" for key in keys):
            self.read_of_b.set()
        return await super().read(keys)

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        if not self.ended.is_set():
            await asyncio.wait_for(self.read_of_b.wait(), 10)
            self.ended.set()
            raise StoreUnavailable("away", retry_after_s=0)
        await super().write(nodes, fence)


def test_nothing_is_written_past_a_batch_that_was_given_up_with_its_assignment() -> None:
    """What is written past it says that it was applied: whoever reads it again would take it for redelivered."""
    records = many(8)
    world = World(records, Random(0), failures=0)
    store = Ending(world.ended)
    world.deps = dependencies(store, Log(records))
    world.worker._deps = world.deps
    completed(world.work(records, 1))
    assert store.ended.is_set()
    assert not store._nodes
    assert not world.acked


def test_nothing_is_written_past_a_batch_that_was_dropped() -> None:
    """The broker did not confirm us for the partition it begins; those after it hold none that is new."""
    records = many(6)
    world = World(records, Random(0), failures=0)
    world.dropped = {1}
    completed(world.work(records, 1))
    assert world.acked == [0]
    assert {source for source, _ in world.announced} == {"clicks"}
    assert [offset for _, offset in world.announced] == [0]
    assert [node.count for node in world.tree().values() if node.key.level == "profile"] == [1]


@pytest.mark.usefixtures("counted_anew")
async def test_batches_in_flight_without_a_break_keep_nothing_of_those_long_gone() -> None:
    overlap, others, before = Overlap(), _in_flight(), AsyncExitStack()
    for _ in range(9):
        following = AsyncExitStack()
        side = await following.enter_async_context(overlap.flight(IDENTITY, lambda _: None))
        side.all_folded()
        await before.aclose()
        side.end(written=True)
        before = following
    assert _in_flight() - others <= 2
    await before.aclose()


def test_a_batch_is_folded_on_the_one_before_it_and_on_no_other_that_tells_late() -> None:
    """The first is folded twice, the second, superseded, is still to be: the third must know."""
    world, flights = World(many(3), Random(0), failures=0), [InFlight() for _ in range(3)]
    told, third_began = asyncio.Event(), asyncio.Event()
    seen: list[bool] = []

    async def fold(batch: Any, _: Any, place: Any, *__: Any) -> bool:
        place.folded(flights[batch.number])
        if batch.number == 0:
            await told.wait()
            place.folded(InFlight())
        elif batch.number == 1:
            flights[1].end(written=False)
            told.set()
            await third_began.wait()
        else:
            seen.append(place.on is not None and place.on.is_to_come)
            third_began.set()
        return True

    world.worker._fold = fold  # type: ignore[method-assign,assignment]  # as of batches that fail so
    completed(asyncio.wait_for(world.work(many(3), 1), 10))
    assert seen == [True]
