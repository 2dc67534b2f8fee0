"""What follows by itself: decidable tasks, instances that may begin, and runs with nothing left.

Why: this is the scheduler. A task whose rule is decided is begun, skipped, failed, cancelled, or, where it has nothing
to do, succeeds; each of these may decide others, until nothing is left to decide or the frame is full.

How: `advance` takes from the run's `pending` queue and from its `busy` maps; every event that it emits takes its task
out of there (apply does), so the loop ends. No recursion: a chain of joins goes round the loop. What needs a value
that is not at hand (values.py) is left where it is, and the others are decided.

It must never decide a task twice, and never decide anything that is neither on `pending` nor in a busy map.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from indegree.engine import ended, expansion, fire, join
from indegree.engine.draft import Draft
from indegree.engine.failing import attempt_failed, fail
from indegree.engine.kinds import Kind
from indegree.engine.plan import JOIN
from indegree.engine.records import Builder
from indegree.engine.scope import scope_of
from indegree.engine.state import Attempt, Run
from indegree.engine.states import PENDING, RETRYING, RUNNING, TERMINAL
from indegree.engine.values import Missing, Needs
from indegree.events import json_values
from indegree.events.durations import format_duration
from indegree.events.expressions import EvaluationError, truthy
from indegree.v1.value_pb2 import Error

DUE: dict[type, Callable[[Draft, Builder, Any], Run | None]] = {}
"""What a due timer of a feature's own means, by the type of its owner (features.py). Returns a run to be advanced."""

_OPERANDS_BYTES = 8_192
"""Operands recorded with a decision; more are left out, since the values stand in the log anyway."""


def advance(draft: Draft, builder: Builder, run: Run) -> None:
    """Decides what is decidable in a run, until nothing is, the frame is full, or a step's share of tasks is decided;
    finishes the run when nothing is left."""
    asleep = builder.values.asleep
    if asleep:
        asleep.discard(run.run_id)
    if run.paused or run.waiting:
        return
    share = draft.limits.step_tasks
    while run.pending is not None or run.busy:
        before = draft.count
        if run.pending is not None:
            share = _pending(draft, builder, run, share)
        if run.busy and share > 0 and not draft.full():
            share = expansion.advance(draft, builder, run, share)
        if share <= 0 or draft.full():
            return
        if draft.count == before:  # what is left waits for values
            asleep.add(run.run_id)
            return
    if not run.left and run.run_id in draft.state.runs:
        _finish(draft, builder, run)


def _pending(draft: Draft, builder: Builder, run: Run, share: int) -> int:
    """Goes through the queue once; what waits for a value stays on it. Returns what is left of the share."""
    at = run.next_pending
    while (pending := run.pending) is not None and share > 0 and not draft.full():
        at = max(at, run.next_pending)
        if at >= len(pending):
            break
        task = pending[at]
        state = run.states[task]
        if run.ending:
            if state < TERMINAL:
                share -= 1
                _cancel(draft, run, task)
        elif state == PENDING:
            share -= 1
            try:
                _decide(draft, builder, run, task)
            except Needs:
                pass
        at += 1
    return share


def _decide(draft: Draft, builder: Builder, run: Run, task: int) -> None:
    plan = run.plan
    run_id = run.run_id
    if run.not_taken is None and run.failed is None and plan.rules[task] == join.ALL_SUCCESS:
        outcome = join.RUN  # by far the most: every edge was taken
    else:
        outcome = join.decide(plan.rules[task], *run.edges(task))
    if outcome != join.RUN:
        draft.emit(Kind.TASK_SKIPPED, run_id, task=task, reason=join.REASONS[outcome], **run.again(task))
        return
    data = b""
    if plan.when is not None and (condition := plan.when[task]) is not None:
        try:
            value, operands = condition.evaluate_recorded(scope_of(run, builder.values))
        except (EvaluationError, json_values.JsonValueError, Missing) as error:
            fail(draft, run, task, f"its condition has no value: {error}")
            return
        data = _recorded(operands)
        if not truthy(value):
            draft.emit(Kind.TASK_SKIPPED, run_id, task=task, reason="condition", data=data, **run.again(task))
            return
    if plan.kinds[task] == JOIN:
        draft.emit(Kind.TASK_SUCCEEDED, run_id, task=task, data=data, **run.again(task))
    elif plan.mapped is not None and plan.mapped[task] is not None:
        expansion.begin(draft, builder, run, task)
    else:
        fire.fire(draft, builder, run, task, data)


