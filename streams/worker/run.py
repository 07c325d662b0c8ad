"""A worker, put together: settings in, servers waited for, agents running, an exit code out."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import NamedTuple

import structlog

from streams.base.clock import now_ms
from streams.base.errors import ConfigurationError, StoreUnavailable
from streams.broker.admin import Admin
from streams.broker.app import make_app
from streams.broker.config import KafkaConfig
from streams.broker.consumer_state import ConsumerState
from streams.broker.partitions import partition_of
from streams.broker.producer import Producer
from streams.broker.worker import run_worker
from streams.events.event import Event
from streams.events.unresolved import RetryPolicy
from streams.pipeline.apply import PipelineDependencies
from streams.pipeline.derive import Deriving
from streams.settings.privacy import dead_letter_policy_of, pseudonyms_of
from streams.settings.service import KafkaSettings, Settings
from streams.settings.wiring import kafka_config, load_tree, qdrant_config, topic_specs, triton_encoder
from streams.store.cached import CachedStore
from streams.store.cohort_store import CohortStore
from streams.store.collections import Collections
from streams.store.qdrant import QdrantStore
from streams.worker.agents import register
from streams.worker.batch_worker import BatchWorker
from streams.worker.health import HealthLimits
from streams.worker.metrics import Metrics
from streams.worker.outbox import KafkaOutbox
from streams.worker.outputs import DerivedEventsProducer, UpdatesProducer
from streams.worker.ownership import Owner, Ownership
from streams.worker.retrying import answered
from streams.worker.status import Probe, WorkerStatus, serving
from streams.worker.tracing_export import exporting

log = structlog.get_logger(__name__)

#: Objects until the youngest are looked through, and how many such rounds until the next older ones are.
_GC_THRESHOLDS = (50_000, 20, 50)


class Connected(NamedTuple):
    """What a worker talks to, once every server has answered; `partitions` by topic."""

    deps: PipelineDependencies
    store: CachedStore
    cohorts: CohortStore
    deriving: Deriving
    producer: Producer
    partitions: dict[str, int]
    probes: dict[str, Probe]


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> int:
    """Run one worker until it is told to stop (0) or must end (1)."""
    metrics, limits = Metrics(), settings.worker
    # Not live before it ends itself: whoever probes may act first. A request of texts may take half of the time.
    status = WorkerStatus(
        HealthLimits(limits.loop_stuck_after_s, 0.75 * limits.stuck_after_s, limits.unanswered_after_s)
    )
    with (
        exporting(settings),
        serving(status, metrics.registry, limits.metrics_host, limits.metrics_port, limits.stuck_after_s),
    ):
        beating = asyncio.create_task(status.beating())
        try:
            async with _connected(settings, metrics, status) as connected:
                return await _work(settings, metrics, connected, status, stop)
        finally:
            beating.cancel()


@asynccontextmanager
async def _connected(settings: Settings, metrics: Metrics, status: WorkerStatus) -> AsyncIterator[Connected]:
    """Wait for Triton, Qdrant and Kafka, prepare collections and tree, and let go of all on the way out."""

    def waiting(name: str) -> None:
        metrics.retries.labels(name).inc()
        status.waiting_for = name

    pseudonyms = pseudonyms_of(settings)
    letters = dead_letter_policy_of(settings, pseudonyms)
    async with AsyncExitStack() as stack:
        encoder = triton_encoder(settings.triton, observer=metrics)
        stack.push_async_callback(encoder.close)
        info = await answered(waiting, encoder.info)
        policy, limits = settings.nodes.policy(), settings.worker
        names = Collections(info.encoder_id, info.dim, settings.qdrant.hnsw_interests)
        qdrant = QdrantStore(qdrant_config(settings), policy, names, called=metrics.store_called)
        store = CachedStore(
            qdrant, nodes_bytes=limits.nodes_cache_mib << 20, items_bytes=limits.items_cache_mib << 20,
            items_ttl_s=limits.items_ttl_s,
        )  # fmt: skip
        stack.push_async_callback(store.close)
        await answered(waiting, qdrant.prepare)
        cohorts = _cohorts(settings, names, metrics)
        stack.push_async_callback(cohorts.close)
        await answered(waiting, cohorts.prepare)
        tree = await answered(waiting, load_tree, settings.concepts.file, encoder, info.encoder_id)
        config = kafka_config(settings.kafka)
        partitions = await answered(waiting, partition_counts, config, settings.kafka)
        producer = Producer(config)
        await answered(waiting, producer.start)
        stack.push_async_callback(producer.stop)
        metrics.watch_caches({**store.readers(), "texts": encoder.cache_stats})
        outbox = KafkaOutbox(producer, settings.kafka.unresolved_topic, letters)
        deps = PipelineDependencies(
            encoder=encoder, store=store, outbox=outbox, tree=tree, policy=policy, weights=settings.weights.table(),
            retries=_retries(settings), home=_home(partitions, settings.kafka.unresolved_topic), pseudonyms=pseudonyms,
            send_derived=_derived_events(settings, producer),
        )  # fmt: skip
        deriving = Deriving(
            cohorts, store, outbox, settings.kafka.group, info.dim, settings.population.popularity_half_life_s,
            settings.population.policy(),
        )  # fmt: skip
        log.info("ready", encoder=info.encoder_id, concepts=tree.version, collection=names.interests)
        yield Connected(
            deps, store, cohorts, deriving, producer, partitions, {"triton": encoder.ready, "qdrant": qdrant.answers}
        )


def _home(partitions: Mapping[str, int], unresolved_topic: str) -> Callable[[Event], bool]:
    """Whether a record lies where its user's records belong; what this service sent on itself does."""

    def home(event: Event) -> bool:
        topic, partition, _ = event.source
        return topic == unresolved_topic or partition == partition_of(event.user_id, partitions[topic])

    return home


