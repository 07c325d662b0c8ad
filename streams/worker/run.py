"""A worker, put together: settings in, servers waited for, agents running, an exit code out."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic

import structlog

from streams.base.background import note_end
from streams.base.clock import now_ms
from streams.base.errors import StoreUnavailable
from streams.broker.app import BrokerApp, make_app
from streams.broker.consumer_state import ConsumerState
from streams.broker.lifecycle import run_worker
from streams.broker.liveness import LivenessJudge, LivenessLimits
from streams.concepts.tree import ConceptTree
from streams.encoder.concept_tree import read_tree
from streams.interests.signed_weight import WeightTable
from streams.pipeline.plain_event import apply_plain_event
from streams.settings.service import Settings, WorkerSettings, config_file, load
from streams.settings.wiring import kafka_config
from streams.store.encoders import GroupNote
from streams.worker.agents import register
from streams.worker.batch_worker import BatchWorker, unheeded
from streams.worker.crashes import Crashes, CrashSurroundings
from streams.worker.metrics import Metrics
from streams.worker.outputs import UpdatesProducer
from streams.worker.ownership import Owner, Ownership
from streams.worker.pace import Pace
from streams.worker.reloading import Reloading, Tables, tables_of
from streams.worker.servers import Connected, connected
from streams.worker.status import WorkerStatus, serving
from streams.worker.sweep import Sweepable, sweep
from streams.worker.tracing_export import exporting

log = structlog.get_logger(__name__)

#: Objects until the youngest are looked through, and how many such rounds until the next older ones are.
_GC_THRESHOLDS = (50_000, 20, 50)


async def run(settings: Settings, *, stop: asyncio.Event | None = None, only_items: bool = False) -> int:
    """Run one worker until it is stopped on request (0) or must end (1).

    With `only_items` it describes items and nothing else: before a log of events is read from its beginning, so that
    none of them has to wait for its item.
    """
    metrics, limits, kafka = Metrics(), settings.worker, settings.kafka
    metrics.expect((*kafka.event_topics, kafka.unresolved_topic, kafka.items_topic))
    metrics.expect_events(kafka.event_topics)
    status = WorkerStatus(LivenessJudge(_limits(limits)))

    def waiting(server: str) -> None:
        metrics.retries.labels(server).inc()
        status.waiting_for = server

    with (
        exporting(settings),
        serving(status, metrics.registry, limits.metrics_host, limits.metrics_port, limits.stuck_after_s),
    ):
        beating = asyncio.create_task(status.beat())
        try:
            async with connected(settings, metrics, waiting) as servers:
                return await _work(settings, metrics, servers, status, stop, only_items=only_items)
        finally:
            beating.cancel()


def _limits(worker: WorkerSettings) -> LivenessLimits:
    # Not live before it ends itself: whoever probes may act first. A request to Triton (`triton.deadline_s`) may take
    # half of `stuck_after_s` and is no standstill.
    return LivenessLimits(
        loop_s=worker.loop_stuck_after_s, stuck_s=0.75 * worker.stuck_after_s, answered_s=worker.unanswered_after_s
    )


async def _work(
    settings: Settings, metrics: Metrics, servers: Connected, status: WorkerStatus, stop: asyncio.Event | None,
    *, only_items: bool,
) -> int:  # fmt: skip
    """Run the agents and what goes on beside them until the worker ends; returns its exit code."""
    limits = settings.worker
    # Gathering never cuts a fetched batch, so those are cut to the bounds of a batch.
    config = replace(kafka_config(settings.kafka), batch_records=limits.batch_records, batch_bytes=limits.batch_bytes)
    app = make_app(config, liveness=status.judge)
    state = ConsumerState(app)
    metrics.progress = app.note_progress
    metrics.watch_lag(state.lag)
    metrics.since_commit.set_function(status.judge.seconds_since_commit)
    ownership = _ownership(settings, metrics, servers, state)
    crashes = _crashes(settings, metrics, servers, state)
    worker = _batch_worker(settings, metrics, servers, ownership, crashes, app)
    register(app, worker, settings, servers.deriving, only_items=only_items)
    reloading = await _reloading(settings, metrics, servers, worker)
    status.partitions, status.waiting_for = state.partitions, None
    beside = [
        asyncio.create_task(status.watch({**servers.probes, "kafka": state.answers})),
        asyncio.create_task(_sweep(servers, metrics, limits.sweep_every_s)),
        asyncio.create_task(servers.serving.watch()),
    ]
    if limits.reload_every_s:
        beside.append(asyncio.create_task(reloading.watch(limits.reload_every_s)))
    if servers.learned is not None:
        beside.append(asyncio.create_task(servers.learned.sweep.run(state.held)))
    for task in beside:
        task.add_done_callback(note_end)
    _rarely_collect_garbage()
    on_ready = partial(_assigned, state, monotonic())
    try:
        code = await run_worker(app, stop=stop, on_ready=on_ready, stall_s=limits.stuck_after_s)
    finally:
        status.stopping = True
        for task in beside:
            task.cancel()
    try:
        if code == 0 or app.crashed:  # else work stood still: as good as a death
            await crashes.stop()
        await ownership.note()
    except StoreUnavailable as error:
        log.warning("control_point_not_noted", error=str(error))
    log.info("stopped", code=code)
    return code


async def _sweep(servers: Connected, metrics: Metrics, every_s: float) -> None:
    stores: list[Sweepable] = [servers.store, servers.cohorts]
    await sweep(stores, every_s, metrics.sweeps, servers.store.oldest_put_back, metrics.erasure_overdue)


async def _assigned(state: ConsumerState, began_s: float) -> None:
    log.info("partitions_assigned", partitions=state.partitions(), joined_s=round(monotonic() - began_s, 2))


def _ownership(settings: Settings, metrics: Metrics, servers: Connected, state: ConsumerState) -> Ownership:
    def changed(owner: Owner) -> None:
        servers.store.forget()
        metrics.epoch.set(owner.fence.epoch)
        metrics.generation.set(owner.fence.generation)

    return Ownership(
        store=servers.store,
        group=settings.kafka.group,
        partitions=servers.partitions,
        confirm=state.confirm,
        on_change=changed,
        refused=metrics.fence_refused,
    )


def _crashes(settings: Settings, metrics: Metrics, servers: Connected, state: ConsumerState) -> Crashes:
    deps = servers.deps
    return Crashes(
        CrashSurroundings(
            marks=servers.crash_marks,
            members=state.members,
            committed=state.committed,
            dead_letter=deps.outbox.dead_letter,
            healthy=lambda: apply_plain_event(deps, now_ms()),
            count=metrics.dead_lettered,
            budget=settings.worker.crash_budget,
        )
    )


def _batch_worker(
    settings: Settings, metrics: Metrics, servers: Connected, ownership: Ownership, crashes: Crashes, app: BrokerApp
) -> BatchWorker:
    kafka = settings.kafka
    return BatchWorker(
        deps=servers.deps,
        ownership=ownership,
        crashes=crashes,
        metrics=metrics,
        progress=app.note_progress,
        through=servers.outbox.forget,
        updates=UpdatesProducer(
            producer=servers.producer,
            topic=kafka.updated_topic,
            group=kafka.group,
            policy=servers.deps.policy,
            holds_back=partial(servers.serving.holds_back, "updates"),
        ),
        pace=Pace(settings.worker.batch_records, settings.worker.batch_within_s),
        changed=servers.learned.changed if servers.learned else unheeded,
    )


async def _reloading(settings: Settings, metrics: Metrics, servers: Connected, worker: BatchWorker) -> Reloading:
    """What reads changed files, once what this worker begins with is noted of its group."""
    deps, file = servers.deps, settings.concepts.file

    async def noted(tables: Tables) -> None:
        metrics.placing_by(tables.tree.version, tables.concepts_digest, tables.weights_digest)
        note = GroupNote(
            group=settings.kafka.group, encoder=deps.tree.encoder_id, model=settings.triton.model,
            concepts=f"{tables.tree.version}@{tables.concepts_digest}", weights=tables.weights_digest, at_ms=now_ms(),
        )  # fmt: skip
        try:
            await servers.encoders.note(note)
        except StoreUnavailable as error:
            log.warning("group_not_noted", error=str(error))

    async def taken_up(tables: Tables) -> None:
        worker.take_up(tables.tree, tables.weights)
        await noted(tables)

    def tree_of(path: Path) -> ConceptTree:
        return settings.concepts.with_floors(read_tree(path, deps.tree.encoder_id, deps.tree.dim))

    began = tables_of(deps.tree, deps.weights, file)
    await noted(began)
    return Reloading(
        began, tree_file=file, read_tree=tree_of,
        weights_file=config_file(), read_weights=_weights_now, most=servers.most_weight,
        taken_up=taken_up, count=lambda what, outcome: metrics.reloads.labels(what, outcome).inc(),
    )  # fmt: skip


def _weights_now() -> WeightTable:
    return load().weights.table()


def _rarely_collect_garbage() -> None:
    """Cached nodes live long and in no cycles: walking through all of them at every batch cost a quarter of it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
