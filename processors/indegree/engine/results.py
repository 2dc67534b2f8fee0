"""Results: what workers say of attempts, judged against what the partition knows.

Why: a task takes effect once, though its record may be sent twice, its worker may be cut off, and a late result may
arrive after a timeout.

How: a result counts only for the current attempt (same number, same generation) and, once that is bound, only from the
worker it is bound to; the first `started` binds it, and an outcome without one binds and ends it in one step. All else
is stale: an outcome is recorded (RESULT_STALE) and changes nothing; a `started` or a heartbeat is answered with a stop
and leaves no trace in the log, however many come. Results of runs that this partition does not know are counted.

It must never let a result settle an edge except through a legal transition.
"""

from __future__ import annotations

from typing import Final

from indegree.engine import decide, outputs
from indegree.engine.bounds import cut_error, cut_log, text
from indegree.engine.draft import Draft
from indegree.engine.failing import attempt_failed
from indegree.engine.kinds import Kind
from indegree.engine.records import Builder
from indegree.engine.state import Attempt
from indegree.engine.states import QUEUED, RUNNING
from indegree.v1.task_pb2 import Result
from indegree.v1.value_pb2 import Error, Reference, Value

STARTED: Final = 1
HEARTBEAT: Final = 2
SUCCEEDED: Final = 3
FAILED: Final = 4
REJECTED: Final = 5
RETURNED: Final = 6
STOPPED: Final = 7

_FAILURES: Final = frozenset({"error", "timeout", "worker_lost"})


def decide_result(draft: Draft, builder: Builder, result: Result) -> str:
    """Decides one result. Returns what it was: "counted", "stale" or "unknown"."""
    run_id = result.run_id
    if len(result.worker) > draft.limits.name_chars or len(run_id) > draft.limits.name_chars:
        return "unknown"
    run = draft.state.runs.get(run_id)
    kind = result.kind
    if run is None:
        if draft.state.windows.ended_run(run_id, draft.state.time_ms) is None:
            if kind in (STARTED, HEARTBEAT):
                _stop(draft, result)
            return "unknown"
        return _stale(draft, result, "the run has ended")
    task = result.task
    if task >= len(run.states):
        return "unknown"
    attempt = run.attempts.get(task)
    if attempt is None or attempt.number != result.attempt or attempt.generation != result.generation:
        current = attempt.number if attempt is not None else 0
        return _stale(draft, result, f"attempt {result.attempt} is not current ({current or 'the task is settled'})")
    state = run.states[task]
    if state == RUNNING and attempt.worker != result.worker:
        return _stale(draft, result, f"the attempt is bound to worker {attempt.worker}")
    if state not in (QUEUED, RUNNING):
        return _stale(draft, result, f"attempt {result.attempt} has not been sent")
    if kind == SUCCEEDED:
        _succeeded(draft, attempt, result)
    elif kind in (STARTED, HEARTBEAT):
        _started(draft, attempt, result, state)
        return "counted"
    elif kind == FAILED:
        error = result.error if result.HasField("error") else None
        reason = result.reason if result.reason in _FAILURES else "error"
        attempt_failed(
            draft,
            attempt,
            reason,
            error,
            worker=result.worker,
            started_ms=result.started_ms,
            finished_ms=result.finished_ms,
            log=result.log,
        )
    elif kind == REJECTED:
        _rejected(draft, attempt, result, state)
    elif kind == RETURNED:
        if state == QUEUED and attempt.holder == result.worker:
            draft.dispatch.give_back(attempt)
        return "counted"
    elif kind == STOPPED:
        attempt_failed(
            draft,
            attempt,
            "worker_lost",
            Error(type="stopped", message="its worker stopped the attempt though the engine had not asked for it"),
            worker=result.worker,
            started_ms=result.started_ms,
            finished_ms=result.finished_ms,
            log=result.log,
        )
    else:
        return "unknown"
    decide.advance(draft, builder, run)
    return "counted"


def _stale(draft: Draft, result: Result, why: str) -> str:
    if result.kind in (SUCCEEDED, FAILED):
        draft.emit(
            Kind.RESULT_STALE,
            result.run_id,
            task=result.task,
            attempt=result.attempt,
            generation=result.generation,
            worker=result.worker,
            reason=why,
            state="SUCCESS" if result.kind == SUCCEEDED else "FAILED",
            started_ms=result.started_ms,
            finished_ms=result.finished_ms,
        )
    elif result.kind in (STARTED, HEARTBEAT):
        _stop(draft, result)
    return "stale"


