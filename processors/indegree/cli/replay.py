"""`indegree replay`: a run's, or a partition's, state at any point, from the event log alone.

Why: "the log is the truth" is worth something only if anybody can check it: this shows what an engine that recovers
would know, at any position, without asking an engine.

How: the frames in force (eventlog.py) go through the engine's own `PartitionCore.replay`; the run's transitions are
what that replay yields, and the state at a position is their sum up to there. Nothing but `events` is read; the
definitions stand in it too.

It must never ask an engine or the progress topic, else it would prove nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import click

from indegree.engine.core import PartitionCore
from indegree.engine.state import Run
from indegree.engine.states import TASK_STATES
from indegree.events import run_ids
from indegree.events.frames import Verdict
from indegree.events.topics import Topics
from indegree.sdk.client_errors import InvalidStart, RunNotFound
from indegree.sdk.client_events import RunEvent, RunState, TaskView
from indegree.sdk.client_reading import open_reader
from indegree.v1.progress_pb2 import Progress

from .eventlog import not_on_the_log, read_log
from .exits import Exit
from .output import moment, span
from .prefixes import whole_run_id
from .session import IndegreeCommand, Session, session
from .stored import plain
from .telling import told
from .watching import event_json

_SLACKS_MS = (60_000, None)  # before the run id's time, since clocks differ; then the whole log


@click.command(cls=IndegreeCommand)
@click.argument("run_id", required=False, metavar="[RUN]")
@click.option("--partition", type=int, metavar="P", help="The whole partition instead of one run.")
@click.option(
    "--at", type=int, metavar="POSITION", help="As of this position of the run (or offset of the partition's log)."
)
@click.option("--history", is_flag=True, help="Every transition up to there.")
def replay(run_id: str | None, partition: int | None, at: int | None, history: bool) -> int:
    """Rebuild a run's or a partition's state at any position, from the event log alone.

    \b
      indegree replay RUN --at 7        the run as it was after its 7th transition
      indegree replay --partition 3     what an engine would recover
    """
    now = session()
    if (run_id is None) == (partition is None):
        raise click.UsageError("name a run, or give --partition")
    if run_id is not None:
        return now.run(replay_run(now, run_id, at, history=history))
    assert partition is not None
    return now.run(_partition(now, partition, at))


async def _count(now: Session) -> int:
    reader, count = await open_reader(now.settings, Topics(now.settings.cluster).events)
    await reader.stop()
    return count


async def replay_run(now: Session, run_id: str, at: int | None = None, *, history: bool) -> int:
    """Prints a run as the event log alone has it. Raises RunNotFound, InvalidId, InvalidStart, Unreachable."""
    run_id = await whole_run_id(now.settings, run_id)
    partition = run_ids.partition_of_run(run_id)
    count = await _count(now)
    if partition >= count:
        raise RunNotFound(f"run {run_id!r} names a partition that the cluster does not have ({count})")
    if at is not None and at < 1:
        raise InvalidStart(f"--at {at}: {await _positions(now, run_id, partition, count)}")
    for slack_ms in _SLACKS_MS:
        time_ms = None if slack_ms is None else max(0, run_ids.time_of_run(run_id) - slack_ms)
        found = await _Replayed.of(now, run_id, partition, count, time_ms, at)
        if found is not None:
            _print(now, found, at, history=history)
            return Exit.SUCCESS
    raise await not_on_the_log(now.settings, run_id)


async def _positions(now: Session, run_id: str, partition: int, count: int) -> str:
    """Which positions a run has. Raises RunNotFound."""
    for slack_ms in _SLACKS_MS:
        time_ms = None if slack_ms is None else max(0, run_ids.time_of_run(run_id) - slack_ms)
        found = await _Replayed.of(now, run_id, partition, count, time_ms, None)
        if found is not None:
            return f"positions of run {run_id} are {max(1, found.known_from)} to {found.state.position}"
    raise await not_on_the_log(now.settings, run_id)


class _Replayed:
    """What the log says about one run. `live`: the engine's own view of it, while it has not ended."""

    def __init__(self, run_id: str) -> None:
        self.state = RunState(run_id)
        self.events: list[RunEvent] = []
        self.ids: tuple[str, ...] = ()
        self.live: Run | None = None
        self.frames = 0
        self.voids = 0
        self.first = -1
        self.last = -1
        self.epochs: list[int] = []
        self.took_s = 0.0
        self.known_from = 0
        """The position from which the log knows the run, by a snapshot: its start is older than the history."""

    @classmethod
    async def of(
        cls, now: Session, run_id: str, partition: int, count: int, time_ms: int | None, at: int | None
    ) -> _Replayed | None:
        """None: the run's start was not met. Without `time_ms`, a snapshot of it will do."""
        found = cls(run_id)
        core = PartitionCore(partition, count)
        begun = time.monotonic()
        async for read in read_log(now.settings, partition, time_ms=time_ms, void=True):
            if read.verdict is Verdict.VOID:
                found.voids += 1
                continue
            found.first = read.offset if found.first < 0 else found.first
            found.last = read.offset
            found.frames += 1
            records: list[Progress] = []
            core.replay(read.frame, records)
            mine = [record for record in records if record.run_id == run_id]
            if not found.state.position and (not mine or mine[0].position > 1):
                if time_ms is None and (run := core.run(run_id)) is not None:
                    found.known_from = run.position
                    _as_it_is(found.state, run)
                continue
            for record in mine:
                if at is None or record.position <= at:
                    event = RunEvent.of(record)
                    if found.state.apply(event):
                        found.events.append(event)
                        if event.epoch not in found.epochs:
                            found.epochs.append(event.epoch)
            run = core.run(run_id)
            if run is not None:
                found.live, found.ids = run, run.plan.ids
            if at is not None and found.state.position >= at:  # not at its end: it may have begun again since
                break
        found.took_s = time.monotonic() - begun
        if not found.state.position and found.state.refused is None:
            return None
        if found.ids:
            known = {name: TaskView(name) for name in found.ids}
            known.update(found.state.tasks)
            found.state.tasks = known
        return found


