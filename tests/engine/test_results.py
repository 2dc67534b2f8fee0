"""What workers say: which result counts, and what becomes of the others."""

from __future__ import annotations

import json

import pytest

from indegree.engine.limits import Limits
from indegree.engine.outputs import problem
from indegree.events import json_values
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result
from indegree.v1.value_pb2 import Error, Reference, Value
from tests.engine.road import Road, workflow

TWICE = {"retry": {"max_attempts": 2}}


def test_a_late_result_of_a_timed_out_attempt_is_stale_and_drives_nothing() -> None:  # CASES row 29
    road = Road()
    run = road.start(workflow({"id": "a", "timeout": "2s", **TWICE}, {"id": "b", "args": {"x": "${{ a }}"}}))
    first = road.started("a")
    road.wait(2_000)
    assert [s.stop.reason for s in road.stops] == ["timeout"]
    road.wait(0)
    second = road.task("a")
    road.say(first, Result.SUCCEEDED, output=Value(json=b'"old"'))
    assert road.states(run) == {"a": "QUEUED", "b": "PENDING"}
    stale = road.events(Event.RESULT_STALE)
    assert [(e.attempt, e.worker) for e in stale] == [(1, "w1")]
    assert second.attempt == 2
    road.say(second, Result.SUCCEEDED, output=Value(json=b'"new"'))
    assert road.task("b").args == b'{"x":"new"}'
    assert len([t for t in road.taken if t.task_id == "b"]) == 1


def test_a_repeated_result_changes_nothing() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}, {"id": "b"}, {"id": "c", "depends_on": ["a", "b"]}))
    a = road.ok("a")
    road.say(a, Result.SUCCEEDED)
    road.say(a, Result.FAILED, reason="error")
    assert road.states(run)["c"] == "PENDING", "an edge settles once"
    assert len(road.events(Event.RESULT_STALE)) == 2


def test_the_first_started_binds_the_attempt_and_another_worker_is_told_to_stop() -> None:
    road = Road()
    road.start(workflow({"id": "a"}))
    task = road.started("a", worker="w1")
    road.say(task, Result.STARTED, worker="w2")
    road.say(task, Result.SUCCEEDED, worker="w2")
    assert road.core.state.runs
    assert [(e.worker, e.reason) for e in road.events(Event.RESULT_STALE)] == [
        ("w2", "the attempt is bound to worker w1")
    ]
    road.now += 1_000
    road.core.begin(road.now)
    road.cut()
    assert [(s.worker, s.stop.reason) for s in road.stops] == [("w2", "stale")]
    road.say(task, Result.SUCCEEDED, worker="w1")
    assert not road.core.state.runs


def test_a_short_task_passes_through_running_in_one_step() -> None:
    road = Road()
    road.start(workflow({"id": "a"}))
    road.ok("a")
    assert [p.type for p in road.progress if p.task_id] == ["task.queued", "task.success"]
    assert (road.last("a").started_ms, road.last("a").finished_ms) == (1, 2)


def test_stale_heartbeats_leave_no_trace_in_the_log_but_a_stop_now_and_then() -> None:
    road = Road()
    road.start(workflow({"id": "a", **TWICE}))
    task = road.started("a")
    road.core.begin(road.now)
    road.core.worker_lost("w1")
    road.step()
    events, frames = len(road.events()), len(road.log)
    road.stops.clear()
    for _ in range(100):
        road.now += 10
        road.say(task, Result.HEARTBEAT)
    assert len(road.events()) == events
    assert len(road.log) - frames <= 2
    assert {(s.worker, s.stop.attempt, s.stop.reason) for s in road.stops} == {("w1", 1, "stale")}


def test_a_heartbeat_keeps_an_attempt_and_silence_ends_it() -> None:
    road = Road(limits=Limits(heartbeat_timeout_ms=30_000))
    run = road.start(workflow({"id": "a", **TWICE}))
    task = road.started("a")
    for _ in range(5):
        road.wait(20_000)
        road.say(task, Result.HEARTBEAT)
    assert road.states(run)["a"] == "RUNNING"
    road.wait(30_000)
    assert road.states(run)["a"] in ("RETRYING", "QUEUED")
    failed = road.events(Event.ATTEMPT_FAILED)[0]
    assert (failed.reason, "30000 ms" in failed.error.message) == ("worker_lost", True)


