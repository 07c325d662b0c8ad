"""The API's Prometheus metrics, by route template and status; docs/metrics.md is made of them. No label is personal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from streams.base.cache_metrics import CacheCollector
from streams.base.caches import CacheStats
from streams.base.jobs import JOBS
from streams.base.local_callers import ForeignKind
from streams.base.metrics_registry import metrics_registry
from streams.base.refusals import Refusal
from streams.ranking.parts import KINDS

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus_client lets several processes share their counts; `interests api` sets it with --workers."""

ADMISSION_REASONS: Final = {401: "credentials", 403: "scope", 429: "rate", 503: "keys"}
"""Why callers are turned away before a route runs, by the status they are answered with."""

_SECONDS = (0.002, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.08, 0.12, 0.2, 0.35, 0.6, 1, 2, 5, 10)


class ApiMetrics:
    """All metrics of one API process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = metrics_registry()
        self.requests = Counter(
            "interests_api_requests",
            "Requests by route template; `(none)` matched no route, status 499 went away before the answer.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "interests_api_request_seconds",
            "From a request's head to the end of its answer; live streams are left out.",
            ("route",), buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.under_way = Gauge(
            "interests_api_requests_under_way", "Requests being answered.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.live = Gauge(
            "interests_api_live_streams", "Live streams being served.", registry=registry, multiprocess_mode="livesum"
        )
        self.live_interrupted = Counter(
            "interests_api_live_interrupted",
            "`resync`: updates were lost (the broker was away, the watcher too slow), repeated or too many, and the "
            "whole tree was sent; of streams that were ended, `store`: Qdrant was away for 10 s; `access`: the key "
            "or token no longer holds.",
            ("reason",), registry=registry,
        )  # fmt: skip
        self.store_seconds = Histogram(
            "interests_api_store_seconds",
            "One read of Qdrant: scroll, get, query, groups, facet, tombstones, popularity, cohorts.",
            ("call",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.rankings = Counter(
            "interests_api_rankings",
            "Lists that were scored, by kind (`next`: recommendations and explanations; `impression`: rankings of what "
            "was given) and weights, `learned` or `fixed`.",
            ("kind", "weights"), registry=registry,
        )  # fmt: skip
        self.weights_version = Gauge(
            "interests_api_weights_version", "Version of the weights that scored last, by kind of list; 0: fixed.",
            ("kind",), registry=registry, multiprocess_mode="livemax",
        )  # fmt: skip
        self.encode_seconds = Histogram(
            "interests_api_encode_seconds", "One request of texts to Triton.", buckets=_SECONDS, registry=registry
        )
        self.refused = Counter(
            "interests_api_refused",
            "Callers turned away: credentials, scope, rate, pages of other sites; `keys`: a file of keys was not "
            "whole; `live`: too many live streams by one key.",
            ("reason",), registry=registry,
        )  # fmt: skip
        self.keys_usable = Gauge(
            "interests_api_keys_file_usable",
            "1; 0 while the file of keys that this setting names (`api.keys_file`, `api.jwt_secret_file`, "
            "`api.jwt_public_key_file`) cannot be read or does not fit, and nobody is let in by it.",
            ("setting",), registry=registry, multiprocess_mode="livemin",
        )  # fmt: skip
        self.erasure_pending = Gauge(
            "interests_api_erasure_pending_seconds",
            "Age of the oldest erasure that was accepted and is not seen to have taken effect; 0: of none. Looked at "
            "every 15 s; a process that ends forgets those it was asked for.",
            registry=registry, multiprocess_mode="livemax",
        )  # fmt: skip
        self.cut = Counter(
            "interests_api_connections_refused",
            "Connections ended before their request was answered: its head or body too large or too slow, no HTTP, "
            "too many connections (`connections-full`: the new one, `evicted`: the one that had waited longest), an "
            "answer that nobody took (`unread`, `evicted` where they are many), more than 32 requests behind one that "
            "is not answered yet (`pipelined`).",
            ("kind",), registry=registry,
        )  # fmt: skip
        self.dashboard_failures = Counter(
            "interests_api_dashboard_failures",
            "Questions for the dashboards that were not answered: by `prometheus`, or by a job that the API scrapes "
            "itself.",
            ("source",), registry=registry,
        )  # fmt: skip

        for reason in ("resync", "store", "access"):
            self.live_interrupted.labels(reason)
        for kind in KINDS:
            self.weights_version.labels(kind)
            for weights in ("learned", "fixed"):
                self.rankings.labels(kind, weights)
        for reason in (*ADMISSION_REASONS.values(), "live", *get_args(ForeignKind)):
            self.refused.labels(reason)
        for why in Refusal:
            self.cut.labels(why.value[1])
        for source in ("prometheus", *JOBS):
            self.dashboard_failures.labels(source)

    def watch_caches(self, caches: Mapping[str, Callable[[], CacheStats]]) -> None:
        """Serve hits, misses and bytes of each cache."""
        self.registry.register(CacheCollector("interests_api", caches))

    def keys_file(self, setting: str, usable: bool) -> None:
        """The file of keys that a setting names was found whole, or not."""
        self.keys_usable.labels(setting).set(usable)

    def ranked(self, kind: str, version: int) -> None:
        """A list was scored with weights of this version, 0 for the fixed ones."""
        self.rankings.labels(kind, "learned" if version else "fixed").inc()
        self.weights_version.labels(kind).set(version)

    def store_called(self, call: str, seconds: float) -> None:
        """One read of Qdrant was answered after `seconds`."""
        self.store_seconds.labels(call).observe(seconds)

    def encoder_called(self, seconds: float, texts: int) -> None:
        """One request of texts was answered."""
        self.encode_seconds.observe(seconds)

    def encoder_retried(self, code: str) -> None:
        """Only the worker counts these."""

    def encoder_breaker(self, is_open: bool) -> None:
        """Only the worker exports this."""

    def text(self) -> bytes:
        """What Prometheus reads: of all processes together where they share a directory."""
        if os.environ.get(MULTIPROCESS):
            together = CollectorRegistry()
            MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
            return generate_latest(together)
        return generate_latest(self.registry)
