"""Runs and tasks, event by event: may this follow what stands before it?

Keeps each run's states in its own way. Counts of parents are taken from the parents' states at each decision; nothing
is counted along, so that a wrong counter of the engine cannot be repeated here. Instances of mapped tasks are numbered
behind the tasks in the order in which they come to be, as the contract says.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError

from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result
from tests.checker import graphs
from tests.checker.graphs import Graph
from tests.checker.reading import parse

if TYPE_CHECKING:
    from tests.checker.log import Log

# Task states, in this order: terminal from SUCCESS on. OVER: an attempt failed and nothing is decided yet.
PENDING, QUEUED, RUNNING, OVER, RETRYING, WAITING, SUCCESS, FAILED, SKIPPED, SKIPPED_FAILED, CANCELLED = range(11)
WORDS = ["PENDING", "QUEUED", "RUNNING", "OVER", "RETRYING", "WAITING"]
WORDS += ["SUCCESS", "FAILED", "SKIPPED", "SKIPPED", "CANCELLED"]
# What progress says of an event that is a transition. RUN_FINISHED names its own state.
SAID = {
    Event.TASK_QUEUED: "QUEUED",
    Event.TASK_STARTED: "RUNNING",
    Event.TASK_SUCCEEDED: "SUCCESS",
    Event.TASK_RETRYING: "RETRYING",
    Event.TASK_FAILED: "FAILED",
    Event.TASK_SKIPPED: "SKIPPED",
    Event.TASK_CANCELLED: "CANCELLED",
    Event.TASK_REJECTED: "QUEUED",
    Event.TASK_WAITING: "WAITING",
    Event.TASK_EXPANDED: "RUNNING",
}
_OF_RESULT = frozenset(
    {Event.TASK_STARTED, Event.TASK_SUCCEEDED, Event.ATTEMPT_FAILED, Event.TASK_REJECTED, Event.TASK_RETURNED}
)
_BEGINS = frozenset(
    {Event.TASK_QUEUED, Event.TASK_STARTED, Event.TASK_RETRYING, Event.TASK_WAITING, Event.TASK_EXPANDED}
)
UNREADABLE = (DecodeError, ParseError, ValueError)


def name_of(event: Event) -> str:
    return Event.Kind.Name(event.kind)


class Attempt:
    __slots__ = ("ended", "queued", "sent", "started", "worker")

    def __init__(self) -> None:
        self.queued: dict[tuple[int, int], int] = {}  # (epoch, seq) -> the broker's time of that frame
        self.started = self.ended = 0  # epochs
        self.worker = ""
        self.sent: list[str] = []


class Run:
    """states: of tasks, hooks and instances; a hook counts once the run closes in what it is for."""

    def __init__(self, run_id: str, partition: int, version: str, graph: Graph) -> None:
        self.run_id, self.partition, self.version, self.graph = run_id, partition, version, graph
        count = len(graph.ids)
        self.states = bytearray(count)
        self.names = list(graph.ids)
        self.nodes = list(range(count))
        self.first: dict[int, tuple[int, int]] = {}  # mapped task -> (first instance, how many)
        self.number = [0] * count  # of the last attempt begun
        self.generation = [0] * count
        self.due: dict[int, int] = {}
        self.waits: dict[int, str] = {}
        self.attempts: dict[tuple[int, int, int], Attempt] = {}
        self.ending = self.state = self.closing = self.gate = ""
        self.waiting = False
        self.said: list[tuple[str, str, int, int, int]] = []  # (state, task, attempt, epoch, seq), one a position

    def counts(self, task: int) -> bool:
        graph = self.graph
        if task < graph.main or task >= len(graph.ids):
            return True
        return bool(self.closing) and task in graph.hooks[self.closing]

    def open(self) -> list[int]:
        return [task for task, state in enumerate(self.states) if state < SUCCESS and self.counts(task)]

    def edges(self, task: int) -> tuple[int, int, int, int]:
        """(all, taken, not taken, failed) of a task's parents, counted anew."""
        taken = not_taken = failed = 0
        parents, tolerated = self.graph.parents[task], self.graph.tolerated
        for parent in parents:
            state = self.states[parent]
            if state == SUCCESS or (state == FAILED and tolerated[parent]):
                taken += 1
            elif state == SKIPPED:
                not_taken += 1
            elif state > SUCCESS:
                failed += 1
        return len(parents), taken, not_taken, failed

    def decided(self, task: int) -> str:
        """What its rule says, or why an instance may not begin yet."""
        count = len(self.graph.ids)
        if task < count:
            return graphs.decide(self.graph.rules[task], *self.edges(task))
        node = self.nodes[task]
        if self.states[node] != RUNNING or task not in range(self.first[node][0], sum(self.first[node])):
            return "an instance of a task that is not expanded"
        follows = self.graph.follows[node]
        if follows < 0:
            return graphs.RUN
        state = self.states[self.first[follows][0] + task - self.first[node][0]]
        if state == SUCCESS or (state == FAILED and self.graph.tolerated[follows]):
            return graphs.RUN
        return (
            graphs.WAIT if state < SUCCESS else graphs.UPSTREAM_SKIPPED if state == SKIPPED else graphs.UPSTREAM_FAILED
        )

    def final(self) -> str:
        if self.closing:
            return self.closing
        if self.ending:
            return self.ending
        main, tolerated = self.graph.main, self.graph.tolerated
        failed = any(self.states[task] == FAILED and not tolerated[task] for task in range(main))
        return "FAILED" if failed else "SUCCESS"


