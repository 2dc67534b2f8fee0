"""Commands as a program gives them: pause, resume, signal, rerun, skip, mark success, backfill, pools.

Why: each is one record on `commands` and one answer on `progress`; what can be checked before it is sent is checked
here, in one place for both clients and for the run's handle.

How: pure functions make the `Command`; `AsyncCommands` and `Commands` are the parts of `AsyncClient` and `Client` that
send those about more than one run. The partition comes from `run_ids.partition_of_command`, so a command lands where it
is judged. The answer says what was done, or raises Refused with the engine's reason.

It must never decide what only the owner of a run or of a name can know.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from indegree.events import json_values, run_ids
from indegree.v1.trigger_pb2 import (
    Backfill,
    Command,
    MarkSuccess,
    Pause,
    Rerun,
    Resume,
    SetPool,
    Signal,
    Skip,
)

from .client_connection import ANSWER_S, Connection
from .client_errors import InvalidStart
from .client_events import RunEvent
from .convert import to_json

_UINT32 = 2**32 - 1


# -- the records -------------------------------------------------------------------------------------------------------


def pause_of(*, run_id: str = "", workflow: str = "", queue: str = "", reason: str = "") -> Command:
    """Pauses exactly one of a run, a workflow, a queue. Raises InvalidStart."""
    _one_of("pause", run_id, workflow, queue)
    return Command(pause=Pause(run_id=run_id, workflow=workflow, queue=queue, reason=reason))


def resume_of(*, run_id: str = "", workflow: str = "", queue: str = "", reason: str = "") -> Command:
    """Ends the pause of exactly one of a run, a workflow, a queue. Raises InvalidStart."""
    _one_of("resume", run_id, workflow, queue)
    return Command(resume=Resume(run_id=run_id, workflow=workflow, queue=queue, reason=reason))


def _one_of(word: str, run_id: str, workflow: str, queue: str) -> None:
    named = [text for text in (run_id, workflow, queue) if text]
    if len(named) != 1:
        said = f"names {len(named)}: {', '.join(map(repr, named))}" if named else "names none"
        raise InvalidStart(f"a {word} is of one run, workflow or queue; this one {said}")
    if workflow and not run_ids.is_id(workflow):
        raise InvalidStart(f"workflow {workflow!r}: a name has letters, digits, '_', '-' and '.', at most 100")
    if queue and not run_ids.is_name(queue):
        raise InvalidStart(f"queue {queue!r}: a name has a-z, 0-9 and '-', at most 100")


def signal_of(run_id: str, name: str, payload: object = None, actor: str = "") -> Command:
    """Delivers a signal. `payload`: any value that JSON can hold; `actor`: who sends it. Raises InvalidStart."""
    if not name:
        raise InvalidStart("a signal needs the name that the task waits for (`wait_for: {signal: NAME}`)")
    signal = Signal(run_id=run_id, name=name, payload=_json(payload, f"the payload of {name!r}"))
    return Command(actor=actor, signal=signal)


def rerun_of(run_id: str, tasks: Sequence[str] | None = None, reason: str = "") -> Command:
    """Runs tasks again with their descendants; without any, all that failed. Raises InvalidStart for a lone text."""
    if isinstance(tasks, str):
        raise InvalidStart(f"tasks must be a list of task ids, not the text {tasks!r}: write [{tasks!r}]")
    return Command(rerun=Rerun(run_id=run_id, task_ids=_ids(tasks or ()), reason=reason))


def skip_of(run_id: str, task: str, reason: str = "") -> Command:
    """Ends an open task as SKIPPED (by_hand)."""
    return Command(skip=Skip(run_id=run_id, task_id=_ids([task])[0], reason=reason))


def mark_success_of(run_id: str, task: str, output: object = None, reason: str = "") -> Command:
    """Ends a task as SUCCESS with this output. Raises InvalidStart for one that JSON cannot hold."""
    made = MarkSuccess(run_id=run_id, task_id=_ids([task])[0], reason=reason)
    made.output = _json(output, f"the output of {task!r}")
    return Command(mark_success=made)


def backfill_of(
    workflow: str, start: datetime | None, end: datetime | None, concurrency: int = 1, trigger: int = 0
) -> Command:
    """The runs of the times in [start, end) that have none. Raises InvalidStart for a naive time or an empty range."""
    if start is None or end is None:
        raise InvalidStart("a backfill needs the start and the end of its range; the end itself is left out")
    start_ms, end_ms = epoch_ms(start, "start"), epoch_ms(end, "end")
    if end_ms <= start_ms:
        raise InvalidStart(
            f"the range from {start.isoformat()} to {end.isoformat()} is empty: its end must lie behind its start, "
            "which counts"
        )
    made = Backfill(workflow=workflow, start_ms=start_ms, end_ms=end_ms)
    made.concurrency = _whole(concurrency, "concurrency (runs at a time)", 1)
    made.trigger = _whole(trigger, "trigger (its number among the workflow's triggers, from 0)", 0)
    return Command(backfill=made)


def set_pool_of(name: str, limit: int) -> Command:
    """How many tasks may hold a pool at a time. Raises InvalidStart."""
    if not name:
        raise InvalidStart("a pool needs a name: that of `pool:` in the workflow file")
    return Command(set_pool=SetPool(name=name, limit=_whole(limit, f"the limit of pool {name!r}", 0)))


def epoch_ms(moment: object, what: str) -> int:
    """Milliseconds since the epoch. Raises InvalidStart for a time without an offset: it is no moment."""
    if not isinstance(moment, datetime):
        raise InvalidStart(f"{what} must be a datetime with a time zone, not {type(moment).__name__}: {moment!r}")
    if moment.utcoffset() is None:
        raise InvalidStart(
            f"{what} {moment.isoformat()} has no time zone, so it is no moment: "
            "datetime(2026, 11, 25, 6, 30, tzinfo=ZoneInfo('Europe/Berlin'))"
        )
    passed = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    found = passed.days * 86_400_000 + passed.seconds * 1_000 + passed.microseconds // 1_000
    if found < 0:
        raise InvalidStart(f"{what} {moment.isoformat()} lies before 1970")
    return found


def _whole(value: object, what: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _UINT32:
        raise InvalidStart(f"{what} must be a whole number from {least} on, not {value!r}")
    return value


def _ids(tasks: Sequence[object]) -> list[str]:
    ids = [task for task in tasks if isinstance(task, str) and task]
    if len(ids) < len(tasks):
        wrong = next(task for task in tasks if not isinstance(task, str) or not task)
        raise InvalidStart(f"{wrong!r} is no task id, such as 'load' or 'load[3]'")
    return ids


def _json(value: object, what: str) -> bytes:
    try:
        return json_values.dumps(to_json(value))
    except ValueError as problem:
        raise InvalidStart(f"{what}: {problem}") from problem


def check_size(command: Command, what: str, most: int) -> None:
    """Refuses a payload or an output of more than `most` bytes (`limits.value_bytes`). Raises InvalidStart."""
    size = max(len(command.signal.payload), len(command.mark_success.output))
    if size > most:
        raise InvalidStart(
            f"{what}: the value has {size} bytes, more than limits.value_bytes = {most}: give a reference to where it "
            "lies"
        )


def done(answer: RunEvent) -> str:
    """What a command did, as its answer says it."""
    return answer.reason if answer.type == "command.accepted" else f"the run is {answer.state}"


# -- parts of the clients ----------------------------------------------------------------------------------------------


class AsyncCommands:
    """The part of `AsyncClient` with commands about a workflow, a queue or a pool.

    Each returns, when an engine has answered, what was done; raises Refused, InvalidStart, and TimeoutError when no
    engine has answered within `timeout` seconds (the command may be carried out later).
    """

    _connection: Connection

    async def pause(self, *, workflow: str = "", queue: str = "", reason: str = "", timeout: float = ANSWER_S) -> str:
        """Pauses all runs of a workflow (also those to come) or a queue: what runs goes on, nothing more begins."""
        command = pause_of(workflow=workflow, queue=queue, reason=reason)
        return done(await self.command(command, f"the pause of {workflow or queue}", timeout=timeout))

    async def resume(self, *, workflow: str = "", queue: str = "", reason: str = "", timeout: float = ANSWER_S) -> str:
        """Ends a pause."""
        command = resume_of(workflow=workflow, queue=queue, reason=reason)
        return done(await self.command(command, f"the resume of {workflow or queue}", timeout=timeout))

    async def backfill(
        self,
        name: str,
        start: datetime,
        end: datetime,
        concurrency: int = 1,
        *,
        trigger: int = 0,
        timeout: float = ANSWER_S,
    ) -> str:
        """Starts the runs of a workflow's cron trigger for the times in [start, end) that have none, `concurrency` at
        a time. Times are aware datetimes; `trigger`: number of the cron trigger among the workflow's triggers."""
        command = backfill_of(name, start, end, concurrency, trigger)
        return done(await self.command(command, f"the backfill of {name}", timeout=timeout))

    async def cancel_backfills(self, name: str, *, timeout: float = ANSWER_S) -> str:
        """Ends the backfills of a workflow: nothing more of them is started, what has begun goes on."""
        command = Command(backfill=Backfill(workflow=name, cancel=True))
        return done(await self.command(command, f"the end of the backfills of {name}", timeout=timeout))

    async def set_pool(self, name: str, limit: int, *, timeout: float = ANSWER_S) -> str:
        """How many tasks may hold a pool at a time, whatever their workflow."""
        return done(await self.command(set_pool_of(name, limit), f"the limit of pool {name}", timeout=timeout))

    async def command(self, command: Command, what: str, *, timeout: float = ANSWER_S) -> RunEvent:
        """Sends a command to where it is judged and waits for the answer; `what` names it in errors."""
        connection = self._connection
        check_size(command, what, connection.settings.limits.value_bytes)
        try:
            partition = run_ids.partition_of_command(command, connection.partitions)
        except UnicodeEncodeError as problem:
            raise InvalidStart(f"{what}: {problem.object[:40]!r} holds a lone surrogate, which is not text") from None
        about = getattr(command, command.WhichOneof("command") or "cancel")
        key = next(
            (found for name in ("run_id", "workflow", "queue", "name") if (found := getattr(about, name, ""))), ""
        )
        return await connection.ask(partition, key, command, what, timeout)


