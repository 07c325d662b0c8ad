"""What a worker talks to: every server waited for, what is made of them, and all let go of at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from streams.base.errors import ConfigurationError
from streams.base.retrying import answered
from streams.broker.admin import Admin
from streams.broker.config import KafkaConfig
from streams.broker.log_ends import LogEnds
from streams.broker.partitions import partition_of
from streams.broker.producer import Producer
from streams.broker.read_spans import read_spans
from streams.encoder.concept_tree import read_or_encode_tree
from streams.events.event import Event
from streams.events.unresolved import RetryPolicy
from streams.pipeline.apply import PipelineDependencies
from streams.pipeline.derive import Deriving
from streams.pipeline.derived_records import DerivedLimits
from streams.pipeline.outbox import KafkaOutbox
from streams.settings.privacy import dead_letter_policy_of, pseudonyms_of
from streams.settings.servers import KafkaSettings
from streams.settings.service import Settings
from streams.settings.wiring import kafka_config, qdrant_config, topic_specs, triton_encoder
from streams.store.cached import CachedStore
from streams.store.cohort_store import CohortStore
from streams.store.collections import Collections
from streams.store.crash_marks import QdrantCrashMarks
from streams.store.encoders import EncoderPoints
from streams.store.points import PointsClient
from streams.store.qdrant import QdrantStore
from streams.worker.crashes import without_set_aside
from streams.worker.examples import making_examples
from streams.worker.learned_wiring import KeptLearned, keeping_learned
from streams.worker.metrics import Metrics
from streams.worker.outputs import DerivedEventsProducer
from streams.worker.sent_once import SentOnce
from streams.worker.serving import Serving
from streams.worker.status import Probe

log = structlog.get_logger(__name__)

_WEIGHTS_BEFORE = 100  # times: settings of before may have had greater weights, and what they gave is taken back

#: Called with the name of a server that is waited for.
OnWait = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """What a worker talks to, once every server has answered; `partitions` by topic, `probes` by server.

    No event may weigh more than `most_weight`. `learned` keeps learned nodes, where they are wanted.
    """

    deps: PipelineDependencies
    store: CachedStore
    cohorts: CohortStore
    crash_marks: QdrantCrashMarks
    deriving: Deriving
    outbox: SentOnce
    producer: Producer
    serving: Serving
    encoders: EncoderPoints
    learned: KeptLearned | None
    most_weight: float
    partitions: dict[str, int]
    probes: dict[str, Probe]


@asynccontextmanager
async def connected(settings: Settings, metrics: Metrics, waiting: OnWait) -> AsyncIterator[Connected]:
    """Wait for Triton, Qdrant and Kafka, prepare collections and tree, and let go of all on the way out."""
    pseudonyms = pseudonyms_of(settings)
    policy = dead_letter_policy_of(settings, pseudonyms)
    kafka, config = settings.kafka, kafka_config(settings.kafka)
    async with AsyncExitStack() as stack:
        encoder = triton_encoder(settings.triton, observer=metrics)
        stack.push_async_callback(encoder.close)
        info = await answered(waiting, encoder.info)
        names = Collections(info.encoder_id, info.dim, settings.qdrant.hnsw_interests)
        qdrant, store = _store(settings, names, metrics)
        stack.push_async_callback(store.close)
        await answered(waiting, qdrant.prepare)
        await answered(waiting, qdrant.check_control, kafka.group)
        cohorts = _cohorts(settings, names, metrics)
        stack.push_async_callback(cohorts.close)
        await answered(waiting, cohorts.prepare)
        crash_marks = QdrantCrashMarks(qdrant_config(settings), kafka.group, called=metrics.store_called)
        stack.push_async_callback(crash_marks.close)
        tree = await answered(waiting, read_or_encode_tree, settings.concepts.file, encoder, info.encoder_id, info.dim)
        tree = settings.concepts.with_floors(tree)
        partitions = await answered(waiting, partition_counts, config, kafka)
        producer = Producer(config)
        await answered(waiting, producer.start)
        stack.push_async_callback(producer.stop)
        metrics.watch_caches({**store.readers(), "texts": encoder.cache_stats})
        points = PointsClient(qdrant_config(settings))  # not counted: to look at the alias is no progress
        stack.push_async_callback(points.close)
        encoders = EncoderPoints(points)
        serving = Serving(info.encoder_id, kafka.group, encoders.served, metrics.held_back)
        await answered(waiting, serving.look)
        outbox = SentOnce(
            KafkaOutbox(
                producer,
                kafka.unresolved_topic,
                policy,
                lambda topic: metrics.refused.labels(topic).inc(),
                partial(serving.holds_back, "dead_letters"),
            )
        )
        log_ends = LogEnds(config)
        stack.push_async_callback(log_ends.close)
        derived = await answered(waiting, _derived_partitions, config, kafka)
        limits = _derived_limits(settings, partitions, derived)
        deriving = _deriving(settings, store, cohorts, outbox, info.dim, limits, log_ends)
        learned = await stack.enter_async_context(keeping_learned(settings, names, store, metrics))
        make_examples = await stack.enter_async_context(making_examples(settings, names, cohorts, producer, metrics))
        log.info("ready", encoder=info.encoder_id, concepts=tree.version, collection=names.interests)
        yield Connected(
            deps=PipelineDependencies(
                encoder=encoder,
                store=store,
                outbox=outbox,
                tree=tree,
                policy=settings.nodes.policy(),
                weights=settings.weights.table(),
                retries=_retries(settings),
                home=home(partitions),
                pseudonyms=pseudonyms,
                read_spans=without_set_aside(partial(read_spans, config), crash_marks),
                send_derived=_derived_events(kafka, producer, derived),
                together_places=settings.population.together_places if kafka.together_topic else 0,
                priors=settings.population.priors() if kafka.population_topic else None,
                make_examples=make_examples,
            ),
            store=store,
            cohorts=cohorts,
            crash_marks=crash_marks,
            deriving=deriving,
            outbox=outbox,
            producer=producer,
            serving=serving,
            encoders=encoders,
            learned=learned,
            most_weight=limits.most_weight,
            partitions=partitions,
            probes={"triton": encoder.ready, "qdrant": qdrant.answers},
        )


def _store(settings: Settings, names: Collections, metrics: Metrics) -> tuple[QdrantStore, CachedStore]:
    limits = settings.worker
    qdrant = QdrantStore(qdrant_config(settings), settings.nodes.policy(), names, called=metrics.store_called)
    store = CachedStore(
        qdrant, nodes_bytes=limits.nodes_cache_mib << 20, items_bytes=limits.items_cache_mib << 20,
        items_ttl_s=limits.items_ttl_s,
    )  # fmt: skip
    return qdrant, store


def _cohorts(settings: Settings, names: Collections, metrics: Metrics) -> CohortStore:
    population = settings.population
    return CohortStore(
        qdrant_config(settings), population.policy(), names, group=settings.kafka.group,
        half_life_s=population.popularity_half_life_s, together_half_life_s=population.together_half_life_s,
        knows=population.priors().knows, called=metrics.store_called,
    )  # fmt: skip


def _deriving(
    settings: Settings, store: CachedStore, cohorts: CohortStore, outbox: SentOnce, dim: int,
    limits: DerivedLimits, ends: LogEnds,
) -> Deriving:  # fmt: skip
    return Deriving(
        cohorts=cohorts,
        items=store,
        outbox=outbox,
        group=settings.kafka.group,
        dim=dim,
        popularity_half_life_s=settings.population.popularity_half_life_s,
        partners=settings.population.partners(),
        policy=settings.population.policy(),
        priors=settings.population.priors(),
        limits=limits,
        ends=ends,
    )


async def _derived_partitions(config: KafkaConfig, kafka: KafkaSettings) -> dict[str, int]:
    """Partitions of the derived topics."""
    async with Admin(config) as admin:
        return {name: topic.partitions for name, topic in (await admin.topics(kafka.derived_topics)).items()}


def _derived_limits(settings: Settings, partitions: Mapping[str, int], derived: Mapping[str, int]) -> DerivedLimits:
    """What records of the derived topics may say, by the topics as they are and the settings' weights."""
    return DerivedLimits(
        partitions={topic: count for topic, count in partitions.items() if topic != settings.kafka.items_topic},
        home=lambda topic, key, partition: partition == partition_of(key, derived[topic]),
        most_weight=_WEIGHTS_BEFORE * settings.weights.table().most(),
    )


