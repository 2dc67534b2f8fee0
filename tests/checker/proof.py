"""The proof: a pure function from records to a verdict. It trusts nothing but the records.

How: `_Log` goes through one partition of `events` with its own rule of which frames are in force, keeps each run's states
in its own way, and compares every event with what may follow. Counts of parents are taken from the parents' states at
each decision; nothing is counted along, so a wrong counter of the engine cannot be repeated here. Then everything that
the events led to, and everything that led to them, is held against what was found: triggers, commands, outboxes, task
records, progress, dead letters.

What it does not prove: that an expression was evaluated rightly (the operands of `when` are not recomputed), and anything
about values.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Collection
from typing import Any

from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError

from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Command, Trigger
from tests.checker import graphs
from tests.checker.graphs import BadDefinition, Graph, read_definition
from tests.checker.reading import Record, Records, parse
from tests.checker.verdict import Takeover, Verdict

# Task states, in this order: terminal from SUCCESS on. OVER: an attempt failed and nothing is decided yet.
PENDING, QUEUED, RUNNING, OVER, RETRYING, SUCCESS, FAILED, SKIPPED, SKIPPED_FAILED, CANCELLED = range(10)
WORDS = "PENDING QUEUED RUNNING OVER RETRYING SUCCESS FAILED SKIPPED SKIPPED CANCELLED".split()
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
}
# Events that take in a record; all others follow from them and may come in a later frame than their cause.
_DIRECT = frozenset(
    getattr(Event, name)
    for name in "RUN_STARTED RUN_REFUSED RUN_REPEATED RUN_CANCEL_REQUESTED TASK_STARTED ATTEMPT_FAILED RESULT_STALE "
    "TASK_REJECTED TASK_RETURNED MESSAGE_RECEIVED INPUT_REFUSED COMMAND_REFUSED".split()
)
_OF_RESULT = frozenset({Event.TASK_STARTED, Event.TASK_SUCCEEDED, Event.ATTEMPT_FAILED, Event.TASK_REJECTED, Event.TASK_RETURNED})
_BEGINS = frozenset({Event.TASK_QUEUED, Event.TASK_STARTED, Event.TASK_RETRYING})
_UNREADABLE = (DecodeError, ParseError, ValueError)
_INPUTS = ("triggers", "commands", "results")
_LAST_TARGETS = 4_294_967_294  # outbox targets from here on are topics (workflows, dead-letter), not partitions
# One clock on one machine, but the broker rounds to milliseconds and stamps a batch when it is made.
_CLOCK_MS = 20


class _Attempt:
    __slots__ = ("ended", "queued", "sent", "started", "worker")

    def __init__(self) -> None:
        self.queued: dict[tuple[int, int], int] = {}  # (epoch, seq) -> the broker's time of that frame
        self.started = self.ended = 0  # epochs
        self.worker = ""
        self.sent: list[str] = []


class _Run:
    def __init__(self, run_id: str, partition: int, version: str, graph: Graph) -> None:
        self.run_id, self.partition, self.version, self.graph = run_id, partition, version, graph
        self.states = bytearray(len(graph.ids))
        self.number = [0] * len(graph.ids)  # of the last attempt queued
        self.left = len(graph.ids)
        self.due: dict[int, int] = {}
        self.attempts: dict[tuple[int, int, int], _Attempt] = {}
        self.ending = self.state = ""
        self.said: list[tuple[str, int, int, int, int]] = []  # (state, task or -1, attempt, epoch, seq), one a position

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
        return graphs.decide(self.graph.rules[task], *self.edges(task))

    def final(self) -> str:
        if self.ending:
            return self.ending
        failed = any(s == FAILED and not t for s, t in zip(self.states, self.graph.tolerated, strict=True))
        return "FAILED" if failed else "SUCCESS"


class _Log:
    """One partition's events."""

    def __init__(self, partition: int, records: Records, runs: dict[str, _Run], verdict: Verdict) -> None:
        self.p, self.runs, self.v = partition, runs, verdict
        self.results = {record.offset: record.value for record in records.results.get(partition, ())}
        self.epoch = self.seq = self.time_ms = 0
        self.broken = self.closed = False
        self.next = [0, 0, 0]
        self.answers: dict[tuple[int, int], list[Event]] = defaultdict(list)  # input -> events that say what became of it
        self.receipts: dict[tuple[int, int], tuple[int, int]] = {}  # (source, number) -> the input that brought it
        self.received: dict[int, int] = {}
        self.outbox: dict[int, int] = defaultdict(int)
        self.refused: list[tuple[str, int]] = []  # inputs whose bytes belong on dead-letter
        self.claims: list[tuple[int, int, int]] = []  # progress positions said to be acknowledged
        self.parts: dict[str, list[bytes]] = {}
        self.graphs: dict[str, Graph] = {}
        self.owners: list[dict[str, Any]] = []

    def bad(self, kind: str, text: str) -> None:
        self.v.bad(kind, f"partition {self.p} epoch {self.epoch} seq {self.seq}: {text}")

    def frame(self, record: Record) -> None:
        try:
            frame = Frame.FromString(record.value or b"")
        except DecodeError:
            self.bad("unreadable frame", f"offset {record.offset}")
            return
        if frame.format > 1:
            self.bad("newer format", f"offset {record.offset} has format {frame.format}")
        if frame.seq == 0:
            self.announcement(frame, record)
        elif frame.epoch > self.epoch:
            self.bad("frame without announcement", f"offset {record.offset} has epoch {frame.epoch}")
            self.void(frame)
        elif frame.epoch < self.epoch or self.broken:
            self.void(frame)
        elif frame.seq != self.seq + 1:
            self.broken = True
            self.void(frame)
        else:
            self.in_force(frame, record)

    def void(self, frame: Frame) -> None:
        self.v.counts["void frames"] += 1
        self.v.counts["void events"] += len(frame.events)

    def announcement(self, frame: Frame, record: Record) -> None:
        if not frame.owner or not frame.takeover_id:
            self.bad("announcement without an owner", f"offset {record.offset}")
        if frame.epoch <= self.epoch:
            self.v.counts["announcements that lost"] += 1
            return
        last = self.owners[-1].get("newest_ms") if self.owners else None
        self.owners.append(
            {
                "epoch": frame.epoch,
                "owner": frame.owner,
                "announced_ms": record.time_ms,
                "last_ms": last or (self.owners[-1]["last_ms"] if self.owners else None),
                "closed": self.closed,
            }
        )
        self.epoch, self.seq, self.broken, self.closed = frame.epoch, 0, False, False

    def in_force(self, frame: Frame, record: Record) -> None:
        self.seq = frame.seq
        self.v.counts["frames"] += 1
        if self.closed:
            self.bad("frame after the closing one", f"offset {record.offset}")
        self.closed = frame.closed
        if frame.time_ms < self.time_ms:
            self.bad("time goes back", f"{self.time_ms} -> {frame.time_ms}")
        before, after = self.next, list(frame.next)
        if len(after) != 3 or any(b < a for a, b in zip(before, after, strict=False)):
            self.bad("position goes back", f"{before} -> {after}")
            after = [max(pair) for pair in zip(before, (*after, 0, 0, 0), strict=False)]
        self.time_ms, self.next = frame.time_ms, after
        if frame.HasField("progress") and frame.progress.seq:
            self.claims.append((frame.progress.epoch, frame.progress.seq, frame.progress.index))
        if frame.events:
            self.v.counts["events"] += len(frame.events)
            owner = self.owners[-1]
            owner.setdefault("first_ms", record.time_ms)
            owner["newest_ms"] = record.time_ms
        run_id, cause, offset = "", None, -1
        for event in frame.events:
            run_id = event.run_id or run_id
            if event.HasField("cause"):
                cause = event.cause
                offset = event.cause_offset if event.HasField("cause_offset") else -1
            elif event.HasField("cause_offset"):
                offset = event.cause_offset
            if cause is not None and cause < 3:
                low = before[cause] if event.kind in _DIRECT else 0
                if not low <= offset < after[cause]:
                    self.bad("cause outside the positions", f"{_INPUTS[cause]} {offset} in {before} -> {after}: {_name(event)}")
            self.event(event, run_id, cause, offset, record.time_ms)

    def event(self, event: Event, run_id: str, cause: int | None, offset: int, time_ms: int) -> None:
        kind = event.kind
        if 10 <= kind < 20 or kind in (Event.RUN_FINISHED, Event.RUN_CANCEL_REQUESTED, Event.TASK_RETURNED):
            run = self.runs.get(run_id)
            if run is None or run.partition != self.p:
                self.bad("event without a run", f"{_name(event)} of {run_id!r}")
                return
            if kind in _OF_RESULT and event.HasField("cause") and cause == 2:
                self.of_result(event, run, offset)
            elif kind == Event.TASK_SUCCEEDED and event.task < len(run.states) and not run.graph.joins[event.task]:
                self.bad("completion without a result", f"{run_id} task {event.task}")
            if kind == Event.RUN_CANCEL_REQUESTED:
                run.ending = run.ending or event.state or "CANCELLED"
                self.answer(event, cause, offset)
            elif kind == Event.RUN_FINISHED:
                self.finish(event, run)
            elif kind == Event.RESULT_STALE:
                self.v.counts["stale results"] += 1
            elif event.task >= len(run.states):
                self.bad("unknown task", f"{run_id} task {event.task}")
            else:
                self.task(event, run, event.task, time_ms)
            return
        match kind:
            case Event.RUN_STARTED:
                self.start(event, run_id)
                self.answer(event, cause, offset)
            case Event.DEFINITION_RECORDED:
                self.definition(event)
            case Event.OUTBOX_ADDED:
                if event.number != self.outbox[event.target] + 1:
                    self.bad("outbox number", f"target {event.target}: {event.number} after {self.outbox[event.target]}")
                self.outbox[event.target] = event.number
                self.answer(event, cause, offset)
            case Event.OUTBOX_SENT:
                if event.number > self.outbox[event.target]:
                    self.bad("outbox number", f"target {event.target}: {event.number} sent, {self.outbox[event.target]} added")
            case Event.MESSAGE_RECEIVED:
                if event.number <= self.received.get(event.target, 0):
                    self.bad("message taken twice", f"number {event.number} from partition {event.target}")
                self.received[event.target] = event.number
                if cause is not None:
                    self.receipts[event.target, event.number] = (cause, offset)
                self.answer(event, cause, offset)
            case Event.INPUT_REFUSED:
                if cause is not None and cause < 3:
                    self.refused.append((_INPUTS[cause], offset))
                self.answer(event, cause, offset)
            case Event.SNAPSHOT:
                self.v.counts["snapshot parts"] += 1
            case _:
                self.answer(event, cause, offset)

    def answer(self, event: Event, cause: int | None, offset: int) -> None:
        if not event.reason and event.kind in (Event.RUN_REFUSED, Event.INPUT_REFUSED, Event.COMMAND_REFUSED, Event.DEPLOY_REFUSED):
            self.bad("refused without a reason", f"{_name(event)} {event.request_id}")
        if cause is not None and cause < 2:
            self.answers[cause, offset].append(event)

    def definition(self, event: Event) -> None:
        parts = self.parts.setdefault(event.version, [])
        if event.part == 0:
            parts.clear()
        parts.append(event.data)
        if event.part + 1 == event.parts:
            try:
                if len(parts) != event.parts:
                    raise BadDefinition(f"{len(parts)} of {event.parts} parts of {event.version[:12]}")
                self.graphs.setdefault(event.version, read_definition(event.version, parts))
            except BadDefinition as error:
                self.bad("definition", str(error))
            del self.parts[event.version]

    def start(self, event: Event, run_id: str) -> None:
        self.v.counts["runs"] += 1
        graph = self.graphs.get(event.version)
        if run_id in self.runs:
            self.bad("run started twice", run_id)
        elif graph is None:
            self.bad("run without its definition", f"{run_id} version {event.version[:12]}")
        else:
            if run_id.rpartition("-")[2] != f"{self.p:04d}":
                self.bad("run on a foreign partition", run_id)
            run = self.runs[run_id] = _Run(run_id, self.p, event.version, graph)
            run.said += [(state, -1, 0, self.epoch, self.seq) for state in ("PENDING", "RUNNING")]

    def finish(self, event: Event, run: _Run) -> None:
        if run.state:
            self.bad("run finished twice", run.run_id)
        elif run.left:
            self.bad("run finished early", f"{run.run_id}: {run.left} tasks are not terminal")
        elif event.state != run.final():
            self.bad("wrong end of a run", f"{run.run_id} is {event.state}, must be {run.final()}")
        run.state = event.state
        run.said.append((event.state, -1, 0, self.epoch, self.seq))
        self.v.counts["runs ended"] += 1

    def of_result(self, event: Event, run: _Run, offset: int) -> None:
        """The result that an event names as its cause must be about this very attempt."""
        try:
            result = parse(Result, self.results.get(offset) or b"")
        except _UNREADABLE:
            result = Result()
        same = (result.run_id, result.task, result.attempt, result.generation, result.worker)
        if same != (run.run_id, event.task, event.attempt, event.generation, event.worker):
            self.bad("result of another attempt", f"{_name(event)} {run.run_id} task {event.task}: results {offset} is {same}")
        elif event.kind == Event.TASK_SUCCEEDED and result.kind != Result.SUCCEEDED:
            self.bad("completion without a success", f"{run.run_id} task {event.task}: results {offset}")

    def task(self, event: Event, run: _Run, task: int, time_ms: int) -> None:
        kind, state, graph = event.kind, run.states[task], run.graph
        what = f"{_name(event)} {run.run_id} {graph.ids[task]} (attempt {event.attempt}) while {WORDS[state]}"
        attempt = run.attempts.get((task, event.attempt, event.generation))
        if state >= SUCCESS:
            self.bad("second end of a task" if kind == Event.TASK_SUCCEEDED else "event after the end of a task", what)
            return
        if run.ending and (kind in _BEGINS or (state == PENDING and kind != Event.TASK_CANCELLED)):
            self.bad("started after the run's cancel", what)
        if kind in (Event.TASK_STARTED, Event.TASK_REJECTED, Event.TASK_RETURNED, Event.ATTEMPT_FAILED) or (
            kind == Event.TASK_SUCCEEDED and not graph.joins[task]
        ):
            if attempt is None or event.attempt != run.number[task] or state not in (QUEUED, RUNNING):
                self.bad("event of an attempt that is not current", what)
                return
            if state == RUNNING and event.worker and event.worker != attempt.worker:
                self.bad("attempt bound to another worker", f"{what}: {event.worker}, bound to {attempt.worker}")
        new = state
        match kind:
            case Event.TASK_QUEUED:
                new = QUEUED
                if state == PENDING:
                    self.fired(run, task, graphs.RUN, what)
                elif state != RETRYING:
                    self.bad("wrong transition", what)
                elif self.time_ms < run.due.get(task, 0):
                    self.bad("retry before it was due", what)
                if event.attempt != run.number[task] + 1:
                    self.bad("attempt number", f"{what}: follows {run.number[task]}")
                run.number[task] = event.attempt
                if attempt is None:
                    attempt = run.attempts[task, event.attempt, event.generation] = _Attempt()
                attempt.queued[self.epoch, self.seq] = time_ms
                self.v.counts["attempts"] += 1
            case Event.TASK_STARTED:
                new = RUNNING
                if state != QUEUED or attempt is None:
                    self.bad("wrong transition", what)
                else:
                    attempt.started, attempt.worker = self.epoch, event.worker
            case Event.TASK_SUCCEEDED:
                new = SUCCESS
                self.v.counts["tasks succeeded"] += 1
                if graph.joins[task]:
                    self.fired(run, task, graphs.RUN, what)
                elif attempt is not None:
                    attempt.worker = attempt.worker or event.worker
            case Event.ATTEMPT_FAILED:
                new = OVER
                self.v.counts["attempts failed"] += 1
            case Event.TASK_RETRYING:
                new = RETRYING
                run.due[task] = event.due_ms
                if state != OVER or event.attempt != run.number[task] + 1:
                    self.bad("attempt number", what)
                if event.attempt > graph.max_attempts[task]:
                    self.bad("more attempts than allowed", f"{what}: {graph.max_attempts[task]} at most")
            case Event.TASK_FAILED:
                new = FAILED
                if state == PENDING:
                    self.fired(run, task, graphs.RUN, what)
                elif state != OVER:
                    self.bad("wrong transition", what)
            case Event.TASK_SKIPPED:
                new = SKIPPED_FAILED if event.reason == graphs.UPSTREAM_FAILED else SKIPPED
                if state != PENDING:
                    self.bad("wrong transition", what)
                elif event.reason == "condition":
                    self.fired(run, task, graphs.RUN, what)
                    if not graph.conditional[task]:
                        self.bad("skipped by a condition that it has not", what)
                elif event.reason != "by_hand":
                    self.fired(run, task, event.reason, what)
            case Event.TASK_CANCELLED:
                new = CANCELLED
                if not run.ending:
                    self.bad("cancelled without a cancel", what)
        run.states[task] = new
        if new >= SUCCESS:
            run.left -= 1
        if new >= OVER:
            for number in range(1, run.number[task] + 1) if new == SUCCESS else (run.number[task],):
                over = run.attempts.get((task, number, event.generation))
                if over is not None:
                    over.ended = over.ended or self.epoch
        if kind in SAID:
            number = event.attempt - 1 if kind == Event.TASK_RETRYING else event.attempt  # of the attempt that failed
            run.said.append((SAID[kind], task, number, self.epoch, self.seq))

    def fired(self, run: _Run, task: int, expected: str, what: str) -> None:
        if run.states[task] != PENDING:
            self.bad("wrong transition", what)
        elif (right := run.decided(task)) != expected:
            total, taken, not_taken, failed = run.edges(task)
            kind = "child fired early" if right == graphs.WAIT else "trigger rule"
            self.bad(
                kind,
                f"{what}: {run.graph.rules[task]} says {right!r}, not {expected!r} (in-degree {total - taken - not_taken - failed}: "
                f"{taken} taken, {not_taken} not taken, {failed} failed of {total})",
            )

    def takeovers(self) -> list[Takeover]:
        for owner in self.owners:
            owner.pop("newest_ms", None)
        return [Takeover(self.p, **owner) for owner in self.owners]