class _Blocking(Protocol):
    _inner: Any

    def call(self, work: Coroutine[Any, Any, str]) -> str: ...


class Commands:
    """The same part of `Client`: see `AsyncCommands`."""

    def pause(self: _Blocking, *, workflow: str = "", queue: str = "", reason: str = "", timeout: float = 30.0) -> str:
        """See `AsyncCommands.pause`."""
        return self.call(self._inner.pause(workflow=workflow, queue=queue, reason=reason, timeout=timeout))

    def resume(self: _Blocking, *, workflow: str = "", queue: str = "", reason: str = "", timeout: float = 30.0) -> str:
        """See `AsyncCommands.resume`."""
        return self.call(self._inner.resume(workflow=workflow, queue=queue, reason=reason, timeout=timeout))

    def backfill(
        self: _Blocking,
        name: str,
        start: datetime,
        end: datetime,
        concurrency: int = 1,
        *,
        trigger: int = 0,
        timeout: float = 30.0,
    ) -> str:
        """See `AsyncCommands.backfill`."""
        return self.call(self._inner.backfill(name, start, end, concurrency, trigger=trigger, timeout=timeout))

    def cancel_backfills(self: _Blocking, name: str, *, timeout: float = 30.0) -> str:
        """See `AsyncCommands.cancel_backfills`."""
        return self.call(self._inner.cancel_backfills(name, timeout=timeout))

    def set_pool(self: _Blocking, name: str, limit: int, *, timeout: float = 30.0) -> str:
        """See `AsyncCommands.set_pool`."""
        return self.call(self._inner.set_pool(name, limit, timeout=timeout))


