"""Which worker gets an attempt that some have rejected. The cores are real, the workers' table and Kafka are not."""

from __future__ import annotations

from typing import Any

import pytest

from indegree.engine.core import PartitionCore
from indegree.engine.turns import Turns
from indegree.events.topics import Topics
from indegree.stream.dispatch import Dispatcher
from indegree.stream.workers import Known
from indegree.v1.task_pb2 import Result, Task, Worker
from indegree.v1.trigger_pb2 import Command, Pause, Resume
from tests.engine.road import Road, workflow


class Table:
    """Stands for stream.workers.Workers: who serves the queue."""

    def __init__(self) -> None:
        self.arrivals = 0
        self.known: list[tuple[Known, int]] = []

    def come(self, instance: str, slots: int) -> None:
        worker = Worker(instance=instance, slots=slots, queues=[Worker.Queue(name="default")])
        self.known.append((Known(worker, 0.0, live=True), 0))
        self.arrivals += 1

    def serving(self, queue: str) -> list[tuple[Known, int]]:
        return self.known


class Sent:
    """Stands for stream.outbound.Outbound: keeps what is produced."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def knows(self, topic: str, partition: int) -> bool:
        return True

    def put(self, topic: str, partition: int, records: list[Any], ticket: Any, done: Any = None) -> None:
        self.tasks += [Task.FromString(value) for _, value, _ in records]

    def take(self) -> list[tuple[str, str]]:
        """(task, worker) of what was sent since the last call."""
        found, self.tasks = [(task.task_id, task.worker) for task in self.tasks], []
        return found


class Owned:
    """A member of the dispatcher: one core."""

    serving = True
    ticket: Any = None

    def __init__(self, core: PartitionCore) -> None:
        self.core = core
        self.decided = False

    def sent(self, count: int, decided: bool) -> None:
        self.decided |= decided

    def failed(self, error: BaseException) -> None:
        raise error


class Place:
    def __init__(self, tasks: int) -> None:
        self.road, self.table, self.out = Road(), Table(), Sent()
        self.dispatcher = Dispatcher("e1", Topics("c"), self.table, self.out, None)  # type: ignore[arg-type]
        self.member = Owned(self.road.core)
        self.dispatcher.join(self.member)
        self.road.start(workflow(*({"id": f"t{i}"} for i in range(tasks))))

    def run(self) -> list[tuple[str, str]]:
        self.dispatcher.run()
        return self.out.take()

    def reject(self, *instances: str) -> None:
        """Everything that these workers hold is rejected, and the delay after it is over."""
        for instance in instances:
            for attempt in self.road.core._dispatch.held_by(instance):
                self.road.result(Result(kind=Result.REJECTED, run_id=attempt.run.run_id, task=attempt.task,
                                        attempt=attempt.number, worker=instance))  # fmt: skip
        self.road.wait(120_000)


@pytest.fixture
def place() -> Place:
    found = Place(tasks=2)
    found.table.come("large", 16)
    assert found.run() == [("t0", "large"), ("t1", "large")]
    return found


def test_the_roomiest_gets_it_again_only_while_there_is_nobody_else(place: Place) -> None:
    place.reject("large")
    assert place.run() == [("t0", "large"), ("t1", "large")]
    place.reject("large")
    place.table.come("small", 2)
    assert place.run() == [("t0", "small"), ("t1", "small")]
    assert not place.member.decided


def test_what_waits_after_a_rejection_goes_at_once_to_a_worker_that_comes(place: Place) -> None:
    for attempt in place.road.core._dispatch.held_by("large"):
        result = Result(kind=Result.REJECTED, run_id=attempt.run.run_id, task=attempt.task, attempt=1, worker="large")
        place.road.result(result)
    assert place.run() == []
    place.table.come("small", 2)
    assert place.run() == [("t0", "small"), ("t1", "small")]


def test_it_waits_for_one_without_room_that_may_have_the_code_and_others_pass_it(place: Place) -> None:
    place.table.come("small", 1)  # room for one
    place.reject("large")
    place.road.start(workflow({"id": "other"}, id="other"))
    assert place.run() == [("t0", "small"), ("other", "large")]
    place.road.result(_done(place, "small"))
    place.road.wait(2_000)
    assert place.run() == [("t1", "small")]
    assert not place.member.decided


def test_workflows_take_turns_over_all_partitions_of_the_engine() -> None:
    turns, table, out = Turns(), Table(), Sent()
    dispatcher = Dispatcher("e1", Topics("c"), table, out, None)  # type: ignore[arg-type]
    table.come("w", 30)
    roads = [Road(number, 3) for number in range(3)]
    for age, road in enumerate(roads):
        road.now += age
        road.core._dispatch._turns = turns
        dispatcher.join(Owned(road.core))
        road.start(workflow(*({"id": f"l{i}"} for i in range(100)), id="large"))
    roads[2].now += 9
    roads[2].start(workflow(*({"id": f"s{i}"} for i in range(10)), id="small"))
    dispatcher.run()
    sent = [task for task, _ in out.take()]
    assert len(sent) == 30
    assert sum(task.startswith("s") for task in sent) == 10
    held = [road.core.held("w") for road in roads]
    assert held == [20, 0, 10], "within a workflow the oldest goes first, wherever it is"


def test_a_paused_queue_is_left_alone() -> None:
    place = Place(tasks=2)
    place.table.come("w", 16)
    place.road.command(Command(pause=Pause(queue="default")))
    assert place.run() == place.run() == []
    assert place.road.core.next_due_ms() is None, "nothing brings the engine back to it"
    place.road.command(Command(resume=Resume(queue="default")))
    assert place.run() == [("t0", "w"), ("t1", "w")]
    assert not place.member.decided


def _done(place: Place, instance: str) -> Result:
    (attempt,) = place.road.core._dispatch.held_by(instance)
    return Result(kind=Result.SUCCEEDED, run_id=attempt.run.run_id, task=attempt.task, attempt=1, worker=instance)
