"""Several partitions on in-memory logs, with the messages between them delivered as the shell would: after the frame,
in order, again after a takeover, and until they are acknowledged.

`deliver` goes on until nothing is on its way; with `takeovers` a partition is taken over now and then, so that messages
come twice. Definitions are found by name in `definitions`, as the catalog would find active versions.
"""

from __future__ import annotations

import json
import random
from typing import Any

from indegree.engine.limits import Limits
from indegree.events.definition import Definition
from indegree.events.run_ids import partition_of_run
from indegree.v1.event_pb2 import Event
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Command, Origin, Start
from indegree.v1.value_pb2 import Error, Value
from tests.engine.road import TRACE, Road

_STEPS = 100_000


class Cluster:
    """roads: one for each partition, doubted after every step; their time goes on together (`wait`)."""

    def __init__(self, partitions: int, limits: Limits | None = None) -> None:
        self.roads = [Road(number, partitions, limits) for number in range(partitions)]
        self.definitions: dict[str, Definition] = {}

    def doubt(self, doubting: bool) -> None:
        """Whether states are compared after every step: it takes time in proportion to what is live."""
        for road in self.roads:
            road.doubting = doubting

    # -- inputs

    def start(self, partition: int, definition: Definition | str, params: Any = None, **fields: Any) -> str:
        """A start that lands on a partition; returns the run id of an answer given there, else ""."""
        if isinstance(definition, Definition):
            self.definitions[definition.id] = definition
            definition = definition.id
        road = self.roads[partition]
        before = len(road.progress)
        data = json.dumps(params).encode() if params is not None else b""
        origin = fields.pop("origin", None) or Origin(
            topic="indegree.triggers",
            partition=partition,
            offset=road.offsets[0],
            timestamp_ms=road.now,
            traceparent=TRACE,
        )
        road.core.begin(road.now)
        known = self.definitions.get(definition)
        origin.offset = origin.offset if origin.kind else road.offsets[0]
        road.core.trigger(Start(workflow=definition, params=data, **fields), origin, known)
        road.offsets[0] += 1
        road.step()
        answers = [p for p in road.progress[before:] if p.type in ("run.accepted", "run.refused")]
        return answers[-1].run_id if answers else ""

    def command(self, partition: int, command: Command) -> None:
        """A command that lands on a partition."""
        message = command.message
        name = message.start.start.workflow if message.HasField("start") else ""
        self.roads[partition].command(command, self.definitions.get(name))

    # -- messages

    def deliver(self, *, takeovers: bool = False, seed: int = 0) -> None:
        """Carries messages until none is on its way."""
        rng = random.Random(seed)
        for _ in range(_STEPS):
            waiting = [road for road in self.roads if self._first(road) is not None]
            if not waiting:
                for road in self.roads:
                    road.timers()  # what one step left over
                if all(self._first(road) is None for road in self.roads):
                    return
                continue
            road = rng.choice(waiting) if takeovers else waiting[0]
            if takeovers and rng.random() < 0.2:
                rng.choice(self.roads).take_over()
            first = self._first(road)
            assert first is not None
            target, number, data = first
            self.command(target, Command.FromString(data))
            if not takeovers or rng.random() < 0.7:  # else the acknowledgement is lost: it comes again
                road.core.begin(road.now)
                road.core.sent(target, number)
                road.step()
        raise AssertionError("messages never come to an end")

    def _first(self, road: Road) -> tuple[int, int, bytes] | None:
        for target, entries in road.core.state.outbox.items():
            for entry in entries.values():
                if entry.topic == "commands":
                    return target, entry.number, entry.data
        return None

    def wait(self, ms: int) -> None:
        """Time passes on all partitions; what becomes due is decided."""
        for road in self.roads:
            road.wait(ms)

    # -- workers

    def take(self) -> list[Task]:
        """Everything that is ready anywhere."""
        return [task for road in self.roads for task in road.take()]

    def task(self, task_id: str) -> Task:
        """The first record of a task that is at a worker and was not answered."""
        self.take()
        return next(task for road in self.roads for task in road.sent if task.task_id == task_id)

    def _answer(self, task: Task, kind: int, **fields: Any) -> None:
        road = self.roads[task.partition]
        road.say(task, kind, **fields)
        road.sent = [t for t in road.sent if t != task]

    def say_ok(self, task: Task, output: Any = None) -> None:
        """This attempt succeeds."""
        self._answer(task, Result.SUCCEEDED, output=Value(json=json.dumps(output).encode()))

    def ok(self, task_id: str, output: Any = None) -> Task:
        """The task succeeds."""
        task = self.task(task_id)
        self.say_ok(task, output)
        return task

    def fail(self, task_id: str) -> Task:
        """The attempt fails."""
        task = self.task(task_id)
        self._answer(task, Result.FAILED, reason="error", error=Error(type="ValueError", message="no"))
        return task

    # -- what came of it

    def state(self, run_id: str) -> str:
        """The run's state, wherever it lives."""
        return self.roads[partition_of_run(run_id)].state(run_id)

    def progress(self) -> list[Progress]:
        """Of all partitions, one after the other."""
        return [record for road in self.roads for record in road.progress]

    def events(self, *kinds: int) -> list[Event]:
        """Of all partitions, one after the other."""
        return [event for road in self.roads for event in road.events(*kinds)]

    def reasons(self) -> str:
        """All reasons that were told, as one text."""
        return "\n".join(f"{record.reason} {record.error.message}" for record in self.progress())