def test_heartbeat_deadlines_begin_anew_after_a_takeover() -> None:
    road = Road(limits=Limits(heartbeat_timeout_ms=30_000))
    run = road.start(workflow({"id": "a"}))
    road.started("a")
    road.now += 29_000
    road.take_over()
    road.wait(29_000)
    assert road.states(run)["a"] == "RUNNING"
    road.wait(1_000)
    assert road.state(run) == "FAILED"


def test_a_rejected_attempt_is_not_used_up_and_is_sent_again_with_a_growing_delay() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}))
    for delay in (1_000, 2_000, 4_000):
        task = road.task("a")
        road.say(task, Result.REJECTED, error=Error(type="rejected", message="no module named m"))
        road.sent.clear()
        road.wait(delay - 1)
        assert road.take() == []
        road.wait(1)
        assert [t.attempt for t in road.take("w2")] == [1]
    assert road.last("a").reason == "rejected"
    assert "no module" in road.last("a").error.message
    assert road.core.run(run).attempts[0].rejections == 3  # type: ignore[union-attr]
    road.ok("a")
    assert road.state(run) == "SUCCESS"


def test_a_rejection_keeps_its_delay_across_a_takeover() -> None:
    road = Road()
    road.start(workflow({"id": "a"}))
    road.say(road.task("a"), Result.REJECTED)
    road.take_over()
    assert road.take() == []
    road.wait(1_000)
    assert len(road.take()) == 1


def test_what_a_worker_hands_back_goes_to_another_without_an_event() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}))
    task = road.task("a")
    events = len(road.events())
    road.say(task, Result.RETURNED)
    assert [(t.attempt, t.worker) for t in road.take("w2")] == [(1, "w2")]
    road.say(task, Result.RETURNED)  # again, by the first: it does not hold it any more
    assert road.take("w3") == []
    assert len(road.events()) == events
    assert road.states(run)["a"] == "QUEUED"


def test_a_lost_worker_fails_what_it_had_begun_and_gives_back_the_rest() -> None:
    road = Road()
    run = road.start(workflow({"id": "a", **TWICE}, {"id": "b"}))
    road.take("w1")
    road.started("a")
    road.core.begin(road.now)
    road.core.worker_lost("w1")
    road.step()
    assert road.states(run) == {"a": "RETRYING", "b": "QUEUED"}
    again = road.take("w2")
    assert [(t.task_id, t.attempt) for t in again] == [("b", 1)]


def test_a_result_too_large_fails_that_task_only_and_names_the_limit() -> None:  # CASES row 50
    road = Road(limits=Limits(value_bytes=1_000))
    run = road.start(workflow({"id": "a", "retry": {"max_attempts": 5}}, {"id": "b"}))
    road.ok("a", "x" * 2_000)
    assert road.states(run)["a"] == "FAILED"
    assert road.last("a").reason.startswith("result too large: 2002 > 1000 bytes (limits.value_bytes)")
    road.ok("b")
    assert road.state(run) == "FAILED"


def test_an_output_by_reference_beyond_the_limit_fails_its_task() -> None:
    road = Road()
    road.start(workflow({"id": "a"}))
    reference = Reference(parts=200, size=100_000_000, sha256=b"x" * 32)
    road.say(road.task("a"), Result.SUCCEEDED, output=Value(reference=reference))
    assert road.last("a").reason.startswith("result too large: 100000000 > 67108864 bytes (limits.payload_bytes)")


def test_an_output_by_reference_without_a_digest_is_refused() -> None:
    road = Road()
    road.start(workflow({"id": "a"}))
    road.say(road.task("a"), Result.SUCCEEDED, output=Value(reference=Reference(parts=1, size=5)))
    assert "without parts, size or digest" in road.last("a").reason


