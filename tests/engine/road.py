"""One partition on an in-memory log, driven step by step as the shell drives it, and doubted after every step.

After each step that closes a frame the frame's bytes are replayed into a second core; its state must equal the live
one, its progress records those that the live one gave, and all invariants must hold in both.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from indegree.engine.core import PartitionCore
from indegree.engine.effects import Effects
from indegree.engine.invariants import check, image
from indegree.engine.limits import Limits
from indegree.engine.progress import Projection
from indegree.engine.states import PENDING, TASK_STATES
from indegree.events.definition import Definition
from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Control, Result, Task
from indegree.v1.trigger_pb2 import Cancel, Command, Origin, Start
from indegree.v1.value_pb2 import Error, Value

EPOCH_MS = 1_764_039_600_000
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def workflow(*tasks: dict[str, Any], **fields: Any) -> Definition:
    """A definition; tasks without something to do get a Python function."""
    done = [t if {"python", "command", "join"} & t.keys() else {"python": "m:f", **t} for t in tasks]
    for task in done:
        task.pop("join", None)
    return Definition.from_normal({"id": "w", "tasks": done, **fields})


class Road:
    """The shell's part, without Kafka. Time is `now`, in milliseconds, and moves only when a test says so."""

    def __init__(
        self, number: int = 0, partitions: int = 1, limits: Limits | None = None, log: list[bytes] | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.number, self.partitions = number, partitions
        self.log: list[bytes] = log if log is not None else []
        self.progress: list[Progress] = []
        self.sent: list[Task] = []  # taken and not answered yet
        self.taken: list[Task] = []  # every record ever taken
        self.stops: list[Control] = []
        self.effects: list[Effects] = []
        self.now = EPOCH_MS
        self.offsets = [0, 0, 0]
        self.epoch = 0
        self.doubting = True
        self.recover_from = 0  # index in the log, as the frames would say it
        self.shadow = PartitionCore(number, partitions, self.limits)
        self.core = PartitionCore(number, partitions, self.limits)
        for data in self.log:
            self.shadow.replay(Frame.FromString(data))
            self.epoch = Frame.FromString(data).epoch
        self.take_over()

    # -- the log ---------------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """A new owner: everything but the log is forgotten."""
        self.epoch += 1
        self.log.append(Frame(format=1, epoch=self.epoch, owner=f"e{self.epoch}", time_ms=self.now).SerializeToString())
        self.core = PartitionCore(self.number, self.partitions, self.limits)
        for data in self.log[self.recover_from : -1]:
            self.core.replay(Frame.FromString(data))
        self.core.announced(self.epoch, self.now)
        self.shadow.announced(self.epoch, self.now)
        self.offsets = list(self.core.state.next)
        self.sent = []
        assert image(self.core.state) == image(self.shadow.state)
        effects = self.core.outstanding()
        self.core.release(effects)
        self.effects.append(effects)

    def cut(self, force: bool = False) -> None:
        """Appends what was decided, doubts it, and carries it out."""
        while (cut := self.core.cut(force)) is not None:
            force = False
            frame, effects = cut
            data = frame.SerializeToString()
            self.log.append(data)
            again: list[Progress] = []
            self.shadow.replay(Frame.FromString(data), again)
            if self.doubting:
                check(self.core.state)
                assert again == effects.progress
            if self.doubting and not self.core._draft.sealed and not self.core._draft.count:
                assert image(self.core.state) == image(self.shadow.state)
                check(self.shadow.state)
            self.progress += effects.progress
            self.stops += effects.stops
            self.effects.append(effects)
            self.core.release(effects)

    def step(self) -> None:
        """Decides all that is left, in as many frames as it takes."""
        while True:
            more = self.core.proceed()
            self.cut()
            if not more:
                return

    def snapshot(self, budget: int = 1_000, between: Callable[[], None] = lambda: None) -> None:
        """Writes a snapshot in steps, with other work in between, and lets recovery begin at it."""
        self.core.begin(self.now)
        cursor = self.core.begin_snapshot()
        epoch, more = self.epoch, True
        while more:
            more = self.core.snapshot(cursor, budget)
            self.cut()
            if more:
                between()
            if self.epoch != epoch:
                return  # taken over in the middle: it counts for nothing
        place = {(f.epoch, f.seq): i for i, f in enumerate(map(Frame.FromString, self.log))}
        self.recover_from = place[epoch, cursor.seq]

    # -- inputs ----------------------------------------------------------------------------------------------------

    def start(self, definition: Definition | None, params: Any = None, name: str = "", **fields: Any) -> str:
        """A start by trigger; returns the run id of the answer."""
        data = json.dumps(params).encode() if params is not None else b""
        start = Start(workflow=name or (definition.id if definition else "w"), params=data, **fields)
        self.trigger(start, definition)
        answers = [p for p in self.progress if p.type in ("run.accepted", "run.refused")]
        return answers[-1].run_id if answers else ""

    def trigger(self, start: Start, definition: Definition | None) -> None:
        self.core.begin(self.now)
        origin = Origin(
            topic="indegree.triggers",
            partition=self.number,
            offset=self.offsets[0],
            timestamp_ms=self.now,
            traceparent=TRACE,
        )
        self.core.trigger(start, origin, definition)
        self.offsets[0] += 1
        self.step()

    def command(self, command: Command, definition: Definition | None = None) -> None:
        self.core.begin(self.now)
        self.core.command(command, Origin(topic="indegree.commands", offset=self.offsets[1]), definition)
        self.offsets[1] += 1
        self.step()

    def cancel(self, run_id: str, reason: str = "enough", request_id: str = "q") -> None:
        self.command(Command(request_id=request_id, actor="me", cancel=Cancel(run_id=run_id, reason=reason)))

    def result(self, result: Result) -> None:
        self.core.begin(self.now)
        self.core.result(result, self.offsets[2])
        self.offsets[2] += 1
        self.step()

    # -- workers ---------------------------------------------------------------------------------------------------

    def take(self, worker: str = "w1", queue: str = "default") -> list[Task]:
        """Everything that is ready in a queue, given to one worker."""
        found = []
        while (task := self.core.take(queue, worker)) is not None:
            found.append(task)
        self.sent += found
        self.taken += found
        self.step()
        return found

    def task(self, task_id: str) -> Task:
        """The record of a task that is at a worker; taken now where needed."""
        self.take()
        return next(t for t in reversed(self.sent) if t.task_id == task_id)

    def say(self, task: Task, kind: int, worker: str = "", **fields: Any) -> None:
        """A result for this record."""
        self.result(
            Result(
                kind=kind,  # type: ignore[arg-type]
                run_id=task.run_id,
                task=task.task,
                attempt=task.attempt,
                generation=task.generation,
                worker=worker or task.worker,
                **fields,
            )
        )

    def ok(self, task_id: str, output: Any = None) -> Task:
        """The task succeeds."""
        task = self.task(task_id)
        self.say(task, Result.SUCCEEDED, output=Value(json=json.dumps(output).encode()), started_ms=1, finished_ms=2)
        return task

    def fail(self, task_id: str, reason: str = "error", **error: Any) -> Task:
        """The attempt fails."""
        task = self.task(task_id)
        self.say(task, Result.FAILED, reason=reason, error=Error(**{"type": "ValueError", "message": "no", **error}))
        return task

    def started(self, task_id: str, worker: str = "") -> Task:
        task = self.task(task_id)
        self.say(task, Result.STARTED, worker=worker, started_ms=self.now)
        return task

    def wait(self, ms: int) -> None:
        """Time passes; timers fire as they become due."""
        self.now += ms
        self.timers()

    def timers(self) -> None:
        while True:
            self.core.begin(self.now)
            self.core.fire_timers()
            self.step()
            due = self.core.next_due_ms()
            if due is None or due > self.now:
                return

    # -- what came of it -------------------------------------------------------------------------------------------

    def states(self, run_id: str) -> dict[str, str]:
        """Task or instance id -> the last state that progress told, PENDING without. Of a live run it is the state that
        it is in: of what begins again, only the run tells."""
        found: dict[str, str] = {}
        for record in self.progress:
            if record.run_id == run_id and record.task_id:
                found[record.task_id] = record.state
        run = self.core.run(run_id)
        for slot, state in enumerate(run.states if run is not None else ()):
            assert run is not None
            name = run.id_of(slot)
            if name.endswith("[-]"):
                continue  # of a generation that is over
            assert found.get(name) == TASK_STATES[state] or state == PENDING
            found[name] = TASK_STATES[state]
        return found

    def reasons(self, run_id: str) -> dict[str, str]:
        """Task id -> reason of its last transition."""
        return {r.task_id: r.reason for r in self.progress if r.run_id == run_id and r.task_id}

    def state(self, run_id: str) -> str:
        """The run's state by progress."""
        return [r.state for r in self.progress if r.run_id == run_id and not r.task_id and r.position][-1]

    def last(self, task_id: str) -> Progress:
        """The newest progress record of a task."""
        return [r for r in self.progress if r.task_id == task_id][-1]

    def events(self, *kinds: int) -> list[Event]:
        """Events in force, of these kinds if any are given."""
        found = [event for data in self.log for event in Frame.FromString(data).events]
        return [event for event in found if not kinds or event.kind in kinds]


def replayed(log: list[bytes], limits: Limits | None = None) -> tuple[PartitionCore, list[Progress]]:
    """A core and all progress from a log alone."""
    core = PartitionCore(0, 1, limits)
    progress: list[Progress] = []
    for data in log:
        core.replay(Frame.FromString(data), progress)
    return core, progress


__all__ = ["EPOCH_MS", "TRACE", "Projection", "Road", "replayed", "workflow"]
