"""The Prometheus metrics that workers and learners have in common: records given up, calls to Qdrant, waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter, Histogram

from streams.base.metrics_registry import metrics_registry
from streams.base.retrying import SERVERS
from streams.events.dead_letters import STAGES, DeadLetter

#: Buckets of one call to a server, in s.
CALL_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
#: What an attempt at Triton may fail with.
TRITON_CODES: Final = (
    "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN", "CANCELLED", "QUEUE_FULL",
)  # fmt: skip


class ServiceMetrics:
    """Metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = metrics_registry()
        self.dead_letters = Counter(
            "interests_dead_letters",
            "Records given up, sent to `<topic>.dead` but for those held back; docs/events.md lists the reasons.",
            ("topic", "stage", "reason"),
            registry=self.registry,
        )
        self.refused = Counter(
            "interests_refused_records",
            "Waiting events and dead letters that a topic took in no form; `record_refused` in the log names them.",
            ("topic",),
            registry=self.registry,
        )
        self.store_seconds = Histogram(
            "interests_store_seconds",
            "One call to Qdrant: get, upsert, delete, scroll.",
            ("call",),
            buckets=CALL_S,
            registry=self.registry,
        )
        self.retries = Counter(
            "interests_retries",
            "Waits for triton, qdrant or kafka to come back; `other`: what names no server.",
            ("server",),
            registry=self.registry,
        )
        for server in SERVERS:
            self.retries.labels(server)

    def expect(self, topics: Sequence[str]) -> None:
        """Show what may go wrong with records of these topics as 0.

        A counter that is first seen at 1 has not grown for Prometheus: the first dead letter would raise no alert.
        """
        for topic in topics:
            self.refused.labels(topic)
            for reason, stage in STAGES.items():
                self.dead_letters.labels(topic, stage, reason)

    def store_called(self, call: str, seconds: float) -> None:
        """One call to the store was answered after `seconds`."""
        self.store_seconds.labels(call).observe(seconds)

    def dead_lettered(self, dead_letters: Sequence[DeadLetter]) -> None:
        """Count dead letters."""
        for dead in dead_letters:
            self.dead_letters.labels(dead.record.topic, dead.stage, dead.reason).inc()
