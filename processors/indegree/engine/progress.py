"""Events to progress records: what users see of the log.

Why: progress is a projection, so that a new owner can make the missing records from the log alone, with the same ids.

How: one function of an event and its run as it is after the event. RUN_STARTED gives two records, `run.accepted`
(PENDING, position 1) and `run.running` (position 2); each transition of a task one; a failed attempt none, since
`task.retrying` or `task.failed` follows it at once and carries its reason and error. A transition counts in the run's
`position` and has the id `RUN/POSITION`. Answers that are no transition (a refusal, a repeated start, an accepted
command, a deploy) have position 0 and an id from their place in the log.

A short task whose outcome was reported without a `started` has no `task.running`; its `started_ms` is in its outcome.
A rejected attempt shows as `task.queued` again, with the reason.

It must never depend on anything but the event, its run, and the record's place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from indegree.engine.kinds import Kind
from indegree.engine.plan import Plan
from indegree.engine.state import Run
from indegree.v1.progress_pb2 import Progress

if TYPE_CHECKING:
    from indegree.v1.event_pb2 import Event

VISIBLE: Final = frozenset(
    {
        Kind.RUN_STARTED,
        Kind.RUN_FINISHED,
        Kind.RUN_CANCEL_REQUESTED,
        Kind.RUN_REFUSED,
        Kind.RUN_REPEATED,
        Kind.TASK_QUEUED,
        Kind.TASK_STARTED,
        Kind.TASK_SUCCEEDED,
        Kind.TASK_RETRYING,
        Kind.TASK_FAILED,
        Kind.TASK_SKIPPED,
        Kind.TASK_CANCELLED,
        Kind.TASK_REJECTED,
        Kind.VERSION_DEPLOYED,
        Kind.VERSION_ACTIVATED,
        Kind.DEPLOY_REFUSED,
        Kind.COMMAND_REFUSED,
    }
)
"""Kinds with a progress record."""

_TASK_TYPES: Final = {
    Kind.TASK_QUEUED: ("task.queued", "QUEUED"),
    Kind.TASK_STARTED: ("task.running", "RUNNING"),
    Kind.TASK_SUCCEEDED: ("task.success", "SUCCESS"),
    Kind.TASK_RETRYING: ("task.retrying", "RETRYING"),
    Kind.TASK_FAILED: ("task.failed", "FAILED"),
    Kind.TASK_SKIPPED: ("task.skipped", "SKIPPED"),
    Kind.TASK_CANCELLED: ("task.cancelled", "CANCELLED"),
    Kind.TASK_REJECTED: ("task.queued", "QUEUED"),
}


class Projection:
    """The progress records of one frame as they are made. A new one for each frame.

    records: made so far; partition, epoch, seq, time_ms: of the frame
    """

    __slots__ = ("_base", "_failed", "_plan", "epoch", "partition", "records", "seq", "time_ms")

    def __init__(self, partition: int, epoch: int, seq: int, time_ms: int) -> None:
        self.partition = partition
        self.epoch = epoch
        self.seq = seq
        self.time_ms = time_ms
        self.records: list[Progress] = []
        self._failed: Event | None = None  # the ATTEMPT_FAILED right before
        self._plan: Plan | None = None  # that `_base` is made for
        self._base = Progress()

    def add(self, event: Event, run_id: str, run: Run | None) -> None:
        """Adds the records of `event`, which has been applied; `run` is what `apply` returned."""
        kind = event.kind
        named = _TASK_TYPES.get(kind)
        if named is not None:
            if run is not None:
                self._task(event, kind, named, run)
        elif kind == Kind.ATTEMPT_FAILED:
            self._failed = event if run is not None else None
        elif kind in VISIBLE:
            self._other(event, kind, run_id, run)

    def _place(self, record: Progress) -> None:
        log = record.log
        log.epoch = self.epoch
        log.seq = self.seq
        log.index = len(self.records)
        self.records.append(record)

    def _task(self, event: Event, kind: int, named: tuple[str, str], run: Run) -> None:
        plan = run.plan
        if plan is not self._plan:
            self._plan = plan
            self._base = Progress(workflow=plan.workflow, version=plan.version, time_ms=self.time_ms)
            self._base.log.epoch = self.epoch
            self._base.log.seq = self.seq
        record = Progress()
        record.CopyFrom(
            self._base
        )  # what all tasks of a version share in one frame: a third faster than field by field
        position = run.position
        record.id = f"{run.run_id}/{position}"
        record.type, record.state = named
        record.run_id = run.run_id
        record.task_id = plan.ids[event.task]
        record.attempt = event.attempt
        record.position = position
        record.traceparent = run.traceparent
        if kind == Kind.TASK_SUCCEEDED:
            if event.HasField("value"):
                record.output.CopyFrom(event.value)
            record.worker = event.worker
            record.started_ms = event.started_ms
            record.finished_ms = event.finished_ms
        elif kind == Kind.TASK_STARTED:
            record.worker = event.worker
            record.started_ms = event.started_ms
        elif kind != Kind.TASK_QUEUED:
            self._end_of_attempt(record, event, kind)
        record.log.index = len(self.records)
        self.records.append(record)

    def _end_of_attempt(self, record: Progress, event: Event, kind: int) -> None:
        record.reason = event.reason
        if event.HasField("error"):
            record.error.CopyFrom(event.error)
        record.due_ms = event.due_ms
        record.worker = event.worker
        if kind == Kind.TASK_RETRYING:
            record.attempt = event.attempt - 1  # the attempt that failed
        failed = self._failed
        if failed is not None and kind in (Kind.TASK_RETRYING, Kind.TASK_FAILED):
            self._failed = None
            if failed.HasField("error"):
                record.error.CopyFrom(failed.error)
            record.worker = failed.worker
            record.started_ms = failed.started_ms
            record.finished_ms = failed.finished_ms

    def _other(self, event: Event, kind: int, run_id: str, run: Run | None) -> None:
        record = Progress(time_ms=self.time_ms, run_id=run_id, request_id=event.request_id, actor=event.actor)
        match kind:
            case Kind.RUN_STARTED:
                assert run is not None
                for place, (name, state) in enumerate((("run.accepted", "PENDING"), ("run.running", "RUNNING")), 1):
                    record = Progress(
                        id=f"{run_id}/{place}",
                        type=name,
                        run_id=run_id,
                        workflow=event.workflow,
                        version=event.version,
                        state=state,
                        position=place,
                        time_ms=self.time_ms,
                        request_id=event.request_id,
                        actor=event.actor,
                        idempotency_key=event.idempotency_key,
                        traceparent=event.traceparent,
                    )
                    self._place(record)
                return
            case Kind.RUN_FINISHED:
                if run is None:
                    return
                record.id = f"{run_id}/{run.position}"
                record.type = f"run.{event.state.lower()}"
                record.state = event.state
                record.reason = event.reason
                record.position = run.position
                record.workflow = run.plan.workflow
                record.version = run.plan.version
                record.traceparent = run.traceparent
                self._place(record)
                return
            case Kind.RUN_CANCEL_REQUESTED:
                if not event.request_id or run is None:
                    return  # a timeout of the run: nobody asked
                record.type = "command.accepted"
                record.workflow = run.plan.workflow
                record.version = run.plan.version
                record.reason = event.reason
            case Kind.RUN_REFUSED:
                record.type = "run.refused"
                record.workflow = event.workflow
                record.reason = event.reason
                record.idempotency_key = event.idempotency_key
            case Kind.RUN_REPEATED:
                record.type = "run.accepted"
                record.workflow = event.workflow
                record.version = event.version
                record.reason = event.reason
                record.idempotency_key = event.idempotency_key
            case Kind.COMMAND_REFUSED:
                record.type = "command.refused"
                record.reason = event.reason
            case _:
                record.run_id = ""
                record.type = _DEPLOY_TYPES[kind]
                record.workflow = event.workflow
                record.version = event.version
                record.label = event.label
                record.reason = event.reason
        record.id = f"{self.partition}-{self.epoch}-{self.seq}-{len(self.records)}"
        self._place(record)


_DEPLOY_TYPES: Final = {
    Kind.VERSION_DEPLOYED: "workflow.deployed",
    Kind.VERSION_ACTIVATED: "workflow.activated",
    Kind.DEPLOY_REFUSED: "workflow.refused",
}
