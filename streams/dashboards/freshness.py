"""How late trees are, where events wait, and whether the group is at rest."""

from __future__ import annotations

from typing import Final

from streams.dashboards.panels import AGE_PROMISE_S, ANY_PER_S, WAITED, Dashboard, Line, Panel
from streams.dashboards.queries import Quantile, Rate, Ratio, Value

FRESHNESS: Final = Dashboard(
    key="freshness",
    title="Freshness",
    about="How late trees are, where events wait, and whether partitions change hands.",
    panels=(
        Panel(
            key="age_by_topic",
            title="Age at apply by topic, 99th percentile",
            about=(
                "From a record's timestamp to its nodes being durable in Qdrant; promised is a fraction of a second. "
                "Events that waited for their item are left out."
            ),
            unit="s",
            lines=(Line(Quantile(0.99, "interests_age_at_apply_seconds", by=("topic",), without=WAITED), "{topic}"),),
            warn=AGE_PROMISE_S / 2,
            bad=AGE_PROMISE_S,
            runbook="interestsageatapplyoverpromise",
        ),
        Panel(
            key="age_median_by_topic",
            title="Age at apply by topic, median",
            about="Half of the records are applied within this time.",
            unit="s",
            lines=(Line(Quantile(0.5, "interests_age_at_apply_seconds", by=("topic",), without=WAITED), "{topic}"),),
            warn=AGE_PROMISE_S / 2,
            bad=AGE_PROMISE_S,
            runbook="interestsageatapplyoverpromise",
        ),
        Panel(
            key="lag_by_partition",
            title="Lag by partition",
            about="Records that are not folded yet. One partition that rises alone has a busy user or a stuck worker.",
            unit="number",
            lines=(Line(Value("interests_lag_records", by=("topic", "partition")), "{topic}/{partition}"),),
            warn=1_000,
            bad=10_000,
            runbook="interestslaggrowing",
        ),
        Panel(
            key="batch_seconds",
            title="Time of a batch",
            about="From taking a batch to the return of its acknowledgement, all waits included.",
            unit="s",
            lines=(
                Line(Quantile(0.5, "interests_batch_seconds"), "median"),
                Line(Quantile(0.99, "interests_batch_seconds"), "99th percentile"),
            ),
            warn=2,
            bad=10,
            runbook="interestsageatapplyoverpromise",
        ),
        Panel(
            key="batch_records",
            title="Records a batch",
            about="The mean. Batches grow under load until what is done in two seconds fills one.",
            unit="number",
            lines=(Line(Ratio(Rate("interests_batch_records_sum"), Rate("interests_batch_records_count")), "mean"),),
            runbook="interestslaggrowing",
        ),
        Panel(
            key="since_commit",
            title="Seconds since the last commit",
            about="Of the worker that is furthest behind; 0 while nothing waits.",
            unit="s",
            lines=(Line(Value("interests_seconds_since_commit", across="max"), "longest"),),
            warn=30,
            bad=60,
            runbook="interestsnocommit",
        ),
        Panel(
            key="rebalances",
            title="Rebalances",
            about="The generation of the consumer group: each step is a rebalance. Many in a row hold work up.",
            unit="number",
            lines=(Line(Value("interests_generation", across="max"), "generation"),),
            runbook="interestsfencerefusals",
        ),
        Panel(
            key="fence_refusals",
            title="Refused by the fence",
            about="Batches a second written after others had taken over. Few at a rebalance are as it should be.",
            unit="per_s",
            lines=(Line(Rate("interests_fence_refusals_total", by=("reason",)), "{reason}"),),
            warn=ANY_PER_S,
            runbook="interestsfencerefusals",
        ),
        Panel(
            key="epoch",
            title="Epoch",
            about="The high part of the fence; it rises when the broker or the group is new, and never by itself.",
            unit="number",
            lines=(Line(Value("interests_epoch", across="max"), "epoch"),),
            runbook="interestsnewepoch",
        ),
        Panel(
            key="stale_batches",
            title="Batches dropped or folded again",
            about="Stale: a rebalance took the partitions away. Superseded: the batch before had to be written again.",
            unit="per_s",
            lines=(
                Line(Rate("interests_stale_batches_total"), "stale"),
                Line(Rate("interests_superseded_batches_total"), "superseded"),
            ),
            warn=ANY_PER_S,
            runbook="interestsfencerefusals",
        ),
    ),
)