def _recorded(operands: dict[str, object]) -> bytes:
    try:
        data = json_values.dumps(operands)
    except json_values.JsonValueError:
        return b""
    return data if len(data) <= _OPERANDS_BYTES else b""


def _cancel(draft: Draft, run: Run, task: int) -> None:
    attempt = run.attempts.get(task)
    ended.stop(draft, run, task, "cancelled")
    number = attempt.number if attempt is not None else 0
    again = run.again(task)
    draft.emit(Kind.TASK_CANCELLED, run.run_id, task=task, attempt=number, reason=run.reason, **again)


def _finish(draft: Draft, builder: Builder, run: Run) -> None:
    actor = run.actor_end
    if run.closing:
        state, reason = run.closing, run.reason
    elif run.ending:
        state, reason = run.ending, run.reason
    elif run.failures:
        task_id = run.plan.ids[run.first_failed]
        others = run.failures - 1
        state = "FAILED"
        reason = f"task {task_id!r} failed" + (f", and {others} other{'s' if others > 1 else ''}" if others else "")
    else:
        state, reason = "SUCCESS", ""
    if not run.closing and state in run.plan.hooks:
        draft.emit(Kind.RUN_CLOSING, run.run_id, state=state, reason=reason, actor=actor)
        advance(draft, builder, run)  # at most once more: a run closes once
        return
    ended.before_end(draft, run, state, reason)
    draft.emit(Kind.RUN_FINISHED, run.run_id, state=state, reason=reason, actor=actor)
    ended.after_end(draft, builder, run)


def is_timeout(owner: Any) -> bool:
    """Whether its timer ends something that may have ended by itself, and not only a delay."""
    if isinstance(owner, Attempt):
        return owner.run.states[owner.task] != RETRYING
    return isinstance(owner, Run) and not owner.waiting


def due(draft: Draft, builder: Builder, owner: Any) -> None:
    """A timer of an attempt, a run or something of a feature is due; what that means is in its state."""
    if isinstance(owner, Attempt):
        _due(draft, builder, owner)
        return
    run: Run | None = owner if isinstance(owner, Run) else None
    if run is None:
        run = DUE[type(owner)](draft, builder, owner)
    elif run.waiting:
        run = ended.time_has_come(draft, run)
    else:
        draft.emit(Kind.RUN_CANCEL_REQUESTED, run.run_id, state="FAILED", reason="timeout")
    if run is not None:
        advance(draft, builder, run)


def _due(draft: Draft, builder: Builder, owner: Attempt) -> None:
    run, task = owner.run, owner.task
    state = run.states[task]
    if run.ending:
        pass  # it is on `pending`, to be cancelled
    elif state == RUNNING:
        draft.stop(run.run_id, task, owner.number, owner.generation, owner.worker, "timeout")
        limit = format_duration(run.plan.timeout_ms[owner.node])
        error = Error(type="timeout", message=f"the attempt took longer than its timeout of {limit}")
        attempt_failed(draft, owner, "timeout", error, started_ms=owner.started_ms, finished_ms=draft.state.time_ms)
    elif state == RETRYING:
        fire.again(draft, builder, run, task, owner.number, owner.generation)
    else:
        if owner.holder:
            draft.stop(run.run_id, task, owner.number, owner.generation, owner.holder, "timeout")
        limit = format_duration(run.plan.queue_timeout_ms[owner.node])
        error = Error(type="queue_timeout", message=f"no worker began the attempt within its queue_timeout of {limit}")
        attempt_failed(draft, owner, "queue_timeout", error)
    advance(draft, builder, run)
