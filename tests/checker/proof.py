"""The proof: a pure function from records to a verdict. It trusts nothing but the records.

How: `log` goes through each partition of `events` and says what stands there. Here everything that led to the events,
and everything that they led to, is held against that: triggers, commands, messages between partitions, task records,
progress, dead letters.

What it does not prove: that an expression was evaluated rightly (a `when` is not evaluated again), and anything about
values.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection

from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Task
from indegree.v1.trigger_pb2 import Command, Trigger
from tests.checker import graphs
from tests.checker.log import INPUTS, Log
from tests.checker.progress import prove_progress
from tests.checker.reading import Record, Records, parse
from tests.checker.runs import PENDING, UNREADABLE, WORDS, Run, name_of
from tests.checker.verdict import Verdict

_LAST_TARGETS = 4_294_967_294  # outbox targets from here on are topics (workflows, dead-letter), not partitions
# One clock on one machine, but the broker rounds to milliseconds and stamps a batch when it is made.
_CLOCK_MS = 20


def prove(records: Records, *, running_ok: bool = False, expect_runs: Collection[str] = ()) -> Verdict:
    """The verdict on these records. `running_ok`: what is not finished yet is no fault. Pure but for its stopwatch."""
    begun = time.monotonic()
    verdict = Verdict()
    runs: dict[str, Run] = {}
    logs = {p: Log(p, records, runs, verdict) for p in sorted(records.events)}
    for p, log in logs.items():
        events = records.events[p]
        if events and events[0].offset:
            verdict.bad(
                "log was shortened", f"partition {p} begins at {events[0].offset}: only a whole log can be proven"
            )
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
        self, records: Records, runs: dict[str, Run], logs: dict[int, Log], verdict: Verdict, running_ok: bool
    ) -> None:
        self.records, self.runs, self.logs, self.v, self.running_ok = records, runs, logs, verdict, running_ok
        self.answers: dict[tuple[int, int], list[Event]] = defaultdict(list)  # trigger -> events that answer it
        for log in logs.values():
            for event in log.starts:
                if not event.origin.kind:  # else no trigger led to it
                    self.answers[event.origin.partition, event.origin.offset].append(event)

    def inputs(self) -> None:
        """Every trigger ended or was refused with a reason; every command was answered; no message was lost."""
        for p, log in self.logs.items():
            for cause, topic in ((0, self.records.triggers), (1, self.records.commands)):
                for record in topic.get(p, ()):
                    self.v.counts[INPUTS[cause]] += 1
                    if record.value is None:
                        self.v.counts["tombstones"] += 1
                    elif record.offset >= log.next[cause]:
                        if not self.running_ok:
                            self.v.bad(
                                f"unread {INPUTS[cause]}",
                                f"partition {p} offset {record.offset}, read up to {log.next[cause]}",
                            )
                    elif cause == 0:
                        self.trigger(log, record)
                    else:
                        self.command(log, record)
            for target, number in log.outbox.items():
                lost = target < _LAST_TARGETS and target in self.logs and number > self.logs[target].received.get(p, 0)
                if lost and not self.running_ok:
                    self.v.bad(
                        "lost message",
                        f"partition {p} to {target}: {number} sent, {self.logs[target].received.get(p, 0)} received",
                    )

    def trigger(self, log: Log, record: Record) -> None:
        where = f"triggers partition {log.p} offset {record.offset}"
        answers = self.answers[log.p, record.offset]
        refused = [event for event in log.answers.get((0, record.offset), ()) if event.kind == Event.INPUT_REFUSED]
        if len(answers) + len(refused) != 1:
            names = ", ".join(name_of(event) for event in (*answers, *refused))
            if names:
                self.v.bad("trigger with two answers", f"{where}: {names}")
            elif not self.running_ok or (0, record.offset) not in log.answers:  # else it is on its way elsewhere
                self.v.bad("lost trigger", f"{where} was passed, and nothing says what became of it")
            return
        (answer,) = (*answers, *refused)
        self.v.counts[f"triggers: {name_of(answer)}"] += 1
        if refused:
            return
        try:
            start = parse(Trigger, record.value or b"").start
        except UNREADABLE:
            self.v.bad("answer to an unreadable trigger", where)
            return
        if start.workflow != answer.workflow or start.request_id != answer.request_id:
            asked, told = (start.workflow, start.request_id), (answer.workflow, answer.request_id)
            self.v.bad("answer to another trigger", f"{where} asks for {asked}, answered {told}")
        if answer.kind == Event.RUN_STARTED and start.run_id not in ("", answer.run_id):
            self.v.bad("answer to another trigger", f"{where} asks for {start.run_id}, the run is {answer.run_id}")

    def command(self, log: Log, record: Record) -> None:
        if (1, record.offset) in log.answers:
            return
        where = f"commands partition {log.p} offset {record.offset}"
        try:
            command = parse(Command, record.value or b"")
        except UNREADABLE:
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
                if attempt.worker and attempt.worker not in attempt.sent and not self.running_ok:
                    self.v.bad(
                        "attempt of a worker that was not asked",
                        f"{run.run_id} {run.names[task]} {number}: {attempt.worker}",
                    )

    def task(self, queue: str, record: Record) -> None:
        try:
            task = parse(Task, record.value or b"")
        except UNREADABLE:
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
        right = (run.names[task.task], run.partition, run.version, run.graph.queues[run.nodes[task.task]])
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
                self.v.bad(
                    "task record of an attempt that was not outstanding", f"{what}: started or over before that epoch"
                )

    def progress(self) -> None:
        """Each transition and each answer has its record, and no record is without one."""
        homes: dict[int, list[Run]] = defaultdict(list)
        for run in self.runs.values():
            homes[run.partition].append(run)
        for p, log in self.logs.items():
            prove_progress(log, homes[p], self.records.progress.get(p, []), self.v, running_ok=self.running_ok)

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
                stuck = next(
                    (
                        i
                        for i, s in enumerate(run.states)
                        if s == PENDING and run.counts(i) and run.decided(i) != graphs.WAIT
                    ),
                    None,
                )
                hint = f"; {run.names[stuck]} is decided and was not fired" if stuck is not None else ""
                self.v.bad("run that has not ended", f"{run.run_id}: {states}{hint}")
        for run_id in expect_runs:
            if not self.v.runs.get(run_id):
                self.v.bad("expected run that has not ended", run_id)