def _cohorts(settings: Settings, names: Collections, metrics: Metrics) -> CohortStore:
    population = settings.population
    return CohortStore(
        qdrant_config(settings), population.policy(), names, group=settings.kafka.group,
        half_life_s=population.popularity_half_life_s, called=metrics.store_called,
    )  # fmt: skip


def _derived_events(settings: Settings, producer: Producer) -> DerivedEventsProducer:
    kafka, population = settings.kafka, settings.population
    return DerivedEventsProducer(
        producer, kafka.popularity_topic, kafka.population_topic, kafka.group, population.priors(),
        settings.nodes.faint_below,
    )  # fmt: skip


def _retries(settings: Settings) -> RetryPolicy:
    waits = settings.unresolved
    return RetryPolicy(int(waits.base_s * 1000), int(waits.cap_s * 1000), int(waits.deadline_s * 1000))


async def _work(
    settings: Settings, metrics: Metrics, connected: Connected, status: WorkerStatus, stop: asyncio.Event | None
) -> int:
    kafka, limits = settings.kafka, settings.worker
    # Gathering never cuts a fetched batch, so those are cut to the bounds of a batch.
    app = make_app(replace(kafka_config(kafka), batch_records=limits.batch_records, batch_bytes=limits.batch_bytes))
    deps, store, cohorts, deriving, producer, partitions, probes = connected

    def changed(owner: Owner) -> None:
        store.forget()
        metrics.epoch.set(owner.fence.epoch)
        metrics.generation.set(owner.fence.generation)

    standing = ConsumerState(app)
    metrics.progress = app.note_progress
    ownership = Ownership(store, kafka.group, partitions, standing.confirm, changed)
    announcer = UpdatesProducer(producer, kafka.updated_topic, kafka.group, deps.policy)
    register(app, BatchWorker(deps, ownership, metrics, app.note_progress, announcer), settings, deriving)
    metrics.watch_lag(standing.lag)
    metrics.since_commit.set_function(standing.seconds_since_commit)
    status.stuck, status.lag, status.partitions = standing.stuck_s, standing.lag, standing.partitions
    status.waiting_for = None
    watching = asyncio.create_task(status.watch({**probes, "kafka": standing.answers}))
    stuck_s = limits.stuck_after_s
    sweeping = asyncio.create_task(sweep([store, cohorts], limits.sweep_every_s))
    _rarely_collect_garbage()
    try:
        code = await run_worker(app, stop=stop, stall_s=stuck_s, stuck=partial(status.complaint, stuck_s))
    finally:
        status.stopping = True
        watching.cancel()
        sweeping.cancel()
    try:
        await ownership.note()
    except StoreUnavailable as error:
        log.warning("control_point_not_noted", error=str(error))
    log.info("stopped", code=code)
    return code


def _rarely_collect_garbage() -> None:
    """Cached nodes live long and in no cycles: walking through all of them at every batch cost a quarter of it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


async def sweep(stores: Sequence[CachedStore | CohortStore], every_s: float) -> None:
    """Delete what has expired now and then; a server that is away is asked again next time."""
    while every_s > 0:
        await asyncio.sleep(every_s)
        started = monotonic()
        for store in stores:
            await answered(lambda _: None, store.sweep, now_ms())
        log.info("swept", seconds=round(monotonic() - started, 3))


async def partition_counts(config: KafkaConfig, kafka: KafkaSettings) -> dict[str, int]:
    """Partitions by topic; all that carry users must have the same number, so that one worker has all of a user."""
    specs = topic_specs(kafka)
    async with Admin(config) as admin:
        topics = await admin.topics([spec.name for spec in specs])
    missing = [spec.name for spec in specs if spec.name not in topics]
    if missing:
        raise ConfigurationError(f"the broker has no topic {', '.join(missing)}: run `interests topics create`")
    counts = {name: topics[name].partitions for name in (*kafka.event_topics, kafka.unresolved_topic)}
    if len(set(counts.values())) > 1:
        raise ConfigurationError(f"topics of events must have the same number of partitions, got {counts}")
    return {**counts, kafka.items_topic: topics[kafka.items_topic].partitions}
