"""The engine's spans: one for each run, one for each attempt, of sampled runs.

Both may begin at one owner and end at another, or at the same one after a restart. So their ids are derived
(`indegree.events.trace`): a task record names its attempt's span as the parent before anybody has sent that span, and
it is sent when the log says that the attempt or the run has ended, by whoever owns the partition then. That happens
where a frame is settled, which happens once for each frame in force: a replay sends nothing. (What an engine had not
yet exported when it was killed is lost, as with any exporter in the background.)

    producer of the trigger -> run -> attempt, from queued to its end (PRODUCER) -> the worker's span (CONSUMER)

An attempt links to the attempts of the tasks it waited for. Where no exporter is configured there is no `Spans`; an
unsampled run costs one comparison for each record.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from opentelemetry.trace import Link, Span
from opentelemetry.trace.status import Status, StatusCode

from indegree.engine.core import Effects, PartitionCore
from indegree.engine.plan import DISPATCHED
from indegree.engine.state import Attempt, Run
from indegree.engine.states import FAILED, QUEUED, RUNNING, SUCCESS
from indegree.events import trace
from indegree.events.telemetry import SpanKind, Tracer, link_to, span_context, start_with_id
from indegree.events.topics import Topics
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Task

log = logging.getLogger(__name__)

MAX_LINKS = 32
_ENDS = frozenset({"task.success", "task.failed", "task.retrying", "task.cancelled"})
_TEXT = 200


class Spans:
    """Of one engine. Never raises: a fault of telemetry is no fault of a run."""

    def __init__(self, tracer: Tracer, topics: Topics) -> None:
        self._tracer, self._topics = tracer, topics

    def dispatched(self, task: Task) -> None:
        """A task record is about to be sent: its parent is the attempt's span."""
        if trace.sampled(task.traceparent):
            span = trace.attempt_span(task.run_id, task.task_id, task.attempt, task.generation)
            task.traceparent = trace.with_span(task.traceparent, span)

    def of(self, core: PartitionCore) -> PartitionSpans:
        """For one ownership, whose core has been recovered."""
        return PartitionSpans(self, core)

    def run(self, traced: _Traced, record: Progress) -> None:
        """A run has ended."""
        parent = None
        if not trace.is_our_root(traced.traceparent):
            parent = span_context(traced.traceparent, traced.tracestate)
        span = start_with_id(
            self._tracer,
            f"run {record.workflow}",
            traced.context(record.run_id),
            parent=parent,
            kind=SpanKind.CONSUMER,
            start_ms=traced.started_ms,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "run",
                "messaging.operation.type": "process",
                "messaging.destination.name": self._topics.triggers,
                "indegree.run_id": record.run_id,
                "indegree.workflow": record.workflow,
                "indegree.version": record.version,
                "indegree.state": record.state,
            },
        )
        _end(span, record)

    def attempt(self, traced: _Traced, queued: _Queued, record: Progress) -> None:
        """An attempt has ended."""
        run = traced.run
        topic = self._topics.tasks(run.plan.queue[queued.node]) if run is not None else self._topics.tasks("default")
        mine = trace.attempt_span(record.run_id, record.task_id, queued.number, queued.generation)
        span = start_with_id(
            self._tracer,
            f"send {topic}",
            trace.with_span(traced.traceparent, mine),
            parent=span_context(traced.context(record.run_id), traced.tracestate),
            kind=SpanKind.PRODUCER,
            start_ms=queued.at_ms,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
                "messaging.destination.name": topic,
                "indegree.run_id": record.run_id,
                "indegree.task_id": record.task_id,
                "indegree.attempt": queued.number,
                "indegree.workflow": record.workflow,
                "indegree.state": record.state,
            },
            links=_links(run, queued.node, traced.traceparent) if run is not None else (),
        )
        if record.started_ms and record.worker:
            begun_ms = max(queued.at_ms, record.started_ms)
            span.add_event("indegree.started", {"indegree.worker": record.worker}, begun_ms * 1_000_000)
        _end(span, record)


