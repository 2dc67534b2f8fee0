"""Where a recovery begins: wherever the owner is killed, the next one makes every progress record that is missing."""

from __future__ import annotations

import random
from collections import deque
from types import SimpleNamespace

from hypothesis import given, note, settings
from hypothesis import strategies as st

from indegree.engine.core import Effects, PartitionCore
from indegree.engine.invariants import image
from indegree.engine.limits import Limits
from indegree.events.frames import InForce
from indegree.stream.progress import NOWHERE, Position, position_of
from indegree.stream.snapshots import Snapshots
from indegree.stream.takeover import Recovery
from indegree.v1.event_pb2 import Frame, RecoverFrom
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Origin, Start
from tests.engine.road import EPOCH_MS, workflow

WORKFLOW = workflow({"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "retry": {"max_attempts": 2}})


class Owner:
    """What Live does between core and Kafka. Acknowledgements come when a test says so, in order."""

    def __init__(self, limits: Limits | None = None, least: int = 1) -> None:
        self.core = PartitionCore(0, 1, limits)
        self.snapshots = Snapshots(0, self.core, 1, RecoverFrom(), 0, least)
        announcement = Frame(format=1, epoch=1, owner="e", takeover_id=b"x", time_ms=EPOCH_MS, next=[0, 0, 0])
        announcement.recover_from.SetInParent()
        self.log = [announcement.SerializeToString()]
        self.core.replay(announcement)
        self.core.announced(1, EPOCH_MS)
        self.made: list[Progress] = []  # all of the frames in the log
        self.in_flight: deque[tuple[Frame, Effects, int]] = deque()
        self.put: list[Position] = []  # the last record so far of each frame that is settled
        self.acknowledged = 0  # so many of these are
        self.moves = 0
        self.offsets = [0, 0, 0]
        self.tasks: list[Task] = []

    @property
    def position(self) -> Position:
        """Up to where progress is acknowledged."""
        return self.put[self.acknowledged - 1] if self.acknowledged else NOWHERE

    def cut(self) -> None:
        while (cut := self.core.cut(self.snapshots.say)) is not None:
            frame, effects = cut
            if self.position != NOWHERE:
                frame.progress.epoch, frame.progress.seq, frame.progress.index = self.position
            before = self.snapshots.begin.offset
            self.snapshots.acknowledged(self.acknowledged)
            self.moves += self.snapshots.begin.offset != before
            frame.recover_from.CopyFrom(self.snapshots.begin)
            self.snapshots.cut(frame)
            self.log.append(frame.SerializeToString())
            self.made += effects.progress
            self.in_flight.append((frame, effects, len(self.log) - 1))
            self.check()

    def settle(self) -> None:
        """The oldest append is acknowledged."""
        frame, effects, offset = self.in_flight.popleft()
        self.core.release(effects)
        self.snapshots.settled(frame, offset, len(self.put))
        last = position_of(effects.progress[-1].log) if effects.progress else self.put[-1] if self.put else NOWHERE
        self.put.append(last)
        while (task := self.core.take("default", "w")) is not None:
            self.tasks.append(task)
        self.check()

    def acknowledge(self) -> None:
        """Progress of one more frame is acknowledged."""
        self.acknowledged += 1
        self.check()

    def start(self) -> None:
        self.core.begin(EPOCH_MS)
        origin = Origin(topic="t", offset=self.offsets[0], timestamp_ms=EPOCH_MS + self.offsets[0])
        self.core.trigger(Start(workflow="w"), origin, WORKFLOW)
        self.offsets[0] += 1

    def answer(self, task: Task, kind: int) -> None:
        self.core.begin(EPOCH_MS)
        self.core.result(
            Result(kind=kind, run_id=task.run_id, task=task.task, attempt=task.attempt, worker="w"),  # type: ignore[arg-type]
            self.offsets[2],
        )
        self.offsets[2] += 1

    def check(self) -> None:
        """Killed now: the next owner begins where the newest frame says, and finds what is missing."""
        said = Frame.FromString(self.log[-1]).recover_from
        recovery = Recovery(PartitionCore(0, 1), InForce(epoch=said.epoch, seq=said.seq), said)
        for offset, data in enumerate(self.log[said.offset :], said.offset):
            recovery.use(SimpleNamespace(value=data, offset=offset))
        assert recovery.rule.void == 0
        missing = [record for record in self.made if position_of(record.log) > self.position]
        assert recovery.unsent_after(self.position) == missing
        if not self.core.full() and not self.core._draft.count:
            found, right = image(recovery.core.state), image(self.core.state)
            for name in ("time_ms", "next", "versions"):
                del found[name], right[name]
            assert found == right


@settings(max_examples=30, deadline=None, print_blob=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_killed_at_any_point_a_recovery_from_there_misses_no_progress_record(seed: int) -> None:
    note(f"seed {seed}")
    rng = random.Random(seed)
    owner = Owner(Limits(frame_events=rng.choice([3, 5_000])), least=rng.choice([1, 30]))
    lag = rng.choice([0.2, 0.5, 0.9])  # how slow the progress topic is
    for _ in range(40):
        match rng.randrange(6):
            case 0 | 1:
                owner.start()
            case 2 | 3 if owner.tasks:
                task = owner.tasks.pop(rng.randrange(len(owner.tasks)))
                owner.answer(task, rng.choice([Result.SUCCEEDED, Result.SUCCEEDED, Result.FAILED]))
            case _:
                owner.snapshots.nudge(rng.random() < 0.3)
        owner.core.proceed()
        owner.snapshots.write(rng.choice([0, 1, 2]))
        owner.cut()
        while owner.in_flight and rng.random() < 0.6:
            owner.settle()
        while owner.acknowledged < len(owner.put) and rng.random() > lag:
            owner.acknowledge()


def test_a_run_that_ends_before_its_turn_in_the_snapshot_holds_it_until_its_progress_is_acknowledged() -> None:
    owner = Owner(least=1_000)
    for _ in range(3):
        owner.start()
    owner.cut()
    owner.settle()
    owner.acknowledge()
    owner.snapshots.nudge(True)
    owner.snapshots.write(1)
    owner.cut()
    last = list(owner.core.state.runs)[-1]
    while owner.core.run(last) is not None:
        tasks = [task for task in owner.tasks if task.run_id == last]
        for task in tasks:
            owner.answer(task, Result.SUCCEEDED)
            owner.tasks.remove(task)
        owner.cut()
        while owner.in_flight:
            owner.settle()
    while owner.snapshots.write(0):
        owner.cut()
    owner.cut()
    while owner.in_flight:
        owner.settle()
    owner.acknowledged = len(owner.put) - 1  # the frame that ends the snapshot is the last one
    for _ in range(2):
        owner.snapshots.nudge(False)
        owner.cut()
        owner.settle()
    assert owner.moves == 0
    owner.acknowledge()
    owner.snapshots.nudge(False)
    owner.cut()
    assert owner.moves == 1
