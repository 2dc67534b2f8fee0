"""Failures: an attempt that failed is tried again or its task has failed; a task that cannot be begun has failed.

Why: a worker's error, a timeout, a lost worker and a failed sub-workflow are judged by one rule.

How: ATTEMPT_FAILED tells what happened, and TASK_RETRYING or TASK_FAILED right after it what follows.

It must never wait after the last attempt.
"""

from __future__ import annotations

from typing import Any

from indegree.engine import retry
from indegree.engine.bounds import cut_error, cut_log, text
from indegree.engine.draft import Draft
from indegree.engine.kinds import Kind
from indegree.engine.state import Attempt, Run
from indegree.v1.value_pb2 import Error

_INSTANCE_ERROR_CHARS = 200


def fail(draft: Draft, run: Run, slot: int, reason: str) -> None:
    """A task (or instance) fails before any attempt."""
    reason = text(reason)[: draft.limits.reason_chars]
    error = Error(type="input", message=reason)
    draft.emit(Kind.TASK_FAILED, run.run_id, task=slot, reason=reason, error=error, **run.again(slot))


def attempt_failed(draft: Draft, attempt: Attempt, reason: str, error: Error | None, **fields: Any) -> None:
    """An attempt has failed: it is tried again after a delay, or the task is FAILED. `fields`: see `failed`."""
    worker = fields.pop("worker", "") or attempt.worker or attempt.holder
    failed(draft, attempt.run, attempt.task, attempt.number, attempt.generation, reason, error, worker=worker, **fields)


def failed(
    draft: Draft,
    run: Run,
    slot: int,
    number: int,
    generation: int,
    reason: str,
    error: Error | None,
    *,
    final: str = "",
    worker: str = "",
    started_ms: int = 0,
    finished_ms: int = 0,
    log: str = "",
) -> None:
    """Attempt `number` of a slot has failed.

    `final`: not to be tried again whatever the policy says, and the reason of the task's failure.
    `worker`: who said so (an unbound attempt may have been sent to two).
    """
    run_id = run.run_id
    policy = run.plan.retry[run.node(slot)]
    fields: dict[str, object] = {"error": cut_error(error, draft.limits)} if error is not None else {}
    if log:
        fields["log"] = cut_log(log, draft.limits)
    draft.emit(
        Kind.ATTEMPT_FAILED,
        run_id,
        task=slot,
        attempt=number,
        generation=generation,
        worker=worker,
        reason=reason,
        started_ms=started_ms,
        finished_ms=finished_ms,
        **fields,
    )
    if not final and not run.ending and retry.is_retried(policy, number, reason, error):
        delay = retry.delay_ms(policy, run_id, run.id_of(slot), number, draft.limits.retry_max_delay_ms)
        draft.emit(
            Kind.TASK_RETRYING,
            run_id,
            task=slot,
            attempt=number + 1,
            generation=generation,
            due_ms=draft.state.time_ms + delay,
            reason=reason,
        )
        return
    what: dict[str, object] = {}
    if slot >= run.plan.n and error is not None:  # kept with the map, for `tasks.X.errors`
        what["error"] = Error(type=error.type[:_INSTANCE_ERROR_CHARS], message=error.message[:_INSTANCE_ERROR_CHARS])
    draft.emit(
        Kind.TASK_FAILED, run_id, task=slot, attempt=number, generation=generation, reason=final or reason, **what
    )