class Judge:
    """Of one partition's log."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def bad(self, kind: str, text: str) -> None:
        self.log.bad(kind, text)

    def say(self, run: Run, state: str, name: str = "", attempt: int = 0) -> None:
        run.said.append((state, name, attempt, self.log.epoch, self.log.seq))

    def event(self, event: Event, run: Run, cause: int | None, offset: int, time_ms: int) -> None:
        kind, v = event.kind, self.log.v
        match kind:
            case Event.RUN_CANCEL_REQUESTED:
                run.ending = run.ending or event.state or "CANCELLED"
                run.waiting = False
            case Event.RUN_FINISHED:
                self.finish(event, run)
            case Event.RUN_RELEASED:
                if not run.waiting:
                    self.bad("a run that had begun begins", run.run_id)
                run.waiting = False
                self.say(run, event.state or "RUNNING")
            case Event.RUN_PAUSED | Event.RUN_RESUMED:
                self.say(run, event.state or ("PAUSED" if kind == Event.RUN_PAUSED else "RUNNING"))
            case Event.SIGNAL_RECEIVED:
                v.counts["signals"] += 1
            case Event.RUN_CLOSING:
                if still := run.open():
                    self.bad("run closed early", f"{run.run_id}: {len(still)} tasks are not terminal")
                if run.closing or event.state != run.final():
                    self.bad("wrong end of a run", f"{run.run_id} closes {event.state}, must be {run.final()}")
                run.closing, run.ending = event.state, ""
            case Event.RUN_RERUN:
                self.rerun(event, run)
            case Event.RUN_REOPENED:
                if not run.state:
                    self.bad("a live run is reopened", run.run_id)
                run.state = ""
                v.counts["runs ended"] -= 1
            case Event.RESULT_STALE:
                v.counts["stale results"] += 1
            case Event.TASK_ITEMS:
                pass
            case _ if event.task >= len(run.states):
                self.bad("unknown task", f"{run.run_id} task {event.task}")
            case _:
                if kind in _OF_RESULT and event.HasField("cause") and cause == 2:
                    self.of_result(event, run, offset)
                elif kind == Event.TASK_SUCCEEDED and not self.needs_no_result(event, run):
                    self.bad("completion without a result", f"{run.run_id} task {event.task}")
                self.task(event, run, event.task, time_ms)

    def needs_no_result(self, event: Event, run: Run) -> bool:
        """Whether something other than a worker's result may end it well."""
        node = run.nodes[event.task]
        whole = run.graph.mapped[node] and event.task == node
        by_hand = event.reason == "by_hand"
        return whole or by_hand or run.graph.kinds[node] != "work"

    def finish(self, event: Event, run: Run) -> None:
        still = run.open()
        if run.state:
            self.bad("run finished twice", run.run_id)
        elif still:
            self.bad("run finished early", f"{run.run_id}: {len(still)} tasks are not terminal")
        elif event.state != run.final():
            self.bad("wrong end of a run", f"{run.run_id} is {event.state}, must be {run.final()}")
        elif not run.closing and run.graph.hooks[event.state]:
            self.bad("hooks did not run", f"{run.run_id} ended {event.state}")
        run.state = event.state
        self.say(run, event.state)
        self.log.v.counts["runs ended"] += 1

    def rerun(self, event: Event, run: Run) -> None:
        slots = struct.unpack(f"<{len(event.data) // 4}I", event.data)
        count = len(run.graph.ids)
        self.log.v.counts["tasks begun again"] += len(slots)
        for slot in slots:
            if slot >= len(run.states):
                self.bad("unknown task", f"{run.run_id} task {slot}")
                return
            run.states[slot] = PENDING
            run.number[slot] = 0
            run.generation[slot] += 1
        for task in [slot for slot in slots if slot < count and slot in run.first]:
            first, total = run.first[task]
            if any(first <= slot < first + total for slot in slots):
                run.states[task] = RUNNING
            else:
                del run.first[task]
        for task in range(run.graph.main):
            if task in run.first and run.states[task] >= SUCCESS and PENDING in self.instances(run, task):
                self.bad("instances of a task that has ended begin again", f"{run.run_id} {run.names[task]}")
        run.ending = run.closing = ""
        self.say(run, event.state or "RUNNING")

    def instances(self, run: Run, task: int) -> bytearray:
        first, total = run.first[task]
        return run.states[first : first + total]

    def of_result(self, event: Event, run: Run, offset: int) -> None:
        """The result that an event names as its cause must be about this very attempt."""
        if run.graph.kinds[run.nodes[event.task]] != "work" or self.whole(event, run):
            return
        try:
            result = parse(Result, self.log.results.get(offset) or b"")
        except UNREADABLE:
            result = Result()
        found = (result.run_id, result.task, result.attempt, result.generation)
        if found != (run.run_id, event.task, event.attempt, event.generation):
            self.bad(
                "result of another attempt",
                f"{name_of(event)} {run.run_id} task {event.task}: results {offset} is {found}",
            )
        elif result.worker != event.worker:
            self.bad("result of another worker", f"{name_of(event)} {run.run_id} task {event.task}: results {offset}")
        elif event.kind == Event.TASK_SUCCEEDED and result.kind != Result.SUCCEEDED:
            self.bad("completion without a success", f"{run.run_id} task {event.task}: results {offset}")

    def whole(self, event: Event, run: Run) -> bool:
        """Whether it is of a mapped task as a whole, which no worker runs."""
        return event.task < len(run.graph.ids) and run.graph.mapped[event.task]

    def expand(self, event: Event, run: Run, what: str) -> None:
        task = event.task
        if not run.graph.mapped[task] or run.states[task] != PENDING or event.number != len(run.states):
            self.bad("wrong expansion", f"{what}: {event.total} instances from {event.number}")
        follows = run.graph.follows[task]
        if follows >= 0 and (follows not in run.first or run.first[follows][1] != event.total):
            self.bad("wrong expansion", f"{what}: follows {run.names[follows]}, which has other instances")
        run.first[task] = (len(run.states), event.total)
        run.names += [f"{run.names[task]}[{place}]" for place in range(event.total)]
        run.nodes += [task] * event.total
        run.number += [0] * event.total
        run.generation += [0] * event.total
        run.states.extend(bytes(event.total))
        self.log.v.counts["instances"] += event.total

    def task(self, event: Event, run: Run, task: int, time_ms: int) -> None:
        kind, state, graph = event.kind, run.states[task], run.graph
        node = run.nodes[task]
        whole = self.whole(event, run)
        what = f"{name_of(event)} {run.run_id} {run.names[task]} (attempt {event.attempt}) while {WORDS[state]}"
        attempt = run.attempts.get((task, event.attempt, event.generation))
        by_hand = event.reason == "by_hand" and kind in (Event.TASK_SKIPPED, Event.TASK_SUCCEEDED)
        if state >= SUCCESS:
            self.bad("second end of a task" if kind == Event.TASK_SUCCEEDED else "event after the end of a task", what)
            return
        if run.waiting:
            self.bad("event of a run that has not begun", what)
        if run.ending and (kind in _BEGINS or (state == PENDING and kind != Event.TASK_CANCELLED)):
            self.bad("started after the run's cancel", what)
        works = graph.kinds[node] == "work" and not whole
        if kind in (Event.TASK_STARTED, Event.TASK_REJECTED, Event.TASK_RETURNED, Event.ATTEMPT_FAILED) or (
            kind == Event.TASK_SUCCEEDED and works and not by_hand
        ):
            may = (QUEUED, RUNNING) if works else (WAITING,)
            if attempt is None or event.attempt != run.number[task] or state not in may:
                self.bad("event of an attempt that is not current", what)
                return
            if state == RUNNING and event.worker and event.worker != attempt.worker:
                self.bad("attempt bound to another worker", f"{what}: {event.worker}, bound to {attempt.worker}")
        new = state
        match kind:
            case Event.TASK_QUEUED | Event.TASK_WAITING:
                new = QUEUED if kind == Event.TASK_QUEUED else WAITING
                if state == PENDING:
                    self.fired(run, task, graphs.RUN, what)
                elif state not in (RETRYING, WAITING):
                    self.bad("wrong transition", what)
                elif state == RETRYING and self.log.time_ms < run.due.get(task, 0):
                    self.bad("retry before it was due", what)
                self.begins(event, run, task, time_ms, what)
            case Event.TASK_EXPANDED:
                new = RUNNING
                self.fired(run, task, graphs.RUN, what)
                self.expand(event, run, what)
            case Event.TASK_STARTED:
                new = RUNNING
                if state != QUEUED or attempt is None:
                    self.bad("wrong transition", what)
                else:
                    attempt.started, attempt.worker = self.log.epoch, event.worker
            case Event.TASK_SUCCEEDED:
                new = SUCCESS
                self.log.v.counts["tasks succeeded"] += 1
                if by_hand:
                    self.log.v.counts["ended by hand"] += 1
                elif whole and state == RUNNING:
                    if any(s < SUCCESS for s in self.instances(run, task)):
                        self.bad("mapped task over before its instances", what)
                elif graph.joins[node] or whole or (graph.kinds[node] == "child" and state == PENDING):
                    self.fired(run, task, graphs.RUN, what)
                elif graph.kinds[node] in ("wait", "child") and state != WAITING:
                    self.bad("wrong transition", what)
                elif attempt is not None and works:
                    attempt.worker = attempt.worker or event.worker
            case Event.ATTEMPT_FAILED:
                new = OVER
                self.log.v.counts["attempts failed"] += 1
            case Event.TASK_RETRYING:
                new = RETRYING
                run.due[task] = event.due_ms
                if state != OVER or event.attempt != run.number[task] + 1:
                    self.bad("attempt number", what)
                if event.attempt > graph.max_attempts[node]:
                    self.bad("more attempts than allowed", f"{what}: {graph.max_attempts[node]} at most")
            case Event.TASK_FAILED:
                new = FAILED
                if state == PENDING:
                    self.fired(run, task, graphs.RUN, what)
                elif whole and any(s < SUCCESS for s in self.instances(run, task)):
                    self.bad("mapped task over before its instances", what)
                elif state != OVER and not whole and not (state == WAITING and graph.kinds[node] == "wait"):
                    self.bad("wrong transition", what)
            case Event.TASK_SKIPPED:
                new = SKIPPED_FAILED if event.reason == graphs.UPSTREAM_FAILED else SKIPPED
                if by_hand:
                    self.log.v.counts["ended by hand"] += 1
                elif state != PENDING:
                    self.bad("wrong transition", what)
                elif event.reason == "condition":
                    self.fired(run, task, graphs.RUN, what)
                    if not graph.conditional[node]:
                        self.bad("skipped by a condition that it has not", what)
                elif task < len(graph.ids) and graph.follows[task] >= 0 and run.decided(task) == graphs.RUN:
                    self.not_followed(event, run, task, what)
                else:
                    self.fired(run, task, event.reason, what)
            case Event.TASK_CANCELLED:
                new = CANCELLED
                if not run.ending and event.reason != "rerun":
                    self.bad("cancelled without a cancel", what)
            case _:  # rejected: queued still
                pass
        run.states[task] = new
        if new >= OVER and new not in (RETRYING, WAITING):
            for number in range(1, run.number[task] + 1) if new == SUCCESS else (run.number[task],):
                over = run.attempts.get((task, number, event.generation))
                if over is not None:
                    over.ended = over.ended or self.log.epoch
        if kind in SAID:
            number = event.attempt - 1 if kind == Event.TASK_RETRYING else event.attempt  # of the attempt that failed
            self.say(run, SAID[kind], run.names[task], number)

    def begins(self, event: Event, run: Run, task: int, time_ms: int, what: str) -> None:
        """An attempt is queued, or waits for something first."""
        is_wait = run.graph.kinds[run.nodes[task]] == "wait"
        if not is_wait and event.attempt not in (run.number[task], run.number[task] + 1):
            self.bad("attempt number", f"{what}: follows {run.number[task]}")
        if event.attempt == run.number[task] and run.states[task] != WAITING and not is_wait:
            self.bad("attempt number", f"{what}: it was begun before")
        if event.generation != run.generation[task]:
            self.bad("generation", f"{what}: {event.generation}, must be {run.generation[task]}")
        run.number[task] = event.attempt
        attempt = run.attempts.get((task, event.attempt, event.generation))
        if attempt is None:
            attempt = run.attempts[task, event.attempt, event.generation] = Attempt()
        if event.kind == Event.TASK_QUEUED:
            attempt.queued[self.log.epoch, self.log.seq] = time_ms
            self.log.v.counts["attempts"] += 1

    def not_followed(self, event: Event, run: Run, task: int, what: str) -> None:
        """What it follows ended without instances."""
        state = run.states[run.graph.follows[task]]
        right = graphs.UPSTREAM_SKIPPED if state == SKIPPED else graphs.UPSTREAM_FAILED
        if state < SUCCESS or state == SUCCESS or event.reason != right:
            self.bad("trigger rule", f"{what}: what it follows is {WORDS[state]}, and the reason {event.reason!r}")

    def fired(self, run: Run, task: int, expected: str, what: str) -> None:
        if run.states[task] != PENDING:
            self.bad("wrong transition", what)
        elif not run.counts(task):
            self.bad("hook without its end", what)
        elif (right := run.decided(task)) != expected:
            if task >= len(run.graph.ids):
                self.bad("child fired early" if right == graphs.WAIT else "instance", f"{what}: {right!r}")
                return
            total, taken, not_taken, failed = run.edges(task)
            kind = "child fired early" if right == graphs.WAIT else "trigger rule"
            self.bad(
                kind,
                f"{what}: {run.graph.rules[task]} says {right!r}, not {expected!r} "
                f"(in-degree {total - taken - not_taken - failed} of {total}: {taken} taken, {not_taken} not, "
                f"{failed} failed)",
            )
