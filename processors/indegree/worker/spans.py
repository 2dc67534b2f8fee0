"""The worker's OpenTelemetry span: a child of the record's context, current in user code.

Why: one trace has to lead from the trigger to every attempt, and what user code does (an HTTP call, a query) belongs
below the attempt's span. So the span is made current where user code runs, and its context goes back in the result.

How: where a tracer provider is set (by `telemetry.configure`, or by the application), a sampled record gets a span of
kind CONSUMER. Otherwise, and for unsampled traces, no span is made, and the record's own context is current, so that
whatever user code sends still carries it. Whether a provider is set is asked once a second at most.
"""

from __future__ import annotations

import logging
from functools import lru_cache

from opentelemetry import context as otel_context
from opentelemetry import trace as api
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Tracer
from opentelemetry.trace.status import Status, StatusCode

from indegree.events import telemetry, trace
from indegree.events.topics import Topics
from indegree.v1.task_pb2 import Result
from indegree.worker.attempt import Attempt

log = logging.getLogger(__name__)

_cluster = ""
_only_pass_on = False


def of_cluster(cluster: str) -> None:
    """Whose topics the spans name. Once, when a worker starts; several workers in one process share the last."""
    global _cluster
    _cluster = cluster


def only_pass_on() -> None:
    """From now on no span is made here: the worker has made it, and this is its attempt's own process."""
    global _only_pass_on
    _only_pass_on = True


def tracer() -> Tracer | None:
    """The tracer, or None where no span is to be made."""
    return None if _only_pass_on else telemetry.tracer()


def begin(attempt: Attempt) -> None:
    """Makes the attempt's context current in the running `contextvars` context, with a span where one is wanted.
    Never raises: a fault of telemetry is not the task's."""
    if attempt.task.traceparent:
        try:
            _begin(attempt)
        except Exception:
            log.exception("the span of an attempt could not be made")


@lru_cache(maxsize=1_024)
def _around(traceparent: str, tracestate: str) -> tuple[SpanContext, otel_context.Context] | None:
    """The record's own context, which the tasks of a run mostly share; None where it is not valid."""
    if not trace.valid(traceparent):
        return None
    parent = telemetry.span_context(traceparent, tracestate)
    return parent, api.set_span_in_context(NonRecordingSpan(parent), otel_context.Context())


def _begin(attempt: Attempt) -> None:
    task = attempt.task
    around = _around(task.traceparent, task.tracestate)
    if around is None:
        return
    parent, current = around
    source = tracer() if parent.trace_flags.sampled else None
    if source is not None:
        topic = Topics(_cluster).tasks(task.queue or "default")
        span = source.start_span(
            f"process {topic}",
            context=current,
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": topic,
                "messaging.client.id": task.worker,
                "indegree.run_id": task.run_id,
                "indegree.task_id": task.task_id,
                "indegree.attempt": task.attempt,
                "indegree.workflow": task.workflow,
            },
        )
        attempt.span = span
        attempt.traceparent = telemetry.traceparent_of(span)
        attempt.tracestate = span.get_span_context().trace_state.to_header()
        current = api.set_span_in_context(span, current)
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


def _end(span: Span, result: Result) -> None:
    if result.HasField("error"):
        span.set_attribute("error.type", result.error.type)
        span.set_status(Status(StatusCode.ERROR, result.error.message[:200]))
    elif result.kind == Result.SUCCEEDED:
        span.set_status(Status(StatusCode.OK))
    span.end()
