"""What a Kafka client needs to know: addresses, group, limits in bytes and seconds, and how to prove who it is."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from streams.base.credentials import TlsFiles
from streams.base.errors import ConfigurationError

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
OffsetReset = Literal["earliest", "latest"]
BrokerImplementation = Literal["kafka", "tansu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConfig:
    """Connection, group and limits of one Kafka client; times in seconds, sizes in bytes.

    `implementation` is which broker answers: `tansu`, the embedded one, needs what stands in `streams.broker.tansu`.
    `batch_*` bound one message handed to an agent, `buffer_batches` how many of them wait for it, and
    `max_poll_records` what one fetch adds at most. A producer's batch that unpacks to more than `max_unpacked_bytes` is
    set aside unread, and an agent is handed about as many before it acknowledges. Raises ConfigurationError where
    fields contradict each other.
    """

    brokers: tuple[str, ...]
    implementation: BrokerImplementation = "kafka"
    group_id: str = "interests"
    client_id: str = "interests"
    group_instance_id: str | None = None
    auto_offset_reset: OffsetReset = "earliest"
    read_committed: bool = True

    session_timeout_s: float = 10.0
    heartbeat_s: float = 1.0
    rebalance_timeout_s: float = 60.0
    request_timeout_s: float = 40.0
    max_poll_interval_s: float = 6 * 3600.0
    commit_interval_s: float = 1.0
    fetch_max_wait_s: float = 0.25
    metadata_max_age_s: float = 60.0

    batch_records: int = 1_000
    batch_bytes: int = 4 << 20
    buffer_batches: int = 16
    max_poll_records: int = 8_000
    fetch_bytes: int = 32 << 20
    partition_fetch_bytes: int = 2 << 20
    max_unpacked_bytes: int = 32 << 20

    producer_timeout_s: float = 30.0
    producer_max_record_bytes: int = 1 << 20
    producer_linger_s: float = 0.005
    producer_idempotent: bool = True
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"

    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "PLAIN"
    username: str | None = None
    password: str | None = None
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    def __post_init__(self) -> None:
        if not self.brokers:
            raise ConfigurationError("got no broker address, expected at least one host:port; set the broker list")
        if self.heartbeat_s * 3 > self.session_timeout_s:
            raise ConfigurationError(
                f"got heartbeat_s {self.heartbeat_s} and session_timeout_s {self.session_timeout_s}, expected at least "
                "three heartbeats a session; lower heartbeat_s or raise session_timeout_s"
            )
        if self.session_timeout_s > self.request_timeout_s:
            raise ConfigurationError(
                f"got session_timeout_s {self.session_timeout_s} above request_timeout_s {self.request_timeout_s}: "
                "joining a group may take a whole session; raise request_timeout_s"
            )
        if self.security_protocol.startswith("SASL") and not (self.username and self.password):
            raise ConfigurationError(
                f"got security_protocol {self.security_protocol} without username and password; set both"
            )

    def __repr__(self) -> str:
        """Name brokers and group only: a password never reaches a log."""
        return f"KafkaConfig(brokers={','.join(self.brokers)!r}, group_id={self.group_id!r})"

    @property
    def idempotent(self) -> bool:
        """Whether to produce idempotently: as `producer_idempotent` says, but for Tansu, which cannot."""
        return self.producer_idempotent and self.implementation != "tansu"

    @property
    def isolation_level(self) -> str:
        """What of transactions is read, in aiokafka's words."""
        return "read_committed" if self.read_committed else "read_uncommitted"

    def connection(self) -> dict[str, Any]:
        """Keyword arguments every aiokafka client takes: where to connect and how to prove who we are."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": list(self.brokers),
            "client_id": self.client_id,
            "request_timeout_ms": int(self.request_timeout_s * 1000),
            "metadata_max_age_ms": int(self.metadata_max_age_s * 1000),
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.endswith("SSL"):
            arguments["ssl_context"] = self._ssl_context()
        if self.security_protocol.startswith("SASL"):
            arguments |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return arguments

    def _ssl_context(self) -> ssl.SSLContext:
        files = [Path(name) if name else None for name in (self.cafile, self.certfile, self.keyfile)]
        return TlsFiles("kafka", *files).context()
