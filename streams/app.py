"""A worker, put together: settings in, servers waited for, agents running, an exit code out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import numpy as np
import structlog

from streams.agents import register
from streams.broker.admin import Admin, TopicSpec
from streams.broker.app import make_app
from streams.broker.config import KafkaConfig
from streams.broker.partitions import partition_of
from streams.broker.producer import Producer
from streams.broker.standing import Standing
from streams.broker.worker import run_worker
from streams.clock import now_ms
from streams.concepts import ConceptTree, build_tree, texts_of
from streams.credentials import TlsFiles, secret
from streams.derive import Deriving
from streams.encoder import EncoderObserver, TritonEncoder
from streams.encoding import Encoder
from streams.errors import ConfigurationError, StoreUnavailable
from streams.events import Event
from streams.health import Limits
from streams.metrics import Metrics
from streams.outputs import Announcer, Teller
from streams.ownership import Owner, Ownership
from streams.pipeline import Parts
from streams.privacy_settings import letters_of, pseudonyms_of
from streams.retrying import answered
from streams.settings import Kafka, Settings, Triton
from streams.status import Probe, Status, serving
from streams.store.cached import CachedStore
from streams.store.collections import Collections
from streams.store.population import PopulationStore
from streams.store.qdrant import QdrantConfig, QdrantStore
from streams.tracing_export import exporting
from streams.treefile import load_taxonomy
from streams.treefile import load_tree as read_tree
from streams.unresolved import RetryPolicy
from streams.worker import KafkaOutbox, Worker

log = structlog.get_logger(__name__)


class Connected(NamedTuple):
    """What a worker talks to, once every server has answered; `partitions` by topic."""

    parts: Parts
    store: CachedStore
    crowd: PopulationStore
    deriving: Deriving
    producer: Producer
    partitions: dict[str, int]
    probes: dict[str, Probe]


def kafka_config(kafka: Kafka) -> KafkaConfig:
    """The broker edge's own configuration, from the settings."""
    return KafkaConfig(
        brokers=tuple(address.strip() for address in kafka.brokers.split(",") if address.strip()),
        group_id=kafka.group,
        client_id="interest-streams",
        session_timeout_s=kafka.session_timeout_s,
        heartbeat_s=kafka.heartbeat_s,
        request_timeout_s=max(kafka.request_timeout_s, kafka.session_timeout_s),
        producer_timeout_s=kafka.request_timeout_s,
        commit_interval_s=kafka.commit_interval_s,
        partition_fetch_bytes=kafka.fetch_max_bytes,
        producer_idempotent=kafka.idempotent_producer,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        username=kafka.sasl_username,
        password=secret(kafka.sasl_password, kafka.sasl_password_file, "kafka.sasl_password"),
        cafile=str(kafka.ca_file) if kafka.ca_file else None,
        certfile=str(kafka.cert_file) if kafka.cert_file else None,
        keyfile=str(kafka.key_file) if kafka.key_file else None,
    )


def qdrant_config(settings: Settings) -> QdrantConfig:
    """The store edge's own configuration, from the settings."""
    qdrant = settings.qdrant
    return QdrantConfig(
        qdrant.host, qdrant.grpc_port, qdrant.http_port, qdrant.https,
        secret(qdrant.api_key, qdrant.api_key_file, "qdrant.api_key"), qdrant.deadline_s, qdrant.points_per_write,
        TlsFiles("qdrant", qdrant.ca_file, qdrant.cert_file, qdrant.key_file),
    )  # fmt: skip


def triton_encoder(
    triton: Triton, *, observer: EncoderObserver | None = None, deadline_s: float | None = None
) -> TritonEncoder:
    """The encoder's client, from the settings; nothing is sent yet."""
    tls = TlsFiles("triton", triton.ca_file, triton.cert_file, triton.key_file) if triton.tls else None
    return TritonEncoder(
        triton.url, model_name=triton.model, deadline_s=deadline_s or triton.deadline_s, max_batch=triton.max_batch,
        cache_bytes=triton.cache_mib << 20, observer=observer, tls=tls,
    )  # fmt: skip


