"""What the expressions of a run can read: parameters, outputs and states of tasks, the trigger, the run.

Why: `when` and templates are evaluated while something is decided, so what they read must come from the state alone.

How: outputs lie in the state as JSON bytes and are decoded when an expression reads them, once for each scope. A scope
lives for one decision.

It must never decode what is only handed on: records.py copies whole outputs as bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from indegree.engine.bounds import MAX_TIME_MS
from indegree.engine.state import Run
from indegree.engine.states import TASK_STATES
from indegree.events import json_values
from indegree.events.codec import rfc3339
from indegree.events.expressions import Scope
from indegree.v1.trigger_pb2 import Origin


class RunTasks:
    """TaskValues of one run. `output` decodes on demand and keeps the value for as long as this lives."""

    __slots__ = ("_decoded", "_run")

    def __init__(self, run: Run) -> None:
        self._run = run
        self._decoded: dict[str, Any] = {}

    def output(self, task_id: str) -> Any:
        """The output; None where the task has none, yet or ever."""
        if task_id in self._decoded:
            return self._decoded[task_id]
        task = self._run.plan.graph.index.get(task_id)
        data = self._run.outputs.get(task) if task is not None else None
        value = json_values.loads(data) if data is not None else None
        self._decoded[task_id] = value
        return value

    def state(self, task_id: str) -> str | None:
        """The state's word."""
        task = self._run.plan.graph.index.get(task_id)
        return TASK_STATES[self._run.states[task]] if task is not None else None

    def errors(self, task_id: str) -> Any:
        """Errors of mapped instances, which this release does not run: None."""
        return None


def scope_of(run: Run) -> Scope:
    """The scope of a run's expressions, as the run is now."""
    origin = Origin.FromString(run.origin)
    moment = datetime.fromtimestamp(min(max(origin.timestamp_ms, 0), MAX_TIME_MS) // 1000, UTC)
    return Scope(
        params=json_values.loads(run.params),
        trigger={
            "topic": origin.topic,
            "partition": origin.partition,
            "offset": origin.offset,
            "key": origin.key.decode("utf-8", "replace") if origin.key else None,
            "headers": None,
            "timestamp": rfc3339(min(max(origin.timestamp_ms, 0), MAX_TIME_MS)),
            "value": None,
            "date": moment.strftime("%Y-%m-%d"),
        },
        run={
            "id": run.run_id,
            "workflow": run.plan.workflow,
            "version": run.plan.version,
            "started_at": rfc3339(run.started_ms),
        },
        tasks=RunTasks(run),
    )