def _derived_events(kafka: KafkaSettings, producer: Producer, derived: Mapping[str, int]) -> DerivedEventsProducer:
    return DerivedEventsProducer(
        producer=producer,
        popularity_topic=kafka.popularity_topic,
        together_topic=kafka.together_topic,
        together_partition=lambda item_id: partition_of(item_id, derived[kafka.together_topic]),
        population_topic=kafka.population_topic,
        group=kafka.group,
    )


def home(partitions: Mapping[str, int]) -> Callable[[Event], bool]:
    """Whether a record lies where its user's records belong, by its topic's number of partitions.

    The topic of waiting events is no exception: what lies there is ours only if nobody else wrote to it, and if its
    partitions are as many as when it was written.
    """

    def is_home(event: Event) -> bool:
        topic, partition, _ = event.source
        return partition == partition_of(event.user_id, partitions[topic])

    return is_home


def _retries(settings: Settings) -> RetryPolicy:
    waits, topic = settings.unresolved, settings.kafka.unresolved_topic
    return RetryPolicy(
        int(waits.base_s * 1000), int(waits.cap_s * 1000), int(waits.deadline_s * 1000), topic, settings.kafka.group
    )


async def partition_counts(config: KafkaConfig, kafka: KafkaSettings) -> dict[str, int]:
    """Partitions by topic; all that carry users must have the same number, so that one worker has all of a user."""
    of_others = {f"{kafka.examples_topic}.dead", kafka.ranking_weights_topic}  # the learner's and the API's
    names = [spec.name for spec in topic_specs(kafka) if spec.name not in of_others]
    async with Admin(config) as admin:
        topics = await admin.topics(names)
    missing = [name for name in names if name not in topics]
    if missing:
        raise ConfigurationError(f"the broker has no topic {', '.join(missing)}: run `interests topics create`")
    counts = {name: topics[name].partitions for name in (*kafka.event_topics, kafka.unresolved_topic)}
    if len(set(counts.values())) > 1:
        raise ConfigurationError(f"topics of events must have the same number of partitions, got {counts}")
    return {**counts, kafka.items_topic: topics[kafka.items_topic].partitions}
