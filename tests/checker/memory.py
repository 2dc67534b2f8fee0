"""A cluster of one partition in memory around the real core: what a shell does, without Kafka, with time that jumps.

Random workers succeed, fail, vanish and answer late; the owner is replaced at random moments, and an old owner's late
frame lands behind the new announcement. Everything that happens comes from one seed.
"""

from __future__ import annotations

import random
from typing import Any

from indegree.engine.core import Effects, PartitionCore
from indegree.engine.state import DEAD_LETTER
from indegree.events.definition import Definition
from indegree.events.run_ids import make_run_id
from indegree.v1.event_pb2 import Frame
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Cancel, Command, Origin, Start, Trigger
from indegree.v1.value_pb2 import Error
from indegree.v1.workflow_pb2 import DeadLetter
from tests.checker.reading import Record, Records

RULES = (
    "all_success all_done all_failed one_success one_failed one_done none_failed none_skipped "
    "none_failed_min_one_success always"
)
_RUNS = 5


def random_definition(rng: random.Random) -> Definition:
    """Up to 12 tasks with any rule, conditions, retries, join points, tolerated failures, maps, waits, pools, hooks."""
    tasks: list[dict[str, Any]] = []
    for i in range(rng.randint(1, 12)):
        parents = [f"t{j}" for j in range(i) if rng.random() < 0.35]
        task: dict[str, Any] = {"id": f"t{i}", "depends_on": parents, "trigger_rule": rng.choice(RULES.split())}
        if rng.random() < 0.85:
            task["python"] = "m:f"
            task["retry"] = {"max_attempts": rng.randint(1, 3), "delay": "5s"}
            task["timeout"] = "60s"
        if rng.random() < 0.3:
            task["when"] = rng.choice(["params.go", "not params.go"])
        if rng.random() < 0.3:
            task["allow_failure"] = True
        maps = [t["id"] for t in tasks if "foreach" in t]
        if "python" in task and rng.random() < 0.3:
            if maps and rng.random() < 0.4:
                task["foreach_with"] = rng.choice(maps)
                task["depends_on"] = sorted({*parents, task["foreach_with"]})
            else:
                task["foreach"] = list(range(rng.choice([0, 1, 3])))
            task["concurrency"] = rng.choice([1, 5])
        elif "python" not in task and rng.random() < 0.4:
            task["wait_for"] = rng.choice([{"delay": "5s"}, {"signal": "go"}])
            if "signal" in task["wait_for"]:
                task |= {"timeout": "60s", "default": rng.choice([None, 1])}
        if "python" in task and rng.random() < 0.2:
            task["pool"] = "db"
        tasks.append(task)
    normal: dict[str, Any] = {"id": "random", "params": {"go": {"type": "boolean"}}, "tasks": tasks}
    if rng.random() < 0.4:
        events = rng.sample(["on_success", "on_failure", "on_cancel", "on_end"], 2)
        normal["hooks"] = {event: [{"id": f"h{event}", "python": "m:f"}] for event in events}
    return Definition.from_normal(normal)


