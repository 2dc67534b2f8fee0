"""What the expressions of a run can read: parameters, outputs and states of tasks, the trigger, the run.

Why: `when` and templates are evaluated while something is decided, so what they read must come from the state alone.

How: outputs lie in the state as JSON bytes and are decoded when an expression reads them, once for each scope; what was
decoded last is kept for the next scope (`Values.decoded`). A scope lives for one decision.

It must never decode what is only handed on: records.py copies whole outputs as bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from indegree.engine.bounds import MAX_TIME_MS
from indegree.engine.state import Ref, Run
from indegree.engine.states import SUCCESS, TASK_STATES
from indegree.engine.values import Values
from indegree.events import json_values
from indegree.events.codec import rfc3339
from indegree.events.cron import LAST_MS, is_zone, local_date, local_iso
from indegree.events.expressions import Scope
from indegree.v1.trigger_pb2 import Origin


class RunTasks:
    """TaskValues of one run. `output` decodes on demand and keeps the value for as long as this lives."""

    __slots__ = ("_decoded", "_run", "_values")

    def __init__(self, run: Run, values: Values) -> None:
        self._run = run
        self._values = values
        self._decoded: dict[str, Any] = {}

    def output(self, task_id: str) -> Any:
        """The output; None where the task has none, yet or ever. Raises Needs where it lies elsewhere."""
        if task_id in self._decoded:
            return self._decoded[task_id]
        task = self._run.plan.graph.index.get(task_id)
        data = self._run.outputs.get(task) if task is not None else None
        value = content(self._run, self._values, data) if data is not None else None
        self._decoded[task_id] = value
        return value

    def state(self, task_id: str) -> str | None:
        """The state's word."""
        task = self._run.plan.graph.index.get(task_id)
        return TASK_STATES[self._run.states[task]] if task is not None else None

    def errors(self, task_id: str) -> Any:
        """Of a mapped task the instances that failed, in the order of the list; None of any other, and where it was not
        expanded."""
        run = self._run
        task = run.plan.graph.index.get(task_id)
        found = run.maps.get(task) if run.maps is not None and task is not None else None
        if found is not None:
            return [json_values.loads(found.errors[place]) for place in sorted(found.errors)]
        is_mapped = task is not None and run.plan.mapped is not None and run.plan.mapped[task] is not None
        return [] if is_mapped and task is not None and run.states[task] == SUCCESS else None  # [] over an empty list


def content(run: Run, values: Values, output: bytes | Ref) -> Any:
    """The value of an output. Raises Needs and Missing where it lies elsewhere."""
    if isinstance(output, Ref):
        return values.decoded(values.get(run, output), _any_depth)
    return values.decoded(output, json_values.loads)


def _any_depth(text: bytes) -> Any:
    return json_values.loads(text, max_depth=None)


def item_of(run: Run, values: Values, slot: int) -> bytes | Ref:
    """The element that an instance is for."""
    assert run.maps is not None
    found = run.maps[run.node(slot)]
    place = slot - found.first
    if found.follows < 0:
        return found.item(place)
    return run.outputs.get(run.maps[found.follows].first + place, b"null")


def scope_of(run: Run, values: Values, slot: int = -1) -> Scope:
    """The scope of a run's expressions, as the run is now; `slot`: of an instance of a mapped task."""
    instance: dict[str, Any] = {}
    if run.references:
        values.reading = {}
    if slot >= run.plan.n:
        instance = {"item": content(run, values, item_of(run, values, slot)), "index": run.place(slot)}
    return Scope(
        params=values.decoded(run.params, json_values.loads),
        trigger=values.decoded(run.origin, _trigger),
        run={
            "id": run.run_id,
            "workflow": run.plan.workflow,
            "version": run.plan.version,
            "started_at": rfc3339(run.started_ms),
            "state": run.closing or run.ending or "RUNNING",
            "reason": run.reason,
        },
        tasks=RunTasks(run, values),
        **instance,
    )


def trigger_scope(run: Run) -> dict[str, Any]:
    """What `trigger` is in a run's expressions."""
    return _trigger(run.origin)


def _trigger(origin: bytes) -> dict[str, Any]:
    return trigger_values(Origin.FromString(origin))


def trigger_values(origin: Origin) -> dict[str, Any]:
    """The same of what a run began, or is to begin, with."""
    if origin.scheduled_ms:
        return _scheduled(origin)
    moment = datetime.fromtimestamp(min(max(origin.timestamp_ms, 0), MAX_TIME_MS) // 1000, UTC)
    return {
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "key": origin.key.decode("utf-8", "replace") if origin.key else None,
        "headers": dict(origin.headers) if origin.headers else None,
        "timestamp": rfc3339(min(max(origin.timestamp_ms, 0), MAX_TIME_MS)),
        "value": json_values.loads(origin.value) if origin.value else None,
        "date": moment.strftime("%Y-%m-%d"),
        "scheduled_at": None,
        "previous_scheduled_at": None,
    }


def _scheduled(origin: Origin) -> dict[str, Any]:
    """`trigger` of a run that a schedule or a backfill started: no record, but a time, in the schedule's zone."""
    at = min(max(origin.scheduled_ms, 0), LAST_MS)
    previous = min(max(origin.previous_scheduled_ms, 0), LAST_MS)
    zone = origin.timezone if is_zone(origin.timezone) else "UTC"
    return {
        **dict.fromkeys(("topic", "partition", "offset", "key", "headers", "value")),
        "timestamp": rfc3339(at),
        "date": local_date(at, zone),
        "scheduled_at": local_iso(at, zone),
        "previous_scheduled_at": local_iso(previous, zone) if previous else None,
    }
