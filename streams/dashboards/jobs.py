"""Which jobs' metrics a query asks for, and their names."""

from __future__ import annotations

from typing import Final

from streams.base.jobs import JOBS, Job
from streams.dashboards.queries import Labels, Quantile, Query, Rate, Ratio, Value

#: What Prometheus makes of each scrape: 1 where it was answered, else 0.
UP: Final = "up"
#: The metrics that worker and learner both have.
_OF_BOTH: Final = ("interests_dead_letters", "interests_refused_records", "interests_store_seconds",
                   "interests_retries", "interests_lag_records")  # fmt: skip
_BY_PREFIX: Final[tuple[tuple[str, Job], ...]] = (
    ("interests_api_", "api"), ("interests_learner_", "learner"), ("interests_weights_", "learner"),
    ("interests_live_", "learner"), ("interests_", "worker"), ("nv_", "triton"),
)  # fmt: skip


def metrics_of(query: Query) -> frozenset[str]:
    """The names of the samples that a query reads."""
    if isinstance(query, Value):
        return frozenset({query.gauge})
    if isinstance(query, Rate):
        return frozenset({query.counter})
    if isinstance(query, Quantile):
        return frozenset({f"{query.histogram}_bucket"})
    return metrics_of(query.part) | metrics_of(query.whole)


def counted_by(query: Query) -> Query | None:
    """What says whether a query that gave no line could have given one: the rate it is worked out of, if any."""
    if isinstance(query, Quantile):
        return Rate(f"{query.histogram}_bucket", where=query.where)
    return query.whole if isinstance(query, Ratio) else None


def jobs_of(query: Query) -> tuple[Job, ...]:
    """The jobs whose metrics a query reads, in the order of `JOBS`; all of them where it asks which are up."""
    where = _where(query)
    if "job" in where:
        return tuple(job for job in JOBS if job == where["job"])
    found = {job for name in metrics_of(query) for job in _jobs_of_metric(name)}
    return tuple(job for job in JOBS if job in found)


def _where(query: Query) -> Labels:
    return query.where if isinstance(query, Value | Rate | Quantile) else query.part.where


def _jobs_of_metric(name: str) -> tuple[Job, ...]:
    if name == UP:
        return JOBS
    if name.startswith(_OF_BOTH):
        return ("worker", "learner")
    return (next((job for prefix, job in _BY_PREFIX if name.startswith(prefix)), "qdrant"),)
