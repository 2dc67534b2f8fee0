"""Events to progress records: what users see of the log.

Why: progress is a projection, so that a new owner can make the missing records from the log alone, with the same ids.

How: one function of an event and its run as it is after the event. RUN_STARTED gives two records, `run.accepted`
(PENDING, position 1) and `run.running` (position 2); each transition of a task one; a failed attempt none, since
`task.retrying` or `task.failed` follows it at once and carries its reason and error. A transition counts in the run's
`position` and has the id `RUN/POSITION`. Answers that are no transition (a refusal, a repeated start, an accepted
command, a deploy) have position 0 and an id from their place in the log.

A short task whose outcome was reported without a `started` has no `task.running`; its `started_ms` is in its outcome.
A rejected attempt shows as `task.queued` again, with the reason.

While events are decided they are only noted, with all that will change later (the run's position); the records are
encoded when they go out. It must never depend on anything but the event, its run, and the record's place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from indegree.engine.kinds import Kind
from indegree.engine.plan import Plan
from indegree.engine.progress_forms import Form, ProtobufForm
from indegree.engine.state import Run
from indegree.v1.progress_pb2 import Progress
from indegree.v1.value_pb2 import Value

if TYPE_CHECKING:
    from indegree.v1.event_pb2 import Event

Encoded: TypeAlias = tuple[str, bytes, bytes, str, bytes]
"""Type, id, run id, traceparent, and the whole record."""

VISIBLE: Final = frozenset(
    {
        Kind.RUN_STARTED,
        Kind.RUN_FINISHED,
        Kind.RUN_CANCEL_REQUESTED,
        Kind.RUN_REFUSED,
        Kind.RUN_REPEATED,
        Kind.RUN_RELEASED,
        Kind.RUN_PAUSED,
        Kind.RUN_RESUMED,
        Kind.RUN_RERUN,
        Kind.TASK_WAITING,
        Kind.TASK_EXPANDED,
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
        Kind.COMMAND_ACCEPTED,
    }
)
"""Kinds with a progress record."""

_NOTED: Final = VISIBLE | {Kind.ATTEMPT_FAILED}
_HAPPY: Final = frozenset(
    {Kind.RUN_STARTED, Kind.RUN_FINISHED, Kind.TASK_QUEUED, Kind.TASK_STARTED, Kind.TASK_SUCCEEDED}
)
"""What happens in a run that goes well: nearly all there is."""

_TASK_TYPES: Final = {
    Kind.TASK_QUEUED: ("task.queued", "QUEUED"),
    Kind.TASK_STARTED: ("task.running", "RUNNING"),
    Kind.TASK_SUCCEEDED: ("task.success", "SUCCESS"),
    Kind.TASK_RETRYING: ("task.retrying", "RETRYING"),
    Kind.TASK_FAILED: ("task.failed", "FAILED"),
    Kind.TASK_SKIPPED: ("task.skipped", "SKIPPED"),
    Kind.TASK_CANCELLED: ("task.cancelled", "CANCELLED"),
    Kind.TASK_REJECTED: ("task.queued", "QUEUED"),
    Kind.TASK_WAITING: ("task.waiting", "WAITING"),
    Kind.TASK_EXPANDED: ("task.running", "RUNNING"),
}

_RUN_TYPES: Final = {
    Kind.RUN_RELEASED: ("run.running", "RUNNING"),
    Kind.RUN_PAUSED: ("run.paused", "PAUSED"),
    Kind.RUN_RESUMED: ("run.running", "RUNNING"),
    Kind.RUN_RERUN: ("run.running", "RUNNING"),
}


class Projection:
    """The progress records of one frame. A new one for each frame.

    partition, epoch, seq, time_ms: of the frame
    """

    __slots__ = ("_failed", "_noted", "epoch", "partition", "seq", "time_ms")

    def __init__(self, partition: int, epoch: int, seq: int, time_ms: int) -> None:
        self.partition = partition
        self.epoch = epoch
        self.seq = seq
        self.time_ms = time_ms
        # Event, kind, run id, run, its position, and of an instance its id (later it may be that of another
        # generation).
        self._noted: list[tuple[Event, int, str, Run | None, int, str]] = []
        self._failed: Event | None = None  # the ATTEMPT_FAILED right before

    def __len__(self) -> int:
        """How many events are noted: about as many as there will be records; 0 only if there will be none."""
        return len(self._noted)

    def add(self, event: Event, kind: int, run_id: str, run: Run | None) -> None:
        """Notes an event, which has been applied; `run` is what `apply` returned."""
        if kind in _NOTED:
            if run is None:
                self._noted.append((event, kind, run_id, None, 0, ""))
            else:
                instance = run.id_of(event.task) if run.nodes is not None and event.task >= run.plan.n else ""
                self._noted.append((event, kind, run_id, run, run.position, instance))

    def encoded(self, form: Form) -> Iterator[Encoded]:
        """The records in order. Their `log.index` is their number here."""
        self._failed = None
        form.frame(self.epoch, self.seq)
        about: Run | None = None  # the run that these are of
        key = of_run = b""
        index = 0
        for event, kind, run_id, run, position, instance in self._noted:
            if run is not None and kind in _HAPPY:
                if run is not about:
                    about, key = run, run_id.encode()
                    of_run = form.fields(run_id=run_id, time_ms=self.time_ms, traceparent=run.traceparent)
                own = _own(form, event, kind, run)
                for type, head, place in _steps(form, event, kind, run.plan, position, instance):
                    id = b"%b/%d" % (key, place)
                    yield type, id, key, run.traceparent, form.record(head, of_run, own, id, place, index)
                    index += 1
            elif (record := self._other(event, kind, run_id, run, position, index, instance)) is not None:
                record.log.epoch = self.epoch
                record.log.seq = self.seq
                record.log.index = index
                yield encoded(record, form)
                index += 1

    def records(self) -> list[Progress]:
        """The records as messages: for who looks at few of them."""
        return [Progress.FromString(data) for *_, data in self.encoded(ProtobufForm())]

    def _other(
        self, event: Event, kind: int, run_id: str, run: Run | None, position: int, index: int, instance: str
    ) -> Progress | None:
        if kind == Kind.ATTEMPT_FAILED:
            self._failed = event if run is not None else None
            return None
        if kind in _TASK_TYPES:
            return None if run is None else self._end_of_attempt(event, kind, run, position, instance)
        if kind in _RUN_TYPES:
            return None if run is None else self._of_run(event, kind, run, position)
        if kind in _HAPPY:
            return None  # of a run that is not known
        record = self._answer(event, kind, run_id, run)
        if record is not None:
            record.id = f"{self.partition}-{self.epoch}-{self.seq}-{index}"
        return record

    def _of_run(self, event: Event, kind: int, run: Run, position: int) -> Progress:
        type, state = _RUN_TYPES[kind]
        if event.state:  # a run that is resumed may be PENDING, or PAUSED still with its workflow
            type, state = f"run.{event.state.lower()}", event.state
        return Progress(
            id=f"{run.run_id}/{position}",
            type=type,
            state=state,
            run_id=run.run_id,
            workflow=run.plan.workflow,
            version=run.plan.version,
            position=position,
            time_ms=self.time_ms,
            reason=event.reason,
            request_id=event.request_id,
            actor=event.actor,
            traceparent=run.traceparent,
        )

    def _end_of_attempt(self, event: Event, kind: int, run: Run, position: int, instance: str) -> Progress:
        type, state = _TASK_TYPES[kind]
        record = Progress(
            id=f"{run.run_id}/{position}",
            type=type,
            state=state,
            run_id=run.run_id,
            workflow=run.plan.workflow,
            version=run.plan.version,
            task_id=instance or run.plan.ids[event.task],
            attempt=event.attempt,
            generation=event.generation,
            actor=event.actor,
            position=position,
            time_ms=self.time_ms,
            reason=event.reason,
            due_ms=event.due_ms,
            worker=event.worker,
            traceparent=run.traceparent,
        )
        if event.HasField("error"):
            record.error.CopyFrom(event.error)
        if kind == Kind.TASK_WAITING:
            record.waits_for = event.label
        elif kind == Kind.TASK_EXPANDED:
            record.instances = event.total
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
        return record

    def _answer(self, event: Event, kind: int, run_id: str, run: Run | None) -> Progress | None:
        """What is no transition; None where nobody asked."""
        record = Progress(time_ms=self.time_ms, run_id=run_id, request_id=event.request_id, actor=event.actor)
        match kind:
            case Kind.RUN_CANCEL_REQUESTED:
                if not event.request_id or run is None:
                    return None  # a timeout of the run
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
            case Kind.COMMAND_ACCEPTED:
                record.type = "command.accepted"
                record.run_id = "" if run_id == "-" else run_id
                record.workflow = event.workflow
                record.reason = event.reason
            case _:
                record.run_id = ""
                record.type = _DEPLOY_TYPES[kind]
                record.workflow = event.workflow
                record.version = event.version
                record.label = event.label
                record.reason = event.reason
        return record


def encoded(record: Progress, form: Form) -> Encoded:
    """Any record."""
    return record.type, record.id.encode(), record.run_id.encode(), record.traceparent, form.message(record)


def _steps(
    form: Form, event: Event, kind: int, plan: Plan, position: int, instance: str
) -> Sequence[tuple[str, bytes, int]]:
    """Type, head and position of the records of a HAPPY event."""
    if kind == Kind.RUN_STARTED:
        accepted = form.head(plan.workflow, plan.version, "run.accepted", "PENDING", "", 0)
        if event.state == "PENDING":
            return (("run.accepted", accepted, 1),)
        running = form.head(plan.workflow, plan.version, "run.running", "RUNNING", "", 0)
        return ("run.accepted", accepted, 1), ("run.running", running, 2)
    if kind == Kind.RUN_FINISHED:
        state = event.state
        type = f"run.{state.lower()}"
        return ((type, form.head(plan.workflow, plan.version, type, state, "", 0), position),)
    type, state = _TASK_TYPES[kind]
    head = form.head(plan.workflow, plan.version, type, state, instance or plan.ids[event.task], event.attempt)
    return ((type, head, position),)


def _own(form: Form, event: Event, kind: int, run: Run) -> bytes:
    """What only the record of a HAPPY event says, encoded."""
    if kind == Kind.TASK_QUEUED:
        return form.fields(generation=event.generation) if event.generation else b""
    if kind == Kind.TASK_STARTED:
        return form.end(event.worker, event.started_ms, 0)
    if kind == Kind.TASK_SUCCEEDED:
        end = form.end(event.worker, event.started_ms, event.finished_ms)
        if event.reason or event.actor or event.total or event.generation:
            end += form.fields(
                actor=event.actor, reason=event.reason, instances=event.total, generation=event.generation
            )
        return end + form.fields(output=event.value) if event.HasField("value") else end
    if kind == Kind.RUN_FINISHED:
        if run.params != b"{}":
            return form.fields(reason=event.reason, actor=event.actor, params=Value(json=run.params))
        return form.fields(reason=event.reason, actor=event.actor)
    return form.fields(request_id=event.request_id, actor=event.actor, idempotency_key=event.idempotency_key)


_DEPLOY_TYPES: Final = {
    Kind.VERSION_DEPLOYED: "workflow.deployed",
    Kind.VERSION_ACTIVATED: "workflow.activated",
    Kind.DEPLOY_REFUSED: "workflow.refused",
}