class _Handle(Protocol):
    """What the commands of a run need of its handle. `carry_out`: asks, and gives what was done."""

    @property
    def run_id(self) -> str: ...

    async def accepted(self, timeout: float | None = None) -> str: ...

    async def carry_out(self, command: Command, what: str) -> str: ...


class RunCommands:
    """The part of `AsyncRun` with commands. Each waits until the run was accepted, then for an engine's answer; returns
    what was done. Raises Refused with the engine's reason, InvalidStart, TimeoutError."""

    async def pause(self: _Handle, reason: str = "") -> str:
        """What runs goes on, nothing more of the run is decided or begun."""
        await self.accepted()
        return await self.carry_out(pause_of(run_id=self.run_id, reason=reason), "the pause of")

    async def resume(self: _Handle, reason: str = "") -> str:
        """Ends a pause of this run."""
        await self.accepted()
        return await self.carry_out(resume_of(run_id=self.run_id, reason=reason), "the resume of")

    async def signal(self: _Handle, name: str, payload: object = None, *, actor: str = "") -> str:
        """Delivers a signal to the tasks that wait for it, now or later. `payload`: what JSON can hold; `actor`: who
        answers, for a program that asks on behalf of people (else the user that runs it)."""
        await self.accepted()
        return await self.carry_out(signal_of(self.run_id, name, payload, actor), f"the signal {name!r} to")

    async def rerun(self: _Handle, tasks: Sequence[str] | None = None, reason: str = "") -> str:
        """Runs tasks again with all their descendants; without any, all that failed, were cancelled, or were skipped
        because of that. The run may go on or have ended; `wait()` then waits for its new end."""
        await self.accepted()
        return await self.carry_out(rerun_of(self.run_id, tasks, reason), "the rerun of")

    async def skip(self: _Handle, task: str, reason: str = "") -> str:
        """Ends an open task as SKIPPED (by_hand)."""
        await self.accepted()
        return await self.carry_out(skip_of(self.run_id, task, reason), f"the skip of {task!r} in")

    async def mark_success(self: _Handle, task: str, output: object = None, reason: str = "") -> str:
        """Ends an open or failed task as SUCCESS with this output. In a run that has ended it may go on."""
        await self.accepted()
        command = mark_success_of(self.run_id, task, output, reason)
        return await self.carry_out(command, f"the mark of {task!r} in")
