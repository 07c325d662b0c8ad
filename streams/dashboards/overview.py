"""The dashboard to look at first: what comes in, what is applied, how late, and what goes wrong."""

from __future__ import annotations

from typing import Final

from streams.dashboards.panels import AGE_PROMISE_S, ANY_PER_S, WAITED, Dashboard, Line, Panel
from streams.dashboards.queries import Quantile, Rate, Value

OVERVIEW: Final = Dashboard(
    key="overview",
    title="Overview",
    about="Events in and applied, how late they are, and what goes wrong.",
    panels=(
        Panel(
            key="events",
            title="Events",
            about="Events a second by what became of them: applied to a tree, delivered twice, waiting for their item.",
            unit="per_s",
            lines=(Line(Rate("interests_events_total", by=("outcome",)), "{outcome}"),),
            runbook="when-something-is-wrong",
        ),
        Panel(
            key="age",
            title="Age at apply",
            about=(
                "From a record's timestamp to its nodes being durable in Qdrant; promised is a fraction of a second. "
                "Events that waited for their item are left out."
            ),
            unit="s",
            lines=(
                Line(Quantile(0.5, "interests_age_at_apply_seconds", without=WAITED), "median"),
                Line(Quantile(0.99, "interests_age_at_apply_seconds", without=WAITED), "99th percentile"),
            ),
            warn=AGE_PROMISE_S / 2,
            bad=AGE_PROMISE_S,
            runbook="interestsageatapplyoverpromise",
        ),
        Panel(
            key="lag",
            title="Lag",
            about="Records that are not folded yet, by topic; of the learner those of ranking.examples.",
            unit="number",
            lines=(Line(Value("interests_lag_records", by=("topic",)), "{topic}"),),
            warn=1_000,
            bad=10_000,
            runbook="interestslaggrowing",
        ),
        Panel(
            key="since_commit",
            title="Seconds since the last commit",
            about="Of the worker that is furthest behind; 0 while nothing waits. A stuck worker ends itself.",
            unit="s",
            lines=(Line(Value("interests_seconds_since_commit", across="max"), "longest"),),
            warn=30,
            bad=60,
            runbook="interestsnocommit",
        ),
        Panel(
            key="dead_letters",
            title="Dead letters",
            about="Records a second that can never be applied, by topic and reason; kept whole in <topic>.dead.",
            unit="per_s",
            lines=(Line(Rate("interests_dead_letters_total", by=("topic", "reason")), "{topic}: {reason}"),),
            warn=ANY_PER_S,
            runbook="interestsdeadletters",
            hide_zero=True,
        ),
        Panel(
            key="retries",
            title="Waits for a server",
            about="Waits a second for Triton, Qdrant or Kafka to come back. Nothing is lost meanwhile.",
            unit="per_s",
            lines=(Line(Rate("interests_retries_total", by=("server",)), "{server}"),),
            warn=ANY_PER_S,
            runbook="interestsserveraway",
        ),
        Panel(
            key="odd",
            title="Odd records",
            about="What was let in but looks wrong: unknown fields, times in the future, records that no topic took.",
            unit="per_s",
            lines=(
                Line(Rate("interests_unknown_fields_total"), "unknown fields"),
                Line(Rate("interests_clamped_times_total"), "times in the future"),
                Line(Rate("interests_refused_records_total"), "taken by no topic"),
                Line(Rate("interests_reread_incomplete_total"), "erasures that forgot more than asked for"),
            ),
            warn=ANY_PER_S,
            runbook="interestsrefusedrecords",
        ),
        Panel(
            key="made",
            title="What follows from events",
            about="Items described, changes announced on interests.updated, and votes derived from events.",
            unit="per_s",
            lines=(
                Line(Rate("interests_items_total"), "items described"),
                Line(Rate("interests_updates_total"), "changes announced"),
                Line(Rate("interests_derived_events_total", by=("kind", "outcome")), "{kind}: {outcome}"),
            ),
            runbook="topics",
        ),
    ),
)
