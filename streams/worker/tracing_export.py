"""Where spans go: OTLP over HTTP to the collector that the settings name. Needs the extra `tracing`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from streams.base.errors import ConfigurationError
from streams.pipeline import tracing
from streams.settings.service import Settings

_EXPORT_WITHIN_S = 5
_QUEUE = 8192


@contextmanager
def exporting(settings: Settings) -> Iterator[None]:
    """Trace while the block runs, and send what is left at its end; nothing where no endpoint is set.

    Spans that the collector does not take in time are dropped: tracing never holds the path up.
    """
    if settings.tracing.endpoint is None:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # the extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  # as above
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider  # noqa: PLC0415  # as above
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  # as above
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415  # as above
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"tracing.endpoint needs the extra 'tracing' ({error.name} is missing): "
            "pip install 'interest-streams[tracing]'"
        ) from error
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.tracing.sample)),
        resource=Resource.create({"service.name": settings.tracing.service}),
        span_limits=SpanLimits(max_links=settings.worker.batch_records),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=settings.tracing.endpoint, timeout=_EXPORT_WITHIN_S)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=_QUEUE))
    tracing.use(provider)
    try:
        yield
    finally:
        tracing.use(None)
        provider.shutdown()
