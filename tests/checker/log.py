"""One partition's event log, event by event: which frames are in force, and whether each event may follow.

Frames, positions, messages and whatever belongs to no run are judged here; what happens to runs and tasks in runs.py,
to limits and triggers in shared.py.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from google.protobuf.message import DecodeError

from indegree.v1.event_pb2 import Event, Frame
from tests.checker.graphs import BadDefinition, Graph, read_definition
from tests.checker.reading import Record, Records
from tests.checker.runs import Judge, Run, name_of
from tests.checker.shared import Shared
from tests.checker.verdict import Takeover, Verdict

_PASSED_ON = 27  # a start goes on to the partition of its concurrency key
_ANSWERED = frozenset(
    {
        Event.RUN_CANCEL_REQUESTED,
        Event.RUN_PAUSED,
        Event.RUN_RESUMED,
        Event.RUN_RERUN,
        Event.RUN_REOPENED,
        Event.SIGNAL_RECEIVED,
    }
)

# Answers on progress that are no transitions.
ANSWERS = {
    Event.RUN_CANCEL_REQUESTED: "command.accepted",
    Event.RUN_REFUSED: "run.refused",
    Event.RUN_REPEATED: "run.accepted",
    Event.COMMAND_REFUSED: "command.refused",
    Event.COMMAND_ACCEPTED: "command.accepted",
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
        "RUN_PAUSED",
        "RUN_RESUMED",
        "SIGNAL_RECEIVED",
        "COMMAND_ACCEPTED",
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
INPUTS = ("triggers", "commands", "results")


class Log:
    """One partition's events."""

    def __init__(self, partition: int, records: Records, runs: dict[str, Run], verdict: Verdict) -> None:
        self.p, self.runs, self.v = partition, runs, verdict
        self.results: dict[int, bytes | None] = {
            record.offset: record.value for record in records.results.get(partition, ())
        }
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
        self.judge = Judge(self)
        self.shared = Shared(self)

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
        if kind < 30 and kind not in (Event.RUN_STARTED, Event.RUN_REFUSED, Event.RUN_REPEATED, _PASSED_ON):
            run = self.runs.get(run_id)
            if run is None or run.partition != self.p:
                self.bad("event without a run", f"{name_of(event)} of {run_id!r}")
                return
            self.judge.event(event, run, cause, offset, time_ms)
            if kind in _ANSWERED:
                self.answer(event, cause, offset)
            if kind == Event.RUN_FINISHED:
                self.shared.ended(run)
            return
        self.shared.event(event, run_id, self.runs)
        match kind:
            case Event.RUN_STARTED | Event.RUN_REFUSED | Event.RUN_REPEATED:
                self.starts.append(event)
                self.answer(event, cause, offset)
                if kind == Event.RUN_STARTED:
                    self.start(event, run_id)
                    self.shared.started(event, self.runs.get(run_id))
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
            run.waiting = event.state == "PENDING"
            states = ("PENDING",) if run.waiting else ("PENDING", "RUNNING")
            run.said += [(state, "", 0, self.epoch, self.seq) for state in states]

    def takeovers(self) -> list[Takeover]:
        for owner in self.owners:
            owner.pop("newest_ms", None)
        return [Takeover(self.p, **owner) for owner in self.owners]