def _as_it_is(state: RunState, run: Run) -> None:
    """A run that a snapshot has put back."""
    state.workflow, state.version = run.plan.workflow, run.plan.version
    state.state, state.started_ms, state.accepted = "RUNNING", run.started_ms, True
    state.position = run.position
    for task in range(len(run.states)):
        name = run.id_of(task)
        attempt = run.attempts.get(task)
        view = state.tasks[name] = TaskView(name, TASK_STATES[run.states[task]])
        view.attempts = attempt.number if attempt is not None else (run.last_attempts or {}).get(task, 0)
        view.reason = (run.reasons or {}).get(task, "")


def _print(now: Session, found: _Replayed, at: int | None, *, history: bool) -> None:
    state, out = found.state, now.out
    if at is not None and at > state.position:
        out.note(f"the run's last position is {state.position}")
    if found.known_from:
        out.note(
            f"the log knows this run from position {found.known_from} on, by a snapshot: what was before that was "
            f"deleted, since the history is kept for {now.settings.engine.history_days:g} days (engine.history_days)"
        )
    if out.json_lines:
        out.value(
            {
                "run_id": state.run_id,
                "workflow": state.workflow,
                "version": state.version,
                "state": state.state,
                "reason": state.reason,
                "position": state.position,
                "epochs": found.epochs,
                "frames": found.frames,
                "void_frames": found.voids,
                "offsets": [found.first, found.last],
                "tasks": [
                    {"id": task.id, "state": task.state, "attempts": task.attempts, "output": plain(task.output)}
                    for task in state.tasks.values()
                ],
                **({"history": [event_json(event) for event in found.events]} if history else {}),
            }
        )
        return
    out.line(f"{state.workflow}  {state.run_id}  {state.state} at position {state.position}", "bold")
    if state.reason:
        out.line(f"reason    {state.reason}")
    out.line(f"version   {state.version[:12]}; epochs {', '.join(map(str, found.epochs))}")
    out.line()
    if history:
        for line in told(found.events):
            out.line(line)
    elif len(state.tasks) <= 200:
        out.table(
            ["task", "state", "took", "attempts", "reason"],
            [
                [
                    task.id,
                    task.state,
                    span(task.finished_ms - task.started_ms) if task.started_ms and task.finished_ms else "",
                    task.attempts or "",
                    task.reason,
                ]
                for task in state.tasks.values()
            ],
            whole=("task", "state"),
            text=("reason",),
        )
    else:
        for word, number in Counter(task.state for task in state.tasks.values()).most_common():
            out.line(f"{number:>8}  {word}")
    partition = run_ids.partition_of_run(state.run_id)
    words = f"source: the event log alone, partition {partition}, offsets {found.first} to {found.last}"
    out.note(f"{words}: {found.frames} frames in force, {found.voids} void, {found.took_s:.2f} s")


async def _partition(now: Session, partition: int, at: int | None) -> int:
    count = await _count(now)
    if not 0 <= partition < count:
        raise InvalidStart(f"partition {partition}: the cluster has 0 to {count - 1}")
    core = PartitionCore(partition, count)
    begun = time.monotonic()
    frames = voids = events = 0
    owner, last = "", -1
    async for read in read_log(now.settings, partition, void=True):
        if at is not None and read.offset > at:
            break
        if read.verdict is Verdict.VOID:
            voids += 1
            continue
        owner = read.frame.owner or owner
        core.replay(read.frame)
        frames, events, last = frames + 1, events + len(read.frame.events), read.offset
    picture = _partition_view(core, owner, last)
    picture |= {"frames": frames, "void_frames": voids, "events": events}
    if now.out.json_lines:
        now.out.value(picture)
        return Exit.SUCCESS
    now.out.line(f"partition {partition} at offset {last}", "bold")
    for name, value in picture.items():
        if name not in ("partition", "offset", "time_ms"):
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            now.out.line(f"{name.replace('_', ' '):<18}{shown if shown not in ('', []) else '-'}")
    now.out.line(f"{'time':<18}{moment(picture['time_ms'])}")
    now.out.note(f"source: the event log alone, {frames} frames in force, {time.monotonic() - begun:.2f} s")
    return Exit.SUCCESS


def _partition_view(core: PartitionCore, owner: str, offset: int) -> dict[str, Any]:
    state = core.state
    tasks: Counter[str] = Counter()
    for run in state.runs.values():
        for code, number in Counter(run.states).items():
            tasks[TASK_STATES[code]] += number
    return {
        "partition": core.number,
        "offset": offset,
        "owner": owner,
        "epoch": state.epoch,
        "seq": state.seq,
        "time_ms": state.time_ms,
        "live_runs": len(state.runs),
        "tasks": dict(tasks),
        "next": dict(zip(("triggers", "commands", "results"), state.next, strict=False)),
        "versions": len(state.versions),
        "outbox": sum(len(entries) for entries in state.outbox.values()),
    }