def topic_specs(kafka: Kafka) -> list[TopicSpec]:
    """Every topic the service reads or writes."""
    plain = [*kafka.event_topics, kafka.unresolved_topic]
    specs = [TopicSpec(name, kafka.partitions, kafka.replication) for name in plain]
    specs.append(TopicSpec(kafka.items_topic, kafka.partitions, kafka.replication, {"cleanup.policy": "compact"}))
    specs += [TopicSpec(f"{spec.name}.dead", 1, kafka.replication) for spec in list(specs)]
    derived = filter(None, (kafka.popularity_topic, kafka.population_topic))
    for name in derived:
        specs += [TopicSpec(name, kafka.partitions, kafka.replication), TopicSpec(f"{name}.dead", 1, kafka.replication)]
    if kafka.updated_topic:
        specs.append(TopicSpec(kafka.updated_topic, kafka.partitions, kafka.replication, {"cleanup.policy": "compact"}))
    return specs


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> int:
    """Run one worker until it is told to stop (0) or must end (1)."""
    metrics, limits = Metrics(), settings.worker
    # Not live before it ends itself: whoever probes may act first. A request of texts may take half of the time.
    status = Status(Limits(limits.loop_stuck_after_s, 0.75 * limits.stuck_after_s, limits.unanswered_after_s))
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
async def _connected(settings: Settings, metrics: Metrics, status: Status) -> AsyncIterator[Connected]:
    """Wait for Triton, Qdrant and Kafka, prepare collections and tree, and let go of all on the way out."""

    def waiting(name: str) -> None:
        metrics.retries.labels(name).inc()
        status.waiting_for = name

    pseudonyms = pseudonyms_of(settings)
    letters = letters_of(settings, pseudonyms)
    async with AsyncExitStack() as stack:
        encoder = triton_encoder(settings.triton, observer=metrics)
        stack.push_async_callback(encoder.close)
        info = await answered(waiting, encoder.info)
        policy, limits = settings.nodes.policy(), settings.worker
        names = Collections(info.encoder_id, info.dim, settings.qdrant.hnsw_interests)
        qdrant = QdrantStore(qdrant_config(settings), policy, names, metrics.store_called)
        store = CachedStore(
            qdrant, nodes_bytes=limits.nodes_cache_mib << 20, items_bytes=limits.items_cache_mib << 20,
            items_ttl_s=limits.items_ttl_s,
        )  # fmt: skip
        stack.push_async_callback(store.close)
        await answered(waiting, qdrant.prepare)
        crowd = _crowd(settings, names, metrics)
        stack.push_async_callback(crowd.close)
        await answered(waiting, crowd.prepare)
        tree = await answered(waiting, load_tree, settings.concepts.file, encoder, info.encoder_id)
        config = kafka_config(settings.kafka)
        partitions = await answered(waiting, partition_counts, config, settings.kafka)
        producer = Producer(config)
        await answered(waiting, producer.start)
        stack.push_async_callback(producer.stop)
        metrics.watch_caches({**store.readers(), "texts": encoder.cache_stats})
        outbox = KafkaOutbox(producer, settings.kafka.unresolved_topic, letters)
        parts = Parts(
            encoder, store, outbox, tree, policy, settings.weights.table(), _retries(settings),
            _home(partitions, settings.kafka.unresolved_topic), pseudonyms, _teller(settings, producer),
        )  # fmt: skip
        deriving = Deriving(
            crowd, store, outbox, settings.kafka.group, info.dim, settings.population.popularity_half_life_s,
            settings.population.policy(),
        )  # fmt: skip
        log.info("ready", encoder=info.encoder_id, concepts=tree.version, collection=names.interests)
        yield Connected(
            parts, store, crowd, deriving, producer, partitions, {"triton": encoder.ready, "qdrant": qdrant.answers}
        )


