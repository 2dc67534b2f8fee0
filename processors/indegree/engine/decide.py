"""What follows by itself: decidable tasks, and runs with nothing left.

Why: this is the scheduler. A task whose rule is decided is queued, skipped, failed, cancelled, or, where it has nothing
to do, succeeds; each of these may decide others, until nothing is left to decide or the frame is full.

How: `advance` takes from the run's `pending` queue; every event that it emits takes its task out of there (apply does),
so the loop ends. No recursion: a chain of joins goes round the loop. `settle` judges a failed attempt.

It must never decide a task twice, and never decide anything that is not on `pending`.
"""

from __future__ import annotations

from indegree.engine import join, retry
from indegree.engine.bounds import cut_error, cut_log, text
from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.plan import JOIN
from indegree.engine.records import Builder, Unbuildable
from indegree.engine.scope import scope_of
from indegree.engine.state import Attempt, Run
from indegree.engine.states import RETRYING, RUNNING
from indegree.events import json_values
from indegree.events.durations import format_duration
from indegree.events.expressions import EvaluationError, truthy
from indegree.v1.value_pb2 import Error

_OPERANDS_BYTES = 8_192
"""Operands recorded with a decision; more are left out, since the values stand in the log anyway."""


def advance(draft: Draft, builder: Builder, run: Run) -> None:
    """Decides what is decidable in a run, until nothing is, the frame is full, or a step's share of tasks is decided;
    finishes the run when nothing is left."""
    share = draft.limits.step_tasks
    while run.pending:
        if share <= 0 or draft.full():
            return
        share -= 1
        task = run.pending[run.next_pending]
        if run.ending:
            _cancel(draft, run, task)
        else:
            _decide(draft, builder, run, task)
    if not run.left and run.run_id in draft.state.runs:
        _finish(draft, run)


def _decide(draft: Draft, builder: Builder, run: Run, task: int) -> None:
    plan = run.plan
    run_id = run.run_id
    if run.not_taken is None and run.failed is None and plan.rules[task] == join.ALL_SUCCESS:
        outcome = join.RUN  # by far the most: every edge was taken
    else:
        outcome = join.decide(plan.rules[task], *run.edges(task))
    if outcome != join.RUN:
        draft.emit(Kind.TASK_SKIPPED, run_id, task=task, reason=join.REASONS[outcome])
        return
    data = b""
    if plan.when is not None and (condition := plan.when[task]) is not None:
        try:
            value, operands = condition.evaluate_recorded(scope_of(run))
        except (EvaluationError, json_values.JsonValueError) as error:
            _fail(draft, run_id, task, f"its condition has no value: {error}")
            return
        data = _recorded(operands)
        if not truthy(value):
            draft.emit(Kind.TASK_SKIPPED, run_id, task=task, reason="condition", data=data)
            return
    if plan.kinds[task] == JOIN:
        draft.emit(Kind.TASK_SUCCEEDED, run_id, task=task, data=data)
        return
    try:
        builder.check(run, task)
    except Unbuildable as error:
        _fail(draft, run_id, task, str(error))
        return
    if data:
        draft.emit(Kind.TASK_QUEUED, run_id, task=task, attempt=1, data=data)
    else:
        draft.emit(Kind.TASK_QUEUED, run_id, task=task, attempt=1)


def _recorded(operands: dict[str, object]) -> bytes:
    try:
        data = json_values.dumps(operands)
    except json_values.JsonValueError:
        return b""
    return data if len(data) <= _OPERANDS_BYTES else b""


def _fail(draft: Draft, run_id: str, task: int, reason: str) -> None:
    """A task that fails before any attempt."""
    reason = text(reason)[: draft.limits.reason_chars]
    draft.emit(Kind.TASK_FAILED, run_id, task=task, reason=reason, error=Error(type="input", message=reason))


def _cancel(draft: Draft, run: Run, task: int) -> None:
    attempt = run.attempts.get(task)
    number = 0
    if attempt is not None:
        number = attempt.number
        worker = attempt.worker or attempt.holder
        if worker:
            draft.stop(run.run_id, task, number, attempt.generation, worker, "cancelled")
    draft.emit(Kind.TASK_CANCELLED, run.run_id, task=task, attempt=number, reason=run.reason)


