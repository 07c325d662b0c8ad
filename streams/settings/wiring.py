"""From the settings to what each server is talked to with; workers, the API and the commands share it."""

from __future__ import annotations

from functools import partial
from typing import Final

from streams.base.credentials import TlsFiles, secret
from streams.broker.admin import TopicSpec
from streams.broker.config import KafkaConfig
from streams.encoder.client import TritonEncoder
from streams.encoder.interest_client import InterestObserver, TritonInterests
from streams.encoder.text_model import EncoderObserver
from streams.settings.servers import KafkaSettings, TritonSettings
from streams.settings.service import Settings
from streams.store.connection import QdrantConfig

#: How long examples wait for a learner that is away, and how many bytes of them; both go by whole segments.
_EXAMPLES_KEPT: Final = {
    "retention.ms": str(7 * 24 * 3600 * 1000), "retention.bytes": str(1 << 30), "segment.bytes": str(128 << 20),
}  # fmt: skip


def kafka_config(kafka: KafkaSettings) -> KafkaConfig:
    """The broker edge's own configuration, from the settings."""
    return KafkaConfig(
        brokers=tuple(address.strip() for address in kafka.brokers.split(",") if address.strip()),
        group_id=kafka.group,
        client_id="interest-streams",
        implementation=kafka.implementation,
        session_timeout_s=kafka.session_timeout_s,
        heartbeat_s=kafka.heartbeat_s,
        request_timeout_s=max(kafka.request_timeout_s, kafka.session_timeout_s),
        producer_timeout_s=kafka.request_timeout_s,
        commit_interval_s=kafka.commit_interval_s,
        partition_fetch_bytes=kafka.fetch_max_bytes,
        max_unpacked_bytes=kafka.max_unpacked_bytes,
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
        host=qdrant.host, grpc_port=qdrant.grpc_port, http_port=qdrant.http_port, https=qdrant.https,
        api_key=secret(qdrant.api_key, qdrant.api_key_file, "qdrant.api_key"),
        deadline_s=qdrant.deadline_s, points_per_write=qdrant.points_per_write,
        tls=TlsFiles("qdrant", qdrant.ca_file, qdrant.cert_file, qdrant.key_file),
        placement=qdrant.placement, consistency=qdrant.consistency, old_servers=qdrant.old_servers,
    )  # fmt: skip


def triton_encoder(
    triton: TritonSettings, *, observer: EncoderObserver | None = None, deadline_s: float | None = None
) -> TritonEncoder:
    """The encoder's client, from the settings; nothing is sent yet."""
    return TritonEncoder(
        triton.url, model_name=triton.model, deadline_s=deadline_s or triton.deadline_s, max_batch=triton.max_batch,
        cache_bytes=triton.cache_mib << 20, observer=observer, tls=_triton_tls(triton),
    )  # fmt: skip


def interest_client(
    settings: Settings, encoder_id: str, *, observer: InterestObserver | None = None, deadline_s: float | None = None
) -> TritonInterests | None:
    """The client of the model of learned interests, for vectors of a text encoder; None where no model is set."""
    learned = settings.learned
    if not learned.model:
        return None
    return TritonInterests(
        settings.triton.url, encoder_id=encoder_id, model_name=learned.model,
        deadline_s=deadline_s or learned.deadline_s, max_batch=learned.people_a_call, observer=observer,
        tls=_triton_tls(settings.triton),
    )  # fmt: skip


def _triton_tls(triton: TritonSettings) -> TlsFiles | None:
    return TlsFiles("triton", triton.ca_file, triton.cert_file, triton.key_file) if triton.tls else None


def topic_specs(kafka: KafkaSettings) -> list[TopicSpec]:
    """Every topic the service reads or writes."""
    topic = partial(TopicSpec, replication=kafka.replication)
    compacted = {"cleanup.policy": "compact"}
    specs = [topic(name, kafka.partitions) for name in (*kafka.event_topics, kafka.unresolved_topic)]
    specs.append(topic(kafka.items_topic, kafka.partitions, config=compacted))
    specs += [topic(f"{spec.name}.dead", 1) for spec in list(specs)]
    for name in kafka.derived_topics:
        specs += [topic(name, kafka.partitions), topic(f"{name}.dead", 1)]
    if kafka.updated_topic:
        specs.append(topic(kafka.updated_topic, kafka.partitions, config=compacted))
    if kafka.examples_topic:
        # One partition, so that their order is the same for every learner that reads them.
        examples = topic(kafka.examples_topic, 1, config=_EXAMPLES_KEPT)
        specs += [examples, topic(f"{kafka.examples_topic}.dead", 1)]
    if kafka.ranking_weights_topic:
        specs.append(topic(kafka.ranking_weights_topic, 1, config=compacted))
    return specs
