"""The core alone: tasks per second with frames, progress and task records, and events per second in replay.

usage: python benchmarks/core.py [runs]     (default 20,000 runs of a diamond; takes about 10 s)

CPU time with the collector of cycles switched off, so that a busy machine and the size of the heap disturb little. No
Kafka: results are made up here, and their making is not counted; the encoding of frames, progress and tasks is. Also
prints the bytes that one active run takes, and how long a run of 100,000 tasks and a chain of 10,000 take.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator

from indegree.engine.core import PartitionCore
from indegree.events.definition import Definition
from indegree.v1.event_pb2 import Frame
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Origin, Start
from indegree.v1.value_pb2 import Value

BATCH = 500
TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def diamond() -> Definition:
    """a -> b, c -> d; each takes the outputs of its parents."""
    return Definition.from_normal(
        {
            "id": "diamond",
            "params": {"n": {"type": "integer"}},
            "tasks": [
                {"id": "a", "python": "m:a", "args": {"n": "${{ params.n }}"}},
                {"id": "b", "python": "m:b", "args": {"a": "${{ a }}"}},
                {"id": "c", "python": "m:c", "args": {"a": "${{ a }}"}},
                {"id": "d", "python": "m:d", "args": {"b": "${{ b }}", "c": "${{ c }}"}},
            ],
        }
    )


def wide(n: int) -> Definition:
    """One root, n - 2 tasks below it, one join."""
    middle = [{"id": f"t{i}", "depends_on": ["root"], "command": "true"} for i in range(n - 2)]
    last = {"id": "last", "depends_on": [t["id"] for t in middle], "command": "true"}
    return Definition.from_normal({"id": "wide", "tasks": [{"id": "root", "command": "true"}, *middle, last]})


def chain(n: int) -> Definition:
    """n tasks, one after the other."""
    tasks = [{"id": f"t{i}", "depends_on": [f"t{i - 1}"] if i else [], "command": "true"} for i in range(n)]
    return Definition.from_normal({"id": "chain", "tasks": tasks})


class Load:
    """Drives one core as the shell does, and keeps its log. `cpu` counts the core alone."""

    def __init__(self) -> None:
        self.core = PartitionCore(0, 8)
        self.core.announced(1, 1)
        self.log: list[bytes] = []
        self.events = self.tasks = self.offset = self.starts = 0
        self.cpu = self.deciding = 0.0  # all of the core, and the part of it that is spent on results
        self.now = 1_000_000

    def start(self, definition: Definition, count: int) -> None:
        """Starts runs in batches."""
        for low in range(0, count, BATCH):
            records = [
                (
                    Start(workflow=definition.id, params=b'{"n":%d}' % i if definition.params else b""),
                    Origin(topic="triggers", offset=self.starts + i, timestamp_ms=1_764_000_000_000, traceparent=TRACE),
                )
                for i in range(low, min(low + BATCH, count))
            ]
            begin = time.process_time()
            self.core.begin(self.now)
            for start, origin in records:
                self.core.trigger(start, origin, definition)
            self.cpu += time.process_time() - begin
        self.starts += count

    def taken(self) -> Iterator[list[Task]]:
        """Cuts frames and takes tasks until nothing is left to do."""
        while True:
            begin = time.process_time()
            tasks: list[Task] = []
            more = self.core.proceed()
            while (cut := self.core.cut()) is not None:
                frame, effects = cut
                self.log.append(frame.SerializeToString())
                for record in effects.progress:
                    record.SerializeToString()
                self.core.release(effects)
                self.events += len(frame.events)
            for queue in self.core.queues():
                while len(tasks) < BATCH and (task := self.core.take(queue, "w")) is not None:
                    task.SerializeToString()
                    tasks.append(task)
            self.cpu += time.process_time() - begin
            if not tasks and not more:
                return
            yield tasks

    def finish(self) -> None:
        """Answers every task with success until all runs have ended."""
        for tasks in self.taken():
            results = [
                Result(
                    kind=Result.SUCCEEDED,
                    run_id=t.run_id,
                    task=t.task,
                    attempt=t.attempt,
                    worker="w",
                    output=Value(json=b"[1,2]"),
                )
                for t in tasks
            ]
            begin = time.process_time()
            self.now += 1
            self.core.begin(self.now)
            for result in results:
                self.core.result(result, self.offset)
                self.offset += 1
            spent = time.process_time() - begin
            self.cpu += spent
            self.deciding += spent
            self.tasks += len(results)


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    gc.disable()
    before = resident()
    active = Load()
    for _ in range(runs // BATCH):
        active.start(diamond(), BATCH)
        while (cut := active.core.cut()) is not None:
            active.core.release(cut[1])
    cut = None
    print(f"memory: {(resident() - before) / len(active.core.state.runs):,.0f} bytes an active run of four tasks")
    del active

    load = Load()
    load.start(diamond(), runs)
    starting = load.cpu
    load.finish()
    assert not load.core.state.runs
    per_task = (load.cpu - starting) / load.tasks * 1e6
    print(
        f"core: {1e6 / per_task:,.0f} tasks/s, {per_task:.1f} us a task, {load.deciding / load.tasks * 1e6:.1f} "
        f"of them to decide its result and what follows; {starting / runs * 1e6:.1f} us a start"
    )

    for progress in (False, True):
        again = PartitionCore(0, 8)
        begin = time.process_time()
        for data in load.log:
            again.replay(Frame.FromString(data), [] if progress else None)
        cpu = time.process_time() - begin
        what = "replay with progress" if progress else "replay"
        print(f"{what}: {load.events / cpu:,.0f} events/s, {cpu / load.events * 1e6:.2f} s for 1,000,000")
    print(f"log: {sum(map(len, load.log)) / load.events:.0f} bytes an event")

    for definition in (chain(10_000), wide(100_000)):
        load = Load()
        load.start(definition, 1)
        load.finish()
        assert load.tasks == len(definition.tasks)
        print(f"{definition.id} of {load.tasks}: {load.cpu:.2f} s, {load.cpu / load.tasks * 1e6:.1f} us a task")


if __name__ == "__main__":
    main()
