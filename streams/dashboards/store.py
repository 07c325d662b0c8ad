"""Qdrant: how it is called, how long it takes, what is written, and what it says of itself."""

from __future__ import annotations

from typing import Final

from streams.dashboards.panels import ANY_PER_S, Dashboard, Line, Panel
from streams.dashboards.queries import Quantile, Rate, Ratio, Value

STORE: Final = Dashboard(
    key="store",
    title="Store",
    about="How Qdrant is called, how long it takes, what is written, and what it says of itself.",
    panels=(
        Panel(
            key="calls",
            title="Calls",
            about="Calls a second of workers and the learner, by kind.",
            unit="per_s",
            lines=(Line(Rate("interests_store_seconds_count", by=("call",)), "{call}"),),
            runbook="interestslaggrowing",
        ),
        Panel(
            key="call_median",
            title="Time of a call, median",
            about="Half of the calls of workers and the learner are answered within this time.",
            unit="s",
            lines=(Line(Quantile(0.5, "interests_store_seconds", by=("call",)), "{call}"),),
            warn=0.25,
            bad=1,
            runbook="interestsageatapplyoverpromise",
        ),
        Panel(
            key="call_p99",
            title="Time of a call, 99th percentile",
            about="An event waits for about two upserts, so these bound the age at apply.",
            unit="s",
            lines=(Line(Quantile(0.99, "interests_store_seconds", by=("call",)), "{call}"),),
            warn=0.5,
            bad=2,
            runbook="interestsageatapplyoverpromise",
        ),
        Panel(
            key="nodes",
            title="Nodes written",
            about="Nodes a second by level. An event changes about four, fewer where a batch coalesces.",
            unit="per_s",
            lines=(Line(Rate("interests_nodes_written_total", by=("level",)), "{level}"),),
            runbook="interestslaggrowing",
        ),
        Panel(
            key="sweeps",
            title="Sweeps",
            about="Sweeps a second for what has expired; a sweep that failed is made again in the next round.",
            unit="per_s",
            lines=(Line(Rate("interests_sweeps_total", by=("outcome",)), "{outcome}"),),
            runbook="interestssweepsfailing",
        ),
        Panel(
            key="erasure_overdue",
            title="Erasure overdue",
            about="Age of the oldest erasure of which the last sweep left nodes; 0: of none.",
            unit="s",
            lines=(Line(Value("interests_erasure_overdue_seconds", across="max"), "oldest"),),
            bad=1,
            runbook="interestserasureoverdue",
        ),
        Panel(
            key="again",
            title="Batches not written at the first try",
            about="Superseded: folded again after the batch before failed. Stale: dropped, their partitions had gone.",
            unit="per_s",
            lines=(
                Line(Rate("interests_superseded_batches_total"), "superseded"),
                Line(Rate("interests_stale_batches_total"), "stale"),
            ),
            warn=ANY_PER_S,
            runbook="interestsfencerefusals",
        ),
        Panel(
            key="caches",
            title="Found in the caches of workers",
            about="The share of nodes, items and texts that need not be asked for.",
            unit="share",
            lines=(
                Line(
                    Ratio(
                        Rate("interests_cache_lookups_total", by=("cache",), where={"result": "hit"}),
                        Rate("interests_cache_lookups_total", by=("cache",)),
                    ),
                    "{cache}",
                ),
            ),
            runbook="interestslaggrowing",
        ),
        Panel(
            key="cache_bytes",
            title="Size of the caches of workers",
            about="Bytes that the caches of all workers hold; each is bounded by its setting.",
            unit="bytes",
            lines=(Line(Value("interests_cache_bytes", by=("cache",)), "{cache}"),),
            runbook="a-worker",
        ),
        Panel(
            key="points",
            title="Qdrant: points",
            about="Points by collection, as Qdrant counts them, about.",
            unit="number",
            lines=(Line(Value("collection_points", by=("id",), across="max"), "{id}"),),
            runbook="interestserasureoverdue",
        ),
        Panel(
            key="collections",
            title="Qdrant: collections",
            about="How many collections there are.",
            unit="number",
            lines=(Line(Value("collections_total", across="max"), "collections"),),
            runbook="when-something-is-wrong",
        ),
        Panel(
            key="grpc",
            title="Qdrant: gRPC",
            about="Answers a second to workers, the learner and the API, by endpoint.",
            unit="per_s",
            lines=(Line(Rate("grpc_responses_total", by=("endpoint",)), "{endpoint}"),),
            runbook="when-something-is-wrong",
        ),
        Panel(
            key="rest",
            title="Qdrant: REST",
            about="Answers a second by endpoint and status: your own clients, and probes.",
            unit="per_s",
            lines=(Line(Rate("rest_responses_total", by=("endpoint", "status")), "{endpoint} {status}"),),
            runbook="when-something-is-wrong",
        ),
    ),
)