def prove(records: Records, *, running_ok: bool = False, expect_runs: Collection[str] = ()) -> Verdict:
    """The verdict on these records. `running_ok`: what is not finished yet is no fault. Pure; reads no clock but its own."""
    begun = time.monotonic()
    verdict = Verdict()
    runs: dict[str, _Run] = {}
    logs = {p: _Log(p, records, runs, verdict) for p in sorted(records.events)}
    for p, log in logs.items():
        events = records.events[p]
        if events and events[0].offset:
            verdict.bad("log was shortened", f"partition {p} begins at {events[0].offset}: only a whole log can be proven")
            continue
        for record in events:
            log.frame(record)
        verdict.takeovers += log.takeovers()
    after = _After(records, runs, logs, verdict, running_ok)
    after.inputs()
    after.tasks()
    after.progress()
    after.dead_letters()
    after.ends(expect_runs)
    verdict.seconds = time.monotonic() - begun
    return verdict


class _After:
    """What led to the events, and what they led to."""

    def __init__(
        self, records: Records, runs: dict[str, _Run], logs: dict[int, _Log], verdict: Verdict, running_ok: bool
    ) -> None:
        self.records, self.runs, self.logs, self.v, self.running_ok = records, runs, logs, verdict, running_ok

    def inputs(self) -> None:
        """Every trigger ended or was refused with a reason; every command was answered; no message was lost."""
        for p, log in self.logs.items():
            for cause, topic in ((0, self.records.triggers), (1, self.records.commands)):
                for record in topic.get(p, ()):
                    self.v.counts[_INPUTS[cause]] += 1
                    if record.value is None:
                        self.v.counts["tombstones"] += 1
                    elif record.offset >= log.next[cause]:
                        if not self.running_ok:
                            self.v.bad(f"unread {_INPUTS[cause]}", f"partition {p} offset {record.offset}, read up to {log.next[cause]}")
                    elif cause == 0:
                        self.trigger(log, record)
                    else:
                        self.command(log, record)
            for target, number in log.outbox.items():
                lost = target < _LAST_TARGETS and target in self.logs and number > self.logs[target].received.get(p, 0)
                if lost and not self.running_ok:
                    self.v.bad("lost message", f"partition {p} to {target}: {number} sent, {self.logs[target].received.get(p, 0)} received")

    def trigger(self, log: _Log, record: Record) -> None:
        where = f"triggers partition {log.p} offset {record.offset}"
        answer = self.resolve(log, 0, record.offset)
        if not answer:
            if not self.running_ok or (0, record.offset) not in log.answers:
                self.v.bad("lost trigger", f"{where} was passed, and nothing says what became of it")
            return
        self.v.counts[f"triggers: {_name(answer[0])}"] += 1
        if len(answer) > 1:
            self.v.bad("trigger with two answers", f"{where}: {', '.join(map(_name, answer))}")
        if answer[0].kind != Event.RUN_STARTED:
            return
        try:
            start = parse(Trigger, record.value or b"").start
        except _UNREADABLE:
            self.v.bad("run of an unreadable trigger", where)
            return
        origin = answer[0].origin
        if start.workflow != answer[0].workflow or (origin.partition, origin.offset) != (log.p, record.offset):
            self.v.bad("run of another trigger", f"{where} starts {start.workflow!r}, the run is of {answer[0].workflow!r} from {origin}")
        if start.run_id and not start.idempotency_key and start.run_id != answer[0].run_id:
            self.v.bad("run of another trigger", f"{where} asks for {start.run_id}, the run is {answer[0].run_id}")

    def resolve(self, log: _Log, cause: int, offset: int) -> list[Event]:
        """The events that decided a start, also where it was sent on to another partition."""
        found: list[Event] = []
        for _ in range(8):  # a start moves twice at most: to its key's partition, and on to its run's
            events = log.answers.get((cause, offset), [])
            found = [e for e in events if e.kind in (Event.RUN_STARTED, Event.RUN_REFUSED, Event.RUN_REPEATED, Event.INPUT_REFUSED)]
            sent = [e for e in events if e.kind == Event.OUTBOX_ADDED and e.target < _LAST_TARGETS]
            if found or not sent or sent[0].target not in self.logs:
                return found
            source, log = log.p, self.logs[sent[0].target]
            receipt = log.receipts.get((source, sent[0].number))
            if receipt is None:
                return []
            cause, offset = receipt
        return found

    def command(self, log: _Log, record: Record) -> None:
        if (1, record.offset) in log.answers:
            return
        where = f"commands partition {log.p} offset {record.offset}"
        try:
            command = parse(Command, record.value or b"")
        except _UNREADABLE:
            self.v.bad("lost command", f"{where} cannot be read, and was not refused")
            return
        message = command.message
        if command.WhichOneof("command") == "message":
            if message.number > log.received.get(message.source, 0):
                self.v.bad("lost message", f"{where}: number {message.number} from partition {message.source}")
            self.v.counts["messages repeated"] += 1
        else:
            self.v.bad("lost command", f"{where}: {command.WhichOneof('command')} was passed without an answer")

    def tasks(self) -> None:
        """Each task record follows from a frame in force, and each attempt ended at a worker that it was sent to."""
        for queue, partitions in self.records.tasks.items():
            for records in partitions.values():
                for record in records:
                    self.task(queue, record)
        for run in self.runs.values():
            for (task, number, _), attempt in run.attempts.items():
                self.v.counts["attempts sent again"] += max(0, len(attempt.sent) - 1)
                if attempt.worker and attempt.worker not in attempt.sent:
                    self.v.bad("attempt of a worker that was not asked", f"{run.run_id} {run.graph.ids[task]} {number}: {attempt.worker}")

    def task(self, queue: str, record: Record) -> None:
        try:
            task = parse(Task, record.value or b"")
        except _UNREADABLE:
            self.v.bad("unreadable task record", f"tasks.{queue} offset {record.offset}")
            return
        self.v.counts["task records"] += 1
        what = f"{task.run_id} {task.task_id} attempt {task.attempt}, epoch {task.epoch} seq {task.seq}"
        run = self.runs.get(task.run_id)
        attempt = run.attempts.get((task.task, task.attempt, task.generation)) if run else None
        if run is None or attempt is None:
            self.v.bad("task record of a void or unknown frame", f"{what}: no such attempt was ever queued in force")
            return
        attempt.sent.append(task.worker)
        named = (task.task_id, task.partition, task.version, queue)
        right = (run.graph.ids[task.task], run.partition, run.version, run.graph.queues[task.task])
        if named != right:
            self.v.bad("task record with wrong names", f"{what}: {named}, must be {right}")
        if task.seq:
            queued_ms = attempt.queued.get((task.epoch, task.seq))
            if queued_ms is None:
                self.v.bad("task record of a void or unknown frame", f"{what}: it was queued by {list(attempt.queued)}")
            elif record.time_ms + _CLOCK_MS < queued_ms:
                self.v.bad("task record before its frame", f"{what}: {queued_ms - record.time_ms} ms")
        else:
            self.v.counts["task records after a takeover"] += 1
            epochs = [t.epoch for t in self.v.takeovers if t.partition == run.partition]
            if task.epoch not in epochs or not any(epoch < task.epoch for epoch, _ in attempt.queued):
                self.v.bad("task record of a void or unknown frame", f"{what}: not queued before that epoch")
            elif 0 < attempt.started < task.epoch or 0 < attempt.ended < task.epoch:
                self.v.bad("task record of an attempt that was not outstanding", f"{what}: started or over before that epoch")

    def progress(self) -> None:
        """Positions 1..n of each run, each the transition of the log at that place; repeats only word by word."""
        for p, records in self.records.progress.items():
            seen: dict[str, list[bytes]] = defaultdict(list)
            ids: dict[str, bytes] = {}
            places: set[tuple[int, int, int]] = set()
            for record in records:
                self.one_progress(p, record, seen, ids, places)
            log = self.logs.get(p)
            for run in self.runs.values() if log else ():
                missing = len(run.said) - len(seen[run.run_id]) if run.partition == p else 0
                if missing > 0 and not self.running_ok:
                    state, task, *_ = run.said[len(seen[run.run_id])]
                    name = run.graph.ids[task] if task >= 0 else "the run"
                    self.v.bad("transition without progress", f"{run.run_id}: {missing} missing, the first: {name} {state}")
            for claim in log.claims if log else ():
                if claim not in places:
                    self.v.bad("progress that was never written", f"partition {p} says {claim} is acknowledged")

    def one_progress(
        self, p: int, record: Record, seen: dict[str, list[bytes]], ids: dict[str, bytes], places: set[tuple[int, int, int]]
    ) -> None:
        value = record.value or b""
        try:
            said = _progress(value)
        except _UNREADABLE:
            self.v.bad("unreadable progress", f"partition {p} offset {record.offset}")
            return
        if said["type"] == "marker":
            return
        self.v.counts["progress records"] += 1
        where = said.get("log", {})
        place = (where.get("epoch", 0), where.get("seq", 0), where.get("index", 0))
        places.add(place)
        run_id, position, progress_id = said.get("run_id", ""), said.get("position", 0), said.get("id", "")
        what = f"{run_id} position {position} ({said['type']}), partition {p} offset {record.offset}"
        if progress_id in ids:
            self.v.counts["progress repeated"] += 1
            if ids[progress_id] != value:
                self.v.bad("progress repeated with other content", what)
            return
        ids[progress_id] = value
        if not position:  # answers that are no transitions: refused starts, deploys
            self.v.counts[f"progress: {said['type']}"] += 1
            return
        run, mine = self.runs.get(run_id), seen[run_id]
        if position != len(mine) + 1:
            self.v.bad("gap in progress", f"{what}: follows {len(mine)}")
        while len(mine) < position:
            mine.append(value)
        if run is None or run.partition != p or position > len(run.said):
            self.v.bad("progress without a transition", what)
            return
        state, task, attempt, epoch, seq = run.said[position - 1]
        right = (state, run.graph.ids[task] if task >= 0 else "", attempt, epoch, seq)
        told = (said.get("state", ""), said.get("task_id", ""), said.get("attempt", 0), place[0], place[1])
        if told != right:
            self.v.bad("progress differs from the log", f"{what}: {told}, must be {right}")

    def dead_letters(self) -> None:
        """A dead letter for each refused input, and none without one."""
        expected = {(topic, p, offset) for p, log in self.logs.items() for topic, offset in log.refused}
        found = set()
        for records in self.records.dead_letters.values():
            for record in records:
                headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers or ()}
                topic = headers.get("indegree.topic", "").rpartition(".")[2]
                place = (topic, int(headers.get("indegree.partition", -1)), int(headers.get("indegree.offset", -1)))
                found.add(place)
                self.v.counts["dead letters"] += 1
                if place not in expected:
                    self.v.bad("dead letter without a refusal", f"{place}")
                elif not headers.get("indegree.reason"):
                    self.v.bad("refused without a reason", f"dead letter {place}")
        for place in sorted(expected - found) if not self.running_ok else ():
            self.v.bad("refusal without a dead letter", f"{place}")

    def ends(self, expect_runs: Collection[str]) -> None:
        for run in self.runs.values():
            self.v.runs[run.run_id] = run.state
            if not run.state and not self.running_ok:
                states = {WORDS[state]: list(run.states).count(state) for state in set(run.states)}
                stuck = next((i for i, s in enumerate(run.states) if s == PENDING and run.decided(i) != graphs.WAIT), None)
                hint = f"; {run.graph.ids[stuck]} is decided and was not fired" if stuck is not None else ""
                self.v.bad("run that has not ended", f"{run.run_id}: {states}{hint}")
        for run_id in expect_runs:
            if not self.v.runs.get(run_id):
                self.v.bad("expected run that has not ended", run_id)


def _progress(value: bytes) -> dict[str, Any]:
    """A progress record's fields as a dict, from either form (JSON is the frequent one, so no detour over protobuf)."""
    if value[:1] == b"{":
        said = json.loads(value)
        return said if isinstance(said, dict) and isinstance(said.get("type"), str) else _fail()
    record = Progress.FromString(value)
    place = {"epoch": record.log.epoch, "seq": record.log.seq, "index": record.log.index}
    names = ("id", "type", "run_id", "task_id", "attempt", "state", "position")
    return {"log": place, **{name: getattr(record, name) for name in names}}


def _fail() -> dict[str, Any]:
    raise ValueError("no progress record")


def _name(event: Event) -> str:
    return Event.Kind.Name(event.kind)
