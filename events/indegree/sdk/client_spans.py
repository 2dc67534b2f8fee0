"""The trace context that a start or a command carries, and the client's span for a start.

Why: a run belongs to the trace of whoever starts it. Where the process has a tracer provider (the application's, or the
one that the CLI sets up), each start gets a PRODUCER span, and the run is its child. Without one, the context that is
current, if any, travels; else nothing does, and the engine makes a root.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace as api
from opentelemetry.trace import Span, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.status import Status, StatusCode

from indegree.events import telemetry
from indegree.v1.trigger_pb2 import Start

Headers = Sequence[tuple[str, bytes]]
_PROPAGATOR = TraceContextTextMapPropagator()


def current_headers() -> Headers:
    """The W3C context that is current, if one is."""
    return _headers(None)


@contextmanager
def producing(topic: str, starts: Sequence[Start]) -> Iterator[Sequence[Headers]]:
    """Headers for the record of each start. What is raised inside marks the spans as failed."""
    tracer = telemetry.tracer()
    if tracer is None:
        yield [current_headers()] * len(starts)
        return
    spans = [_span(tracer, topic, start) for start in starts]
    try:
        yield [_headers(span) for span in spans]
    except BaseException as error:
        for span in spans:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(Status(StatusCode.ERROR, str(error)[:200]))
        raise
    finally:
        for span in spans:
            span.end()


def _span(tracer: Tracer, topic: str, start: Start) -> Span:
    attributes = {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.message.id": start.request_id,
        "indegree.workflow": start.workflow,
    }
    if start.run_id:
        attributes["indegree.run_id"] = start.run_id
    return tracer.start_span(f"send {topic}", kind=SpanKind.PRODUCER, attributes=attributes)


def _headers(span: Span | None) -> Headers:
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, api.set_span_in_context(span) if span is not None else None)
    return [(name, text.encode()) for name, text in carrier.items()]
