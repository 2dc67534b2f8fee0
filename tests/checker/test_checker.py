"""The checker passes on a right log, and finds each fault that is put into it, under its name."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Start, Trigger
from tests.checker import Verdict, graphs, prove
from tests.checker.logs import RUN, Cluster, diamond, ended, queued, started
from tests.checker.reading import Record, parse


def doctor(records: list[Record], kind: Any, at: int) -> Callable[[Callable[[Any], object]], None]:
    """Changes one record in place."""

    def apply(change: Callable[[Any], object]) -> None:
        message = kind.FromString(records[at].value or b"")
        change(message)
        records[at] = records[at]._replace(value=message.SerializeToString())

    return apply


def test_a_right_log_is_proven() -> None:
    verdict = prove(diamond().records)
    assert verdict.ok, verdict.report()
    assert verdict.runs == {RUN: "SUCCESS"}
    assert verdict.counts["tasks succeeded"] == 4
    assert verdict.counts["attempts sent again"] == 2
    assert verdict.counts["void events"] == 1
    assert [(t.owner, t.epoch) for t in verdict.takeovers] == [("e1", 1), ("e2", 2)]
    assert (verdict.takeovers[1].silence_ms or 0) > 0


def test_an_unfinished_run_is_a_fault_unless_it_may_run() -> None:
    cluster = diamond()
    del cluster.records.events[0][-1], cluster.records.progress[0][-2:]
    assert "run that has not ended" in prove(cluster.records).fault_counts
    assert prove(cluster.records, running_ok=True).ok


def completion_twice(c: Cluster) -> None:
    c.frame(ended(3, c.result(3)))


def child_fired_early(c: Cluster) -> None:
    c.records.events[0][:] = []
    c.announce("e1", 1)
    c.frame(*started(0), queued(0), queued(3))


def gap_in_progress(c: Cluster) -> None:
    del c.records.progress[0][4]


def progress_is_missing_at_the_end(c: Cluster) -> None:
    del c.records.progress[0][-1]


def progress_repeated_with_other_content(c: Cluster) -> None:
    record = Progress.FromString(c.records.progress[0][-1].value or b"")
    record.state = "FAILED"
    c.put(c.records.progress[0], record.SerializeToString())


def progress_says_something_else(c: Cluster) -> None:
    doctor(c.records.progress[0], Progress, 3)(lambda p: setattr(p, "state", "FAILED"))


def progress_of_a_transition_that_is_not_there(c: Cluster) -> None:
    c.say("SUCCESS")


def task_record_of_a_void_frame(c: Cluster) -> None:
    doctor(c.records.tasks["default"][0], Task, 3)(lambda t: setattr(t, "seq", 5))


def task_record_of_an_old_owner_after_the_start(c: Cluster) -> None:
    c.epoch = 2
    c.send(0, 2, seq=0)


def position_goes_back(c: Cluster) -> None:
    doctor(c.records.events[0], Frame, -1)(lambda f: f.next.__setitem__(2, 1))


def cause_that_was_not_read(c: Cluster) -> None:
    doctor(c.records.events[0], Frame, -1)(lambda f: setattr(f.events[0], "cause_offset", 99))


def lost_trigger(c: Cluster) -> None:
    c.put(c.records.triggers[0], Trigger(start=Start(workflow="diamond")).SerializeToString())
    c.frame()


def unread_trigger(c: Cluster) -> None:
    c.put(c.records.triggers[0], Trigger(start=Start(workflow="diamond")).SerializeToString())


def attempt_number_skipped(c: Cluster) -> None:
    doctor(c.records.events[0], Frame, 3)(lambda f: setattr(f.events[0], "attempt", 3))


def completion_by_another_attempts_result(c: Cluster) -> None:
    doctor(c.records.results[0], Result, 1)(lambda r: setattr(r, "attempt", 1))


def frame_without_announcement(c: Cluster) -> None:
    c.epoch, c.seq = 7, 0
    c.frame()


def run_finished_early(c: Cluster) -> None:
    doctor(c.records.events[0], Frame, -1)(lambda f: f.events.pop(0))


def wrong_end_of_a_run(c: Cluster) -> None:
    doctor(c.records.events[0], Frame, -1)(lambda f: setattr(f.events[-1], "state", "FAILED"))


def refusal_without_a_dead_letter(c: Cluster) -> None:
    offset = c.put(c.records.triggers[0], b"\x00\xff{")
    c.frame(Event(kind=Event.INPUT_REFUSED, reason="not readable", cause=0, cause_offset=offset))


def refused_start_without_progress(c: Cluster) -> None:
    offset = c.put(c.records.triggers[0], Trigger(start=Start(workflow="nowhere")).SerializeToString())
    refusal = Event(kind=Event.RUN_REFUSED, workflow="nowhere", reason="not known", cause=0, cause_offset=offset)
    refusal.origin.offset = offset
    c.frame(refusal)


def answer_on_progress_without_an_event(c: Cluster) -> None:
    record = Progress(id="x", type="run.refused", reason="not known")
    record.log.epoch, record.log.seq = 1, 1
    record.log.index = 3
    c.put(c.records.progress[0], record.SerializeToString())


def trigger_answered_twice(c: Cluster) -> None:
    repeat = Event(kind=Event.RUN_REPEATED, run_id=RUN, workflow="diamond")
    c.frame(repeat)


def started_after_a_cancel(c: Cluster) -> None:
    doctor(c.records.events[0], Frame, 2)(
        lambda f: f.events.insert(0, Event(kind=Event.RUN_CANCEL_REQUESTED, run_id=RUN, state="CANCELLED"))
    )


def log_that_was_shortened(c: Cluster) -> None:
    del c.records.events[0][0]


def definition_with_another_hash(c: Cluster) -> None:
    doctor(c.records.events[0], Frame, 1)(lambda f: setattr(f.events[0], "data", zlib.compress(b'{"tasks":[]}')))


def dead_letter_without_a_refusal(c: Cluster) -> None:
    headers = [("indegree.topic", b"x.triggers"), ("indegree.partition", b"0"), ("indegree.offset", b"0")]
    c.put(c.records.dead_letters[0], b"", headers)


def time_goes_back(c: Cluster) -> None:
    doctor(c.records.events[0], Frame, -1)(lambda f: setattr(f, "time_ms", 1))


def frame_lost_from_the_middle(c: Cluster) -> None:
    del c.records.events[0][2]


def worker_that_was_not_asked(c: Cluster) -> None:
    doctor(c.records.tasks["default"][0], Task, -1)(lambda t: setattr(t, "worker", "w2"))


DOCTORED = [
    (completion_twice, "second end of a task"),
    (child_fired_early, "child fired early"),
    (gap_in_progress, "gap in progress"),
    (progress_is_missing_at_the_end, "transition without progress"),
    (progress_repeated_with_other_content, "progress repeated with other content"),
    (progress_says_something_else, "progress differs from the log"),
    (progress_of_a_transition_that_is_not_there, "progress without a transition"),
    (task_record_of_a_void_frame, "task record of a void or unknown frame"),
    (task_record_of_an_old_owner_after_the_start, "task record of an attempt that was not outstanding"),
    (position_goes_back, "position goes back"),
    (cause_that_was_not_read, "cause outside the positions"),
    (lost_trigger, "lost trigger"),
    (unread_trigger, "unread triggers"),
    (attempt_number_skipped, "attempt number"),
    (completion_by_another_attempts_result, "result of another attempt"),
    (frame_without_announcement, "frame without announcement"),
    (run_finished_early, "run finished early"),
    (wrong_end_of_a_run, "wrong end of a run"),
    (refusal_without_a_dead_letter, "refusal without a dead letter"),
    (dead_letter_without_a_refusal, "dead letter without a refusal"),
    (refused_start_without_progress, "answer without progress"),
    (answer_on_progress_without_an_event, "progress without an event"),
    (trigger_answered_twice, "trigger with two answers"),
    (started_after_a_cancel, "started after the run's cancel"),
    (log_that_was_shortened, "log was shortened"),
    (definition_with_another_hash, "definition"),
    (time_goes_back, "time goes back"),
    (frame_lost_from_the_middle, "task record of a void or unknown frame"),
    (worker_that_was_not_asked, "attempt of a worker that was not asked"),
]


@pytest.mark.parametrize(("change", "fault"), DOCTORED, ids=[change.__name__ for change, _ in DOCTORED])
def test_a_doctored_log_is_found_out(change: Callable[[Cluster], None], fault: str) -> None:
    cluster = diamond()
    change(cluster)
    verdict = prove(cluster.records)
    assert not verdict.ok
    assert fault in verdict.fault_counts, verdict.report()


def test_a_progress_record_repeated_word_by_word_is_no_fault() -> None:
    cluster = diamond()
    cluster.put(cluster.records.progress[0], cluster.records.progress[0][-1].value)
    verdict = prove(cluster.records)
    assert verdict.ok, verdict.report()
    assert verdict.counts["progress repeated"] == 1


def test_an_expected_run_that_is_nowhere_is_a_fault() -> None:
    assert "expected run that has not ended" in prove(diamond().records, expect_runs=["nowhere"]).fault_counts


def test_json_records_are_read_like_protobuf() -> None:
    trigger = parse(Trigger, b' {"start": {"workflow": "w", "params": {"x": [1]}, "request_id": "r"}}')
    assert (trigger.start.workflow, trigger.start.request_id) == ("w", "r")


@pytest.mark.parametrize(
    ("rule", "edges", "right"),
    [
        ("all_success", (2, 1, 1, 0), graphs.UPSTREAM_SKIPPED),
        ("all_success", (3, 1, 1, 0), graphs.WAIT),
        ("all_success", (3, 0, 0, 1), graphs.UPSTREAM_FAILED),
        ("none_failed_min_one_success", (2, 0, 1, 0), graphs.WAIT),
        ("none_failed_min_one_success", (2, 1, 1, 0), graphs.RUN),
        ("one_failed", (2, 1, 0, 1), graphs.RUN),
        ("all_done", (2, 0, 1, 1), graphs.RUN),
        ("all_success", (0, 0, 0, 0), graphs.RUN),
    ],
)
def test_a_rule_is_decided_only_when_nothing_can_change(
    rule: str, edges: tuple[int, int, int, int], right: str
) -> None:
    assert graphs.decide(rule, *edges) == right


def test_it_shares_no_code_with_the_engine() -> None:
    code = "import sys, tests.checker; print(*(m for m in sys.modules if m.startswith('indegree.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.split(".")[1] for name in done.stdout.split()} == {"v1"}


def test_the_report_ends_with_the_verdict() -> None:
    good, bad = prove(diamond().records), Verdict()
    bad.bad("lost trigger", "there")
    assert "ALL GOOD" in good.report().splitlines()[-1]
    assert "1 FAULTS" in bad.report().splitlines()[-1]
