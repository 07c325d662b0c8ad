"""docs/metrics.md, made from the metrics themselves: `python -m streams.commands.metrics_document`."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, get_args

from prometheus_client.metrics import MetricWrapperBase

from streams.api.telemetry import ApiMetrics
from streams.events.event import Outcome
from streams.learner.metrics import LearnerMetrics
from streams.worker.metrics import Metrics

FILE: Final = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
_WIDTH: Final = 120

#: What each outcome of an event means.
OUTCOMES: Final[dict[Outcome, str]] = {
    "applied": "Folded into the user's tree; counted once per event.",
    "redelivered": "Kafka delivered the record again; the tree has it already.",
    "duplicate": "The producer sent the event again under a new offset; the tree has it already.",
    "erased": "It happened before the user's erasure.",
    "unresolved": "Its item has not been described; it waits and is tried again. Counted at each try.",
    "rerouted": "Its record lay in another partition than its user's; it was sent on to the right one.",
    "reread": "Younger than an erasure that ended its tree: read from the log again and folded anew.",
}

_HEAD: Final = """# Metrics

Made from the metrics' own help texts by `python -m streams.commands.metrics_document`; a test holds the two together.

Times are in seconds, sizes in bytes. No label holds anything personal. Labels are topics, partitions, types, outcomes,
stages, reasons, kinds, levels, calls, gRPC codes, servers, caches and their results; of the learner also rankers,
encoders and cohorts; of the API methods, route templates and statuses. Counters whose labels are few begin at 0.

What to alert on, and what to do then, is in [the runbook](operations.md#runbook).

## A worker

Every worker serves Prometheus metrics on `INTERESTS_WORKER__METRICS_HOST`:`INTERESTS_WORKER__METRICS_PORT`
(`http://127.0.0.1:9108/metrics` by default).
"""
_LEARNER: Final = """## The learner

The [learner](operations.md#the-learner) serves metrics on `INTERESTS_LEARNING__METRICS_HOST`:
`INTERESTS_LEARNING__METRICS_PORT` (`http://127.0.0.1:9109/metrics` by default).
"""
_API: Final = """## The API

`GET /metrics` of the API (scope `read` where keys are set). With `interests api --workers N` it speaks for all
processes, but for the caches, which are each process's own and left out then.
"""


class Entry(NamedTuple):
    """A metric as Prometheus sees it: name, type, labels, and what it means."""

    name: str
    kind: str
    labels: tuple[str, ...]
    about: str


def entries(metrics: Metrics | ApiMetrics | LearnerMetrics) -> Iterator[Entry]:
    """Every metric that is served, in the order of their declaration."""
    # prometheus_client shows the names of labels nowhere but in samples, of which there are none yet.
    declared = {m._name: m._labelnames for m in vars(metrics).values() if isinstance(m, MetricWrapperBase)}
    for family in metrics.registry.collect():
        labels = declared[family.name] if family.name in declared else getattr(family, "_labelnames")  # noqa: B009  # as above
        yield Entry(
            family.name + "_total" * (family.type == "counter"), family.type, tuple(labels), family.documentation
        )


def of_worker() -> Metrics:
    """A worker's metrics, all that it may serve."""
    metrics = Metrics()
    metrics.watch_lag(dict)
    metrics.watch_caches({})
    return metrics


def of_api() -> ApiMetrics:
    """The API's metrics, all that it may serve."""
    metrics = ApiMetrics()
    metrics.watch_caches({})
    return metrics


def _item(entry: Entry) -> str:
    labels = f"; by {', '.join(entry.labels)}" if entry.labels else ""
    about = re.sub(r"\bdocs/([\w-]+\.md)", r"[\1](\1)", entry.about)
    text = f"- `{entry.name}` ({entry.kind}{labels}): {about}"
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def markdown() -> str:
    """The whole page."""
    outcomes = [f"| `{outcome}` | {OUTCOMES[outcome]} |" for outcome in get_args(Outcome)]
    parts = [
        _HEAD,
        *(map(_item, entries(of_worker()))),
        "\nOutcomes of `interests_events_total`:\n",
        "| outcome | meaning |",
        "|---|---|",
        *outcomes,
        "",
        _LEARNER,
        *(map(_item, entries(LearnerMetrics()))),
        "",
        _API,
        *(map(_item, entries(of_api()))),
        "",
    ]
    return "\n".join(parts)


def main() -> None:
    """Write the file."""
    FILE.write_text(markdown(), encoding="utf-8")
    sys.stdout.write(f"{FILE.name}\n")


if __name__ == "__main__":
    main()
