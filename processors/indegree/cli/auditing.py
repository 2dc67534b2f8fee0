"""What the event logs say of each record of a user's topic, put beside the topic itself. Pure.

Why: "a start comes exactly once of each record" is a claim; here it is checked from Kafka alone, record by record.

How: events in force are told one by one (`Ledger.event`); they say which position each intake moved to and why, and
which runs began with, repeated or were refused for which record. `judge` then goes through the records that the topic
has between two offsets. A record is decided by the first event whose position lies behind it; that event says how many
starts the record directly below the position caused, and all others started nothing.

It must never take the engine's word for a run: what counts is the run's own first event, in whatever partition.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from indegree.v1.event_pb2 import Event

_ANSWERS = {Event.RUN_STARTED: "started", Event.RUN_REPEATED: "repeated", Event.RUN_REFUSED: "refused"}


@dataclass(slots=True)
class Decided:
    """An event that moved the position of an intake. begin, end: the records that it decides."""

    begin: int
    end: int
    total: int
    reason: str
    lost: bool


@dataclass(slots=True)
class Intake:
    """One partition of the topic, by the log of the partition that it belongs to. first: -1 while it is not known."""

    first: int = -1
    position: int = -1
    decided: list[Decided] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Verdict:
    """Of one partition of the topic: counts of records, and what is wrong."""

    partition: int
    begin: int
    end: int
    records: int = 0
    started: int = 0
    passed_over: int = 0
    refused: int = 0
    runs: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Every record had its answer, and none two."""
        return not self.problems


class Ledger:
    """Of one topic."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.intakes: dict[int, Intake] = {}
        # (partition, offset) -> (workflow, answer) -> how many
        self.answers: dict[tuple[int, int], Counter[tuple[str, str]]] = defaultdict(Counter)
        self.reasons: dict[tuple[int, int], str] = {}

    def event(self, event: Event) -> None:
        """The next event in force, of any partition; those of one partition in the order of its log."""
        kind = event.kind
        if kind in _ANSWERS:
            origin = event.origin
            if origin.topic == self.topic and origin.kind == "kafka":
                place = origin.partition, origin.offset
                self.answers[place][event.workflow, _ANSWERS[kind]] += 1
                if event.reason:
                    self.reasons.setdefault(place, event.reason)
        elif kind == Event.INTAKE_BEGAN and event.topic == self.topic:
            intake = self.intakes.setdefault(event.target, Intake())
            if intake.position < 0 and event.state != "ended":
                intake.first = intake.position = event.number
        elif kind == Event.INTAKE_DECIDED and event.topic == self.topic:
            self._decided(self.intakes.setdefault(event.target, Intake()), event)

    def known(self, partition: int, position: int) -> None:
        """A snapshot says where an intake stands, which matters where the log begins with it."""
        intake = self.intakes.setdefault(partition, Intake())
        if intake.position < 0:
            intake.first = intake.position = position

    def _decided(self, intake: Intake, event: Event) -> None:
        lost = event.state == "lost"
        if intake.position < 0:  # the log begins in the middle: the record right below is the first that is known
            intake.first = intake.position = event.number - 1
        if event.number <= intake.position and not lost:
            intake.faults.append(f"the position goes from {intake.position} back to {event.number}")
        intake.decided.append(Decided(intake.position, event.number, event.total, event.reason, lost))
        intake.position = event.number

    def judge(self, partition: int, offsets: Iterable[int], begin: int, end: int) -> Verdict:
        """`offsets`: those of the records that the topic has in [begin, end), ascending; tombstones are among them."""
        verdict = Verdict(partition, begin, end)
        intake = self.intakes.get(partition)
        if intake is None:
            verdict.problems.append("no event log has an intake of this partition")
            return verdict
        verdict.problems += intake.faults
        ordered = [d for d in intake.decided if not d.lost]
        ends = [decided.end for decided in ordered]
        seen: set[int] = set()
        for offset in offsets:
            seen.add(offset)
            verdict.records += 1
            place = bisect_right(ends, offset)
            covers = place < len(ordered) and ordered[place].begin <= offset
            self._one(verdict, partition, offset, ordered[place] if covers else None)
        for of, offset in self.answers:
            if of == partition and begin <= offset < end and offset not in seen:
                verdict.problems.append(f"offset {offset} has answers, and the topic has no such record")
        return verdict

    def _one(self, verdict: Verdict, partition: int, offset: int, decided: Decided | None) -> None:
        answers = self.answers.get((partition, offset), Counter())
        started = {workflow: n for (workflow, answer), n in answers.items() if answer == "started"}
        verdict.runs += sum(started.values())
        twice = sorted(workflow for workflow, n in started.items() if n > 1)
        if twice:
            verdict.problems.append(f"offset {offset} started {', '.join(twice)} more than once")
        if decided is None:
            verdict.problems.append(f"offset {offset} is not decided")
            return
        is_last = offset == decided.end - 1
        total, reason = (decided.total, decided.reason) if is_last else (0, "")
        answered = {workflow for workflow, _ in answers}
        if len(answered) < total or (not reason and len(answered) > total):
            verdict.problems.append(
                f"offset {offset} was decided with {total} starts, and the logs have {len(answered)} answers to them"
            )
        refused = any(answer == "refused" for _, answer in answers)
        if started or any(answer == "repeated" for _, answer in answers):
            verdict.started += 1
        elif refused or reason:
            verdict.refused += 1
            if not (reason or self.reasons.get((partition, offset))):
                verdict.problems.append(f"offset {offset} was refused without a reason")
        else:
            verdict.passed_over += 1
