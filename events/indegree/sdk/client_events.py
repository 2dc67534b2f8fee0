"""One progress record as a Python value, and a run's state as the sum of such values.

Why: who follows a run wants plain values (a decoded output, an error with its text), not protobuf messages, and the
client, the command line and the live view need the same small projection: the state of each task so far.

How: `RunEvent` is frozen and made from a `Progress` record. `RunState.apply` adds one event; positions tell a repeat
(left out) from a gap (an error). No engine code is used: the records say which state was reached.

It must never decide anything about a run: what is not on the progress topic is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from indegree.v1.progress_pb2 import Progress
from indegree.v1.value_pb2 import Error, Reference, Value

from .client_errors import ProgressGap

ENDED = frozenset({"SUCCESS", "FAILED", "CANCELLED"})
TASK_ENDED = frozenset({"SUCCESS", "FAILED", "SKIPPED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class TaskError:
    """Why an attempt failed, as the worker told it. No class of the user is rebuilt from it."""

    type: str
    message: str
    traceback: str = ""
    exit_code: int | None = None
    permanent: bool = False
    causes: tuple[TaskError, ...] = ()

    @classmethod
    def of(cls, error: Error) -> TaskError:
        return cls(
            error.type,
            error.message,
            error.traceback,
            error.exit_code if error.HasField("exit_code") else None,
            error.permanent,
            tuple(cls.of(cause) for cause in error.causes),
        )

    def __str__(self) -> str:
        name = self.type
        if name.startswith(("indegree.worker.", "indegree.engine.")):
            name = ""  # where a class of ours is defined tells nobody anything
        elif name.startswith("indegree."):
            name = name.rpartition(".")[2]
        return f"{name}: {self.message}" if name and self.message else self.message or name or self.type


@dataclass(frozen=True, slots=True)
class StoredValue:
    """An output over the inline limit: where it lies on the payloads topic, and its digest. `Client.fetch` reads it.

    size: bytes of what is stored there; whole: bytes of the value's JSON text (more, for a list of stored values)
    """

    partition: int
    offset: int
    parts: int
    size: int
    sha256: bytes
    list: bool = False
    whole: int = 0

    @classmethod
    def of(cls, reference: Reference) -> StoredValue:
        whole = reference.whole if reference.list else reference.size
        return cls(
            reference.partition,
            reference.offset,
            reference.parts,
            reference.size,
            reference.sha256,
            reference.list,
            whole,
        )

    @property
    def reference(self) -> Reference:
        """As records have it."""
        return Reference(
            partition=self.partition,
            offset=self.offset,
            parts=self.parts,
            size=self.size,
            sha256=self.sha256,
            list=self.list,
            whole=self.whole if self.list else 0,
        )


def value_of(value: Value) -> Any:
    """The Python value of a JSON value; a `StoredValue` where only a reference is there; None when absent."""
    if value.HasField("reference"):
        return StoredValue.of(value.reference)
    return json.loads(value.json) if value.json else None


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One transition. Numbers ending in `_ms` are milliseconds since the epoch, 0 where absent."""

    id: str
    type: str
    run_id: str
    workflow: str
    version: str
    task_id: str
    attempt: int
    state: str
    reason: str
    position: int
    time_ms: int
    request_id: str = ""
    output: Any = None
    error: TaskError | None = None
    worker: str = ""
    started_ms: int = 0
    finished_ms: int = 0
    due_ms: int = 0
    actor: str = ""
    label: str = ""
    epoch: int = 0
    waits_for: str = ""  # WAITING: the signal's name, the topic, the id of the run, the limit
    instances: int = 0  # of a mapped task that was expanded
    generation: int = 0  # how often the task was begun by hand again

    @classmethod
    def of(cls, record: Progress) -> RunEvent:
        return cls(
            record.id,
            record.type,
            record.run_id,
            record.workflow,
            record.version,
            record.task_id,
            record.attempt,
            record.state,
            record.reason,
            record.position,
            record.time_ms,
            record.request_id,
            value_of(record.output) if record.HasField("output") else None,
            TaskError.of(record.error) if record.HasField("error") else None,
            record.worker,
            record.started_ms,
            record.finished_ms,
            record.due_ms,
            record.actor,
            record.label,
            record.log.epoch,
            record.waits_for,
            record.instances,
            record.generation,
        )

    @property
    def time(self) -> datetime:
        """When it was decided, by the owner's clock, in UTC."""
        return datetime.fromtimestamp(self.time_ms / 1000, UTC)

    @property
    def ends_run(self) -> bool:
        """Whether the run is over with this event (a refused start counts)."""
        return self.type == "run.refused" or (self.type.startswith("run.") and self.state in ENDED)


