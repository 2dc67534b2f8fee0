"""What a simulation gives back: the run's end, each task's end, and the log it was decided on.

It must be read from the log and the progress records alone, like everything that users see of a real run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from indegree.engine.story import story
from indegree.events import json_values
from indegree.events.spelling import did_you_mean
from indegree.v1.event_pb2 import Frame
from indegree.v1.progress_pb2 import Progress
from indegree.v1.value_pb2 import Error, Reference


@dataclass(slots=True)
class TaskResult:
    """How a task ended.

    attempts: attempts that were made (0: skipped, a join point, or an error in an expression)
    output:   the output as JSON gives it (a dataclass comes back as a dict); None where it has none
    error:    of the last attempt that failed, if the task is FAILED
    reason:   why it is SKIPPED, FAILED or CANCELLED, else ""
    """

    id: str
    state: str = "PENDING"
    attempts: int = 0
    output: Any = None
    error: Error | None = None
    reason: str = ""


@dataclass(slots=True)
class SimulatedRun:
    """One simulated run. `result["extract"]` is that task's end.

    state:    SUCCESS, FAILED or CANCELLED; reason: why, else ""
    frames:   the event log, announcement left out: what `indegree replay` reads from Kafka for a real run
    progress: every progress record, in order
    elapsed_ms: simulated time from start to end
    calls:    (task id, attempt) in the order in which attempts were run
    """

    run_id: str
    state: str
    reason: str
    tasks: dict[str, TaskResult]
    frames: list[Frame]
    progress: list[Progress]
    elapsed_ms: int
    calls: list[tuple[str, int]] = field(default_factory=list)

    def __getitem__(self, task_id: str) -> TaskResult:
        try:
            return self.tasks[task_id]
        except KeyError:
            raise KeyError(f"there is no task {task_id!r}{did_you_mean(task_id, self.tasks)}") from None

    def __iter__(self) -> Iterator[TaskResult]:
        return iter(self.tasks.values())

    def history(self, task_id: str = "") -> str:
        """What happened, line by line, from the log; of one task if it is named."""
        return story(self.frames, self.run_id, task_id)


def result_of(
    run_id: str,
    ids: Sequence[str],
    frames: list[Frame],
    progress: list[Progress],
    calls: list[tuple[str, int]],
    content: Callable[[Reference], bytes],
) -> SimulatedRun:
    """Reads the result from the progress records of a run that has ended. `content`: of a referenced output."""
    tasks = {task_id: TaskResult(task_id) for task_id in ids}
    own = [record for record in progress if record.run_id == run_id and record.position]
    for record in own:
        if not record.task_id:
            continue
        task = tasks.get(record.task_id)
        if task is None:  # an instance of a mapped task
            task = tasks[record.task_id] = TaskResult(record.task_id)
        task.state = record.state
        task.reason = record.reason if record.state in ("SKIPPED", "FAILED", "CANCELLED") else ""
        if record.state != "CANCELLED":
            task.attempts = max(task.attempts, record.attempt)
        if record.state == "SUCCESS" and record.HasField("output"):
            output = record.output
            text = content(output.reference) if output.HasField("reference") else output.json
            task.output = json_values.loads(text, max_depth=None)
        task.error = record.error if record.state == "FAILED" and record.HasField("error") else None
    end = own[-1]
    return SimulatedRun(run_id, end.state, end.reason, tasks, frames, progress, end.time_ms - own[0].time_ms, calls)