@pytest.mark.parametrize("data", [b"NaN", b"{", b"\xff", b'{"a":1,"a":2}', b"[" * 2_000, b"1e999", b"\xef\xbb\xbf1"])
def test_an_output_that_is_not_json_fails_its_task_with_the_reason(data: bytes) -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}))
    road.say(road.task("a"), Result.SUCCEEDED, output=Value(json=data))
    assert road.state(run) == "FAILED"
    assert road.last("a").reason.startswith("the result is not JSON")


def test_nul_comes_back_equal_and_a_lone_surrogate_fails_with_a_reason() -> None:  # CASES row 55
    road = Road()
    run = road.start(workflow({"id": "a"}, {"id": "b", "args": {"x": "${{ a }}"}}))
    road.ok("a", "a\x00b")
    assert json.loads(road.task("b").args) == {"x": "a\x00b"}
    road.say(road.task("b"), Result.SUCCEEDED, output=Value(json=b'"\\ud800"'))
    assert road.states(run)["b"] == "FAILED"


JSON_TEXTS = [
    b"null", b"1", b"-0", b"01", b"1.5", b"1.", b'"a"', b'"a\\n"', b'"\x01"', b"[1,2]", b"[1,]", b"[[1]]", b"{}",
    b'{"a":[{}]}', b'{"a":1,"a":1}', b" 1 ", b"tru", b'"\\ud800"', b'"\\u0041"', "\"ü\"".encode(), b"1e5", b"1e999",
    b"-Infinity", b"[]]", b"1 2", b'["\\"]', b"9" * 30, b"9" * 5_000, b"[" * 101 + b"]" * 101, b"[" * 100 + b"]" * 100,
]  # fmt: skip


@pytest.mark.parametrize("data", JSON_TEXTS)
def test_the_quick_check_of_outputs_agrees_with_the_thorough_one(data: bytes) -> None:
    try:
        json_values.loads(data)
        right = True
    except json_values.JsonValueError:
        right = False
    assert (problem(data, json_values.MAX_DEPTH) == "") is right


def test_results_of_unknown_runs_and_tasks_are_counted_and_leave_no_event() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}))
    events = len(road.events())
    road.result(Result(kind=Result.SUCCEEDED, run_id="20250101T000000.000Z-000000000000-0000", attempt=1, worker="w"))
    road.result(Result(kind=Result.SUCCEEDED, run_id=run, task=7, attempt=1, worker="w"))
    assert len(road.events()) == events
    assert road.core.counters["unknown"] == 2


def test_a_late_result_of_an_ended_run_is_recorded_as_stale() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}))
    task = road.ok("a")
    road.say(task, Result.SUCCEEDED)
    assert road.events(Event.RESULT_STALE)[0].reason == "the run has ended"
    assert road.state(run) == "SUCCESS"


def test_the_queue_timeout_counts_from_queued_and_uses_an_attempt() -> None:
    road = Road()
    run = road.start(workflow({"id": "a", "queue_timeout": "10s", **TWICE}))
    road.wait(10_000)
    assert road.events(Event.ATTEMPT_FAILED)[0].reason == "queue_timeout"
    road.wait(0)
    assert [t.attempt for t in road.take()] == [2], "the entry of attempt 1 in the ready queue is dead"
    road.wait(10_000)
    assert (road.state(run), road.last("a").reason) == ("FAILED", "queue_timeout")
    assert [s.stop.attempt for s in road.stops] == [2], "its worker had it, unbegun"


def test_inputs_too_large_in_sum_fail_their_task_before_it_is_queued() -> None:
    road = Road(limits=Limits(value_bytes=1_000, inputs_bytes=1_500))
    run = road.start(workflow({"id": "a"}, {"id": "b"}, {"id": "c", "args": {"x": "${{ a }}", "y": "${{ b }}"}}))
    road.ok("a", "x" * 900)
    road.ok("b", "x" * 900)
    assert road.states(run)["c"] == "FAILED"
    assert "inputs of task 'c' are 1904 bytes in sum, the limit is 1500 (limits.inputs_bytes)" in road.reasons(run)["c"]