def _home(partitions: Mapping[str, int], unresolved_topic: str) -> Callable[[Event], bool]:
    """Whether a record lies where its user's records belong; what this service sent on itself does."""

    def home(event: Event) -> bool:
        topic, partition, _ = event.source
        return topic == unresolved_topic or partition == partition_of(event.user_id, partitions[topic])

    return home


def _crowd(settings: Settings, names: Collections, metrics: Metrics) -> PopulationStore:
    population = settings.population
    return PopulationStore(
        qdrant_config(settings), population.policy(), names, settings.kafka.group, population.popularity_half_life_s,
        metrics.store_called,
    )  # fmt: skip


def _teller(settings: Settings, producer: Producer) -> Teller:
    kafka, population = settings.kafka, settings.population
    return Teller(
        producer, kafka.popularity_topic, kafka.population_topic, kafka.group, population.priors(),
        settings.nodes.faint_below,
    )  # fmt: skip


def _retries(settings: Settings) -> RetryPolicy:
    waits = settings.unresolved
    return RetryPolicy(int(waits.base_s * 1000), int(waits.cap_s * 1000), int(waits.deadline_s * 1000))


async def _work(
    settings: Settings, metrics: Metrics, connected: Connected, status: Status, stop: asyncio.Event | None
) -> int:
    app, kafka = make_app(kafka_config(settings.kafka)), settings.kafka
    parts, store, crowd, deriving, producer, partitions, probes = connected

    def changed(owner: Owner) -> None:
        store.forget()
        metrics.epoch.set(owner.fence.epoch)
        metrics.generation.set(owner.fence.generation)

    standing = Standing(app)
    metrics.progress = app.note_progress
    ownership = Ownership(store, kafka.group, partitions, standing.confirm, changed)
    announcer = Announcer(producer, kafka.updated_topic, kafka.group, parts.policy)
    register(app, Worker(parts, ownership, metrics, app.note_progress, announcer), settings, deriving)
    metrics.watch_lag(standing.lag)
    metrics.since_commit.set_function(standing.seconds_since_commit)
    status.stuck, status.lag, status.partitions = standing.stuck_s, standing.lag, standing.partitions
    status.waiting_for = None
    watching = asyncio.create_task(status.watch({**probes, "kafka": standing.answers}))
    stuck_s = settings.worker.stuck_after_s
    sweeping = asyncio.create_task(sweep([store, crowd], settings.worker.sweep_every_s))
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


async def sweep(stores: Sequence[CachedStore | PopulationStore], every_s: float) -> None:
    """Delete what has expired now and then; a server that is away is asked again next time."""
    while every_s > 0:
        await asyncio.sleep(every_s)
        started = monotonic()
        for store in stores:
            await answered(lambda _: None, store.sweep, now_ms())
        log.info("swept", seconds=round(monotonic() - started, 3))


async def load_tree(file: Path | None, encoder: Encoder, encoder_id: str) -> ConceptTree:
    """The concept tree of a file made for this encoder, or the written taxonomy, encoded now."""
    if file is None:
        taxonomy = load_taxonomy()
        texts = texts_of(taxonomy.concepts)
        encoded = await encoder.encode([text for of_one in texts for text in of_one])
        ends = np.cumsum([len(of_one) for of_one in texts])
        return build_tree(taxonomy.version, encoder_id, taxonomy.concepts, np.split(encoded.vectors, ends[:-1]))
    tree = read_tree(file)
    if tree.encoder_id != encoder_id:
        raise ConfigurationError(
            f"{file} was made with encoder {tree.encoder_id}, Triton serves {encoder_id}: build the tree again"
        )
    return tree


async def partition_counts(config: KafkaConfig, kafka: Kafka) -> dict[str, int]:
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
