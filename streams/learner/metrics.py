"""The learner's Prometheus metrics; no label holds personal data. docs/metrics.md is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import get_args

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.learner.figures import Figure, Label
from streams.learner.state import Outcome
from streams.pipeline.service_metrics import CALL_S, ServiceMetrics
from streams.ranking.parts import KINDS


class LearnerMetrics(ServiceMetrics):
    """All metrics of one learner, in a registry of their own."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
        self.examples = Counter(
            "interests_learner_examples",
            "Examples by what became of them: `learned`; `scored` (another encoder's, not learned from); `repeated` "
            "(sent again after a retry or a restart; changes nothing); `other_version` (of other features). Counted "
            "once what they changed is durable.",
            ("outcome",),
            registry=registry,
        )
        self.lost = Counter(
            "interests_learner_lost_records",
            "Offsets that retention removed before the learner had read them.",
            registry=registry,
        )
        self.log = Gauge(
            "interests_learner_log",
            "Incarnation of the topic of examples; rises when the topic or the broker is new.",
            registry=registry,
        )
        self.lag = Gauge(
            "interests_lag_records",
            "Offsets between what is committed, or the start of the log where that is later, and the end of what can "
            "be read.",
            ("topic", "partition"),
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "interests_learner_commit_seconds",
            "One write of the state, waits for Qdrant included.",
            buckets=CALL_S,
            registry=registry,
        )
        self.version = Gauge(
            "interests_weights_version", "Version of the weights published last.", ("kind",), registry=registry
        )
        self.lists = Gauge(
            "interests_weights_lists", "Lists that the weights were learned from.", ("kind",), registry=registry
        )
        self.served = Gauge(
            "interests_weights_served",
            "1 while the learned weights are served, 0 while the fixed ones are because the learned did worse.",
            ("kind",),
            registry=registry,
        )
        self.published = Counter(
            "interests_weights_published", "Records of weights published.", ("kind",), registry=registry
        )

        for outcome in get_args(Outcome):
            self.examples.labels(outcome)
        for kind in KINDS:
            self.published.labels(kind)
        self.figures: Sequence[tuple[Label, Figure]] = ()
        registry.register(_Live(lambda: self.figures))


class _Live(Collector):
    """Live quality. Its sums are those of the durable state, so they go on where the last learner was."""

    def __init__(self, read: Callable[[], Iterable[tuple[Label, Figure]]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return self._families(())

    def collect(self) -> Iterable[Metric]:
        return self._families(self._read())

    def _families(self, figures: Iterable[tuple[Label, Figure]]) -> Iterable[Metric]:
        labels = list(Label._fields)
        lists = CounterMetricFamily("interests_live_lists", "Lists scored by what people took of them.", labels=labels)
        recall = CounterMetricFamily(
            "interests_live_recall_at_10", "Sum of recall@10; its rate over that of the lists is the mean.",
            labels=labels,
        )  # fmt: skip
        reciprocal = CounterMetricFamily(
            "interests_live_reciprocal_rank", "Sum of reciprocal ranks; its rate over that of the lists is the MRR.",
            labels=labels,
        )  # fmt: skip
        late_recall = GaugeMetricFamily(
            "interests_live_recall_at_10_late", "Mean recall@10 of about the last 500 lists.", labels=labels
        )
        late_mrr = GaugeMetricFamily("interests_live_mrr_late", "MRR of about the last 500 lists.", labels=labels)
        for label, figure in figures:
            lists.add_metric(label, figure.lists)
            recall.add_metric(label, figure.recall)
            reciprocal.add_metric(label, figure.reciprocal_rank)
            late_recall.add_metric(label, figure.late_recall / figure.late)
            late_mrr.add_metric(label, figure.late_reciprocal_rank / figure.late)
        return lists, recall, reciprocal, late_recall, late_mrr
