"""The engine's spans: one for each dispatch of a sampled run, whose context goes to the worker in the task record.

Nothing here is needed for the trace to hold together: the context travels in the records anyway. Where no exporter is
configured there is no `Spans`, and an unsampled run costs one comparison.
"""

from __future__ import annotations

from opentelemetry.trace import Tracer

from indegree.events.telemetry import SpanKind, context_of, traceparent_of
from indegree.events.trace import sampled
from indegree.v1.task_pb2 import Task


class Spans:
    """Makes spans with a configured tracer. Names follow OpenTelemetry's conventions for messaging."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def dispatched(self, task: Task) -> None:
        """A task record is about to be sent: it gets the dispatch span's context in place of its parent's."""
        if not sampled(task.traceparent):
            return
        span = self._tracer.start_span(
            f"send {task.queue}",
            context=context_of(task.traceparent, task.tracestate),
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "send",
                "messaging.destination.name": task.queue,
                "indegree.run_id": task.run_id,
                "indegree.task_id": task.task_id,
                "indegree.attempt": task.attempt,
                "indegree.workflow": task.workflow,
            },
        )
        task.traceparent = traceparent_of(span) or task.traceparent
        span.end()
