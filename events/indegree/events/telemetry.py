"""Spans, when the standard OTEL_* variables ask for them.

A process of ours calls `configure` once. Without OTEL_TRACES_EXPORTER or an OTLP endpoint nothing is set up: no span
object is made, and it costs next to nothing. With them, spans go out over OTLP/HTTP in the background; sampler,
headers, resource and batching are the SDK's own variables. Where the application (or `opentelemetry-instrument`) has
set a provider already, that one is used. A library in a user's process (`Client`, an embedded `Worker`) configures
nothing: it asks for `tracer()`, which is there where the user has set a provider.

Trace *context* does not depend on this: it travels inside the records (`indegree.events.trace`), spans or not.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, Tracer, TraceState

log = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SHUTDOWN_S = 5.0
_SEND_EVERY_MS = 1_000  # the SDK's 5 s is much to lose when a process is killed

__all__ = [
    "Link",
    "Span",
    "SpanKind",
    "Tracer",
    "configure",
    "link_to",
    "samples",
    "shutdown",
    "span_context",
    "start_with_id",
    "traceparent_of",
    "tracer",
    "wanted",
]

_samples: Callable[[int], bool] | None = None  # the configured sampler's answer for a root of this trace id
_asked = float("-inf")
_tracer: Tracer | None = None


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
    global _samples
    if not wanted():
        return None
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
    from opentelemetry.sdk.trace.sampling import Decision

    from indegree.events.given_ids import GivenIds

    provider = api.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        attributes = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or service}
        if instance:
            attributes["service.instance.id"] = instance
        provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
        atexit.register(shutdown)
        exporter: SpanExporter
        if os.environ.get("OTEL_TRACES_EXPORTER", "").lower() == "console":
            exporter = ConsoleSpanExporter()
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            asked = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
                "OTEL_EXPORTER_OTLP_PROTOCOL"
            )
            if asked not in (None, "", "http/protobuf"):
                log.warning(
                    "OTEL_EXPORTER_OTLP_PROTOCOL = %s: spans go out as http/protobuf (usually port 4318)", asked
                )
            exporter = OTLPSpanExporter()
        delay = None if "OTEL_BSP_SCHEDULE_DELAY" in os.environ else _SEND_EVERY_MS
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=delay))
        api.set_tracer_provider(provider)
    if not isinstance(provider.id_generator, GivenIds):
        provider.id_generator = GivenIds(provider.id_generator)  # type: ignore[assignment]
    sampler = provider.sampler
    dropped = Decision.DROP
    _samples = lambda trace_id: sampler.should_sample(None, trace_id, "run").decision is not dropped  # noqa: E731
    return provider.get_tracer("indegree")


def samples(traceparent: str) -> bool:
    """Whether the configured sampler wants a trace that begins with this context; True where none is configured, so
    that a process that does send spans (a worker, say) may."""
    return _samples is None or _samples(int(traceparent[3:35], 16))


def tracer() -> Tracer | None:
    """A tracer of the process's provider, or None where nobody has set one. Asks once a second at most."""
    global _asked, _tracer
    now = time.monotonic()
    if now - _asked > 1.0:
        found = api.get_tracer_provider()
        none = isinstance(found, api.ProxyTracerProvider | api.NoOpTracerProvider)
        _tracer = None if none else found.get_tracer("indegree")
        _asked = now
    return _tracer


def start_with_id(
    tracer: Tracer,
    name: str,
    traceparent: str,
    *,
    parent: SpanContext | None,
    kind: SpanKind,
    start_ms: int,
    attributes: Mapping[str, str | int],
    links: Sequence[Link] = (),
) -> Span:
    """A span that has the ids of `traceparent`, below `parent`. `tracer`: of `configure`."""
    from indegree.events.given_ids import given

    context = Context()
    if parent is not None:
        context = api.set_span_in_context(NonRecordingSpan(parent), context)
    with given(int(traceparent[3:35], 16), int(traceparent[36:52], 16)):
        return tracer.start_span(name, context, kind, dict(attributes), links=links, start_time=start_ms * 1_000_000)


def shutdown() -> None:
    """Sends what is left, and waits for that 5 s at most: a collector that is away holds up nobody's end."""
    stop = getattr(api.get_tracer_provider(), "shutdown", None)
    if stop is not None:
        sending = threading.Thread(target=stop, name="indegree-last-spans", daemon=True)
        try:
            sending.start()
        except RuntimeError:  # no thread begins once the interpreter ends (Python 3.12): the exporter's own bound holds
            stop()
        else:
            sending.join(_SHUTDOWN_S)


def span_context(traceparent: str, tracestate: str = "") -> SpanContext:
    """The span that this text names. `traceparent` must be valid (`trace.valid`)."""
    return SpanContext(
        int(traceparent[3:35], 16),
        int(traceparent[36:52], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(traceparent[53:55], 16)),
        trace_state=TraceState.from_header([tracestate]) if tracestate else TraceState(),
    )


def traceparent_of(span: Span) -> str:
    """The text of a span's context, empty if it has none."""
    context = span.get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def link_to(traceparent: str) -> Link:
    """A link to the span that this text names (a join links to every parent)."""
    return Link(span_context(traceparent))
