"""Traces: nothing while off, and nothing personal while on."""

from __future__ import annotations

import timeit
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streams.base.errors import ConfigurationError
from streams.events.parse import parse_events
from streams.interests.nodes import Node, NodeKey
from streams.pipeline import tracing
from streams.pipeline.report import Report
from streams.settings.service import Settings, TracingSettings, load
from streams.worker.tracing_export import exporting
from tests.fixtures.records import NOW_MS, click, record

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def header(sampled: bool = True) -> tuple[str, bytes]:
    return ("traceparent", f"00-{TRACE}-{PARENT}-{'01' if sampled else '00'}".encode())


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.use(None)
    provider.shutdown()


def report_of(records: list[Any]) -> Report:
    return Report(events={"applied": parse_events(records, now_ms=NOW_MS).events})


def test_off_costs_nothing_worth_speaking_of() -> None:
    records = [record(click(), headers=[header()])] * 1000

    def of_a_batch() -> None:
        with tracing.traced_batch(records) as followed:
            for name in ("parse", "resolve", "encode", "fold", "write", "ack"):
                with tracing.stage(name):
                    pass
            tracing.follow(followed, records, Report())

    seconds = min(timeit.repeat(of_a_batch, number=100, repeat=5)) / 100
    assert seconds < 0.001  # a batch of a thousand records takes fifty milliseconds and more


def test_an_event_goes_on_in_its_producers_trace(spans: InMemorySpanExporter) -> None:
    records = [record(click(), offset=1, headers=[header(), ("who", b"somebody")]), record(click(), offset=2)]
    with tracing.traced_batch(records) as followed:
        with tracing.stage("parse"):
            pass
        tracing.follow(followed, records, report_of(records))
    parse, event, batch = sorted(spans.get_finished_spans(), key=lambda span: span.name == "batch")
    assert (parse.name, event.name, batch.name) == ("parse", "event", "batch")
    assert event.parent is not None
    assert (f"{event.context.trace_id:032x}", f"{event.parent.span_id:016x}") == (TRACE, PARENT)
    assert event.attributes is not None
    assert event.attributes["messaging.kafka.offset"] == 1
    assert event.attributes["interests.outcome"] == "applied"
    assert [f"{link.context.trace_id:032x}" for link in batch.links] == [TRACE]
    assert event.links[0].context.span_id == batch.context.span_id
    assert parse.parent is not None
    assert parse.parent.span_id == batch.context.span_id
    assert "somebody" not in "".join(span.to_json() for span in spans.get_finished_spans())


@pytest.mark.parametrize("value", [b"", b"00-zz", b"\xff\xfe", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
def test_a_header_that_is_none_is_passed_over(spans: InMemorySpanExporter, value: bytes) -> None:
    records = [record(click(), headers=[("traceparent", value)])]
    with tracing.traced_batch(records) as followed:
        tracing.follow(followed, records, report_of(records))
    assert [span.name for span in spans.get_finished_spans()] == ["batch"]


def test_what_its_producer_does_not_sample_is_not_followed(spans: InMemorySpanExporter) -> None:
    records = [record(click(), headers=[header(sampled=False)])]
    with tracing.traced_batch(records) as followed:
        tracing.follow(followed, records, report_of(records))
    assert [span.name for span in spans.get_finished_spans()] == ["batch"]


@pytest.mark.parametrize(("user", "named"), [("ana", 0), ("~" + "a" * 40, 1)])
def test_points_are_named_only_where_users_have_pseudonyms(
    spans: InMemorySpanExporter, user: str, named: int
) -> None:  # fmt: skip
    records = [record(click(user_id=user), headers=[header()])]
    report = report_of(records)
    report.nodes = [Node(key=NodeKey(user, "topic", "/tea"), direction=np.zeros(2, np.float32))]
    with tracing.traced_batch(records) as followed:
        tracing.follow(followed, records, report)
    event = next(span for span in spans.get_finished_spans() if span.name == "event")
    assert event.attributes is not None
    assert len(event.attributes["interests.points"]) == named  # type: ignore[arg-type]  # a sequence


def test_an_error_leaves_its_kind_and_not_its_words(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="somebody"), tracing.traced_batch([record(click())]), tracing.stage("fold"):
        raise ValueError("somebody wrote something")
    for span in spans.get_finished_spans():
        assert (span.status.is_ok, span.status.description) == (False, "ValueError")
        assert "somebody" not in span.to_json()


def test_what_a_producer_wrote_into_tracestate_is_in_no_log_line(
    spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    bad = ("tracestate", b"alice likes bob,k=v,k=v," + b",".join(b"k%d=v" % n for n in range(40)))
    with tracing.traced_batch([record(click(), headers=[header(), bad])]):
        pass
    assert len(spans.get_finished_spans()) == 1
    assert caplog.records == []


def test_log_lines_of_a_batch_name_it() -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        log = structlog.get_logger("streams.test")
        with tracing.traced_batch([record(click(), offset=17), record(click(), offset=18)]):
            log.info("inside")
        log.info("outside")
    assert [line.get("batch") for line in lines] == ["clicks-3-17+2", None]


def test_settings_turn_it_on_and_off() -> None:
    with exporting(Settings()):
        assert tracing._tracer is None
    with exporting(Settings(tracing=TracingSettings(endpoint="http://127.0.0.1:9/v1/traces"))):
        assert tracing._tracer is not None
    assert tracing._tracer is None
    with pytest.raises(ConfigurationError, match=r"tracing\.endpoint"):
        load(tracing={"endpoint": "127.0.0.1:4318"})


def test_a_trace_header_of_any_form_ends_no_batch(spans: InMemorySpanExporter) -> None:
    odd = [None, b"", b"\xff\xfe", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01", b"x" * 100_000, b"00--", header()[1]]
    records = [
        record(click(), offset=n, headers=[("traceparent", one), ("tracestate", one)]) for n, one in enumerate(odd)
    ]
    with tracing.traced_batch(records) as followed:
        tracing.follow(followed, records, report_of(records))
    assert [
        span.attributes["messaging.kafka.offset"] for span in spans.get_finished_spans() if span.name == "event"
    ] == [6]


def test_a_trace_header_is_not_quoted_in_the_log(spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture) -> None:
    odd = [b"Alice Smith", b"k=v,k=v", b"alice", b",".join(b"k%d=v" % n for n in range(40)), b"x" * 10_000]
    records = [record(click(), offset=n, headers=[header(), ("tracestate", one)]) for n, one in enumerate(odd)]
    with tracing.traced_batch(records) as followed:
        tracing.follow(followed, records, report_of(records))
    assert caplog.text == ""
