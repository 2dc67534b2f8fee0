"""A function in a process of its own (`isolate=True`): for code that must be possible to kill, or that may take its
process down.

The worker starts a fresh interpreter (a fork of a process with threads is not safe) that runs `indegree.worker.child`.
The request goes in on standard input (a line of JSON, then the values that were fetched), progress and the result come
back as messages on a pipe; standard output and error are captured as for a command.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from indegree.v1.task_pb2 import Result
from indegree.worker import outcome
from indegree.worker.attempt import Attempt
from indegree.worker.failures import failure
from indegree.worker.messages import Messages

if TYPE_CHECKING:
    from indegree.worker.processes import Processes

ANSWER = "INDEGREE_ANSWER_FD"


async def run(processes: Processes, attempt: Attempt) -> Result:
    """Runs the attempt's function. Raises for what cannot be run at all; the caller makes a result of it."""
    task, plan, worker, bounds = attempt.task, attempt.plan, processes.worker, processes.bounds
    assert plan is not None
    answers: list[bytes] = []

    def heard(kind: bytes, data: bytes) -> None:
        if kind == b"P":
            try:
                share, text = json.loads(data)
                attempt.progress = (float(share), str(text))
            except (ValueError, TypeError):
                pass  # user code wrote to a pipe that is not its own
        elif kind == b"R":
            answers[:] = [data]

    request = {
        "path": sys.path,
        "file": plan.file,
        "function": plan.name,
        "defined": f"{plan.function.__module__}:{getattr(plan.function, '__qualname__', '')}",
        "worker": worker,
        "secrets": list(attempt.secrets),
        "traceparent": attempt.traceparent,
        "tracestate": attempt.tracestate,
        "payload_bytes": bounds.payload_bytes,
        "fetched": {name: len(text) for name, text in attempt.fetched.items()},
        "task": task.SerializeToString().hex(),
    }
    env = {**processes.environment(attempt), "PYTHONUNBUFFERED": "1"}
    # A result holds a value, an error with causes, and no log: that comes by the other pipes.
    messages = Messages(heard, bounds.payload_bytes + 1_048_576)
    ended = await processes.run(
        attempt,
        [sys.executable, "-m", "indegree.worker.child"],
        env,
        stdin=b"".join((json.dumps(request).encode(), b"\n", *attempt.fetched.values())),
        on_output=None,
        on_answer=(ANSWER, messages.write),
    )
    if ended is None:
        return outcome.ended(attempt, worker)
    if answers:
        try:
            result = Result.FromString(answers[0])
        except DecodeError:
            return outcome.failed(
                attempt, worker, failure("protocol", "the function's process sent no readable result")
            )
        result.started_ms = attempt.started_ms
        result.traceparent = attempt.traceparent
        result.log = attempt.log_tail()
        return result
    if ended.code:
        return processes.not_zero(attempt, ended.code, "the function's process")
    return outcome.failed(
        attempt,
        worker,
        failure("exit_code", "the function's process ended (os._exit(0)?) without a result", exit_code=0),
    )
