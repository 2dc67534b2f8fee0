"""Spans, when the standard OTEL_* variables ask for them.

A process calls `configure` once. Without OTEL_TRACES_EXPORTER or an OTLP endpoint nothing is set up: the API's tracer
then makes no spans and costs next to nothing. With them, spans go out over OTLP/HTTP in the background; sampler,
headers, resource and batching are the SDK's own variables.

Trace *context* does not depend on this: it travels inside the records (`indegree.events.trace`), spans or not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, Tracer, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

__all__ = [
    "Link",
    "Span",
    "SpanKind",
    "Tracer",
    "configure",
    "context_of",
    "link_to",
    "not_recording",
    "shutdown",
    "traceparent_of",
    "wanted",
]


def wanted(environ: Mapping[str, str] | None = None) -> bool:
    """True if the environment asks for spans."""
    env = os.environ if environ is None else environ
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = env.get("OTEL_TRACES_EXPORTER", "").lower()
    if exporter in ("none", "console", "otlp"):
        return exporter != "none"
    return any(env.get(name) for name in _ENDPOINTS)


def configure(service: str, instance: str = "") -> Tracer | None:
    """Sets up the process's tracer provider if the environment asks for it; None if it does not.

    `service`: the default of `service.name` (OTEL_SERVICE_NAME wins); `instance`: `service.instance.id`.
    """
    if not wanted():
        return None
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

    attributes = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or service}
    if instance:
        attributes["service.instance.id"] = instance
    provider = TracerProvider(resource=Resource.create(attributes))
    exporter: SpanExporter
    if os.environ.get("OTEL_TRACES_EXPORTER", "").lower() == "console":
        exporter = ConsoleSpanExporter()
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    api.set_tracer_provider(provider)
    return provider.get_tracer("indegree")


def shutdown() -> None:
    """Sends what is left. Blocks for at most the exporter's own timeout."""
    stop = getattr(api.get_tracer_provider(), "shutdown", None)
    if stop is not None:
        stop()


def context_of(traceparent: str, tracestate: str = "") -> Context | None:
    """A parent context from the text of a record; None if there is none."""
    if not traceparent:
        return None
    return _PROPAGATOR.extract({"traceparent": traceparent, "tracestate": tracestate})


def traceparent_of(span: Span) -> str:
    """The text of a span's context, empty if it has none."""
    context = span.get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def link_to(traceparent: str) -> Link:
    """A link to the span that this text names (a join links to every parent)."""
    return Link(
        SpanContext(
            int(traceparent[3:35], 16),
            int(traceparent[36:52], 16),
            is_remote=True,
            trace_flags=TraceFlags(int(traceparent[53:55], 16)),
            trace_state=TraceState(),
        )
    )


def not_recording(traceparent: str) -> Span:
    """A span that only carries a context, so that user code sees it as current without a span of ours."""
    return NonRecordingSpan(link_to(traceparent).context)
