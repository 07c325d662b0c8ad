"""A worker on real brokers: what it reads, in which order, what it commits, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from streams.broker import Batch, gather_batches, make_app, run_worker
from streams.broker.admin import Admin
from streams.broker.consumer_thread import BatchConsumerThread
from tests.fixtures.brokers import Broker
from tests.fixtures.workers import WorkerProcess, committed, ends, produce, running, until

pytestmark = pytest.mark.integration

on_one_broker = pytest.mark.parametrize("broker", ["tansu"], indirect=True)  # the broker plays no part


async def test_reads_every_record_once_in_order_and_commits_exactly_the_next_offset(broker: Broker) -> None:
    topic = await broker.new_topic()
    config = broker.config(batch_records=200)
    places = await produce(config, topic, 5_000)
    sizes: list[int] = []

    async def note(batch: Batch) -> None:
        sizes.append(len(batch))
        assert all(len(part) <= 200 for part in batch.fetched)
        assert all(part.highwater == end[part.partition] for part in batch.fetched)

    end = await ends(config, topic)
    async with running(config, topic, on_batch=note, max_records=500) as worker:
        await until(lambda: len(worker.seen) >= 5_000, 20)
        code = await worker.stop()

    assert code == 0
    assert sorted(worker.seen) == sorted(places)
    assert max(sizes) <= 500
    for partition in range(4):
        offsets = [offset for number, offset in worker.seen if number == partition]
        assert offsets == list(range(len(offsets)))
    assert await committed(config, topic) == end


async def test_leaves_the_group_so_that_the_next_worker_need_not_wait(broker: Broker) -> None:
    topic = await broker.new_topic()
    config = broker.config(session_timeout_s=6.0, heartbeat_s=1.0)
    await produce(config, topic, 10)
    async with running(config, topic) as worker:
        await until(lambda: len(worker.seen) == 10, 20)
        async with Admin(config) as admin:
            assert len((await admin.group(config.group_id)).members) == 1
    async with Admin(config) as admin:
        assert (await admin.group(config.group_id)).members == ()


async def test_a_second_worker_goes_on_where_the_first_stopped(broker: Broker) -> None:
    topic = await broker.new_topic()
    config = broker.config()
    await produce(config, topic, 300)
    async with running(config, topic) as first:
        await until(lambda: len(first.seen) == 300, 20)
    await produce(config, topic, 200, start=300)
    async with running(config, topic) as second:
        await until(lambda: len(second.seen) >= 200, 20)
        await asyncio.sleep(0.3)
    assert len(second.seen) == 200
    assert not set(first.seen) & set(second.seen)


async def test_what_is_not_acknowledged_comes_again(broker: Broker) -> None:
    topic = await broker.new_topic()
    config = broker.config()
    places = await produce(config, topic, 100)
    app = make_app(config)
    stop = asyncio.Event()
    held: list[Batch] = []

    async def hold(stream: object) -> None:
        async for batch in gather_batches(app, stream):
            held.append(batch)  # noqa: PERF401 - one by one, as they come

    app.agent(app.topic(topic))(hold)
    task = asyncio.create_task(run_worker(app, stop=stop, signals=False))
    await until(lambda: sum(map(len, held)) == 100, 20)
    stop.set()
    assert await task == 0
    assert not any(await committed_or_none(broker, config.group_id, topic))
    async with running(config, topic) as worker:
        await until(lambda: len(worker.seen) == 100, 20)
    assert sorted(worker.seen) == sorted(places)


async def test_stopping_commits_what_was_acknowledged_while_another_commit_was_under_way(broker: Broker) -> None:
    topic = await broker.new_topic(partitions=1)
    config = broker.config(batch_records=100, commit_interval_s=60.0)
    await produce(config, topic, 1_000)
    commits: list[asyncio.Task[bool]] = []
    app, stop = make_app(config), asyncio.Event()

    async def agent(stream: object) -> None:
        async for batch in gather_batches(app, stream, max_records=100):
            commits.append(asyncio.create_task(app.consumer.commit()))
            await asyncio.sleep(0)
            await batch.ack()
            if batch.fetched[-1].next_offset == 1_000:
                stop.set()

    app.agent(app.topic(topic))(agent)
    assert await run_worker(app, stop=stop, signals=False) == 0
    await asyncio.gather(*commits)
    assert await committed(config, topic) == {0: 1_000}


async def committed_or_none(broker: Broker, group_id: str, topic: str) -> list[int | None]:
    async with Admin(broker.config()) as admin:
        return [row.committed for row in await admin.lag(group_id, [topic])]


async def test_a_failing_agent_ends_the_process_with_1_and_acknowledges_nothing_past_it(
    broker: Broker, tmp_path: Path
) -> None:
    topic = await broker.new_topic(partitions=1)
    config = broker.config(batch_records=100)
    places = await produce(config, topic, 1_000)
    failing = WorkerProcess(config, topic, tmp_path / "failing", fail_at=450)
    failing.start()
    assert await asyncio.to_thread(failing.wait) == 1, failing.log()
    assert "asked to fail here" in failing.log()
    at = (await committed(config, topic))[0]
    assert at <= 400
    assert {(0, offset) for offset in range(at)} <= failing.seen()

    healthy = WorkerProcess(config, topic, tmp_path / "healthy")
    healthy.start()
    try:
        await until(lambda: len(healthy.seen()) >= 1_000 - at, 20)
        healthy.signal(signal.SIGTERM)
        assert await asyncio.to_thread(healthy.wait) == 0, healthy.log()
    finally:
        healthy.end()
    assert failing.seen() | healthy.seen() == set(places)
    assert await committed(config, topic) == {0: 1_000}


async def test_a_signal_lets_the_running_batch_finish_and_exits_0(broker: Broker, tmp_path: Path) -> None:
    number = {"kafka": signal.SIGTERM, "tansu": signal.SIGINT}[broker.kind]
    topic = await broker.new_topic(partitions=1)
    config = broker.config(batch_records=50, commit_interval_s=60.0)
    await produce(config, topic, 1_000)
    worker = WorkerProcess(config, topic, tmp_path / "worker", pause_s=0.5)
    worker.start()
    try:
        await until(lambda: len(worker.lines()) > 0, 20)
        worker.signal(number)
        assert await asyncio.to_thread(worker.wait) == 0, worker.log()
    finally:
        worker.end()
    offsets = [offset for _, offset, _ in worker.lines()]
    assert offsets == list(range(len(offsets)))
    assert len(offsets) < 1_000, "the worker ran to the end before the signal"
    assert await committed(config, topic) == {0: len(offsets)}


@on_one_broker
async def test_a_worker_stopped_before_its_thread_has_come_to_run_ends_with_it(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine lets threads wait. Left behind, this one would join the group and hold partitions for ever."""
    begun, go_on = threading.Event(), threading.Event()

    class Late(BatchConsumerThread.Worker):  # type: ignore[misc]  # mode is untyped
        def run(self) -> None:
            begun.set()
            go_on.wait()
            super().run()

    monkeypatch.setattr(BatchConsumerThread, "Worker", Late)
    topic = await broker.new_topic()
    async with running(broker.config(), topic, wait_ready=False) as worker:
        await until(begun.is_set, 20)
        stopping = asyncio.create_task(worker.stop())
        await asyncio.wait([stopping], timeout=0.5)  # it ended by here if it did not wait for the thread
        go_on.set()
        assert await stopping == 0
        thread = worker.app.consumer._thread
        left = thread._thread.is_alive()
        thread._stopped_set()  # whatever is found: no later test meets it
        await asyncio.to_thread(thread._thread.stop)
    assert not left


