"""Results: what a worker says of an attempt. The one place that makes them, so that each carries the same fields.

Nothing here raises: a failure that could not be recorded would leave the task running for ever.
"""

from __future__ import annotations

import time

from indegree.v1.task_pb2 import Result
from indegree.v1.value_pb2 import Error
from indegree.worker.attempt import Attempt, Verdict
from indegree.worker.bounds import Bounds
from indegree.worker.failures import error_of, failure

# Reasons of a failed attempt (INTERFACES section 1).
ERROR, TIMEOUT, WORKER_LOST = "error", "timeout", "worker_lost"


def _now_ms() -> int:
    return int(time.time() * 1000)


def base(attempt: Attempt, kind: Result.Kind, worker: str) -> Result:
    """A result with who and when."""
    key = attempt.key
    return Result(
        kind=kind,
        run_id=key[0],
        task=key[1],
        attempt=key[2],
        generation=key[3],
        worker=worker,
        started_ms=attempt.started_ms,
        traceparent=attempt.traceparent,
    )


def started(attempt: Attempt, worker: str) -> Result:
    """The attempt runs here."""
    return base(attempt, Result.STARTED, worker)


def heartbeat(attempt: Attempt, worker: str) -> Result:
    """Still running, with the latest progress if there is one."""
    result = base(attempt, Result.HEARTBEAT, worker)
    if attempt.progress is not None:
        result.progress, message = attempt.progress
        result.message = attempt.mask(message) if attempt.mask else message
    return result


def succeeded(attempt: Attempt, worker: str, json: bytes) -> Result:
    """It returned. `json` is empty for null."""
    key = attempt.key
    result = Result(
        kind=Result.SUCCEEDED,
        run_id=key[0],
        task=key[1],
        attempt=key[2],
        generation=key[3],
        worker=worker,
        started_ms=attempt.started_ms,
        finished_ms=_now_ms(),
        traceparent=attempt.traceparent,
        log=attempt.log_tail(),
    )
    if json:
        result.output.json = json
    return result


def failed(attempt: Attempt, worker: str, error: Error, reason: str = ERROR) -> Result:
    """It failed, with what is known about it."""
    result = base(attempt, Result.FAILED, worker)
    result.finished_ms = _now_ms()
    result.error.CopyFrom(error)
    result.reason = reason
    result.log = attempt.log_tail()
    return result


def raised(attempt: Attempt, worker: str, error: BaseException, bounds: Bounds) -> Result:
    """User code raised."""
    return failed(attempt, worker, error_of(error, bounds, attempt.mask))


def rejected(attempt: Attempt, worker: str, why: str) -> Result:
    """This worker lacks the code or may not run it."""
    result = base(attempt, Result.REJECTED, worker)
    result.finished_ms = _now_ms()
    result.error.CopyFrom(failure("rejected", why))
    return result


def returned(attempt: Attempt, worker: str, why: str) -> Result:
    """Taken, not begun."""
    result = base(attempt, Result.RETURNED, worker)
    result.message = why
    return result


def stopped(attempt: Attempt, worker: str) -> Result:
    """Ended because the engine said so."""
    result = base(attempt, Result.STOPPED, worker)
    result.finished_ms = _now_ms()
    result.reason = attempt.verdict_reason
    result.log = attempt.log_tail()
    return result


def ended(attempt: Attempt, worker: str) -> Result:
    """What is said of an attempt that was ended from outside, by its verdict."""
    match attempt.verdict:
        case Verdict.TIMEOUT:
            limit = attempt.task.timeout_ms / 1000
            error = failure("timeout", f"the attempt took longer than its timeout of {limit:g} s")
            return failed(attempt, worker, error, TIMEOUT)
        case Verdict.SHUTDOWN:
            why = "the worker was stopped, and the task did not end within the grace time (setting worker.grace_s)"
            return failed(attempt, worker, failure("worker_stopped", why), WORKER_LOST)
        case Verdict.STOPPED | None:
            return stopped(attempt, worker)
