"""`indegree logs`: what the tasks of a run printed, and each attempt that failed.

Why: the first question after "it failed" is "what did it say".

How: the last lines of captured output travel with an attempt's result into the event log (bounded by the worker's
setting worker.log_bytes); this reads them from there, on the run's partition, from the time in the run id.

It must never claim to have more than those last lines.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import click

from indegree.engine.plan import plan_of
from indegree.events import run_ids
from indegree.events.frames import Verdict
from indegree.events.settings import Settings
from indegree.sdk.client_errors import InvalidStart, RunNotFound
from indegree.sdk.client_events import ENDED, TaskError
from indegree.sdk.client_progress import read_run
from indegree.v1.event_pb2 import Event

from .eventlog import not_on_the_log, read_log
from .exits import Exit
from .instances import mapped_of
from .output import clock
from .prefixes import check_beginning, whole_run_id
from .session import IndegreeCommand, Session, session

_SLACKS_MS = (60_000, None)  # before the run id's time, since clocks differ; then the whole log
_OUTCOMES = {Event.TASK_SUCCEEDED: "SUCCESS", Event.ATTEMPT_FAILED: "FAILED", Event.TASK_REJECTED: "REJECTED"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended, and what it printed last. `task`: its index among the tasks and, behind them, the hooks of
    the version; `place`: of an instance of it, -1 for none."""

    task: int
    place: int
    attempt: int
    state: str
    worker: str
    reason: str
    error: TaskError | None
    log: str
    finished_ms: int


@click.command(cls=IndegreeCommand)
@click.argument("run_id", metavar="RUN")
@click.argument("task", required=False, metavar="[TASK]")
def logs(run_id: str, task: str | None) -> int:
    """What the tasks of a run printed: the last lines of each attempt that has ended."""
    now = session()
    return now.run(_logs(now, run_id, task))


async def _logs(now: Session, run_id: str, task: str | None) -> int:
    check_beginning(run_id)
    async with now.client() as client:
        run_id = await whole_run_id(now.settings, run_id)
        if run_ids.partition_of_run(run_id) >= client.partitions:
            raise RunNotFound(f"run {run_id!r} names a partition that the cluster does not have ({client.partitions})")
        ids: Sequence[str] = ()
        silent = 0
        ends = await _ends(now.settings, client.topics.progress, run_id)
        async for found in outcomes(now.settings, run_id, ends):
            if isinstance(found, str):
                definition = client.catalog.definition(found)
                ids = plan_of(definition).ids if definition is not None else ()
                if task is not None and ids and (mapped_of(task) or task) not in ids:
                    raise InvalidStart(f"run {run_id} has no task {task!r}; it has {', '.join(ids[:12])}")
                continue
            name = name_of(ids, found)
            if task is not None and task not in (name, mapped_of(name)):
                continue
            if not found.log and found.error is None:
                silent += 1
            _print(now, run_id, name, found)
        if silent and not now.out.json_lines:
            now.out.note(f"{silent} attempt(s) printed nothing")
    return Exit.SUCCESS


async def _ends(settings: Settings, topic: str, run_id: str) -> int | None:
    """How often the run has ended; None while it is under way, or where the progress topic does not know it."""
    ends, state = 0, ""
    async for event in read_run(settings, topic, run_id):
        if event.type.startswith("run.") and event.position:
            state = event.state
            ends += event.ends_run
    return ends if ends and state in ENDED else None


def name_of(ids: Sequence[str], found: Outcome) -> str:
    """The task's id, or that of the instance. `ids`: of the version's tasks and hooks; empty where it is not known."""
    name = ids[found.task] if found.task < len(ids) else str(found.task)
    return name if found.place < 0 else f"{name}[{found.place}]"


def _print(now: Session, run_id: str, name: str, found: Outcome) -> None:
    out = now.out
    if out.json_lines:
        error = {"type": found.error.type, "message": found.error.message} if found.error is not None else None
        out.value(
            {
                "run_id": run_id,
                "task_id": name,
                "attempt": found.attempt,
                "state": found.state,
                "worker": found.worker,
                "reason": found.reason,
                "finished_ms": found.finished_ms,
                "log": found.log,
                "error": error,
            }
        )
        return
    if not found.log and found.error is None:
        return
    out.line(f"── {name}, attempt {found.attempt}, {found.state}, {found.worker}, {clock(found.finished_ms)}", "bold")
    if found.log:
        out.line(found.log.rstrip("\n"))
    if found.error is not None:
        out.line(found.error.traceback.rstrip() or str(found.error), "red")


async def outcomes(settings: Settings, run_id: str, ends: int | None = 1) -> AsyncIterator[Outcome | str]:
    """First the run's version, then how each attempt ended, in the order of the log. Raises RunNotFound.

    `ends`: how often the run has ended, so that reading may end there; None: it reads to the log's end.
    """
    partition = run_ids.partition_of_run(run_id)
    for slack_ms in _SLACKS_MS:
        time_ms = None if slack_ms is None else max(0, run_ids.time_of_run(run_id) - slack_ms)
        begun = False
        left = ends
        maps: list[tuple[int, int]] = []  # index of the first instance, and the mapped task, ascending
        async for read in read_log(settings, partition, time_ms=time_ms):
            if read.verdict is not Verdict.IN_FORCE:
                continue
            current = ""
            for event in read.frame.events:
                current = event.run_id or current
                if current != run_id:
                    continue
                if event.kind == Event.RUN_STARTED:
                    begun = True
                    yield event.version
                elif not begun:
                    continue
                elif event.kind == Event.TASK_EXPANDED:
                    maps.append((event.number, event.task))
                elif event.kind in _OUTCOMES:
                    at = bisect_right(maps, event.task, key=lambda entry: entry[0]) - 1
                    yield Outcome(
                        maps[at][1] if at >= 0 else event.task,
                        event.task - maps[at][0] if at >= 0 else -1,
                        event.attempt,
                        _OUTCOMES[event.kind],
                        event.worker,
                        event.reason,
                        TaskError.of(event.error) if event.HasField("error") else None,
                        event.log,
                        event.finished_ms or read.frame.time_ms,
                    )
                elif event.kind == Event.RUN_FINISHED and left is not None:
                    left -= 1
                    if left <= 0:
                        return
        if begun:
            return
    raise await not_on_the_log(settings, run_id)