def _finish(draft: Draft, run: Run) -> None:
    if run.ending:
        state, reason = run.ending, run.reason
    elif run.failures:
        task_id = run.plan.ids[run.first_failed]
        others = run.failures - 1
        state = "FAILED"
        reason = f"task {task_id!r} failed" + (f", and {others} other{'s' if others > 1 else ''}" if others else "")
    else:
        state, reason = "SUCCESS", ""
    draft.emit(Kind.RUN_FINISHED, run.run_id, state=state, reason=reason, actor=run.actor_end)


def attempt_failed(
    draft: Draft,
    attempt: Attempt,
    reason: str,
    error: Error | None,
    *,
    final: str = "",
    worker: str = "",
    started_ms: int = 0,
    finished_ms: int = 0,
    log: str = "",
) -> None:
    """An attempt has failed: it is tried again after a delay, or the task is FAILED.

    `final`: not to be tried again whatever the policy says, and the reason of the task's failure.
    `worker`: who said so (an unbound attempt may have been sent to two); empty: whoever holds it.
    """
    run, task = attempt.run, attempt.task
    run_id, number = run.run_id, attempt.number
    policy = run.plan.retry[task]
    worker = worker or attempt.worker or attempt.holder
    fields: dict[str, object] = {"error": cut_error(error, draft.limits)} if error is not None else {}
    if log:
        fields["log"] = cut_log(log, draft.limits)
    draft.emit(
        Kind.ATTEMPT_FAILED,
        run_id,
        task=task,
        attempt=number,
        generation=attempt.generation,
        worker=worker,
        reason=reason,
        started_ms=started_ms,
        finished_ms=finished_ms,
        **fields,
    )
    if not final and not run.ending and retry.is_retried(policy, number, reason, error):
        delay = retry.delay_ms(policy, run_id, run.plan.ids[task], number, draft.limits.retry_max_delay_ms)
        draft.emit(
            Kind.TASK_RETRYING,
            run_id,
            task=task,
            attempt=number + 1,
            due_ms=draft.state.time_ms + delay,
            reason=reason,
        )
    else:
        draft.emit(Kind.TASK_FAILED, run_id, task=task, attempt=number, reason=final or reason)


def is_timeout(owner: Attempt | Run) -> bool:
    """Whether its timer ends something that may have ended by itself, and not only a retry's delay."""
    return isinstance(owner, Run) or owner.run.states[owner.task] != RETRYING


def due(draft: Draft, builder: Builder, owner: Attempt | Run) -> None:
    """A timer of an attempt or of a run is due; what that means is in its state."""
    if isinstance(owner, Run):
        draft.emit(Kind.RUN_CANCEL_REQUESTED, owner.run_id, state="FAILED", reason="timeout")
        advance(draft, builder, owner)
        return
    run, task = owner.run, owner.task
    state = run.states[task]
    if run.ending:
        pass  # it is on `pending`, to be cancelled
    elif state == RUNNING:
        draft.stop(run.run_id, task, owner.number, owner.generation, owner.worker, "timeout")
        limit = format_duration(run.plan.timeout_ms[task])
        error = Error(type="timeout", message=f"the attempt took longer than its timeout of {limit}")
        attempt_failed(draft, owner, "timeout", error, started_ms=owner.started_ms, finished_ms=draft.state.time_ms)
    elif state == RETRYING:
        draft.emit(Kind.TASK_QUEUED, run.run_id, task=task, attempt=owner.number, generation=owner.generation)
    else:
        if owner.holder:
            draft.stop(run.run_id, task, owner.number, owner.generation, owner.holder, "timeout")
        limit = format_duration(run.plan.queue_timeout_ms[task])
        error = Error(type="queue_timeout", message=f"no worker began the attempt within its queue_timeout of {limit}")
        attempt_failed(draft, owner, "queue_timeout", error)
    advance(draft, builder, run)
