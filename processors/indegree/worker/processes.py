"""Commands and isolated functions: each attempt in a process group of its own, its limits enforced from here.

This module has what both share: environment, output, how the end is told; `command` and `isolated` say what is run and
what its output means.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from indegree.v1.task_pb2 import Result
from indegree.worker import outcome, spans
from indegree.worker.attempt import Attempt
from indegree.worker.bounds import Bounds
from indegree.worker.failures import failure
from indegree.worker.guardian import Guardian
from indegree.worker.pipes import Pipe
from indegree.worker.process_group import ProcessGroup

_PIPE_END_S = 0.5  # how long a daemon that holds an output pipe is waited for
_LEFTOVER_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process group ended: the leader's exit code, or minus the signal that ended it."""

    code: int


class Processes:
    """The lane of attempts with processes of their own. Used from one loop."""

    def __init__(self, worker: str, bounds: Bounds, ended: Callable[[list[tuple[Attempt, Result]]], None]) -> None:
        self.worker = worker
        self.bounds = bounds
        self._ended = ended
        self._guardian = Guardian()
        self._stops: dict[Attempt, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """Runs `attempts`. The caller holds a slot for each."""
        for attempt in attempts:
            self._stops[attempt] = asyncio.Event()
            task = asyncio.create_task(self._perform(attempt), context=contextvars.Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def stop(self, attempt: Attempt) -> None:
        """Ends the attempt's processes; its completion follows when they are gone."""
        if (event := self._stops.get(attempt)) is not None:
            event.set()

    async def close(self) -> None:
        """Ends the guardian, and with it every group that is left."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.to_thread(self._guardian.close)

    async def _perform(self, attempt: Attempt) -> None:
        from indegree.worker import command, isolated

        attempt.begin()
        spans.begin(attempt)
        try:
            run = command.run if attempt.plan is None else isolated.run
            result = await run(self, attempt)
        except Exception as error:  # noqa: BLE001 - whatever went wrong in starting it is this attempt's failure
            result = outcome.raised(attempt, self.worker, error, self.bounds)
        finally:
            del self._stops[attempt]
        spans.end(attempt, result)
        self._ended([(attempt, result)])

    def environment(self, attempt: Attempt) -> dict[str, str]:
        """The worker's environment without its settings and secrets, the task's, and what identifies the attempt."""
        task = attempt.task
        env = {name: value for name, value in os.environ.items() if not name.startswith("INDEGREE_")}
        # UTF-8 always, also where the worker was started in the C locale.
        if not any("UTF-8" in env.get(name, "").upper() for name in ("LC_ALL", "LC_CTYPE", "LANG")):
            env.pop("LC_ALL", None)
            env["LC_CTYPE"] = "C.UTF-8"
        env["PYTHONUTF8"] = "1"
        env.update(task.env)
        env.update(attempt.secrets)
        env.update(
            INDEGREE_RUN_ID=task.run_id,
            INDEGREE_TASK_ID=task.task_id,
            INDEGREE_WORKFLOW=task.workflow,
            INDEGREE_ATTEMPT=str(task.attempt),
        )
        for name, value in (("TRACEPARENT", attempt.traceparent), ("TRACESTATE", attempt.tracestate)):
            env.pop(name, None)
            if value:
                env[name] = value
        return env

    async def run(
        self,
        attempt: Attempt,
        argv: Sequence[str],
        env: dict[str, str],
        *,
        stdin: bytes,
        on_output: Callable[[bytes], None] | None,
        on_answer: tuple[str, Callable[[bytes], None]] | None = None,
    ) -> Ended | None:
        """Runs `argv` to its end; None if it was ended from outside. Output goes to the attempt's capture, standard
        output also to `on_output`. `on_answer`: the name of an environment variable that tells the process the number
        of a pipe, and who reads it. Raises OSError if it cannot be started."""
        capture = attempt.capture.write

        def stdout(data: bytes) -> None:
            capture(data)
            if on_output is not None:
                on_output(data)

        pipes = [Pipe(stdout), Pipe(capture)]
        pass_fds: list[int] = []
        if on_answer is not None:
            answer = Pipe(on_answer[1])
            pipes.append(answer)
            pass_fds.append(answer.write_fd)
            env = {**env, on_answer[0]: str(answer.write_fd)}
        try:
            # A file, not a pipe: nobody has to feed it, and a process that never reads it holds up nobody.
            with tempfile.TemporaryFile() as source:
                source.write(stdin)
                source.seek(0)
                self._guardian.begin()
                group = await ProcessGroup.start(
                    argv,
                    env=env,
                    stdin=source.fileno(),
                    stdout=pipes[0].write_fd,
                    stderr=pipes[1].write_fd,
                    pass_fds=pass_fds,
                )
            self._guardian.watch(group.pid)
            for pipe in pipes:
                pipe.started()
            return await self._until_end(attempt, group, pipes)
        finally:
            for pipe in pipes:
                pipe.close()

    async def _until_end(self, attempt: Attempt, group: ProcessGroup, pipes: Sequence[Pipe]) -> Ended | None:
        leader = asyncio.create_task(group.process.wait())
        stop = asyncio.create_task(self._stops[attempt].wait())
        ended: Ended | None = None
        try:
            await asyncio.wait({leader, stop}, return_when=asyncio.FIRST_COMPLETED)
            if leader.done():
                ended = Ended(leader.result())
                await group.clear(min(_LEFTOVER_GRACE_S, self.bounds.kill_after_s))
            else:
                await group.end(self.bounds.kill_after_s)
        finally:
            stop.cancel()
            if ended is None and not leader.done():
                await asyncio.wait({leader}, timeout=1.0)
            leader.cancel()
            self._guardian.forget(group.pid)
        for pipe in pipes:
            await pipe.ended(_PIPE_END_S)
        return ended

    def not_zero(self, attempt: Attempt, code: int, what: str) -> Result:
        """The result of a process that ended with `code`, which is not 0."""
        if code < 0:
            error = failure("signal", f"{what} was ended by {signal_name(-code)}", exit_code=code)
            return outcome.failed(attempt, self.worker, error, outcome.WORKER_LOST)
        error = failure("exit_code", f"{what} ended with exit code {code}", exit_code=code)
        return outcome.failed(attempt, self.worker, error)


def signal_name(number: int) -> str:
    """`signal 9 (SIGKILL)`."""
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