def _stop(draft: Draft, result: Result) -> None:
    draft.stop(result.run_id, result.task, result.attempt, result.generation, result.worker, "stale")


def _started(draft: Draft, attempt: Attempt, result: Result, state: int) -> None:
    """A heartbeat of an attempt that is not bound yet binds it: its `started` was for an owner that is gone."""
    if state == RUNNING:
        draft.dispatch.heard(attempt)
        return
    draft.emit(
        Kind.TASK_STARTED,
        result.run_id,
        task=result.task,
        attempt=result.attempt,
        generation=result.generation,
        worker=result.worker,
        started_ms=result.started_ms,
    )


def _succeeded(draft: Draft, attempt: Attempt, result: Result) -> None:
    problem = _problem(draft, result)
    if problem:
        attempt_failed(
            draft,
            attempt,
            "error",
            Error(type="result", message=problem, permanent=True),
            final=problem,
            worker=result.worker,
            started_ms=result.started_ms,
            finished_ms=result.finished_ms,
            log=result.log,
        )
        return
    fields: dict[str, object] = {}
    output = result.output
    data = output.json
    if output.HasField("reference"):
        kept = Reference()
        kept.CopyFrom(output.reference)
        kept.DiscardUnknownFields()
        kept.list = False
        kept.whole = 0
        fields["value"] = Value(reference=kept)
    elif data and data != b"null":
        fields["value"] = Value(json=data)  # without fields that we do not know, of any size
    if result.log:
        fields["log"] = cut_log(result.log, draft.limits)
    draft.emit(
        Kind.TASK_SUCCEEDED,
        result.run_id,
        task=result.task,
        attempt=result.attempt,
        generation=result.generation,
        worker=result.worker,
        started_ms=result.started_ms,
        finished_ms=result.finished_ms,
        **fields,
    )


def _problem(draft: Draft, result: Result) -> str:
    """Why an output cannot be taken, or ""."""
    output = result.output
    if output.HasField("reference"):
        reference = output.reference
        if reference.size > draft.limits.payload_bytes:
            return draft.limits.payload_too_large(reference.size)
        if not (reference.parts and reference.size > 0 and len(reference.sha256) == 32 and reference.offset >= 0):
            return "the result refers to a payload without parts, size or digest: the worker is at fault"
        return ""
    data = output.json
    if len(data) > draft.limits.value_bytes:
        return draft.limits.too_large(len(data))
    found = outputs.problem(data, draft.limits.json_depth)
    return text(found)[: draft.limits.reason_chars] if found else ""


def _rejected(draft: Draft, attempt: Attempt, result: Result, state: int) -> None:
    error = result.error if result.HasField("error") else Error(type="rejected", message="the worker lacks the code")
    if state == RUNNING:  # it had said `started`: then this is a failure like any other
        attempt_failed(
            draft,
            attempt,
            "error",
            error,
            worker=result.worker,
            started_ms=result.started_ms,
            finished_ms=result.finished_ms,
        )
        return
    limits = draft.limits
    delay = min(limits.rejected_delay_ms << min(attempt.rejections, 30), limits.rejected_max_delay_ms)
    draft.emit(
        Kind.TASK_REJECTED,
        result.run_id,
        task=result.task,
        attempt=result.attempt,
        generation=result.generation,
        worker=result.worker,
        reason="rejected",
        error=cut_error(error, limits),
        due_ms=draft.state.time_ms + delay,
    )


def worker_lost(draft: Draft, builder: Builder, instance: str) -> None:
    """What `instance` held: bound attempts have failed, what it had not begun goes to another and uses no attempt."""
    for attempt in draft.dispatch.held_by(instance):
        if draft.full():
            draft.seal()
        run = attempt.run
        if run.run_id not in draft.state.runs:
            continue
        if run.states[attempt.task] == RUNNING:
            lost(draft, builder, attempt, f"worker {instance} is lost: it left, or was not heard of for its timeout")
        else:
            draft.dispatch.give_back(attempt)


def lost(draft: Draft, builder: Builder, attempt: Attempt, message: str) -> None:
    """A bound attempt whose worker is gone or silent."""
    if attempt.run.ending:
        return  # it is being cancelled
    draft.stop(attempt.run.run_id, attempt.task, attempt.number, attempt.generation, attempt.worker, "stale")
    attempt_failed(
        draft,
        attempt,
        "worker_lost",
        Error(type="worker_lost", message=message),
        started_ms=attempt.started_ms,
        finished_ms=draft.state.time_ms,
    )
    decide.advance(draft, builder, attempt.run)
