"""The HTTP API: what is asked, how long answers take, and who is turned away."""

from __future__ import annotations

from typing import Final

from streams.dashboards.panels import ANY_PER_S, Dashboard, Line, Panel
from streams.dashboards.queries import Quantile, Rate, Ratio, Value

#: Answers of this very page take as long as Prometheus does.
_DASHBOARDS: Final = {"route": "/v1/dashboards/{key}"}

API: Final = Dashboard(
    key="api",
    title="API",
    about="What the HTTP API is asked, how long its answers take, and who is turned away.",
    panels=(
        Panel(
            key="requests",
            title="Requests by route",
            about="Requests a second by route template; (none) matched no route.",
            unit="per_s",
            lines=(Line(Rate("interests_api_requests_total", by=("method", "route")), "{method} {route}"),),
            runbook="interestsapierrors",
        ),
        Panel(
            key="statuses",
            title="Requests by status",
            about="503: a server is away. 504: no answer in time. 499: the caller went away first.",
            unit="per_s",
            lines=(Line(Rate("interests_api_requests_total", by=("status",)), "{status}"),),
            runbook="interestsapierrors",
        ),
        Panel(
            key="seconds",
            title="Time of a request",
            about="From a request's head to the end of its answer; live streams and this page's are left out.",
            unit="s",
            lines=(
                Line(Quantile(0.5, "interests_api_request_seconds", without=_DASHBOARDS), "median"),
                Line(Quantile(0.99, "interests_api_request_seconds", without=_DASHBOARDS), "99th percentile"),
            ),
            warn=0.25,
            bad=0.6,
            runbook="interestsapislow",
        ),
        Panel(
            key="seconds_by_route",
            title="Time of a request by route, 99th percentile",
            about="Which route is slow. Erasures wait until they have taken effect, dashboards for Prometheus.",
            unit="s",
            lines=(Line(Quantile(0.99, "interests_api_request_seconds", by=("route",)), "{route}"),),
            runbook="interestsapislow",
        ),
        Panel(
            key="open",
            title="Requests and live streams now",
            about="Requests being answered, and live streams being served.",
            unit="number",
            lines=(
                Line(Value("interests_api_requests_under_way"), "requests"),
                Line(Value("interests_api_live_streams"), "live streams"),
            ),
            runbook="interestsapislow",
        ),
        Panel(
            key="refused",
            title="Callers and connections refused",
            about="Callers turned away by reason, and connections ended before their request was answered, by kind.",
            unit="per_s",
            lines=(
                Line(Rate("interests_api_refused_total", by=("reason",)), "caller: {reason}"),
                Line(Rate("interests_api_connections_refused_total", by=("kind",)), "connection: {kind}"),
            ),
            warn=ANY_PER_S,
            runbook="when-something-is-wrong",
            hide_zero=True,
        ),
        Panel(
            key="erasure_pending",
            title="Erasure pending",
            about="Age of the oldest erasure that was accepted and has not taken effect yet; 0: of none.",
            unit="s",
            lines=(Line(Value("interests_api_erasure_pending_seconds", across="max"), "oldest"),),
            warn=60,
            bad=600,
            runbook="interestserasureoverdue",
        ),
        Panel(
            key="live_interrupted",
            title="Live streams interrupted",
            about="resync: the whole tree was sent again. store, access: the stream was ended.",
            unit="per_s",
            lines=(Line(Rate("interests_api_live_interrupted_total", by=("reason",)), "{reason}"),),
            warn=ANY_PER_S,
            runbook="interestsapierrors",
        ),
        Panel(
            key="dashboard_failures",
            title="Dashboards without an answer",
            about="Questions a second that Prometheus, or a job that the API scrapes itself, did not answer.",
            unit="per_s",
            lines=(Line(Rate("interests_api_dashboard_failures_total", by=("source",)), "{source}"),),
            warn=ANY_PER_S,
            runbook="when-something-is-wrong",
        ),
        Panel(
            key="keys",
            title="Files of keys",
            about="1; 0 while a file of keys cannot be read or does not fit, and nobody is let in by it.",
            unit="number",
            lines=(Line(Value("interests_api_keys_file_usable", by=("setting",), across="min"), "{setting}"),),
            bad=1,
            below=True,
            runbook="interestskeyfileunusable",
        ),
        Panel(
            key="rankings",
            title="Rankings",
            about="Lists scored a second, by kind and by the weights that scored them.",
            unit="per_s",
            lines=(Line(Rate("interests_api_rankings_total", by=("kind", "weights")), "{kind}, {weights}"),),
            runbook="the-learner",
        ),
        Panel(
            key="weights_version",
            title="Weights that rank",
            about="Version of the weights that scored last; 0: the fixed ones.",
            unit="number",
            lines=(Line(Value("interests_api_weights_version", by=("kind",), across="min"), "{kind}"),),
            runbook="the-learner",
        ),
        Panel(
            key="store_seconds",
            title="Reads of Qdrant, 99th percentile",
            about="One read by kind.",
            unit="s",
            lines=(Line(Quantile(0.99, "interests_api_store_seconds", by=("call",)), "{call}"),),
            warn=0.25,
            bad=1,
            runbook="interestsapislow",
        ),
        Panel(
            key="encode_seconds",
            title="Texts to vectors",
            about="One request of texts to Triton.",
            unit="s",
            lines=(
                Line(Quantile(0.5, "interests_api_encode_seconds"), "median"),
                Line(Quantile(0.99, "interests_api_encode_seconds"), "99th percentile"),
            ),
            warn=0.5,
            bad=2,
            runbook="interestsencoderbreakeropen",
        ),
        Panel(
            key="caches",
            title="Found in the caches",
            about="The share of item cards and texts that need not be asked for; left out with several processes.",
            unit="share",
            lines=(
                Line(
                    Ratio(
                        Rate("interests_api_cache_lookups_total", by=("cache",), where={"result": "hit"}),
                        Rate("interests_api_cache_lookups_total", by=("cache",)),
                    ),
                    "{cache}",
                ),
            ),
            runbook="when-something-is-wrong",
        ),
        Panel(
            key="cache_bytes",
            title="Size of the caches",
            about="Bytes that the caches hold; left out with several processes.",
            unit="bytes",
            lines=(Line(Value("interests_api_cache_bytes", by=("cache",)), "{cache}"),),
            runbook="when-something-is-wrong",
        ),
    ),
)
