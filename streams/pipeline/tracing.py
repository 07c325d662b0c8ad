"""Traces of batches and single events, off unless `tracing.endpoint` is set: then one is followed to its points.

A batch is a trace of its own: `batch` with `parse`, `resolve`, `encode`, `plan`, `verify`, `announce`, `ack` and, for
some people's trees after others', `fold`, `turn` (what waits for the batch before), `send` and `write` under it, linked
to the trace of every record in it that has one. A record whose
producer sent a `traceparent` header (W3C Trace Context) gets a span `event` in the producer's own trace besides, linked
back to the batch, that says what became of it and which points it changed. No span holds who somebody is or what they
wrote.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from streams.events.event import Header, RecordLike
from streams.events.privacy import is_pseudonym
from streams.interests.nodes import Node, node_id
from streams.pipeline.report import Report

if TYPE_CHECKING:
    from opentelemetry.context import Context

TRACEPARENT: Final = "traceparent"
_HEADERS: Final = (TRACEPARENT, "tracestate")
_MAX_POINTS: Final = 64
_OFF: Final[AbstractContextManager[None]] = nullcontext()
_propagator: Final = TraceContextTextMapPropagator()
_tracer: trace.Tracer | None = None

# At each header that is not as it should be it warns, and quotes it: what a producer wrote, a line a record.
logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)


def use(provider: trace.TracerProvider | None) -> None:
    """Send spans to a provider from here on; None: make none."""
    global _tracer  # noqa: PLW0603  # one process, one tracer; passing it down would put it into every signature
    _tracer = provider.get_tracer("interest-streams") if provider else None


def stage(name: str) -> AbstractContextManager[object]:
    """A span of one stage under the batch at hand; costs nothing while tracing is off."""
    return _OFF if _tracer is None else _span(_tracer, name)


@contextmanager
def _span(tracer: trace.Tracer, name: str, **more: Any) -> Iterator[trace.Span]:
    """A span that says which kind of error ended it, and no more: a foreign message may hold anything."""
    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False, **more) as span:
        try:
            yield span
        except BaseException as error:
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


class Followed(NamedTuple):
    """The batch at hand, and when its work began, in ns since the epoch."""

    span: trace.Span | None
    began_ns: int


@contextmanager
def traced_batch(records: Sequence[RecordLike]) -> Iterator[Followed]:
    """Name the batch in every log line written meanwhile, and trace it.

    The name is its first record's place and the number of records: `clicks-3-120+64`.
    """
    first = records[0]
    name = f"{first.topic}-{first.partition}-{first.offset}+{len(records)}"
    with structlog.contextvars.bound_contextvars(batch=name):
        if _tracer is None:
            yield Followed(None, 0)
            return
        began_ns = time_ns()
        links = [trace.Link(origin) for _, origin in _traced(records)]
        attributes: dict[str, str | int] = {"interests.batch": name, "messaging.batch.message_count": len(records)}
        with _span(_tracer, "batch", links=links, attributes=attributes) as span:
            yield Followed(span, began_ns)


def follow(followed: Followed, records: Sequence[RecordLike], report: Report) -> None:
    """Put a span into the trace of every record that has one: what became of it, and which points it changed."""
    if _tracer is None or followed.span is None:
        return
    traced = list(_traced(records))
    if not traced:
        return
    outcomes = {event.source: (name, event.user_id) for name, events in report.events.items() for event in events}
    outcomes |= {(d.record.topic, d.record.partition, d.record.offset): ("dead", "") for d in report.dead}  # type: ignore[misc]  # a Source is such a tuple
    # A point's id is a hash of its user's: with pseudonyms it says nothing, without it would let names be tried.
    changed = {user: points for user, points in _points(report.nodes).items() if is_pseudonym(user)}
    links = [trace.Link(followed.span.get_span_context())]
    for record, origin in traced:
        outcome, user_id = outcomes.get((record.topic, record.partition, record.offset), ("", ""))  # type: ignore[call-overload]  # as above
        span = _tracer.start_span(
            "event",
            context=_context(origin),
            kind=trace.SpanKind.CONSUMER,
            links=links,
            start_time=followed.began_ns,
            attributes={
                "messaging.system": "kafka",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
                "interests.outcome": outcome,
                "interests.points": changed.get(user_id, ()) if outcome == "applied" else (),
            },
        )
        span.end()


def _points(nodes: Sequence[Node]) -> dict[str, tuple[str, ...]]:
    """The ids of the changed points by user, some of them where they are many."""
    points: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        points[node.key.user_id] = (*points.get(node.key.user_id, ()), node_id(node.key))[:_MAX_POINTS]
    return points


def _traced(records: Sequence[RecordLike]) -> Iterator[tuple[RecordLike, trace.SpanContext]]:
    """The records that carry a valid trace context, with it."""
    for record in records:
        carrier = {name: (value or b"").decode("ascii", "replace") for name, value in _contexts(record)}
        if TRACEPARENT in carrier:
            origin = trace.get_current_span(_propagator.extract(carrier)).get_span_context()
            if origin.is_valid:
                yield record, origin


def _contexts(record: RecordLike) -> list[Header]:
    return [header for header in record.headers or () if header[0] in _HEADERS]


def _context(origin: trace.SpanContext) -> Context:
    return trace.set_span_in_context(trace.NonRecordingSpan(origin))
