"""What is measured of a batch: from taking it until its acknowledgement has returned."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from streams.events.unresolved import RetryPolicy
from streams.worker.batch_worker import BatchWorker
from streams.worker.metrics import Metrics
from tests.fixtures.records import click, record

SLOW_S = 0.05


class FakeBatch:
    """A batch of one record whose acknowledgement takes a while, and counts or comes too late."""

    generation = 1

    def __init__(self, counts: bool) -> None:
        self.records = [record(click())]
        self._counts = counts

    def __len__(self) -> int:
        return len(self.records)

    def stale(self) -> bool:
        return False

    async def ack(self) -> bool:
        await asyncio.sleep(SLOW_S)
        return self._counts


class Worker(BatchWorker):
    """A worker whose work is done at once."""

    def __init__(self, metrics: Metrics) -> None:
        deps: Any = SimpleNamespace(retries=RetryPolicy(base_ms=1, cap_ms=1, deadline_ms=1))
        super().__init__(deps=deps, ownership=None, crashes=None, metrics=metrics, progress=lambda: None, updates=None)  # type: ignore[arg-type]  # never reached

    async def _through(self, *_: Any) -> bool:
        return True


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
