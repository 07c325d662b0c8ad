"""The settings of the servers that the service talks to: the broker, Triton, Qdrant. See `service.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from streams.base.addresses import checked_addresses, checked_host, checked_url, checked_urls
from streams.settings.policies import Section
from streams.store.consistency import Consistency, Ordering, Placement, Reads, more_than_half

Host = Annotated[str, AfterValidator(checked_host)]
Addresses = Annotated[str, AfterValidator(checked_addresses)]
Url = Annotated[str, AfterValidator(checked_url)]
Urls = Annotated[str, AfterValidator(checked_urls)]


class KafkaSettings(Section):
    """The broker, the group and the topics."""

    brokers: Addresses = Field("127.0.0.1:9092", description="Bootstrap servers, comma-separated.")
    implementation: Literal["kafka", "tansu"] = Field(
        "kafka",
        description="`tansu`: the embedded broker. Works around its faults (leaders that left, log ends), and produces "
        "without idempotence, which it lacks. `interests up` sets it.",
    )
    group: str = Field("interests", min_length=1, description="Consumer group of the workers.")
    event_topics: tuple[str, ...] = Field(
        ("clicks", "comments", "events"),
        min_length=1,
        description="Topics of events; all with the same number of partitions.",
    )
    items_topic: str = Field("items", description="Compacted topic of item descriptions.")
    unresolved_topic: str = Field("events.unresolved", description="Where events wait for their item's description.")
    updated_topic: str = Field(
        "interests.updated", description="Compacted topic of what changed in whose tree; empty: it is not announced."
    )
    popularity_topic: str = Field(
        "items.popularity", description="Events by item, on their way to its popularity; empty: none is kept."
    )
    together_topic: str = Field(
        "items.together", description="Items that a person touched together, by item; empty: none are kept."
    )
    population_topic: str = Field(
        "population", description="Newcomers' first events, on their way to the priors; empty: none are kept."
    )
    examples_topic: str = Field(
        "ranking.examples", description="Lists people chose from, on their way to the learner; empty: none are sent."
    )
    ranking_weights_topic: str = Field(
        "ranking.weights",
        description="Compacted topic of what the learner has learned; empty: the fixed weights rank.",
    )
    partitions: int = Field(4, ge=1, description="Partitions of topics made by `interests topics create`.")
    replication: int = Field(1, ge=1, description="Replication factor of topics made by `interests topics create`.")
    session_timeout_s: float = Field(10.0, gt=0, description="How long the group waits for a silent worker.")
    heartbeat_s: float = Field(1.0, gt=0, description="Seconds between heartbeats.")
    commit_interval_s: float = Field(1.0, gt=0, description="Seconds between commits of acknowledged offsets.")
    fetch_max_bytes: int = Field(8 << 20, ge=1 << 16, description="Bytes fetched ahead per partition, at most.")
    max_unpacked_bytes: int = Field(
        32 << 20,
        ge=4 << 20,
        description="Bytes that one batch of a producer may unpack to; a larger one is not unpacked, but dead-lettered "
        "by its place. Each agent of a worker holds about as many of what was fetched.",
    )
    request_timeout_s: float = Field(30.0, gt=0, description="Deadline of one request to the broker.")
    idempotent_producer: bool = Field(
        True, description="Produce idempotently: the client's own retries write nothing twice. Always off with `tansu`."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the broker."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="With SASL."
    )
    sasl_username: str | None = Field(None, description="With SASL.")
    sasl_password: SecretStr | None = Field(None, description="With SASL; rather name a file.")
    sasl_password_file: Path | None = Field(None, description="File whose first line is the password.")
    ca_file: Path | None = Field(None, description="Certificate authorities that signed the broker's certificate.")
    cert_file: Path | None = Field(None, description="Client certificate, for mutual TLS.")
    key_file: Path | None = Field(None, description="Key of the client certificate.")

    @property
    def derived_topics(self) -> list[str]:
        """The topics of what everybody shares, those that are not switched off: popularity, partners, priors."""
        return [name for name in (self.popularity_topic, self.together_topic, self.population_topic) if name]


class TritonSettings(Section):
    """The encoder's server."""

    url: Addresses = Field("127.0.0.1:8001", description="gRPC address of Triton.")
    model: str = Field("text_encoder", description="Name of the model in Triton's repository.")
    deadline_s: float = Field(
        60.0, gt=0, description="Deadline of one request of texts, retries included; a slow CPU takes seconds."
    )
    max_batch: int = Field(64, ge=1, description="Texts per request, at most.")
    cache_mib: int = Field(64, ge=0, description="Memory of the cache of texts already encoded.")
    tls: bool = Field(False, description="Whether to use TLS.")
    ca_file: Path | None = Field(None, description="Certificate authorities that signed Triton's certificate.")
    cert_file: Path | None = Field(None, description="Client certificate, for mutual TLS.")
    key_file: Path | None = Field(None, description="Key of the client certificate.")