@on_one_broker
async def test_a_stuck_agent_does_not_hold_up_another(broker: Broker) -> None:
    slow, quick = await broker.new_topic("slow"), await broker.new_topic("quick")
    config = broker.config(batch_records=10, buffer_batches=2, max_poll_records=50)
    await produce(config, slow, 2_000)
    await produce(config, quick, 2_000)
    app = make_app(config)
    stop, count = asyncio.Event(), 0

    async def stuck(stream: object) -> None:
        async for _ in gather_batches(app, stream):
            await stop.wait()

    async def counting(stream: object) -> None:
        nonlocal count
        async for batch in gather_batches(app, stream):
            count += len(batch)
            await batch.ack()

    app.agent(app.topic(slow))(stuck)
    app.agent(app.topic(quick))(counting)
    task = asyncio.create_task(run_worker(app, stop=stop, signals=False))
    await until(lambda: count == 2_000, 30)
    assert app.consumer.ledger.outstanding() < 40, "the stuck agent's queue has a bound"
    stop.set()
    assert await task == 0


@on_one_broker
async def test_a_worker_that_acknowledges_nothing_is_ended_by_the_judge(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await broker.new_topic()
    config = broker.config()
    await produce(config, topic, 10)

    async def hang(_: Batch) -> None:
        await asyncio.Event().wait()

    async with running(config, topic, on_batch=hang, stall_s=1.0, drain_s=0.1) as worker:
        await until(lambda: worker.task is not None and worker.task.done(), 20)
        assert await worker.stop() == 1
    assert "none was acknowledged for 1 s" in caplog.text


@on_one_broker
async def test_an_agent_that_says_it_waits_is_left_alone(broker: Broker) -> None:
    topic = await broker.new_topic()
    config = broker.config()
    await produce(config, topic, 10)
    app, stop = make_app(config), asyncio.Event()

    async def wait_out_an_outage(stream: object) -> None:
        async for batch in gather_batches(app, stream):
            for _ in range(15):
                app.note_progress()
                await asyncio.sleep(0.1)
            await batch.ack()
            stop.set()

    app.agent(app.topic(topic))(wait_out_an_outage)
    assert await run_worker(app, stop=stop, stall_s=0.5, signals=False) == 0


async def test_the_time_since_a_commit_is_ended_by_commits_alone(broker: Broker) -> None:
    topic = await broker.new_topic()
    config = broker.config(commit_interval_s=60.0)
    async with running(config, topic) as worker:
        judge = worker.app.liveness
        await asyncio.sleep(0.5)
        assert judge.seconds_since_commit() == 0, "nothing waits for a commit"
        await produce(config, topic, 10)
        await until(lambda: len(worker.seen) == 10, 20)
        await until(lambda: judge.seconds_since_commit() > 0.8, 20)
        worker.app.note_progress()
        assert judge.seconds_since_commit() > 0.8
        assert await worker.app.consumer.commit()
        await until(lambda: judge.seconds_since_commit() == 0, 5)
        assert await worker.stop() == 0


@on_one_broker
async def test_a_client_that_fetches_no_more_is_noticed_by_its_lag(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """As aiokafka's fetching may hang for ever: nothing is out, yet the log grows."""
    topic = await broker.new_topic()
    config = broker.config()
    async with running(config, topic, stall_s=1.0) as worker:
        worker.app.consumer.resume_flow()
        worker.app.consumer._active_partitions.clear()
        await asyncio.sleep(1.5)
        assert worker.task is not None
        assert not worker.task.done(), "without lag there is nothing to complain about"
        await produce(config, topic, 100)
        await until(worker.task.done, 20)
        assert await worker.stop() == 1
    assert "none was fetched for 1 s" in caplog.text


@on_one_broker
async def test_a_client_whose_fetching_ended_is_noticed_at_once(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await broker.new_topic()
    async with running(broker.config(), topic, stall_s=60.0) as worker:
        thread = worker.app.consumer._thread
        thread.thread_loop.call_soon_threadsafe(thread._consumer._fetcher._fetch_task.cancel)
        await until(lambda: worker.task is not None and worker.task.done(), 10)
        assert await worker.stop() == 1
    assert "the Kafka client gave up" in caplog.text


async def test_a_group_the_broker_refuses_ends_the_worker(kafka: Broker, caplog: pytest.LogCaptureFixture) -> None:
    topic = await kafka.new_topic()
    config = kafka.config(session_timeout_s=0.5, heartbeat_s=0.1)
    async with running(config, topic, stall_s=60.0) as worker:
        await until(lambda: worker.task is not None and worker.task.done(), 20)
        assert await worker.stop() == 1
    assert "InvalidSessionTimeoutError" in caplog.text


@on_one_broker
async def test_nothing_of_the_environment_reaches_faust(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_URL", "kafka://203.0.113.1:1")
    monkeypatch.setenv("WEB_ENABLED", "true")
    app = make_app(broker.config())
    assert [str(url) for url in app.conf.broker] == [f"kafka://{broker.bootstrap}"]
    assert app.conf.web_enabled is False


@on_one_broker
async def test_writes_no_files(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    topic = await broker.new_topic()
    async with running(broker.config(), topic):
        pass
    assert list(tmp_path.iterdir()) == []


async def test_batches_of_a_partition_follow_each_other(broker: Broker) -> None:
    topic = await broker.new_topic()
    config = broker.config(batch_records=64)
    await produce(config, topic, 3_000)
    bounds: dict[int, list[tuple[int, int]]] = {}

    async def note(batch: Batch) -> None:
        for part in batch.fetched:
            bounds.setdefault(part.partition, []).append((part.first_offset, part.next_offset))

    async with running(config, topic, on_batch=note) as worker:
        await until(lambda: len(worker.seen) == 3_000, 20)
    for spans in bounds.values():
        assert all(earlier[1] == later[0] for earlier, later in pairwise(spans))
