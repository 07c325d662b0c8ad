"""Panels of learned nodes: whose are made, how long people wait, what it takes, what fails; empty where none are."""

from __future__ import annotations

from typing import Final

from streams.dashboards.panels import ANY_PER_S, Line, Panel
from streams.dashboards.queries import Quantile, Rate, Value

_RUNBOOK: Final = "interestslearnednodesstale"

LEARNED_PANELS: Final = (
    Panel(
        key="learned_people",
        title="Learned nodes: people",
        about="People a second whose learned nodes were written, those left as they were, by reason, and those whom "
        "sweeps found behind.",
        unit="per_s",
        lines=(
            Line(Rate("interests_learned_people_total"), "written"),
            Line(Rate("interests_learned_dropped_total", by=("reason",)), "left: {reason}"),
            Line(Rate("interests_learned_behind_total"), "found behind"),
            Line(Rate("interests_learned_sweeps_total", by=("outcome",)), "sweeps: {outcome}"),
        ),
        runbook=_RUNBOOK,
    ),
    Panel(
        key="learned_oldest",
        title="Learned nodes: longest wait",
        about="How long the one has waited who waits longest, of all workers.",
        unit="s",
        lines=(Line(Value("interests_learned_oldest_seconds", across="max"), "longest"),),
        warn=60,
        bad=300,
        runbook=_RUNBOOK,
    ),
    Panel(
        key="learned_queue",
        title="Learned nodes: people who wait",
        about="People who changed and are not asked about yet; past learned.queue the oldest are left out.",
        unit="number",
        lines=(Line(Value("interests_learned_queue"), "people"),),
        runbook=_RUNBOOK,
    ),
    Panel(
        key="learned_seconds",
        title="Learned nodes: time of a round",
        about="A round for some people in all, and of it the request to the model, retries included.",
        unit="s",
        lines=(
            Line(Quantile(0.99, "interests_learned_round_seconds"), "round, 99th percentile"),
            Line(Quantile(0.5, "interests_learned_call_seconds"), "request, median"),
            Line(Quantile(0.99, "interests_learned_call_seconds"), "request, 99th percentile"),
        ),
        warn=1,
        bad=5,
        runbook=_RUNBOOK,
    ),
    Panel(
        key="learned_failures",
        title="Learned nodes: what fails",
        about="Rounds a second that failed, by reason, and attempts at the model that were made again, by gRPC status.",
        unit="per_s",
        lines=(
            Line(Rate("interests_learned_failures_total", by=("reason",)), "round: {reason}"),
            Line(Rate("interests_learned_retries_total", by=("code",)), "attempt: {code}"),
        ),
        warn=ANY_PER_S,
        runbook=_RUNBOOK,
        hide_zero=True,
    ),
    Panel(
        key="learned_model",
        title="Learned nodes: workers by model",
        about="Workers by the model that answers them, and those that do not ask it because it failed several times.",
        unit="number",
        lines=(
            Line(Value("interests_learned_model_info", by=("model",)), "{model}"),
            Line(Value("interests_learned_breaker_open"), "not asked"),
        ),
        runbook=_RUNBOOK,
    ),
)
