"""Skip and mark success: what they end, who hears of it, what they refuse; with takeovers and snapshots in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from indegree.engine.limits import Limits
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result
from indegree.v1.value_pb2 import Value
from tests.engine.reopening import mark, skip
from tests.engine.road import Road, workflow


def mapped(**fields: Any) -> dict[str, Any]:
    return {"id": "m", "foreach": "list", "args": {"x": "${{ item }}"}, **fields}


def pending(road: Road) -> str:
    return road.start(workflow({"id": "first"}, {"id": "t", "depends_on": ["first"]}, {"id": "u", "depends_on": ["t"]}))


def queued(road: Road) -> str:
    return road.start(workflow({"id": "t"}, {"id": "u", "depends_on": ["t"]}))


def running(road: Road) -> str:
    run = queued(road)
    road.started("t")
    return run


def retrying(road: Road) -> str:
    run = road.start(
        workflow({"id": "t", "retry": {"max_attempts": 3, "delay": "1h"}}, {"id": "u", "depends_on": ["t"]})
    )
    road.fail("t")
    return run


def waiting(road: Road) -> str:
    task = {"id": "t", "wait_for": {"signal": "go"}, "timeout": "2h", "join": True}
    return road.start(workflow(task, {"id": "u", "depends_on": ["t"]}))


OPEN = [pending, queued, running, retrying, waiting]


@pytest.mark.parametrize("begun", OPEN)
@pytest.mark.parametrize("before", ["", "takeover", "snapshot"])
def test_a_task_is_skipped_in_every_open_state_and_its_child_is_skipped(
    begun: Callable[[Road], str], before: str
) -> None:
    road = Road()
    run = begun(road)
    if before:
        road.snapshot()
        road.take_over()
    assert skip(road, run, "t") == ""
    told = road.last("t")
    assert (told.state, told.reason, told.actor) == ("SKIPPED", "by_hand", "ann")
    [event] = [e for e in road.events(Event.TASK_SKIPPED) if e.reason == "by_hand"]
    assert json.loads(event.data) == {"reason": "no need"}
    if begun is pending:
        road.ok("first")
    assert road.last("u").reason == "upstream_skipped"
    assert road.state(run) == "SUCCESS"


@pytest.mark.parametrize("begun", OPEN)
@pytest.mark.parametrize("before", ["", "snapshot"])
def test_a_task_is_marked_success_in_every_open_state_and_its_child_gets_the_output(
    begun: Callable[[Road], str], before: str
) -> None:
    road = Road()
    run = begun(road)
    if before:
        road.snapshot()
        road.take_over()
    assert mark(road, run, "t", b'{"n":1}') == ""
    told = road.last("t")
    assert (told.state, told.reason, told.actor, told.output.json) == ("SUCCESS", "by_hand", "ann", b'{"n":1}')
    road.take_over()
    if begun is pending:
        road.ok("first")
    road.ok("u")
    assert road.state(run) == "SUCCESS"


def test_the_worker_of_a_task_that_is_skipped_is_told_to_stop_and_its_late_result_is_stale() -> None:
    road = Road()
    run = road.start(workflow({"id": "t"}, {"id": "other"}))
    task = road.started("t")
    skip(road, run, "t")
    assert [(s.worker, s.stop.task, s.stop.reason) for s in road.stops] == [("w1", 0, "cancelled")]
    road.say(task, Result.SUCCEEDED, output=Value(json=b"1"))
    assert road.events(Event.RESULT_STALE)
    assert road.states(run)["t"] == "SKIPPED"


def test_the_child_of_a_task_that_is_ended_by_hand_is_cancelled() -> None:
    road = Road()
    run = road.start(workflow({"id": "t", "workflow": "other", "join": True}))
    label = road.core.run(run).waits[0].label  # type: ignore[union-attr, index]
    mark(road, run, "t", b"1")
    assert [e.data for e in road.events(Event.OUTBOX_ADDED) if label.encode() in e.data and b"\x1a" in e.data]
    assert road.state(run) == "SUCCESS"


def test_one_instance_is_skipped_and_one_marked_and_the_others_go_on() -> None:
    road = Road()
    run = road.start(workflow({"id": "list"}, mapped()))
    road.ok("list", ["a", "b", "c"])
    road.take()
    assert skip(road, run, "m[0]") == ""
    assert mark(road, run, "m[1]", b"7") == ""
    road.snapshot()
    road.take_over()
    road.ok("m[2]", 3)
    assert json.loads(road.last("m").output.json) == [None, 7, 3]
    assert road.state(run) == "SUCCESS"


@pytest.mark.parametrize("frame_events", [1, 3, 5_000])
def test_a_mapped_task_that_is_skipped_as_a_whole_ends_its_open_instances_first(frame_events: int) -> None:
    road = Road(limits=Limits(frame_events=frame_events))
    run = road.start(workflow({"id": "list"}, mapped(concurrency=2), {"id": "u", "depends_on": ["m"]}))
    road.ok("list", list(range(6)))
    road.ok("m[0]", 1)
    road.take()
    assert skip(road, run, "m") == ""
    states = road.states(run) if road.core.run(run) is None else {}
    assert states["m"] == "SKIPPED"
    assert [states[f"m[{i}]"] for i in range(6)] == ["SUCCESS", *["SKIPPED"] * 5]
    assert states["u"] == "SKIPPED"
    assert road.state(run) == "SUCCESS"


def test_a_mapped_task_that_is_marked_as_a_whole_gives_its_output_to_its_child() -> None:
    road = Road()
    run = road.start(workflow({"id": "list"}, mapped(), {"id": "u", "args": {"all": "${{ m }}"}}))
    road.ok("list", [1, 2])
    road.take()
    assert mark(road, run, "m", b"[5,6]") == ""
    assert json.loads(road.task("u").args) == {"all": [5, 6]}
    road.ok("u")
    assert road.state(run) == "SUCCESS"


def test_what_follows_a_skipped_instance_is_skipped_and_the_rest_follows() -> None:
    road = Road()
    follower = {"id": "f", "foreach_with": "m", "args": {"x": "${{ item }}"}}
    run = road.start(workflow({"id": "list"}, mapped(), follower))
    road.ok("list", [1, 2])
    road.take()
    skip(road, run, "m[0]")
    road.ok("m[1]", 10)
    road.ok("f[1]", 11)
    assert road.last("f[0]").reason == "upstream_skipped"
    assert json.loads(road.last("f").output.json) == [None, 11]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lod", "did you mean 'load'"),
        ("load[3]", "has no foreach"),
        ("m[9]", "the instances are m[0] to m[1]"),
        ("m[x]", "the instances are m[0] to m[1]"),
        ("list", "is SUCCESS already"),
        ("hook", "hooks begin when"),
    ],
)
def test_what_cannot_be_ended_is_refused_with_the_way_out(name: str, words: str) -> None:
    road = Road()
    definition = workflow({"id": "list"}, mapped(), {"id": "load"}, hooks={"on_end": [{"id": "hook", "python": "m:f"}]})
    run = road.start(definition)
    road.ok("list", [1, 2])
    assert words in skip(road, run, name)
    assert words in mark(road, run, name)


def test_an_output_by_hand_is_judged_like_that_of_a_worker() -> None:
    road = Road(limits=Limits(value_bytes=100))
    run = queued(road)
    assert "the output is not JSON" in mark(road, run, "t", b"{1}")
    assert "output too large: 201 > 100 bytes (limits.value_bytes)" in mark(road, run, "t", b"1" * 201)


def test_a_task_of_a_run_that_has_ended_or_is_not_known_is_not_skipped() -> None:
    road = Road()
    run = road.start(workflow({"id": "t"}))
    road.ok("t")
    assert skip(road, run, "t") == "the run has ended"
    assert "no such run" in skip(road, run[:-6] + "A" + run[-5:], "t")


def test_a_task_of_a_paused_run_is_skipped_and_the_rest_is_decided_when_it_goes_on() -> None:
    from indegree.v1.trigger_pb2 import Command, Pause, Resume

    road = Road()
    run = queued(road)
    road.command(Command(request_id="p", pause=Pause(run_id=run)))
    assert skip(road, run, "t") == ""
    assert road.states(run)["u"] == "PENDING"
    road.take_over()
    road.command(Command(request_id="r", resume=Resume(run_id=run)))
    assert road.state(run) == "SUCCESS"


def test_a_failed_task_of_a_live_run_is_marked_and_what_hangs_below_begins_again() -> None:
    road = Road()
    run = road.start(
        workflow({"id": "c"}, {"id": "d", "depends_on": ["c"]}, {"id": "e", "depends_on": ["d"]}, {"id": "slow"})
    )
    slow = road.started("slow")
    road.fail("c")
    assert road.states(run) == {"c": "FAILED", "d": "SKIPPED", "e": "SKIPPED", "slow": "RUNNING"}
    assert mark(road, run, "c", b"3") == ""
    assert road.states(run)["c"] == "SUCCESS"
    road.snapshot()
    road.take_over()
    for name in ("d", "e"):
        task = road.ok(name)
        assert (task.attempt, task.generation) == (1, 1)
    road.say(slow, Result.SUCCEEDED)
    assert road.state(run) == "SUCCESS"


def test_a_failed_instance_is_marked_and_only_its_list_is_gathered_again() -> None:
    road = Road()
    run = road.start(workflow({"id": "list"}, mapped(), {"id": "u", "args": {"all": "${{ m }}"}}, {"id": "slow"}))
    road.ok("list", [1, 2])
    road.started("slow")
    road.ok("m[0]", 10)
    road.fail("m[1]")
    assert road.last("m").state == "FAILED"
    assert mark(road, run, "m[1]", b"20") == ""
    assert json.loads(road.task("u").args) == {"all": [10, 20]}
    road.ok("u")
    road.ok("slow")
    assert road.state(run) == "SUCCESS"
