"""Reruns: what begins again and what keeps its output, in runs that go on and in runs that have ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from indegree.engine.limits import Limits
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result
from indegree.v1.trigger_pb2 import Command, Pause, Resume, Start
from indegree.v1.value_pb2 import Value
from tests.engine.reopening import mark, past_of, rerun, skip
from tests.engine.road import Road, workflow

DIAMOND = (
    {"id": "a"},
    {"id": "b", "depends_on": ["a"]},
    {"id": "c", "depends_on": ["a"]},
    {"id": "d", "args": {"b": "${{ b }}", "c": "${{ c }}"}},
)


def mapped(id: str = "m", **fields: Any) -> dict[str, Any]:
    return {"id": id, "foreach": "list", "args": {"x": "${{ item }}"}, **fields}


def attempts(road: Road) -> list[tuple[str, int, int]]:
    """(task, attempt, generation) of all that was ever queued."""
    return [(p.task_id, p.attempt, p.generation) for p in road.progress if p.type == "task.queued"]


def failed_diamond(road: Road) -> str:
    run = road.start(workflow(*DIAMOND))
    road.ok("a", 1)
    road.ok("b", 2)
    road.fail("c")
    assert road.state(run) == "FAILED"
    return run


def test_a_rerun_from_failed_of_a_run_that_has_ended_repeats_nothing_that_succeeded() -> None:  # CASES 27
    road = Road()
    run = failed_diamond(road)
    assert rerun(road, run) == ""
    assert road.states(run) == {"a": "SUCCESS", "b": "SUCCESS", "c": "QUEUED", "d": "PENDING"}
    road.ok("c", 3)
    assert json.loads(road.task("d").args) == {"b": 2, "c": 3}
    road.ok("d")
    assert road.state(run) == "SUCCESS"
    assert attempts(road) == [("a", 1, 0), ("b", 1, 0), ("c", 1, 0), ("c", 1, 1), ("d", 1, 1)]
    positions = [p.position for p in road.progress if p.run_id == run and p.position]
    assert positions == list(range(1, len(positions) + 1))


def test_a_rerun_from_failed_of_a_run_that_goes_on_repeats_nothing_that_succeeded() -> None:  # CASES 27
    road = Road()
    run = road.start(workflow(*DIAMOND, {"id": "slow"}))
    road.ok("a", 1)
    road.ok("b", 2)
    slow = road.started("slow")
    road.fail("c")
    assert rerun(road, run) == ""
    road.snapshot()
    road.take_over()
    road.ok("c", 3)
    road.ok("d")
    road.say(slow, Result.SUCCEEDED)
    assert road.state(run) == "SUCCESS"
    assert [name for name, *_ in attempts(road)].count("slow") == 1


@pytest.mark.parametrize("at", ["before", "after", "both"])
def test_a_rerun_survives_takeovers_and_snapshots(at: str) -> None:
    road = Road()
    run = failed_diamond(road)
    if at != "after":
        road.snapshot()
        road.take_over()
    assert rerun(road, run, reason="disk was full") == ""
    [event] = road.events(Event.RUN_RERUN)
    assert (event.reason, event.actor) == ("disk was full", "ann")
    [reopened] = road.events(Event.RUN_REOPENED)
    assert (reopened.reason, reopened.actor) == ("disk was full", "ann")
    if at != "before":
        road.snapshot()
        road.take_over()
    road.ok("c")
    road.take_over()
    road.ok("d")
    assert road.state(run) == "SUCCESS"


def test_a_run_may_fail_and_be_rerun_any_number_of_times() -> None:
    road = Road()
    run = failed_diamond(road)
    for generation in range(1, 4):
        assert rerun(road, run) == ""
        assert road.fail("c").generation == generation
        assert road.state(run) == "FAILED"
        road.snapshot()
        road.take_over()
    assert rerun(road, run) == ""
    road.ok("c")
    road.ok("d")
    assert road.state(run) == "SUCCESS"
    assert rerun(road, run).startswith("no task of the run has failed")


def test_a_named_task_begins_again_with_all_that_hangs_below_it() -> None:
    road = Road()
    run = road.start(workflow(*DIAMOND))
    for name in "abcd":
        road.ok(name, name)
    assert road.state(run) == "SUCCESS"
    assert rerun(road, run, "b") == ""
    assert road.states(run) == {"a": "SUCCESS", "b": "QUEUED", "c": "SUCCESS", "d": "PENDING"}
    road.ok("b", "B")
    assert json.loads(road.task("d").args) == {"b": "B", "c": "c"}
    road.ok("d")
    assert road.state(run) == "SUCCESS"


def test_what_is_under_way_below_is_stopped_and_its_late_result_is_stale() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}, {"id": "b", "args": {"a": "${{ a }}"}}))
    road.ok("a", 1)
    late = road.started("b")
    assert rerun(road, run, "a") == ""
    assert [(s.stop.task, s.stop.reason) for s in road.stops] == [(1, "stale")]
    road.ok("a", 2)
    road.say(late, Result.SUCCEEDED, output=Value(json=b'"late"'))
    assert len(road.events(Event.RESULT_STALE)) == 1
    assert json.loads(road.task("b").args) == {"a": 2}
    road.ok("b", "new")
    assert road.last("b").output.json == b'"new"'
    assert road.state(run) == "SUCCESS"


def test_a_condition_is_asked_again_with_the_new_output() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}, {"id": "b", "when": "a.go"}, {"id": "c", "depends_on": ["b"]}))
    road.ok("a", {"go": False})
    assert road.states(run)["b"] == "SKIPPED"
    assert rerun(road, run, "a") == ""
    road.ok("a", {"go": True})
    road.ok("b")
    road.ok("c")
    assert road.state(run) == "SUCCESS"


def test_a_cancelled_run_goes_on_where_it_was() -> None:
    road = Road()
    run = road.start(workflow(*DIAMOND))
    road.ok("a", 1)
    road.ok("b", 2)
    road.cancel(run)
    assert road.state(run) == "CANCELLED"
    assert rerun(road, run) == ""
    road.ok("c")
    road.ok("d")
    assert road.state(run) == "SUCCESS"
    assert attempts(road).count(("a", 1, 0)) == 1


def test_only_the_instances_that_failed_begin_again() -> None:
    road = Road()
    run = road.start(workflow({"id": "list"}, mapped(), {"id": "sum", "args": {"all": "${{ m }}"}}))
    road.ok("list", ["a", "b", "c"])
    road.ok("m[0]", 0)
    road.fail("m[1]")
    road.ok("m[2]", 2)
    assert road.state(run) == "FAILED"
    assert rerun(road, run) == ""
    road.snapshot()
    road.take_over()
    road.ok("m[1]", 1)
    assert json.loads(road.task("sum").args) == {"all": [0, 1, 2]}
    road.ok("sum")
    assert road.state(run) == "SUCCESS"
    assert sorted(name for name, *_ in attempts(road)).count("m[0]") == 1


def test_of_what_follows_element_by_element_only_the_same_places_begin_again() -> None:
    road = Road()
    follower = {"id": "f", "foreach_with": "m", "args": {"x": "${{ item }}"}}
    run = road.start(workflow({"id": "list"}, mapped(), follower))
    road.ok("list", ["a", "b"])
    road.ok("m[0]", 0)
    road.ok("f[0]", 10)
    road.fail("m[1]")
    assert road.state(run) == "FAILED"
    assert rerun(road, run) == ""
    road.take_over()
    road.ok("m[1]", 1)
    task = road.ok("f[1]", 11)
    assert json.loads(task.args) == {"x": 1}
    assert json.loads(road.last("f").output.json) == [10, 11]
    assert road.state(run) == "SUCCESS"
    assert [name for name, *_ in attempts(road)].count("f[0]") == 1


@pytest.mark.parametrize("live", [False, True])
def test_a_mapped_task_below_is_expanded_anew(live: bool) -> None:
    road = Road(limits=Limits(frame_events=2))
    run = road.start(workflow({"id": "list"}, mapped(), {"id": "sum", "args": {"all": "${{ m }}"}}))
    road.ok("list", ["a", "b", "c"])
    late = road.started("m[1]")
    road.ok("m[0]", 0)
    if not live:
        road.ok("m[1]", 1)
        road.ok("m[2]", 2)
        road.ok("sum")
        assert road.state(run) == "SUCCESS"
    assert rerun(road, run, "list") == ""
    road.snapshot()
    road.take_over()
    road.ok("list", ["x", "y"])
    road.say(late, Result.SUCCEEDED, output=Value(json=b"9"))
    assert json.loads(road.ok("m[0]", "X").args) == {"x": "x"}
    road.take_over()
    road.snapshot()
    road.ok("m[1]", "Y")
    assert json.loads(road.task("sum").args) == {"all": ["X", "Y"]}
    road.ok("sum")
    assert road.state(run) == "SUCCESS"


def test_a_named_instance_begins_again_alone_and_what_hangs_below_the_whole() -> None:
    road = Road()
    run = road.start(workflow({"id": "list"}, mapped(), {"id": "sum", "args": {"all": "${{ m }}"}}))
    road.ok("list", [1, 2])
    road.ok("m[0]", 1)
    road.ok("m[1]", 2)
    road.ok("sum")
    assert rerun(road, run, "m[1]") == ""
    road.ok("m[1]", 3)
    assert json.loads(road.task("sum").args) == {"all": [1, 3]}
    road.ok("sum")
    assert road.state(run) == "SUCCESS"


def test_items_and_outputs_that_a_snapshot_puts_off_are_left_out_where_a_rerun_dropped_them() -> None:
    road = Road()
    run = road.start(workflow({"id": "list"}, mapped(), {"id": "slow"}, {"id": "sum", "args": {"all": "${{ m }}"}}))
    big = "x" * 80_000
    road.ok("list", [big, big + "y", big + "z"])
    road.started("slow")
    for place in range(3):
        road.ok(f"m[{place}]", big)
    done: list[str] = []

    def between() -> None:
        if not done:
            done.append(rerun(road, run, "list"))

    road.snapshot(1, between)
    assert done == [""]
    road.take_over()
    road.ok("list", ["new"])
    road.take_over()
    assert json.loads(road.ok("m[0]", 5).args) == {"x": "new"}
    assert json.loads(road.task("sum").args) == {"all": [5]}


def test_the_timeout_of_a_run_counts_from_its_rerun_on() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}, timeout="1h"))
    road.wait(1_800_000)
    road.fail("a")
    assert rerun(road, run) == ""
    road.wait(3_000_000)
    assert road.states(run)["a"] == "QUEUED"
    road.snapshot()
    road.take_over()
    road.wait(600_000)
    assert road.state(run) == "FAILED"
    assert rerun(road, run) == ""
    road.ok("a")
    assert road.state(run) == "SUCCESS"


def test_a_failed_task_of_a_run_that_has_ended_is_marked_and_the_rest_goes_on() -> None:
    road = Road()
    run = failed_diamond(road)
    assert mark(road, run, "c", b"33") == ""
    road.take_over()
    assert json.loads(road.task("d").args) == {"b": 2, "c": 33}
    road.ok("d")
    assert road.state(run) == "SUCCESS"
    assert [name for name, *_ in attempts(road)].count("c") == 1


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["x"], "has no task 'x'"),
        (["aa"], "did you mean 'a'"),
        (["h"], "hooks run again by themselves"),
        ([], "no task of the run has failed"),
    ],
)
def test_a_rerun_of_nothing_is_refused_and_the_run_stays_ended(names: list[str], words: str) -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}, hooks={"on_failure": [{"id": "h", "python": "m:f"}]}))
    road.ok("a")
    assert words in rerun(road, run, *names)
    assert road.core.run(run) is None
    assert not road.events(Event.RUN_REOPENED)


def test_a_run_whose_events_are_gone_is_refused_with_the_reason() -> None:
    road = Road()
    run = failed_diamond(road)
    first = road.log[:]
    del road.log[1:]
    assert "gone" in rerun(road, run)
    road.log[:] = first + road.log[1:]


def test_a_repeated_start_finds_the_run_that_lives_again() -> None:
    road = Road()
    definition = workflow({"id": "a"})
    run = road.start(definition, idempotency_key="k")
    road.fail("a")
    assert rerun(road, run) == ""
    road.trigger(Start(workflow="w", idempotency_key="k", request_id="again"), definition)
    [answer] = [p for p in road.progress if p.request_id == "again"]
    assert (answer.type, answer.run_id) == ("run.accepted", run)
    assert len(road.core.state.runs) == 1


def test_the_parent_of_a_run_hears_of_its_first_end_only() -> None:
    from indegree.v1.trigger_pb2 import ForwardedStart, Parent, PartitionMessage

    road = Road()
    parent = Parent(partition=0, run_id="20251125T030000.000Z-0123456789AB-0000", attempt=1)
    start = Start(workflow="w", run_id="20251125T030000.000Z-0123456789AC-0000", parent=parent)
    message = PartitionMessage(source=0, number=1, start=ForwardedStart(start=start))
    road.command(Command(message=message), workflow({"id": "a"}))
    road.fail("a")
    told = len(road.events(Event.OUTBOX_ADDED))
    assert told == 1
    assert rerun(road, start.run_id) == ""
    road.ok("a")
    assert road.state(start.run_id) == "SUCCESS"
    assert len(road.events(Event.OUTBOX_ADDED)) == told


def test_the_past_of_a_run_is_read_from_a_snapshot_as_well() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}, {"id": "b", "depends_on": ["a"]}))
    road.ok("a", 1)
    road.snapshot()
    road.fail("b")
    past = past_of(road, run)
    whole = past.run
    del road.log[1 : road.recover_from]
    again = past_of(road, run)
    assert again.run is not None
    assert whole is not None
    assert (again.run.states, again.run.outputs, again.ended_ms) == (whole.states, whole.outputs, past.ended_ms)


def test_whatever_is_decided_of_a_task_names_its_generation() -> None:
    road = Road()
    tasks = (
        {"id": "a"},
        {"id": "b", "when": "a.go"},
        {"id": "c", "depends_on": ["b"]},
        {"id": "j", "join": True, "depends_on": ["a"]},
        {"id": "m", "foreach": "a.list", "args": {"x": "${{ item }}"}},
        {"id": "f", "foreach_with": "m", "args": {"x": "${{ item }}"}},
    )
    run = road.start(workflow(*tasks))
    road.ok("a", {"go": False, "list": []})
    assert road.state(run) == "SUCCESS"
    assert rerun(road, run, "a") == ""
    seen = len(road.progress)
    road.ok("a", {"go": False, "list": []})
    assert {(p.task_id, p.generation) for p in road.progress[seen:] if p.task_id} == {(name, 1) for name in "abcjmf"}
    assert road.state(run) == "SUCCESS"
    assert rerun(road, run, "a") == ""
    road.cancel(run)
    assert {p.generation for p in road.progress if p.type == "task.cancelled"} == {2}


def test_a_run_of_a_paused_workflow_is_reopened_and_goes_on_with_it() -> None:
    road = Road()
    run = failed_diamond(road)
    road.command(Command(request_id="p", pause=Pause(workflow="w")))
    assert rerun(road, run) == ""
    assert road.state(run) == "PAUSED"
    road.snapshot()
    road.take_over()
    assert not road.take()
    road.command(Command(request_id="r", resume=Resume(workflow="w")))
    road.ok("c")
    road.ok("d")
    assert road.state(run) == "SUCCESS"


def test_a_kill_at_any_frame_of_a_rerun_of_a_large_run_loses_nothing() -> None:
    limits = Limits(frame_bytes=100_000, frame_events=3)
    road = Road(limits=limits)
    tasks = [{"id": f"t{i}"} for i in range(4)]
    names = [task["id"] for task in tasks]
    end = {"id": "end", "depends_on": [*names, "c"]}
    run = road.start(workflow(*tasks, {"id": "c"}, end, params={"x": {}}), {"x": "x" * 261_900})
    for name in names:
        road.ok(name, name * 45_000)
    road.fail("c")
    first = len(road.log)
    assert rerun(road, run) == ""
    assert len(road.log) - first >= 4, "it takes several frames"
    assert {e.state for e in road.events(Event.SNAPSHOT)} == {"piece"}
    whole = road.log
    for cut_at in range(first, len(whole) + 1):
        again = Road(limits=limits, log=whole[:cut_at])
        again.now = road.now
        again.step()
        if not again.events(Event.RUN_RERUN):
            assert again.core.run(run) is None
            assert len(again.events(Event.RUN_FINISHED)) == 1
            assert rerun(again, run) == ""
        again.ok("c")
        again.ok("end")
        assert again.state(run) == "SUCCESS"
        live = past_of(again, run).run
        assert live is not None
        assert [len(live.outputs[place]) for place in range(4)] == [90_002] * 4


@pytest.mark.parametrize("what", ["rerun", "skip"])
def test_a_kill_in_the_middle_of_ending_many_instances_judges_no_mapped_task(what: str) -> None:
    limits = Limits(frame_events=2)
    road = Road(limits=limits)
    run = road.start(workflow({"id": "list"}, mapped(), {"id": "sum", "args": {"all": "${{ m }}"}}))
    road.ok("list", list(range(7)))
    first = len(road.log)

    def give(to: Road) -> str:
        return rerun(to, run, "list") if what == "rerun" else skip(to, run, "m")

    assert give(road) == ""
    for cut_at in range(first, len(road.log)):
        again = Road(limits=limits, log=road.log[:cut_at])
        again.step()
        assert not [e for e in again.events(Event.TASK_SUCCEEDED) if e.task == 1]
        if again.core.state.next[1] == 0:  # else the command is decided
            assert give(again) == ""
        if what == "rerun":
            again.ok("list", [1])
            again.ok("m[0]", 5)
            assert json.loads(again.ok("sum").args) == {"all": [5]}
        else:
            assert [e for e in again.events(Event.TASK_SKIPPED) if e.task == 1]
        assert again.events(Event.RUN_FINISHED)[-1].state == "SUCCESS"


def test_a_task_that_has_not_begun_cannot_begin_again() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}, {"id": "b", "depends_on": ["a"]}))
    assert "has not begun" in rerun(road, run, "b")
    assert road.states(run) == {"a": "QUEUED", "b": "PENDING"}
