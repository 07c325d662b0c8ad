"""A discrete-event model of a consumer group and its store: records that come in, batches, writes, lost workers.

What it leaves out: the broker (it keeps up), the network, the encoder (clicks on known items need none), and memory.
The processor is what it counts, in seconds that were measured; the rest are times of the group's protocol.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import simpy

_FIRST_LIMIT: Final = 1_000  # records of a worker's first batch, as `streams.worker.pace` begins
_SETTLED_S: Final = 30.0
_CALLS_AT_ONCE: Final = 8  # of a worker to the store, each of about 128 points
_EVENTS_A_CALL: Final = 32
_SLICE_S: Final = 0.01  # processor time that a process gets before another one has its turn

Step = Generator[simpy.Event, Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Processor seconds of an event and of a batch, of a worker and of the store, and what the store can do at once.

    `store_cores` is how many calls the store works on at a time: one for the embedded engine, and for a server about
    its shards or its cores, whichever are fewer. `machine_cores` is what all processes share; None: a core each.
    """

    worker_event_s: float
    store_event_s: float
    worker_batch_s: float = 0.0
    store_batch_s: float = 0.0
    store_cores: int = 1
    machine_cores: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The consumer group: its members, and the settings that decide how it shares out work and notices a loss.

    `rejoin_s` is how long all members stand still while partitions are shared out anew.
    """

    workers: int
    partitions: int
    session_timeout_s: float = 10.0
    heartbeat_s: float = 1.0
    rejoin_s: float = 1.0
    commit_interval_s: float = 1.0
    batch_records: int = 8_000
    batch_within_s: float = 2.0
    batch_linger_s: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """So many workers die at once, `at_s` seconds after the start; others take their place `back_after_s` later."""

    workers: int
    at_s: float
    back_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """The lag by time: seconds since the start, and records that are not committed; `loss_s` is when workers died.

    `oldest_s` is how long the record that waited longest had waited by then, where that is known.
    """

    times_s: tuple[float, ...]
    lags: tuple[float, ...]
    loss_s: float
    oldest_s: tuple[float, ...] = ()

    @property
    def steady(self) -> float:
        """The mean lag before the loss, its first half left out."""
        before = [lag for at, lag in self._points() if self.loss_s / 2 <= at < self.loss_s]
        return sum(before) / len(before) if before else 0.0

    @property
    def peak(self) -> float:
        """The largest lag from the loss on."""
        return max(lag for at, lag in self._points() if at >= self.loss_s)

    @property
    def caught_up_s(self) -> float | None:
        """Seconds from the loss until the lag was within a tenth of its peak above the steady lag; None: never."""
        bound = self.steady + (self.peak - self.steady) / 10
        top = next(at for at, lag in self._points() if at >= self.loss_s and lag == self.peak)
        return next((at - self.loss_s for at, lag in self._points() if at >= top and lag <= bound), None)

    def _points(self) -> list[tuple[float, float]]:
        return list(zip(self.times_s, self.lags, strict=True))


def simulate(
    costs: Costs, group: Group, events_per_s: float, *, seconds: float, loss: Loss | None = None, sample_s: float = 0.25
) -> Course:
    """Run the model for `seconds`. Deterministic: records come evenly, over all partitions alike."""
    return _Run(costs, group, events_per_s, loss).course(seconds, sample_s)


def least_workers(
    costs: Costs, events_per_s: float, *, within_s: float, partitions_each: int = 2, session_timeout_s: float = 10.0
) -> int:
    """The fewest workers whose group has caught up `within_s` seconds after it lost a third of them for good."""
    workers = max(3, ceil(events_per_s * costs.worker_event_s))
    while True:
        group = Group(workers=workers, partitions=partitions_each * workers, session_timeout_s=session_timeout_s)
        loss = Loss(workers=workers // 3, at_s=_SETTLED_S)
        course = simulate(costs, group, events_per_s, seconds=_SETTLED_S + 2 * within_s, loss=loss)
        if course.caught_up_s is not None and course.caught_up_s <= within_s:
            return workers
        workers += max(1, workers // 20)


class _Partition:
    """The offsets of one partition: handed out, applied and committed so far. What came in follows from the clock."""

    def __init__(self) -> None:
        self.taken = self.applied = self.committed = 0.0
        self.owner: _Worker | None = None


class _Worker:
    def __init__(self, most: int) -> None:
        self.alive = True
        self.limit = float(min(most, _FIRST_LIMIT))
        self.partitions: list[_Partition] = []
        self.writing: simpy.Event | None = None


class _Run:
    def __init__(self, costs: Costs, group: Group, events_per_s: float, loss: Loss | None) -> None:
        self.costs, self.group, self.loss = costs, group, loss
        self.env = simpy.Environment()
        self.each_s = events_per_s / group.partitions
        self.store = simpy.Resource(self.env, costs.store_cores)
        self.machine = simpy.Resource(self.env, costs.machine_cores) if costs.machine_cores else None
        self.partitions = [_Partition() for _ in range(group.partitions)]
        self.workers = [_Worker(group.batch_records) for _ in range(group.workers)]
        self.still_until = 0.0
        self._share_out()

    def course(self, seconds: float, sample_s: float) -> Course:
        for worker in self.workers:
            self.env.process(self._work(worker))
        if self.loss:
            self.env.process(self._lose(self.loss))
        self.env.process(self._commit())
        times, lags, oldest = list[float](), list[float](), list[float]()
        while self.env.now + sample_s <= seconds:
            self.env.run(self.env.now + sample_s)
            times.append(self.env.now)
            waiting = [self._came() - one.committed for one in self.partitions]
            lags.append(sum(waiting))
            oldest.append(max(waiting) / self.each_s)
        return Course(tuple(times), tuple(lags), self.loss.at_s if self.loss else 0.0, tuple(oldest))

    def _came(self) -> float:
        return self.each_s * self.env.now

    def _share_out(self) -> None:
        """Give each partition to a living worker; what its last owner had not committed is handed out again."""
        living = [worker for worker in self.workers if worker.alive]
        for worker in self.workers:
            worker.partitions = []
        for number, partition in enumerate(self.partitions):
            owner = living[number % len(living)] if living else None
            if partition.owner is not owner:
                partition.taken = partition.applied = partition.committed
                partition.owner = owner
            if owner:
                owner.partitions.append(partition)

    def _lose(self, loss: Loss) -> Step:
        yield self.env.timeout(loss.at_s)
        for worker in self.workers[: loss.workers]:
            worker.alive = False
        if loss.back_after_s is not None:
            self.env.process(self._replace(loss.workers, loss.back_after_s))
        # The last heartbeat of a member lies half an interval back, as a mean.
        yield self.env.timeout(self.group.session_timeout_s - self.group.heartbeat_s / 2)
        yield from self._rebalance()

    def _replace(self, count: int, after_s: float) -> Step:
        yield self.env.timeout(after_s)
        new = [_Worker(self.group.batch_records) for _ in range(count)]
        self.workers += new
        yield from self._rebalance()
        for worker in new:
            self.env.process(self._work(worker))

    def _rebalance(self) -> Step:
        """All members stand still: each hears of it with its next heartbeat, then they join."""
        self.still_until = self.env.now + self.group.heartbeat_s / 2 + self.group.rejoin_s
        yield self.env.timeout(self.still_until - self.env.now)
        self._share_out()

    def _commit(self) -> Step:
        while True:
            yield self.env.timeout(self.group.commit_interval_s)
            for partition in self.partitions:
                if partition.owner and partition.owner.alive:
                    partition.committed = partition.applied

    def _work(self, worker: _Worker) -> Step:
        """Take a batch, fold it while the one before is written, hand it to the writer."""
        group, costs = self.group, self.costs
        while worker.alive:
            if self.env.now < self.still_until:
                yield self.env.timeout(self.still_until - self.env.now)
                continue
            yield self.env.timeout(group.batch_linger_s)
            batch = self._take(worker)
            records = sum(end - start for _, start, end in batch)
            if not records:
                continue
            began = self.env.now
            yield from self._compute(costs.worker_batch_s + records * costs.worker_event_s)
            if worker.writing is not None:
                yield worker.writing
            worker.writing = self.env.process(self._write(worker, batch, records, began))

    def _take(self, worker: _Worker) -> list[tuple[_Partition, float, float]]:
        """An equal share of each partition that has records, up to the limit; whole records only."""
        waiting = [(one, int(self._came() - one.taken)) for one in worker.partitions]
        waits = sum(count for _, count in waiting)
        share = min(1.0, worker.limit / waits) if waits else 0.0
        batch = []
        for partition, count in waiting:
            start, end = partition.taken, partition.taken + int(count * share)
            partition.taken = end
            batch.append((partition, start, end))
        return batch

    def _write(
        self, worker: _Worker, batch: list[tuple[_Partition, float, float]], records: float, began: float
    ) -> Step:
        calls = max(1, min(_CALLS_AT_ONCE, int(records / _EVENTS_A_CALL)))
        each_s = (self.costs.store_batch_s + records * self.costs.store_event_s) / calls
        yield self.env.all_of([self.env.process(self._call(each_s)) for _ in range(calls)])
        if not worker.alive:
            return
        for partition, start, end in batch:
            if partition.owner is worker and partition.applied == start:
                partition.applied = end
        self._pace(worker, records, self.env.now - began)

    def _call(self, seconds: float) -> Step:
        with self.store.request() as turn:
            yield turn
            yield from self._compute(seconds)

    def _pace(self, worker: _Worker, records: float, seconds: float) -> None:
        """The size of the next batch, as `streams.worker.pace` has it."""
        most, within_s = self.group.batch_records, self.group.batch_within_s
        if seconds > within_s:
            worker.limit = min(most, max(64, records * within_s / seconds))
        elif 2 * records > worker.limit:
            worker.limit = min(most, 2 * worker.limit)

    def _compute(self, seconds: float) -> Step:
        """So much processor time; on a shared machine in slices, so that nobody waits for a whole batch of another."""
        if self.machine is None:
            yield self.env.timeout(seconds)
            return
        while seconds > 0:
            with self.machine.request() as core:
                yield core
                yield self.env.timeout(min(seconds, _SLICE_S))
            seconds -= _SLICE_S
