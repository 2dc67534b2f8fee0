"""A run as the sum of its progress records: repeats are left out, gaps are errors, states are those of the records."""

from __future__ import annotations

import pytest

from indegree.events.codec import decode_progress, progress_json
from indegree.sdk.client_errors import ProgressGap
from indegree.sdk.client_events import RunEvent, RunState, StoredValue
from indegree.v1.progress_pb2 import Progress
from indegree.v1.value_pb2 import Reference

RUN = "20261125T101530.123Z-0123456789AB-0003"


def event(position: int, kind: str, state: str = "", task: str = "", **fields: object) -> RunEvent:
    """A progress record of the run, as it comes from the topic."""
    record = Progress(id=f"{RUN}/{position}", type=kind, run_id=RUN, workflow="orders", state=state, task_id=task)
    record.position = position
    record.time_ms = 1_000 + position
    record.log.epoch = 1
    for name, value in fields.items():
        if name == "output":
            record.output.json = str(value).encode()
        elif name == "error":
            record.error.type, record.error.message = "ValueError", str(value)
        else:
            setattr(record, name, value)
    return RunEvent.of(record)


def begun() -> RunState:
    state = RunState(RUN)
    state.apply(event(1, "run.accepted", "PENDING"))
    state.apply(event(2, "run.running", "RUNNING"))
    return state


def test_the_state_of_a_run_is_that_of_its_last_record() -> None:
    state = begun()
    assert (state.state, state.accepted, state.ended) == ("RUNNING", True, False)
    assert state.apply(event(3, "run.failed", "FAILED", reason="task load failed"))
    assert (state.state, state.reason, state.ended, state.finished_ms) == ("FAILED", "task load failed", True, 1_003)


def test_a_repeated_record_changes_nothing() -> None:
    state = begun()
    state.apply(event(3, "task.queued", "QUEUED", "load", attempt=1))
    assert not state.apply(event(2, "run.running", "RUNNING"))
    assert not state.apply(event(3, "task.failed", "FAILED", "load", attempt=1))
    assert (state.position, state.tasks["load"].state) == (3, "QUEUED")


def test_a_missing_record_is_an_error_that_names_the_positions_and_the_way_out() -> None:
    state = begun()
    with pytest.raises(ProgressGap, match=r"position 5 follows 2, so 2 record\(s\) are missing.*indegree replay"):
        state.apply(event(5, "task.queued", "QUEUED", "load", attempt=1))
    assert state.position == 2


def test_a_task_keeps_its_id_over_a_retry_and_counts_attempts() -> None:
    state = begun()
    state.apply(event(3, "task.queued", "QUEUED", "load", attempt=1))
    state.apply(event(4, "task.retrying", "RETRYING", "load", attempt=1, reason="error", error="down", due_ms=9_000))
    assert (state.tasks["load"].state, state.tasks["load"].attempts) == ("RETRYING", 1)
    assert str(state.tasks["load"].error) == "ValueError: down"
    state.apply(event(5, "task.queued", "QUEUED", "load", attempt=2))
    state.apply(
        event(6, "task.success", "SUCCESS", "load", attempt=2, output='{"rows":3}', started_ms=5, finished_ms=9)
    )
    task = state.tasks["load"]
    assert list(state.tasks) == ["load"]
    assert (task.state, task.attempts, task.output, task.error) == ("SUCCESS", 2, {"rows": 3}, None)
    assert (task.started_ms, task.finished_ms) == (5, 9)


def test_a_rejected_attempt_shows_as_queued_with_the_worker_s_words() -> None:
    state = begun()
    state.apply(event(3, "task.queued", "QUEUED", "load", attempt=1))
    state.apply(event(4, "task.queued", "QUEUED", "load", attempt=1, error="was not given the module orders.load"))
    assert state.tasks["load"].attempts == 1
    assert "not given the module" in str(state.tasks["load"].error)


def test_a_refused_start_ends_the_run_with_its_reason() -> None:
    state = RunState(RUN)
    state.apply(event(0, "run.refused", reason="unknown workflow"))
    assert (state.refused, state.ended, state.accepted) == ("unknown workflow", True, False)


def test_a_refusal_of_a_later_start_with_the_same_id_does_not_touch_the_run() -> None:
    state = begun()
    assert not state.apply(event(0, "run.refused", reason="this id is in use"))
    assert (state.refused, state.state) == (None, "RUNNING")


def test_an_answer_to_a_command_is_no_transition() -> None:
    state = begun()
    assert not state.apply(event(0, "command.accepted"))
    assert state.position == 2


def test_skipped_tasks_keep_their_reason() -> None:
    state = begun()
    state.apply(event(3, "task.skipped", "SKIPPED", "load", reason="upstream_skipped"))
    assert (state.tasks["load"].state, state.tasks["load"].reason) == ("SKIPPED", "upstream_skipped")


def test_an_absent_output_is_null_and_a_present_one_is_the_json_value() -> None:
    assert event(3, "task.success", "SUCCESS", "load").output is None
    assert event(3, "task.success", "SUCCESS", "load", output="9007199254740993").output == 9007199254740993
    assert event(3, "task.success", "SUCCESS", "load", output='"a\\u0000b"').output == "a\x00b"


def test_a_reference_comes_through_both_forms_of_a_record_and_back() -> None:
    lies = Reference(
        partition=2, offset=2**40, parts=9, size=4_000_000, sha256=b"\xff" * 32, list=True, whole=5_000_000
    )
    record = Progress(type="task.success", run_id=RUN, task_id="load", state="SUCCESS", position=3)
    record.output.reference.CopyFrom(lies)
    for data in (record.SerializeToString(), progress_json(record)):
        value = RunEvent.of(decode_progress(data)).output
        assert isinstance(value, StoredValue)
        assert value.reference == lies
        assert (value.size, value.whole) == (4_000_000, 5_000_000)


def test_a_value_that_only_looks_like_a_reference_stays_a_value() -> None:
    for text in (b'{"$reference":{"size":1}}', b'{"$reference":5}', b'{"$reference":{},"x":1}'):
        record = Progress(type="task.success", run_id=RUN, task_id="load", position=3)
        record.output.json = text
        assert decode_progress(progress_json(record)).output.json == text
