"""A small hand-made cluster of one partition whose records are right: what the checker's tests doctor.

It is written by hand, event by event, and not by the engine: the checker is held against the contract.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Start, Trigger
from tests.checker.reading import Record, Records

RUN = "20261125T101530.123Z-0123456789AB-0000"
WORKER = "w1"
DIAMOND: dict[str, Any] = {
    "id": "diamond",
    "tasks": [
        {"id": "a", "python": "m:a", "retry": {"max_attempts": 2}},
        {"id": "b", "python": "m:b", "depends_on": ["a"]},
        {"id": "c", "python": "m:c", "depends_on": ["a"]},
        {"id": "d", "python": "m:d", "depends_on": ["b", "c"]},
    ],
}
CANONICAL = json.dumps(DIAMOND, separators=(",", ":"), sort_keys=True).encode()
VERSION = hashlib.sha256(CANONICAL).hexdigest()
IDS = [task["id"] for task in DIAMOND["tasks"]]


@dataclass
class Cluster:
    """Builds records. `frame` appends one; `say` and `send` do what a frame in force causes outside."""

    records: Records = field(
        default_factory=lambda: Records(
            triggers={0: []},
            commands={0: []},
            results={0: []},
            events={0: []},
            progress={0: []},
            dead_letters={0: []},
            tasks={"default": {0: []}},
        )
    )
    epoch: int = 0
    seq: int = 0
    position: int = 0
    index: int = 0
    now: int = 1_000

    def put(self, records: list[Record], value: bytes | None, headers: Any = None) -> int:
        self.now += 1
        records.append(Record(len(records), self.now, None, value, headers))
        return len(records) - 1

    def announce(self, owner: str, epoch: int) -> None:
        self.epoch, self.seq = epoch, 0
        self.put(
            self.records.events[0], Frame(format=1, epoch=epoch, owner=owner, takeover_id=b"id").SerializeToString()
        )

    def frame(self, *events: Event, **fields: Any) -> Frame:
        self.seq, self.index = self.seq + 1, 0
        positions = [len(self.records.triggers[0]), len(self.records.commands[0]), len(self.records.results[0])]
        frame = Frame(format=1, epoch=self.epoch, seq=self.seq, time_ms=self.now, next=positions, events=events)
        frame.MergeFrom(Frame(**fields))
        self.put(self.records.events[0], frame.SerializeToString())
        return frame

    def say(self, state: str, task: int = -1, attempt: int = 0) -> None:
        self.position += 1
        name = IDS[task] if task >= 0 else ""
        record = Progress(
            id=f"{RUN}/{self.position}",
            type=f"{'task' if name else 'run'}.{state.lower()}",
            run_id=RUN,
            task_id=name,
            attempt=attempt,
            state=state,
            position=self.position,
        )
        record.log.epoch, record.log.seq, record.log.index = self.epoch, self.seq, self.index
        self.index += 1
        self.put(self.records.progress[0], record.SerializeToString())

    def send(self, task: int, attempt: int = 1, seq: int | None = None) -> None:
        record = Task(
            run_id=RUN,
            task_id=IDS[task],
            task=task,
            attempt=attempt,
            epoch=self.epoch,
            version=VERSION,
            worker=WORKER,
            seq=self.seq if seq is None else seq,
        )
        self.put(self.records.tasks["default"][0], record.SerializeToString())

    def trigger(self) -> int:
        start = Start(workflow="diamond", run_id=RUN)
        return self.put(self.records.triggers[0], Trigger(start=start).SerializeToString())

    def result(self, task: int, kind: Result.Kind = Result.SUCCEEDED, attempt: int = 1) -> int:
        result = Result(kind=kind, run_id=RUN, task=task, attempt=attempt, worker=WORKER)
        return self.put(self.records.results[0], result.SerializeToString())


def queued(task: int, attempt: int = 1) -> Event:
    return Event(kind=Event.TASK_QUEUED, run_id=RUN, task=task, attempt=attempt)


def ended(task: int, offset: int, attempt: int = 1, kind: Event.Kind = Event.TASK_SUCCEEDED) -> Event:
    return Event(kind=kind, run_id=RUN, task=task, attempt=attempt, worker=WORKER, cause=2, cause_offset=offset)


def started(offset: int) -> list[Event]:
    recorded = Event(
        kind=Event.DEFINITION_RECORDED, version=VERSION, workflow="diamond", parts=1, data=zlib.compress(CANONICAL)
    )
    start = Event(kind=Event.RUN_STARTED, run_id=RUN, version=VERSION, workflow="diamond", cause=0, cause_offset=offset)
    start.origin.offset = offset
    return [recorded, start]


def diamond() -> Cluster:
    """A diamond whose first task is retried once; after `a` another owner takes over and sends `b` and `c` again."""
    c = Cluster()
    c.announce("e1", 1)
    c.frame(*started(c.trigger()), queued(0))
    c.say("PENDING")
    c.say("RUNNING")
    c.say("QUEUED", 0, 1)
    c.send(0)
    failed = ended(0, c.result(0, Result.FAILED), kind=Event.ATTEMPT_FAILED)
    c.frame(failed, Event(kind=Event.TASK_RETRYING, task=0, attempt=2, due_ms=c.now + 1))
    c.say("RETRYING", 0, 1)
    c.now += 10
    c.frame(queued(0, 2))
    c.say("QUEUED", 0, 2)
    c.send(0, 2)
    c.frame(ended(0, c.result(0, attempt=2), 2), queued(1), queued(2))
    c.say("SUCCESS", 0, 2)
    for task in (1, 2):
        c.say("QUEUED", task, 1)
        c.send(task)
    old = Frame(format=1, epoch=1, seq=c.seq + 1, time_ms=c.now, events=[ended(1, 9)])  # of the old owner, too late
    c.announce("e2", 2)
    c.put(c.records.events[0], old.SerializeToString())
    c.send(1, seq=0)
    c.send(2, seq=0)
    c.frame(ended(1, c.result(1)), ended(2, c.result(2)), queued(3))
    c.say("SUCCESS", 1, 1)
    c.say("SUCCESS", 2, 1)
    c.say("QUEUED", 3, 1)
    c.send(3)
    c.frame(ended(3, c.result(3)), Event(kind=Event.RUN_FINISHED, run_id=RUN, state="SUCCESS"))
    c.say("SUCCESS", 3, 1)
    c.say("SUCCESS")
    return c
