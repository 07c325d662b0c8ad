"""How good rankings are on live lists, and what the learner does about it."""

from __future__ import annotations

from typing import Final

from streams.dashboards.panels import Dashboard, Line, Panel
from streams.dashboards.queries import Quantile, Query, Rate, Ratio, Value


def _mean(total: str, *by: str) -> Query:
    """The mean of what a counter sums over lists, one line for each value of the labels `by`."""
    return Ratio(Rate(total, by=by), Rate("interests_live_lists_total", by=by))


QUALITY: Final = Dashboard(
    key="quality",
    title="Quality",
    about="What people took of the lists they saw: recall@10 and MRR, by ranker and cohort, and the weights served.",
    panels=(
        Panel(
            key="recall",
            title="recall@10 by ranker",
            about="The mean over lists of the share of what was taken that stood among the first ten.",
            unit="number",
            lines=(Line(_mean("interests_live_recall_at_10_total", "ranker"), "{ranker}"),),
            runbook="interestslivequalityfalling",
        ),
        Panel(
            key="mrr",
            title="MRR by ranker",
            about="The mean over lists of 1 / rank of the first thing taken. `ours` is what is served.",
            unit="number",
            lines=(Line(_mean("interests_live_reciprocal_rank_total", "ranker"), "{ranker}"),),
            runbook="interestslivequalityfalling",
        ),
        Panel(
            key="mrr_by_cohort",
            title="MRR of what is served, by cohort",
            about="Newcomers, people with few events and people with many.",
            unit="number",
            lines=(
                Line(
                    Ratio(
                        Rate("interests_live_reciprocal_rank_total", by=("cohort",), where={"ranker": "ours"}),
                        Rate("interests_live_lists_total", by=("cohort",), where={"ranker": "ours"}),
                    ),
                    "{cohort}",
                ),
            ),
            runbook="interestslivequalityfalling",
        ),
        Panel(
            key="late",
            title="Of the last 500 lists, what is served",
            about="Means of about the last 500 lists of each kind, over encoders and cohorts alike.",
            unit="number",
            lines=(
                Line(
                    Value("interests_live_recall_at_10_late", by=("kind",), where={"ranker": "ours"}, across="avg"),
                    "recall@10, {kind}",
                ),
                Line(
                    Value("interests_live_mrr_late", by=("kind",), where={"ranker": "ours"}, across="avg"),
                    "MRR, {kind}",
                ),
            ),
            runbook="interestslivequalityfalling",
        ),
        Panel(
            key="lists",
            title="Lists scored",
            about="Lists a second that were scored by what people took of them, by kind and cohort.",
            unit="per_s",
            lines=(
                Line(
                    Rate("interests_live_lists_total", by=("kind", "cohort"), where={"ranker": "ours"}),
                    "{kind}, {cohort}",
                ),
            ),
            runbook="live-quality",
        ),
        Panel(
            key="served",
            title="Learned weights served",
            about="1 while the learned weights are served, 0 while the fixed ones are because the learned did worse.",
            unit="number",
            lines=(Line(Value("interests_weights_served", by=("kind",), across="min"), "{kind}"),),
            warn=1,
            below=True,
            runbook="interestsweightsnotserved",
        ),
        Panel(
            key="learned_from",
            title="Lists learned from",
            about="Lists that the weights published last were learned from.",
            unit="number",
            lines=(Line(Value("interests_weights_lists", by=("kind",), across="max"), "{kind}"),),
            runbook="the-learner",
        ),
        Panel(
            key="weights",
            title="Weights published",
            about="Their version, and in records a second how often they are published.",
            unit="number",
            lines=(
                Line(Value("interests_weights_version", by=("kind",), across="max"), "version, {kind}"),
                Line(Rate("interests_weights_published_total", by=("kind",)), "records a second, {kind}"),
            ),
            runbook="the-learner",
        ),
        Panel(
            key="examples",
            title="Examples",
            about="Lists sent by workers, and what the learner made of them.",
            unit="per_s",
            lines=(
                Line(Rate("interests_ranking_examples_total", by=("kind",)), "sent, {kind}"),
                Line(Rate("interests_learner_examples_total", by=("outcome",)), "{outcome}"),
            ),
            runbook="the-learner",
        ),
        Panel(
            key="examples_lost",
            title="Examples lost",
            about="Begun and not sent, by reason; and records that retention removed before the learner read them.",
            unit="per_s",
            lines=(
                Line(Rate("interests_ranking_examples_dropped_total", by=("reason",)), "{reason}"),
                Line(Rate("interests_learner_lost_records_total"), "removed by retention"),
            ),
            runbook="interestslearnerlostrecords",
        ),
        Panel(
            key="learner_seconds",
            title="Time that learning takes, 99th percentile",
            about="How long a batch of a worker waits for its examples, and one write of the learner's state.",
            unit="s",
            lines=(
                Line(Quantile(0.99, "interests_ranking_examples_seconds"), "examples of a batch"),
                Line(Quantile(0.99, "interests_learner_commit_seconds"), "write of the state"),
            ),
            warn=1,
            bad=5,
            runbook="the-learner",
        ),
        Panel(
            key="learner_log",
            title="Incarnation of the examples' topic",
            about="Rises when the topic or the broker is new.",
            unit="number",
            lines=(Line(Value("interests_learner_log", across="max"), "log"),),
            runbook="the-learner",
        ),
    ),
)
