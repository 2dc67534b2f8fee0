"""What workers hold is counted right, whatever happens to it in whatever order: a place that leaks is lost for ever."""

from __future__ import annotations

import random
from typing import Any

import pytest

from indegree.engine.dispatch import BOUND, READY, SENT
from indegree.engine.states import QUEUED, RUNNING
from indegree.events.topics import Topics
from indegree.stream.dispatch import Dispatcher
from indegree.v1.task_pb2 import Result, Task
from tests.engine.road import Road, workflow
from tests.stream.test_dispatch import Owned, Sent, Table

WORKERS = ("w1", "w2", "w3")


class Chaos:
    """Two partitions, three workers, and everything that can happen to an attempt."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.roads = [Road(0, 2), Road(1, 2)]
        self.table, self.out = Table(), Sent()
        for worker in WORKERS:
            self.table.come(worker, self.rng.randrange(1, 4))
        table: Any = self.table
        outbound: Any = self.out
        self.dispatcher = Dispatcher("e1", Topics("c"), table, outbound, None)
        self.members = [Owned(road.core) for road in self.roads]
        for member in self.members:
            self.dispatcher.join(member)
        self.records: list[Task] = []  # every record sent; any of them may be answered, and again
        self.runs: list[tuple[Road, str]] = []

    def start(self) -> None:
        road = self.rng.choice(self.roads)
        retry = {"max_attempts": self.rng.randrange(1, 4), "delay": "1s", "jitter": 0}
        timeouts = {"timeout": "20s", "queue_timeout": "40s"} if self.rng.random() < 0.5 else {}
        tasks = [{"id": f"t{i}", "retry": retry, **timeouts} for i in range(self.rng.randrange(1, 6))]
        self.runs.append((road, road.start(workflow(*tasks))))

    def send(self) -> None:
        self.dispatcher.run()
        self.records += self.out.tasks
        self.out.tasks = []
        for road in self.roads:
            road.step()
            self.counted(road)

    def answer(self) -> None:
        if self.records:
            task = self.rng.choice(self.records[-30:])
            kinds = [Result.STARTED, Result.STARTED, Result.HEARTBEAT, Result.SUCCEEDED, Result.SUCCEEDED,
                     Result.FAILED, Result.REJECTED, Result.RETURNED, Result.STOPPED]  # fmt: skip
            self.roads[task.partition].say(task, self.rng.choice(kinds), task.worker)

    def lose(self) -> None:
        worker = self.rng.choice(WORKERS)
        for road in self.roads:
            road.core.begin(road.now)
            road.core.worker_lost(worker)
            road.step()

    def cancel(self) -> None:
        if self.runs:
            road, run_id = self.rng.choice(self.runs[-5:])
            road.cancel(run_id)

    def wait(self) -> None:
        ms = self.rng.choice([100, 1_500, 6_000, 31_000])
        for road in self.roads:
            road.wait(ms)

    def take_over(self) -> None:
        place = self.rng.randrange(2)
        self.roads[place].take_over()
        self.dispatcher.leave(self.members[place])
        self.members[place] = Owned(self.roads[place].core)
        self.dispatcher.join(self.members[place])

    def step(self) -> None:
        what = [
            (self.start, 2),
            (self.answer, 8),
            (self.lose, 1),
            (self.cancel, 1),
            (self.wait, 2),
            (self.take_over, 1),
        ]
        self.rng.choices([f for f, _ in what], [n for _, n in what])[0]()
        self.send()

    def counted(self, road: Road) -> None:
        """What is counted equals what the attempts themselves say."""
        core, held, ready = road.core, dict[str, int](), 0
        for run in core.runs():
            for attempt in run.attempts.values():
                state = run.states[attempt.task]
                assert (state == RUNNING) == (attempt.place == BOUND)
                assert bool(attempt.holder) == (attempt.place in (SENT, BOUND))
                assert attempt.place not in (READY, SENT) or state == QUEUED
                ready += attempt.place == READY
                if attempt.holder:
                    held[attempt.holder] = held.get(attempt.holder, 0) + 1
        assert {worker: core.held(worker) for worker in core.holders()} == held
        assert core.ready("default") == ready

    def finish(self) -> None:
        """Workers answer all that they are sent until every run has ended."""
        for _ in range(2_000):
            if not any(list(road.core.runs()) for road in self.roads):
                return
            for road in self.roads:
                road.wait(5_500)
            self.send()
            for task in self.records[-200:]:
                self.roads[task.partition].say(task, Result.SUCCEEDED, task.worker)
        raise AssertionError("a run never ends")


@pytest.mark.parametrize("seed", range(40))
def test_no_place_leaks_whatever_happens_to_attempts(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(150):
        chaos.step()
    chaos.finish()
    for road in chaos.roads:
        assert list(road.core.holders()) == []
        assert list(road.core.queues()) == []
