"""One partition's event log, event by event: which frames are in force, and whether each event may follow.

Keeps each run's states in its own way. Counts of parents are taken from the parents' states at each decision; nothing
is counted along, so that a wrong counter of the engine cannot be repeated here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError

from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.task_pb2 import Result
from tests.checker import graphs
from tests.checker.graphs import BadDefinition, Graph, read_definition
from tests.checker.reading import Record, Records, parse
from tests.checker.verdict import Takeover, Verdict

# Task states, in this order: terminal from SUCCESS on. OVER: an attempt failed and nothing is decided yet.
PENDING, QUEUED, RUNNING, OVER, RETRYING, SUCCESS, FAILED, SKIPPED, SKIPPED_FAILED, CANCELLED = range(10)
WORDS = ["PENDING", "QUEUED", "RUNNING", "OVER", "RETRYING", "SUCCESS", "FAILED", "SKIPPED", "SKIPPED", "CANCELLED"]
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
# Answers on progress that are no transitions.
ANSWERS = {
    Event.RUN_CANCEL_REQUESTED: "command.accepted",
    Event.RUN_REFUSED: "run.refused",
    Event.RUN_REPEATED: "run.accepted",
    Event.COMMAND_REFUSED: "command.refused",
    Event.VERSION_DEPLOYED: "workflow.deployed",
    Event.VERSION_ACTIVATED: "workflow.activated",
    Event.DEPLOY_REFUSED: "workflow.refused",
}
# Events that take in a record; all others follow from them and may come in a later frame than their cause.
_DIRECT = frozenset(
    getattr(Event, name)
    for name in [
        "RUN_STARTED",
        "RUN_REFUSED",
        "RUN_REPEATED",
        "RUN_CANCEL_REQUESTED",
        "TASK_STARTED",
        "ATTEMPT_FAILED",
        "RESULT_STALE",
        "TASK_REJECTED",
        "TASK_RETURNED",
        "MESSAGE_RECEIVED",
        "INPUT_REFUSED",
        "COMMAND_REFUSED",
    ]
)
_OF_RESULT = frozenset(
    {Event.TASK_STARTED, Event.TASK_SUCCEEDED, Event.ATTEMPT_FAILED, Event.TASK_REJECTED, Event.TASK_RETURNED}
)
_BEGINS = frozenset({Event.TASK_QUEUED, Event.TASK_STARTED, Event.TASK_RETRYING})
UNREADABLE = (DecodeError, ParseError, ValueError)
INPUTS = ("triggers", "commands", "results")


class Attempt:
    __slots__ = ("ended", "queued", "sent", "started", "worker")

    def __init__(self) -> None:
        self.queued: dict[tuple[int, int], int] = {}  # (epoch, seq) -> the broker's time of that frame
        self.started = self.ended = 0  # epochs
        self.worker = ""
        self.sent: list[str] = []


class Run:
    def __init__(self, run_id: str, partition: int, version: str, graph: Graph) -> None:
        self.run_id, self.partition, self.version, self.graph = run_id, partition, version, graph
        self.states = bytearray(len(graph.ids))
        self.number = [0] * len(graph.ids)  # of the last attempt queued
        self.left = len(graph.ids)
        self.due: dict[int, int] = {}
        self.attempts: dict[tuple[int, int, int], Attempt] = {}
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


class Log:
    """One partition's events."""

    def __init__(self, partition: int, records: Records, runs: dict[str, Run], verdict: Verdict) -> None:
        self.p, self.runs, self.v = partition, runs, verdict
        self.results = {record.offset: record.value for record in records.results.get(partition, ())}
        self.epoch = self.seq = self.time_ms = 0
        self.broken = self.closed = False
        self.next = [0, 0, 0]
        self.answers: dict[tuple[int, int], list[Event]] = defaultdict(
            list
        )  # input -> events that say what became of it
        self.starts: list[Event] = []  # started, refused, repeated: each names the trigger that it answers
        self.received: dict[int, int] = {}
        self.outbox: dict[int, int] = defaultdict(int)
        self.told: Counter[tuple[int, int, str, str]] = Counter()  # (epoch, seq, type, request id): answers on progress
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
                # A definition is written before what needs it, in frames of its own where it is large.
                high = after[cause] + (event.kind == Event.DEFINITION_RECORDED)
                if not low <= offset < high:
                    self.bad(
                        "cause outside the positions",
                        f"{INPUTS[cause]} {offset} in {before} -> {after}: {name_of(event)}",
                    )
            self.event(event, run_id, cause, offset, record.time_ms)

    def event(self, event: Event, run_id: str, cause: int | None, offset: int, time_ms: int) -> None:
        kind = event.kind
        if 10 <= kind < 20 or kind in (Event.RUN_FINISHED, Event.RUN_CANCEL_REQUESTED, Event.TASK_RETURNED):
            run = self.runs.get(run_id)
            if run is None or run.partition != self.p:
                self.bad("event without a run", f"{name_of(event)} of {run_id!r}")
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
            case Event.RUN_STARTED | Event.RUN_REFUSED | Event.RUN_REPEATED:
                self.starts.append(event)
                self.answer(event, cause, offset)
                if kind == Event.RUN_STARTED:
                    self.start(event, run_id)
            case Event.DEFINITION_RECORDED:
                self.definition(event)
            case Event.OUTBOX_ADDED:
                if event.number != self.outbox[event.target] + 1:
                    self.bad(
                        "outbox number", f"target {event.target}: {event.number} after {self.outbox[event.target]}"
                    )
                self.outbox[event.target] = event.number
                self.answer(event, cause, offset)
            case Event.OUTBOX_SENT:
                if event.number > self.outbox[event.target]:
                    self.bad(
                        "outbox number",
                        f"target {event.target}: {event.number} sent, {self.outbox[event.target]} added",
                    )
            case Event.MESSAGE_RECEIVED:
                if event.number <= self.received.get(event.target, 0):
                    self.bad("message taken twice", f"number {event.number} from partition {event.target}")
                self.received[event.target] = event.number
                self.answer(event, cause, offset)
            case Event.INPUT_REFUSED:
                if cause is not None and cause < 3:
                    self.refused.append((INPUTS[cause], offset))
                self.answer(event, cause, offset)
            case Event.SNAPSHOT:
                self.v.counts["snapshot parts"] += 1
            case _:
                self.answer(event, cause, offset)

    def answer(self, event: Event, cause: int | None, offset: int) -> None:
        if not event.reason and event.kind in (
            Event.RUN_REFUSED,
            Event.INPUT_REFUSED,
            Event.COMMAND_REFUSED,
            Event.DEPLOY_REFUSED,
        ):
            self.bad("refused without a reason", f"{name_of(event)} {event.request_id}")
        if cause is not None and cause < 2:
            self.answers[cause, offset].append(event)
        word = ANSWERS.get(event.kind)
        if word is not None and (event.kind != Event.RUN_CANCEL_REQUESTED or event.request_id):  # else a run's timeout
            self.told[self.epoch, self.seq, word, event.request_id] += 1

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
            run = self.runs[run_id] = Run(run_id, self.p, event.version, graph)
            run.said += [(state, -1, 0, self.epoch, self.seq) for state in ("PENDING", "RUNNING")]

    def finish(self, event: Event, run: Run) -> None:
        if run.state:
            self.bad("run finished twice", run.run_id)
        elif run.left:
            self.bad("run finished early", f"{run.run_id}: {run.left} tasks are not terminal")
        elif event.state != run.final():
            self.bad("wrong end of a run", f"{run.run_id} is {event.state}, must be {run.final()}")
        run.state = event.state
        run.said.append((event.state, -1, 0, self.epoch, self.seq))
        self.v.counts["runs ended"] += 1

    def of_result(self, event: Event, run: Run, offset: int) -> None:
        """The result that an event names as its cause must be about this very attempt."""
        try:
            result = parse(Result, self.results.get(offset) or b"")
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

    def task(self, event: Event, run: Run, task: int, time_ms: int) -> None:
        kind, state, graph = event.kind, run.states[task], run.graph
        what = f"{name_of(event)} {run.run_id} {graph.ids[task]} (attempt {event.attempt}) while {WORDS[state]}"
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
                    attempt = run.attempts[task, event.attempt, event.generation] = Attempt()
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
            case _:  # rejected: queued still
                pass
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

    def fired(self, run: Run, task: int, expected: str, what: str) -> None:
        if run.states[task] != PENDING:
            self.bad("wrong transition", what)
        elif (right := run.decided(task)) != expected:
            total, taken, not_taken, failed = run.edges(task)
            kind = "child fired early" if right == graphs.WAIT else "trigger rule"
            self.bad(
                kind,
                f"{what}: {run.graph.rules[task]} says {right!r}, not {expected!r} "
                f"(in-degree {total - taken - not_taken - failed} of {total}: {taken} taken, {not_taken} not, "
                f"{failed} failed)",
            )

    def takeovers(self) -> list[Takeover]:
        for owner in self.owners:
            owner.pop("newest_ms", None)
        return [Takeover(self.p, **owner) for owner in self.owners]


def name_of(event: Event) -> str:
    return Event.Kind.Name(event.kind)
