"""Traces, off unless an endpoint is set. Spans carry method names and route templates, never paths, queries or bodies:
links carry tokens, and codes travel in bodies."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind

_TRACER = trace.get_tracer("countersign")
_OFF = trace.INVALID_SPAN


def configure(service: str, endpoint: str | None) -> None:
    """Sends spans to `endpoint` (OTLP over HTTP); without one, every span is a no-op."""
    if not endpoint:
        return
    # Imported here: the exporter is large, and most deployments never load it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)


@contextmanager
def server_span(name: str, carrier: Mapping[str, str]) -> Iterator[Span]:
    """A span for a request that came in; `carrier` holds the caller's `traceparent`, if any."""
    if not _is_on():
        yield _OFF
        return
    context = propagate.extract(carrier) if "traceparent" in carrier else None
    with _TRACER.start_as_current_span(
        name, context=context, kind=SpanKind.SERVER, record_exception=False, set_status_on_exception=False
    ) as span:
        yield span


@contextmanager
def client_span(name: str) -> Iterator[tuple[tuple[str, str], ...]]:
    """A span for a call that goes out; yields the metadata that lets the peer join it (empty while off)."""
    if not _is_on():
        yield ()
        return
    with _TRACER.start_as_current_span(
        name, kind=SpanKind.CLIENT, record_exception=False, set_status_on_exception=False
    ) as span:
        carrier: dict[str, str] = {}
        if span.get_span_context().is_valid:
            propagate.inject(carrier)
        yield tuple(carrier.items())


def _is_on() -> bool:
    """Whether `configure` was told where to send spans; a span that goes nowhere still costs its making."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
