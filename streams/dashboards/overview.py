"""The dashboard to look at first: what comes in, what is applied, how late, and what goes wrong."""

from __future__ import annotations

from typing import Final

from streams.dashboards.panels import Dashboard, Line, Panel
from streams.dashboards.queries import Quantile, Rate, Value

OVERVIEW: Final = Dashboard(
    key="overview",
    title="Overview",
    about="Events in and applied, how late they are, and what goes wrong.",
    panels=(
        Panel(
            key="events",
            title="Events",
            about="Events a second by what became of them.",
            unit="per_s",
            lines=(Line(Rate("interests_events_total", by=("outcome",)), "{outcome}"),),
        ),
        Panel(
            key="age",
            title="Age at apply",
            about="From a record's timestamp to its nodes being durable in Qdrant.",
            unit="s",
            lines=(
                Line(Quantile(0.5, "interests_age_at_apply_seconds"), "median"),
                Line(Quantile(0.99, "interests_age_at_apply_seconds"), "99th percentile"),
            ),
            warn=0.5,
            bad=2,
        ),
        Panel(
            key="lag",
            title="Lag",
            about="Records that are not folded yet.",
            unit="number",
            lines=(Line(Value("interests_lag_records", by=("topic",)), "{topic}"),),
        ),
    ),
)