class QdrantSettings(Section):
    """The vector store."""

    host: Host = Field("127.0.0.1", description="Host of Qdrant.")
    grpc_port: int = Field(6334, ge=1, le=65535, description="Its gRPC port.")
    http_port: int = Field(6333, ge=1, le=65535, description="Its REST port.")
    https: bool = Field(False, description="Whether to use TLS.")
    api_key: SecretStr | None = Field(None, description="API key, where the server asks for one; rather name a file.")
    api_key_file: Path | None = Field(None, description="File whose first line is the API key.")
    ca_file: Path | None = Field(None, description="Certificate authorities that signed Qdrant's certificate.")
    cert_file: Path | None = Field(None, description="Client certificate, for mutual TLS.")
    key_file: Path | None = Field(None, description="Key of the client certificate.")
    deadline_s: float = Field(10.0, gt=0, description="Deadline of one call.")
    points_per_write: int = Field(
        128, ge=1, le=10_000, description="Points per call at most; one user's stay together."
    )
    shard_number: int | None = Field(
        None, ge=1, description="Shards of a collection when it is made; unset: the server's default, one a node."
    )
    replication_factor: int | None = Field(
        None, ge=1, description="Replicas of each shard when it is made; unset: the server's default, mostly 1."
    )
    write_consistency_factor: int | None = Field(
        None, ge=1,
        description="Replicas that must have a write before it is acknowledged, of collections that are made; unset: "
        "more than half of `replication_factor`.",
    )  # fmt: skip
    write_ordering: Ordering = Field(
        "strong", description="Order of writes on several replicas: all through one of them, or `weak`. docs/qdrant.md"
    )
    read_consistency: Reads | None = Field(
        None, description="Replicas that must agree on what decides a write, a number or by name; unset: more than "
        "half of `replication_factor`.",
    )  # fmt: skip
    old_servers: Literal["refuse", "warn"] = Field(
        "refuse", description="What workers and learners do with a Qdrant before 1.19, whose log may bring deleted "
        "points back after a crash.",
    )  # fmt: skip
    hnsw_interests: bool = Field(False, description="Index the nodes' vectors; worth it from about 100,000 nodes on.")

    @model_validator(mode="after")
    def _fits(self) -> QdrantSettings:
        """Nothing asks for more replicas than there are to be."""
        replicas = self.replication_factor
        asked = {"write_consistency_factor": self.write_consistency_factor, "read_consistency": self.read_consistency}
        for name, number in asked.items():
            if isinstance(number, int) and number > (replicas or number):
                raise ValueError(f"{name} is {number}, replication_factor {replicas}: expected no more than that")
        return self

    @property
    def placement(self) -> Placement:
        """How collections are made."""
        replicas, acknowledge = self.replication_factor, self.write_consistency_factor
        if replicas is not None and acknowledge is None:
            acknowledge = more_than_half(replicas)
        return Placement(
            shard_number=self.shard_number, replication_factor=replicas, write_consistency_factor=acknowledge
        )

    @property
    def consistency(self) -> Consistency:
        """What calls ask for."""
        reads = more_than_half(self.replication_factor) if self.read_consistency is None else self.read_consistency
        return Consistency(ordering=self.write_ordering, reads=reads)