class Cluster:
    """`records` is what a checker would find on Kafka once `run` has returned."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.definition = random_definition(self.rng)
        self.records = Records({0: []}, {0: []}, {0: []}, {0: []}, {0: []}, {0: []}, tasks={"default": {0: []}})
        self.now, self.epoch, self.serving = 1_764_000_000_000, 0, False
        self.waiting: list[Task] = []  # at workers
        self.run_ids: list[str] = []
        self.core = self.take_over()

    def put(self, records: list[Record], value: bytes | None, headers: list[tuple[str, bytes]] | None = None) -> int:
        self.now += 1
        records.append(Record(len(records), self.now, None, value, headers))
        return len(records) - 1

    # -- the owner -----------------------------------------------------------------------------------------------------

    def take_over(self) -> PartitionCore:
        core, progress = PartitionCore(0, 1), list[Progress]()
        for frame in in_force(self.records.events[0]):
            core.replay(frame, progress)
        self.epoch += 1
        owner = Frame(format=1, epoch=self.epoch, time_ms=self.now, owner=f"e{self.epoch}", takeover_id=b"t")
        self.put(self.records.events[0], owner.SerializeToString())
        core.announced(self.epoch, self.now)
        written = {Progress.FromString(record.value or b"").id for record in self.records.progress[0]}
        self.say([record for record in progress if record.id not in written])
        self.core, self.serving = core, False  # until the inputs are read, no timer is decided and nothing is sent
        self.read(core)
        self.serving = True
        self.carry_out(core, core.outstanding())
        return core

    def read(self, core: PartitionCore) -> None:
        """All inputs to their end, the timers that are due, and what follows."""
        core.begin(self.now)
        for offset in range(core.state.next[0], len(self.records.triggers[0])):
            self.trigger(core, offset)
        for offset in range(core.state.next[1], len(self.records.commands[0])):
            command = Command.FromString(self.records.commands[0][offset].value or b"")
            core.command(command, Origin(topic="x.commands", offset=offset))
        for offset in range(core.state.next[2], len(self.records.results[0])):
            core.result(Result.FromString(self.records.results[0][offset].value or b""), offset)
        if self.serving:
            core.fire_timers()
        more = True
        while more:
            more = core.proceed()
            self.cut(core)

    def trigger(self, core: PartitionCore, offset: int) -> None:
        record = self.records.triggers[0][offset]
        if record.value is None:
            core.skip(0, offset)
        elif record.value.startswith(b"\x00"):
            core.poison(0, offset, "neither protobuf nor JSON")
        else:
            origin = Origin(topic="x.triggers", offset=offset, timestamp_ms=record.time_ms)
            core.trigger(Trigger.FromString(record.value).start, origin, self.definition)

    def cut(self, core: PartitionCore) -> None:
        while (made := core.cut()) is not None:
            frame, effects = made
            self.put(self.records.events[0], frame.SerializeToString())
            if core is not self.core:  # an owner that is fenced: its frame is there, and nothing follows from it
                continue
            self.say(effects.progress)
            self.carry_out(core, effects)

    def say(self, records: list[Progress]) -> None:
        for record in records:
            self.put(self.records.progress[0], record.SerializeToString())

    def carry_out(self, core: PartitionCore, effects: Effects) -> None:
        for entry in effects.outbox:
            if entry.target == DEAD_LETTER:
                letter = DeadLetter.FromString(entry.data)
                place = (f"x.{letter.topic}".encode(), str(letter.partition).encode(), str(letter.offset).encode())
                names = ("indegree.topic", "indegree.partition", "indegree.offset")
                headers = [*zip(names, place, strict=True), ("indegree.reason", letter.reason.encode())]
                self.put(self.records.dead_letters[0], b"", headers)
            elif entry.topic == "commands":
                self.put(self.records.commands[0], entry.data)
            core.sent(entry.target, entry.number)
        core.release(effects)
        while self.serving and (task := core.take("default", f"w{self.rng.randint(1, 2)}")) is not None:
            self.put(self.records.tasks["default"][0], task.SerializeToString())
            self.waiting.append(task)

    # -- everybody else ------------------------------------------------------------------------------------------------

    def run(self) -> Records:
        """Until all runs have ended."""
        for _ in range(_RUNS):
            self.start()
        for _ in range(2_000):
            self.something()
            if self.rng.random() < 0.2:
                self.resume()
            self.read(self.core)
            unread = len(self.records.commands[0]) - self.core.state.next[1]
            if not self.waiting and not list(self.core.runs()) and not unread:
                self.core.begin(self.now)
                self.core.proceed()
                self.cut(self.core)
                return self.records
        raise AssertionError(f"{len(list(self.core.runs()))} runs have not ended after 2,000 steps")

    def start(self) -> None:
        run_id = make_run_id(self.now, f"{self.rng.getrandbits(48):012X}", 0)
        self.run_ids.append(run_id)
        start = Start(workflow="random", run_id=run_id, params=self.rng.choice([b'{"go":true}', b'{"go":false}']))
        self.put(self.records.triggers[0], Trigger(start=start).SerializeToString())

    def something(self) -> None:
        dice = self.rng.random()
        if dice < 0.03:
            old = self.core
            self.take_over()
            if self.rng.random() < 0.5 and self.waiting:  # the old one decides on, from what it thinks is there
                old.begin(self.now)
                old.result(self.answer(self.waiting[0], Result.SUCCEEDED), old.state.next[2])
                self.cut(old)
        elif dice < 0.05:
            self.put(self.records.triggers[0], self.rng.choice([None, b"\x00\xff{"]))
        elif dice < 0.07:
            cancel = Cancel(run_id=self.rng.choice(self.run_ids), reason="enough")
            self.put(self.records.commands[0], Command(cancel=cancel, request_id="r").SerializeToString())
        elif dice < 0.10:
            self.put(self.records.commands[0], self.command().SerializeToString())
        elif dice < 0.17 or not self.waiting:
            self.now += self.rng.choice([1_000, 5_000, 20_000])
        else:
            task = self.waiting.pop(self.rng.randrange(len(self.waiting)))
            kinds = [Result.SUCCEEDED] * 5 + [Result.FAILED] * 2 + [Result.STARTED, Result.REJECTED]
            kind = self.rng.choice(kinds)
            for _ in range(self.rng.choice([1, 1, 1, 2])):  # a worker may say it twice
                self.put(self.records.results[0], self.answer(task, kind).SerializeToString())
            if kind == Result.STARTED and self.rng.random() < 0.8:  # else it is never heard of again
                self.waiting.append(task)

    def command(self) -> Command:
        """Somebody does something by hand."""
        run_id = self.rng.choice(self.run_ids)
        task_id = self.rng.choice(self.definition.tasks).id
        command = Command(request_id="r", actor="ann")
        match self.rng.randrange(6):
            case 0:
                command.pause.run_id = run_id
            case 1:
                command.signal.run_id, command.signal.name = run_id, "go"
            case 2:
                command.rerun.run_id = run_id
            case 3:
                command.skip.run_id, command.skip.task_id = run_id, task_id
            case 4:
                command.mark_success.run_id, command.mark_success.task_id = run_id, task_id
            case _:
                command.set_pool.name, command.set_pool.limit = "db", self.rng.randint(1, 3)
        return command

    def resume(self) -> None:
        """Everything that is paused goes on: else nothing ends."""
        for run in list(self.core.runs()):
            if run.paused:
                command = Command(request_id="r", actor="ann")
                command.resume.run_id = run.run_id
                self.put(self.records.commands[0], command.SerializeToString())

    def answer(self, task: Task, kind: Result.Kind) -> Result:
        result = Result(
            kind=kind,
            run_id=task.run_id,
            task=task.task,
            attempt=task.attempt,
            generation=task.generation,
            worker=task.worker,
        )
        if kind in (Result.FAILED, Result.REJECTED):
            result.error.CopyFrom(Error(type="OSError", message="down"))
        return result


def in_force(records: list[Record]) -> list[Frame]:
    """As any owner reads its log (the checker has a rule of its own)."""
    from indegree.events import frames

    return list(frames.in_force(Frame.FromString(record.value or b"") for record in records))
