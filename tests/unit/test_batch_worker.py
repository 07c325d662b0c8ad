"""What is measured of a batch, until its acknowledgement has returned; and that no record ends any of the agents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from streams.broker.fetched_batch import FetchedBatch, GroupIdentity
from streams.events.dead_letters import DeadLetter
from streams.events.unresolved import RetryPolicy
from streams.worker.batch_worker import BatchWorker
from streams.worker.crashes import Crashes, CrashSurroundings
from streams.worker.metrics import Metrics
from streams.worker.pace import Pace
from tests.fixtures.crash_marks import MemoryCrashMarks
from tests.fixtures.records import click, record

SLOW_S = 0.05


def ignored(_: Any) -> None:
    pass


class FakeBatch:
    """A batch of one record whose acknowledgement takes a while, and counts or comes too late."""

    generation = 1

    def __init__(self, counts: bool, stops: bool = False) -> None:
        self.records = [record(click())]
        self.acked = 0
        self._counts, self._stops = counts, stops

    def __len__(self) -> int:
        return len(self.records)

    def stale(self) -> bool:
        return False

    def stopping(self) -> bool:
        return self._stops

    async def ack(self) -> bool:
        self.acked += 1
        await asyncio.sleep(SLOW_S)
        return self._counts


class Worker(BatchWorker):
    """A worker whose work is done at once."""

    def __init__(self, metrics: Metrics) -> None:
        deps: Any = SimpleNamespace(retries=RetryPolicy(base_ms=1, cap_ms=1, deadline_ms=1))
        super().__init__(
            deps=deps,
            ownership=None,
            crashes=None,
            metrics=metrics,
            progress=lambda: None,
            updates=None,
            pace=Pace(8, 2.0),
            through=ignored,
        )  # type: ignore[arg-type]  # never reached

    async def _through(self, *_: Any) -> bool:
        return True


@pytest.mark.parametrize("work", ["fold", "fold_when_due", "describe", "derive"])
async def test_a_record_that_nobody_can_work_on_ends_no_agent(work: str) -> None:
    letters: list[DeadLetter] = []
    metrics, marks = Metrics(), MemoryCrashMarks()
    batch: Any = FakeBatch(counts=True)
    identity = GroupIdentity(generation=1, leader_id="a", member_id="a", cluster_id=None)
    batch.identity = identity
    batch.fetched = [
        FetchedBatch(
            topic="clicks", partition=3, records=batch.records, next_offset=18, highwater=18, size_bytes=1,
            identity=identity,
        )
    ]  # fmt: skip

    async def fine() -> None:
        pass

    async def dead_letter(dead: Sequence[DeadLetter]) -> None:
        letters.extend(dead)

    async def nobody() -> frozenset[str]:
        return frozenset()

    async def joins(_: Any) -> bool:
        return False

    async def enter(_: Any) -> Any:
        return SimpleNamespace(log=1, fence=None)

    async def derive(*_: Any) -> Any:
        raise RecursionError("alice")

    around = CrashSurroundings(
        marks=marks, members=nobody, committed=lambda _: None, dead_letter=dead_letter, healthy=fine,
        count=lambda _: None, budget=5,
    )  # fmt: skip
    deps: Any = SimpleNamespace(retries=RetryPolicy(base_ms=1, cap_ms=1, deadline_ms=1))  # no store, no encoder
    worker = BatchWorker(
        deps=deps, ownership=SimpleNamespace(enter=enter, joins=joins), crashes=Crashes(around), metrics=metrics,  # type: ignore[arg-type]  # as much of it as is used
        progress=lambda: None, through=ignored, pace=Pace(8, 2.0), updates=None,  # type: ignore[arg-type]  # never reached
    )  # fmt: skip
    await getattr(worker, work)(batch, *([derive] if work == "derive" else []))
    assert [(one.record.offset, one.stage, one.reason) for one in letters] == [(17, "crash", "raised")]
    assert [one.offset for one in marks.marks["clicks/3"].aside] == [17]


def observed(metrics: Metrics) -> tuple[float, float]:
    value = metrics.registry.get_sample_value
    return value("interests_batch_seconds_count") or 0, value("interests_batch_seconds_sum") or 0


async def test_a_batch_is_measured_until_its_acknowledgement_has_returned() -> None:
    for work in (Worker.fold, Worker.fold_when_due, Worker.describe):
        metrics = Metrics()
        await work(Worker(metrics), FakeBatch(counts=True))  # type: ignore[arg-type]  # as much of it as is used
        count, seconds = observed(metrics)
        assert count == 1
        assert seconds >= SLOW_S


async def test_a_batch_that_was_taken_away_is_not_measured() -> None:
    for work in (Worker.fold, Worker.fold_when_due, Worker.describe):
        metrics = Metrics()
        await work(Worker(metrics), FakeBatch(counts=False))  # type: ignore[arg-type]  # as much of it as is used
        assert observed(metrics) == (0, 0)


async def test_a_worker_that_stops_leaves_what_is_not_due_to_the_next_one() -> None:
    batch: Any = FakeBatch(counts=True, stops=True)
    async with asyncio.timeout(1):
        await Worker(Metrics()).fold_when_due(batch)
    assert batch.acked == 0


async def test_what_another_group_waits_with_is_acknowledged_and_not_folded() -> None:
    batch: Any = FakeBatch(counts=True)
    headers = [("unresolved-group", b"theirs")]
    batch.records = [record(click(), topic="events.unresolved", headers=headers)]
    worker = Worker(Metrics())
    through: list[Any] = []
    worker._deps.retries = RetryPolicy(base_ms=1, cap_ms=1, deadline_ms=1, group="ours")

    async def note(_: Any, records: Any, *__: Any) -> bool:
        through.extend(records)
        return True

    worker._through = note  # type: ignore[method-assign]
    await worker.fold_when_due(batch)
    assert (through, batch.acked) == ([], 1)
