"""The worker's Prometheus metrics, in seconds, bytes and records; no label holds personal data.

docs/metrics.md is made of them: `python -m streams.commands.metrics_document`.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from streams.base.cache_metrics import CacheCollector
from streams.base.caches import CacheStats
from streams.events.event import RecordLike
from streams.events.wire import EventType
from streams.interests.levels import LEVELS
from streams.pipeline.report import Report
from streams.pipeline.service_metrics import CALL_S, TRITON_CODES
from streams.ranking.parts import KINDS, Kind
from streams.worker.lag_metrics import LagCollector
from streams.worker.learned_metrics import LearnedMetrics
from streams.worker.ownership import Refusal

_AGE_S = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60, 300, 3600)
_DROPPED = ("slow", "store", "broker", "few_items", "undescribed", "out_of_order", "not_for_it", "failed")
_BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Metrics(LearnedMetrics):
    """All metrics of one worker, in a registry of their own.

    `progress` is called whenever a server has answered, so that a batch that takes long does not count as stuck.
    """

    def __init__(self) -> None:
        super().__init__()
        self.progress: Callable[[], None] = lambda: None
        registry = self.registry
        self.events = Counter(
            "interests_events",
            "Events by what became of them, see below.",
            ("topic", "type", "outcome"),
            registry=registry,
        )
        self.items = Counter(
            "interests_items", "Items described: encoded, placed on the concept tree, written.", registry=registry
        )
        self.nodes_written = Counter(
            "interests_nodes_written", "Nodes written to Qdrant.", ("level",), registry=registry
        )
        self.updates = Counter(
            "interests_updates", "Changes announced on `interests.updated`, one per user and batch.", registry=registry
        )
        self.derived = Counter(
            "interests_derived_events",
            "Events folded from the derived topics: kind `popularity` (once per item), `together` (once per item and "
            "partner) or `population` (once per cohort), outcome `counted` or `repeated` (sent again after a retry or "
            "a restart; changes nothing).",
            ("kind", "outcome"),
            registry=registry,
        )
        self.examples = Counter(
            "interests_ranking_examples",
            "Examples of what people choose that were sent to the learner, kind `next` or `impression`.",
            ("kind",),
            registry=registry,
        )
        self.dropped_examples = Counter(
            "interests_ranking_examples_dropped",
            "Examples that were begun and not sent. `slow`, `store`: Qdrant did not answer within a second, or failed; "
            "`broker`: Kafka did not take them within a second; `few_items`, `undescribed`: too few to choose from; "
            "`out_of_order`: the person has done something later already; `not_for_it`: the event speaks against its "
            "item, or waits; `failed`: a defect, see the log.",
            ("reason",),
            registry=registry,
        )
        self.examples_seconds = Histogram(
            "interests_ranking_examples_seconds",
            "How long a batch waited until its examples were made and sent.",
            buckets=CALL_S,
            registry=registry,
        )
        self.unknown_fields = Counter(
            "interests_unknown_fields",
            "Fields outside the contract, ignored: a producer's schema has moved.",
            registry=registry,
        )
        self.clamped = Counter(
            "interests_clamped_times", "Events whose time lay over five minutes in the future.", registry=registry
        )
        self.reread_incomplete = Counter(
            "interests_reread_incomplete",
            "Erasures among younger events that the log no longer holds all, so that more than asked for is forgotten.",
            registry=registry,
        )
        self.age = Histogram(
            "interests_age_at_apply_seconds",
            "From a record's timestamp to its nodes being durable in Qdrant.",
            ("topic",),
            buckets=_AGE_S,
            registry=registry,
        )
        self.batch_records = Histogram(
            "interests_batch_records", "Records per batch.", buckets=_BATCH, registry=registry
        )
        self.batch_seconds = Histogram(
            "interests_batch_seconds",
            "From taking a batch of events or items to the return of its acknowledgement, waits for its turn and for "
            "servers that are away included. Events that waited for their item count from when they are due.",
            buckets=CALL_S,
            registry=registry,
        )
        self.encode_seconds = Histogram(
            "interests_encode_seconds",
            "One request to Triton, its retries included.",
            buckets=CALL_S,
            registry=registry,
        )
        self.encoded_texts = Counter(
            "interests_encoded_texts", "Texts that Triton encoded; cached ones are not among them.", registry=registry
        )
        self.encoder_retries = Counter(
            "interests_encoder_retries",
            "Attempts at Triton that failed and were made again, by gRPC status or `QUEUE_FULL`.",
            ("code",),
            registry=registry,
        )
        self.breaker_open = Gauge(
            "interests_encoder_breaker_open",
            "1 while Triton is not asked because it failed several times in a row.",
            registry=registry,
        )
        self.stale = Counter(
            "interests_stale_batches",
            "Batches dropped because a rebalance took their partitions away.",
            registry=registry,
        )
        self.superseded = Counter(
            "interests_superseded_batches",
            "Batches folded again because the one before, on which they were folded, was not written at the first try.",
            registry=registry,
        )
        self.sweeps = Counter(
            "interests_sweeps",
            "Sweeps of a store for what has expired, outcome `done` or `failed` (swept again in the next round).",
            ("outcome",),
            registry=registry,
        )
        self.erasure_overdue = Gauge(
            "interests_erasure_overdue_seconds",
            "Age of the oldest erasure of which nodes were still in Qdrant when the last sweep had ended; 0: of none.",
            registry=registry,
        )
        self.fence_refusals = Counter(
            "interests_fence_refusals",
            "Batches written under a fence that no longer held, which are not acknowledged. `generation`: a rebalance "
            "had given their partitions to others; `epoch`: the broker or the group is new, and the worker ends.",
            ("reason",),
            registry=registry,
        )
        self.epoch = Gauge(
            "interests_epoch", "High part of the fence; rises when the broker or the group is new.", registry=registry
        )
        self.generation = Gauge("interests_generation", "The consumer group's generation.", registry=registry)
        self.held_back = Counter(
            "interests_held_back",
            "Dead letters (`dead_letters`) and changes of trees (`updates`) that were not sent: those of a group whose "
            "encoder does not serve. The group that serves sends its own.",
            ("what",),
            registry=registry,
        )
        self.concepts = Gauge(
            "interests_concepts_info",
            "1 for the concept tree by which this worker places: its version, and what its file's sha256 begins with.",
            ("version", "digest"),
            registry=registry,
        )
        self.weight_table = Gauge(
            "interests_weight_table_info",
            "1 for the weights by which this worker weighs events: what their sha256 begins with.",
            ("digest",),
            registry=registry,
        )
        self.reloads = Counter(
            "interests_reloads",
            "Files read again because they had changed: what `concepts` or `weights`, outcome `taken_up` or `refused` "
            "(the log says why; what was there before counts on).",
            ("what", "outcome"),
            registry=registry,
        )
        self._show_zeros()
        self.since_commit = Gauge(
            "interests_seconds_since_commit",
            "Since offsets were last committed, or since the oldest uncommitted record was read; 0 while none is.",
            registry=registry,
        )

    def _show_zeros(self) -> None:
        """Begin at 0 what may stay away for long: growth from nothing to 1 is no growth for Prometheus."""
        for level in LEVELS:
            self.nodes_written.labels(level)
        for kind, outcome in product(("popularity", "together", "population"), ("counted", "repeated")):
            self.derived.labels(kind, outcome)
        for example in KINDS:
            self.examples.labels(example)
        for refusal in get_args(Refusal):
            self.fence_refusals.labels(refusal)
        for reason in _DROPPED:
            self.dropped_examples.labels(reason)
        for code in TRITON_CODES:
            self.encoder_retries.labels(code)
        for outcome in ("done", "failed"):
            self.sweeps.labels(outcome)
        for what in ("dead_letters", "updates"):
            self.held_back.labels(what)
        for what, outcome in product(("concepts", "weights"), ("taken_up", "refused")):
            self.reloads.labels(what, outcome)

    def expect(self, topics: Sequence[str]) -> None:
        """Show as 0 what may become of records of these topics, events and items: see `ServiceMetrics.expect`."""
        super().expect(topics)
        for topic in topics:
            self.age.labels(topic)

    def expect_events(self, topics: Sequence[str]) -> None:
        """Show as 0 the events of these topics that will be applied, so that the first of a type counts in a rate."""
        for topic, kind in product(topics, get_args(EventType)):
            self.events.labels(topic, kind, "applied")

    def watch_lag(self, read: Callable[[], Mapping[tuple[str, int], int]]) -> None:
        """Serve the lag by partition as `read` gives it at each scrape."""
        self.registry.register(LagCollector(read))

    def watch_caches(self, caches: Mapping[str, Callable[[], CacheStats]]) -> None:
        """Serve hits, misses and bytes of each cache as its reader gives them at each scrape."""
        self.registry.register(CacheCollector("interests", caches))

    def placing_by(self, concepts: str, concepts_digest: str, weights_digest: str) -> None:
        """By which concept tree events are placed, and by which weights they are weighed, from now on."""
        self.concepts.clear()
        self.concepts.labels(concepts, concepts_digest).set(1)
        self.weight_table.clear()
        self.weight_table.labels(weights_digest).set(1)

    def encoder_called(self, seconds: float, texts: int) -> None:
        """One request of `texts` texts was answered rightly after `seconds`."""
        self.encode_seconds.observe(seconds)
        self.encoded_texts.inc(texts)
        self.progress()

    def encoder_retried(self, code: str) -> None:
        """One attempt at the encoder failed with `code` and is made again."""
        self.encoder_retries.labels(code).inc()

    def encoder_breaker(self, is_open: bool) -> None:
        """The encoder's breaker opened or closed."""
        self.breaker_open.set(is_open)

    def store_called(self, call: str, seconds: float) -> None:
        """One call to the store was answered after `seconds`."""
        super().store_called(call, seconds)
        self.progress()

    def fence_refused(self, reason: Refusal) -> None:
        """A batch was written under a fence that no longer held."""
        self.fence_refusals.labels(reason).inc()

    def examples_sent(self, kind: Kind, count: int) -> None:
        """So many examples were sent."""
        self.examples.labels(kind).inc(count)

    def examples_dropped(self, reason: str, count: int) -> None:
        """So many were begun and not sent."""
        self.dropped_examples.labels(reason).inc(count)

    def examples_waited(self, seconds: float) -> None:
        """A batch waited so long for its examples."""
        self.examples_seconds.observe(seconds)

    def learned_written(self, people: int, nodes: int) -> None:
        """So many people's learned nodes, so many in all, were written."""
        super().learned_written(people, nodes)
        self.nodes_written.labels("learned").inc(nodes)

    def count(self, report: Report) -> None:
        """Count what became of a batch."""
        for outcome, events in report.events.items():
            for (topic, kind), count in Tally((event.source.topic, event.type) for event in events).items():
                self.events.labels(topic, kind, outcome).inc(count)
        self.dead_lettered(report.dead)
        for level, count in Tally(node.key.level for node in report.nodes).items():
            self.nodes_written.labels(level).inc(count)
        self.items.inc(report.items)
        self.unknown_fields.inc(report.unknown_fields)
        self.clamped.inc(report.clamped)
        self.reread_incomplete.inc(report.reread_incomplete)

    def aged(self, records: Sequence[RecordLike], now_ms: int) -> None:
        """Observe how old each record is now that its effect is durable."""
        ages = {topic: self.age.labels(topic) for topic in {record.topic for record in records}}
        for record in records:
            if record.timestamp is not None and record.timestamp > 0:
                ages[record.topic].observe(max(0, now_ms - record.timestamp) / 1000)
