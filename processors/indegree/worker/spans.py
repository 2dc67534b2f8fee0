"""The worker's OpenTelemetry span: a child of the record's context, current in user code.

Why: one trace has to lead from the trigger to every attempt, and what user code does (an HTTP call, a query) belongs
below the attempt's span. So the span is made current where user code runs, and its context goes back in the result.

How: where the application has set a tracer provider of the SDK, a sampled record gets a span of kind CONSUMER.
Otherwise, and for unsampled traces, no span is made, and the record's own context is current, so that whatever user
code sends still carries it. Never on the fast path twice: whether a provider is set is asked once a second at most.
"""

from __future__ import annotations

import logging
import time

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from indegree.v1.task_pb2 import Result
from indegree.worker.attempt import Attempt

log = logging.getLogger(__name__)

_asked = -1.0
_tracer: trace.Tracer | None = None


def tracer() -> trace.Tracer | None:
    """The tracer, or None where no provider of the SDK is set."""
    global _asked, _tracer
    now = time.monotonic()
    if now - _asked > 1.0:
        provider = trace.get_tracer_provider()
        real = not isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
        _tracer = provider.get_tracer("indegree.worker") if real else None
        _asked = now
    return _tracer


def parent_of(traceparent: str, tracestate: str) -> SpanContext | None:
    """The span context in a traceparent of version 00; None if it is not one."""
    parts = traceparent.split("-")
    if len(parts) < 4 or len(parts[1]) != 32 or len(parts[2]) != 16:
        return None
    try:
        trace_id, span_id, flags = int(parts[1], 16), int(parts[2], 16), int(parts[3], 16)
    except ValueError:
        return None
    if not trace_id or not span_id:
        return None
    state = TraceState.from_header([tracestate]) if tracestate else None
    return SpanContext(trace_id, span_id, True, TraceFlags(flags), state)


def begin(attempt: Attempt) -> None:
    """Makes the attempt's context current in the running `contextvars` context, with a span where one is wanted.
    Never raises: a fault of telemetry is not the task's."""
    if attempt.task.traceparent:
        try:
            _begin(attempt)
        except Exception:
            log.exception("the span of an attempt could not be made")


def _begin(attempt: Attempt) -> None:
    task = attempt.task
    parent = parent_of(task.traceparent, task.tracestate)
    if parent is None:
        return
    current = trace.set_span_in_context(NonRecordingSpan(parent), otel_context.Context())
    source = tracer()
    if source is not None and parent.trace_flags & TraceFlags.SAMPLED:
        span = source.start_span(
            f"process {task.queue or 'default'}",
            context=current,
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": task.queue or "default",
                "indegree.run_id": task.run_id,
                "indegree.task_id": task.task_id,
                "indegree.workflow": task.workflow,
                "indegree.attempt": task.attempt,
            },
        )
        attempt.span = span
        mine = span.get_span_context()
        attempt.traceparent = f"00-{mine.trace_id:032x}-{mine.span_id:016x}-{mine.trace_flags:02x}"
        attempt.tracestate = mine.trace_state.to_header()
        current = trace.set_span_in_context(span, current)
    # Never detached: the contextvars context around it belongs to this attempt alone and ends with it.
    otel_context.attach(current)


def end(attempt: Attempt, result: Result) -> None:
    """Ends the span with the outcome; once. Never raises."""
    span, attempt.span = attempt.span, None
    if span is not None:
        try:
            _end(span, result)
        except Exception:
            log.exception("the span of an attempt could not be ended")


def _end(span: trace.Span, result: Result) -> None:
    if result.kind == Result.SUCCEEDED:
        span.set_status(Status(StatusCode.OK))
    elif result.HasField("error"):
        span.set_attribute("error.type", result.error.type)
        span.set_status(Status(StatusCode.ERROR, result.error.message[:200]))
    span.end()