@dataclass(slots=True)
class TaskView:
    """A task of a run as of the last event. `attempts` counts those that have begun or were queued, since the task was
    begun by hand the last time (`generation` counts that).

    actor: who ended it by hand, or answered what it waited for
    waits_for: what it waits for while it is WAITING; instances: of a mapped task that was expanded
    value: the output as the record has it: a `StoredValue` where it lies in the payloads topic
    fetch: what reads such a value when `output` is asked for (set by the client that blocks)
    """

    id: str
    state: str = "PENDING"
    attempts: int = 0
    reason: str = ""
    value: Any = None
    error: TaskError | None = None
    worker: str = ""
    queued_ms: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    due_ms: int = 0
    waits_for: str = ""
    instances: int = 0
    generation: int = 0
    actor: str = ""
    fetch: Callable[[StoredValue], Any] | None = field(default=None, repr=False, compare=False)

    @property
    def output(self) -> Any:
        """The output. One that lies in the payloads topic is read when it is first asked for: that blocks, and raises
        what `Client.fetch` raises. On an `AsyncRun` it is a `StoredValue` until `await run.output(task_id)`."""
        if self.fetch is not None and isinstance(self.value, StoredValue):
            self.value = self.fetch(self.value)
        return self.value

    def apply(self, event: RunEvent) -> None:
        if event.generation > self.generation:  # begun again: what the last time came to is over
            self.generation, self.attempts, self.value, self.error, self.reason = event.generation, 0, None, None, ""
            self.queued_ms, self.started_ms, self.finished_ms, self.instances = 0, 0, 0, 0
        self.state = event.state
        self.attempts = max(self.attempts, event.attempt)
        self.waits_for, self.due_ms, self.actor = event.waits_for, event.due_ms, event.actor
        self.instances = event.instances or self.instances
        if event.worker:
            self.worker = event.worker
        match event.state:
            case "WAITING":
                self.queued_ms = self.queued_ms or event.time_ms
                self.reason = event.reason
            case "QUEUED":
                self.queued_ms, self.started_ms, self.finished_ms = event.time_ms, 0, 0
                self.worker = event.worker
                self.reason, self.error = event.reason, event.error  # set by a rejection
            case "RUNNING":
                self.started_ms = event.started_ms or event.time_ms
            case "RETRYING":
                self.error, self.reason = event.error, event.reason
            case "SUCCESS":
                self.value, self.error, self.reason = event.output, None, ""
            case _:
                self.reason = event.reason
                self.error = event.error or self.error
        if event.state in TASK_ENDED:
            self.started_ms = event.started_ms or self.started_ms
            self.finished_ms = event.finished_ms or event.time_ms


@dataclass(slots=True)
class RunState:
    """A run as of the last event that was applied. `tasks` holds those of which something was heard, in that order."""

    run_id: str
    workflow: str = ""
    version: str = ""
    state: str = "PENDING"
    reason: str = ""
    position: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    epoch: int = 0  # of the owner that wrote the newest event
    accepted: bool = False
    refused: str | None = None
    actor: str = ""  # who asked for the state that it is in
    ends: int = 0  # how often it has ended: 1 but for a run that was begun again
    tasks: dict[str, TaskView] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.refused is not None or self.state in ENDED

    def apply(self, event: RunEvent) -> bool:
        """Add one event. False: a repeat, nothing changed. Raises ProgressGap when one before it is missing."""
        if event.type == "run.refused":
            if self.position == 0:
                self.refused = event.reason
                self.reason = event.reason
                self.workflow = self.workflow or event.workflow
            return self.position == 0
        if event.position == 0:
            return False
        if event.position <= self.position:
            return False
        if event.position > self.position + 1:
            raise ProgressGap(
                f"run {self.run_id}: progress position {event.position} follows {self.position}, so "
                f"{event.position - self.position - 1} record(s) are missing. Positions go up by one; the record may "
                f"have been deleted by retention: read the event log with `indegree replay {self.run_id}`"
            )
        self.position = event.position
        self.workflow = event.workflow or self.workflow
        self.version = event.version or self.version
        self.epoch = max(self.epoch, event.epoch)
        self.started_ms = self.started_ms or event.time_ms
        self.accepted = True
        if event.task_id:
            task = self.tasks.get(event.task_id)
            if task is None:
                task = self.tasks[event.task_id] = TaskView(event.task_id)
            if event.instances and event.state == "RUNNING" and task.instances:
                for number in range(task.instances):  # begun again: the instances of the last time are no more
                    self.tasks.pop(f"{task.id}[{number}]", None)
            task.apply(event)
        elif event.type.startswith("run.") and event.state:
            self.state, self.reason, self.actor = event.state, event.reason, event.actor
            self.ends += event.state in ENDED
            self.finished_ms = event.time_ms if event.state in ENDED else 0  # it may have been begun again
        return True
