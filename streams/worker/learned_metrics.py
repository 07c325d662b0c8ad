"""Metrics of the level `learned`: whose nodes were made, whose were not and why, and what the calls for them took."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from streams.pipeline.service_metrics import CALL_S, TRITON_CODES, ServiceMetrics

_DROPPED: Final = ("queue_full", "erased", "refused")
_FAILED: Final = ("model", "triton", "qdrant", "other")


class LearnedMetrics(ServiceMetrics):
    """What a worker serves of the level `learned`; all of it 0 where the level is off."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
        self.learned_people = Counter(
            "interests_learned_people", "People whose learned nodes were written.", registry=registry
        )
        self.learned_drops = Counter(
            "interests_learned_dropped",
            "People who left the queue without an answer. `queue_full`: more changed than could be asked about, and a "
            "sweep finds them; `erased`: they were erased meanwhile; `refused`: the model cannot answer about them, or "
            "a defect, see the log: until their next event, or the next sweep.",
            ("reason",),
            registry=registry,
        )
        self.learned_failures = Counter(
            "interests_learned_failures",
            "Rounds of the level `learned` that failed, whose people wait for the next one. `model`: Triton has no "
            "such model, or one of another text encoder; `triton`, `qdrant`: no answer in time; `other`: see the log.",
            ("reason",),
            registry=registry,
        )
        self.learned_sweeps = Counter(
            "interests_learned_sweeps",
            "Times that the profiles of a worker's partitions were looked through for people whose learned nodes are "
            "of an older state or of another model. `failed`: Triton or Qdrant gave no answer; it is made again.",
            ("outcome",),
            registry=registry,
        )
        self.learned_behind = Counter(
            "interests_learned_behind",
            "People whom such a sweep found to be behind, and had asked about.",
            registry=registry,
        )
        self.learned_seconds = Histogram(
            "interests_learned_round_seconds",
            "A round of the level `learned`: people's items read, the model asked, nodes written.",
            buckets=CALL_S,
            registry=registry,
        )
        self.learned_call_seconds = Histogram(
            "interests_learned_call_seconds",
            "One request to the model of interests, its retries included.",
            buckets=CALL_S,
            registry=registry,
        )
        self.learned_retries = Counter(
            "interests_learned_retries",
            "Attempts at the model of interests that failed and were made again, by gRPC status or `QUEUE_FULL`.",
            ("code",),
            registry=registry,
        )
        self.learned_breaker = Gauge(
            "interests_learned_breaker_open",
            "1 while the model of interests is not asked because it failed several times in a row.",
            registry=registry,
        )
        self.learned_queue = Gauge(
            "interests_learned_queue", "People who wait for their learned nodes.", registry=registry
        )
        self.learned_oldest = Gauge(
            "interests_learned_oldest_seconds",
            "How long the one who waits longest for their learned nodes has waited; 0 while nobody does.",
            registry=registry,
        )
        self.learned_model = Gauge(
            "interests_learned_model_info",
            "1 for the model that makes the learned nodes; none while nobody has been asked about.",
            ("model",),
            registry=registry,
        )
        for reason in _DROPPED:
            self.learned_drops.labels(reason)
        for code in TRITON_CODES:
            self.learned_retries.labels(code)
        for outcome in ("done", "failed"):
            self.learned_sweeps.labels(outcome)
        for reason in _FAILED:
            self.learned_failures.labels(reason)

    def watch_learned(self, waiting: Callable[[], float], oldest_s: Callable[[], float]) -> None:
        """Serve how many people wait, and how long the first of them, whenever the metrics are read."""
        self.learned_queue.set_function(waiting)
        self.learned_oldest.set_function(oldest_s)

    def learned_written(self, people: int, nodes: int) -> None:
        """So many people's nodes were written, so many `nodes` in all."""
        self.learned_people.inc(people)

    def learned_by(self, model: str) -> None:
        """From here on this model answers."""
        self.learned_model.clear()
        self.learned_model.labels(model).set(1)

    def learned_dropped(self, reason: str, people: int) -> None:
        """So many people left the queue without an answer."""
        self.learned_drops.labels(reason).inc(people)

    def learned_failed(self, reason: str) -> None:
        """A round failed."""
        self.learned_failures.labels(reason).inc()

    def learned_found(self, people: int) -> None:
        """So many people were behind, and wait now."""
        self.learned_behind.inc(people)

    def learned_swept(self, outcome: str) -> None:
        """A sweep was `done` or `failed`."""
        self.learned_sweeps.labels(outcome).inc()

    def learned_round(self, seconds: float) -> None:
        """A round took so long."""
        self.learned_seconds.observe(seconds)

    def interests_called(self, seconds: float, people: int) -> None:
        """One request about `people` people was answered rightly after `seconds`."""
        self.learned_call_seconds.observe(seconds)

    def interests_retried(self, code: str) -> None:
        """One attempt at the model failed with `code` and is made again."""
        self.learned_retries.labels(code).inc()

    def interests_breaker(self, is_open: bool) -> None:
        """The breaker before the model opened or closed."""
        self.learned_breaker.set(is_open)