class _Queued:
    """An attempt that has not ended."""

    __slots__ = ("at_ms", "generation", "node", "number")

    def __init__(self, attempt: Attempt, number: int) -> None:
        self.node, self.number, self.generation, self.at_ms = (
            attempt.node, number, attempt.generation, attempt.queued_ms,
        )  # fmt: skip


class _Traced:
    """A sampled run that has not ended. `run` is None where it ended before its start was acknowledged."""

    __slots__ = ("queued", "run", "started_ms", "traceparent", "tracestate")

    def __init__(self, run: Run | None, traceparent: str, started_ms: int) -> None:
        self.run, self.traceparent, self.started_ms = run, traceparent, started_ms
        self.tracestate = run.tracestate if run is not None else ""
        self.queued: dict[tuple[str, int], _Queued] = {}

    def context(self, run_id: str) -> str:
        """Of the run's span."""
        return trace.with_span(self.traceparent, trace.run_span(run_id, self.traceparent))

    def add(self, attempt: Attempt, number: int) -> None:
        self.queued[attempt.run.id_of(attempt.task), number] = _Queued(attempt, number)


class PartitionSpans:
    """Which sampled runs and attempts of an owned partition are under way."""

    def __init__(self, spans: Spans, core: PartitionCore) -> None:
        self._spans, self._core = spans, core
        self._runs: dict[str, _Traced] = {}
        for run in core.runs():
            if trace.sampled(run.traceparent):
                traced = self._runs[run.run_id] = _Traced(run, run.traceparent, run.started_ms)
                for attempt in run.attempts.values():
                    if run.states[attempt.task] in (QUEUED, RUNNING):
                        traced.add(attempt, attempt.number)

    def settled(self, effects: Effects) -> None:
        """A frame of ours is in force, with these effects. Never raises."""
        try:
            records = effects.progress  # decoded anew at each call
            for record in records:
                if record.type == "run.accepted" and record.position and trace.sampled(record.traceparent):
                    run = self._core.run(record.run_id)
                    self._runs[record.run_id] = _Traced(run, record.traceparent, record.time_ms)
            self._queued(effects.ready)
            for record in records:
                if (traced := self._runs.get(record.run_id)) is None:
                    continue
                if record.type in _ENDS:
                    queued = traced.queued.pop((record.task_id, record.attempt), None)
                    if queued is not None:
                        self._spans.attempt(traced, queued, record)
                elif record.state in ("SUCCESS", "FAILED", "CANCELLED") and record.type.startswith("run."):
                    del self._runs[record.run_id]
                    self._spans.run(traced, record)
        except Exception:
            log.exception("partition %d: spans could not be made", self._core.number)

    def _queued(self, ready: Iterable[tuple[Attempt, int]]) -> None:
        for attempt, number in ready:
            traced = self._runs.get(attempt.run.run_id)
            if traced is not None:
                if traced.run is None:
                    traced.run, traced.tracestate = attempt.run, attempt.run.tracestate
                traced.add(attempt, number)


def _links(run: Run, task: int, traceparent: str) -> list[Link]:
    """To the last attempt of each task that this one waited for, of the first 32."""
    found: list[Link] = []
    plan = run.plan
    for parent in plan.graph.parents[task]:
        number = (run.last_attempts or {}).get(parent, 1)
        if number and plan.kinds[parent] == DISPATCHED and run.states[parent] in (SUCCESS, FAILED):
            found.append(
                link_to(
                    trace.with_span(
                        traceparent, trace.attempt_span(run.run_id, plan.ids[parent], number, run.generation(parent))
                    )
                )
            )
            if len(found) == MAX_LINKS:
                break
    return found


def _end(span: Span, record: Progress) -> None:
    if record.state in ("FAILED", "RETRYING"):
        span.set_attribute("error.type", record.error.type or record.reason[:_TEXT] or "error")
        span.set_status(Status(StatusCode.ERROR, (record.error.message or record.reason)[:_TEXT]))
    span.end(record.time_ms * 1_000_000)
