"""Hooks: they run when all tasks have ended, and whatever becomes of them the run ends as it was to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from indegree.events.definition import Definition, DefinitionError
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result
from indegree.v1.trigger_pb2 import Command, Signal
from indegree.v1.value_pb2 import Value
from tests.engine.reopening import mark, rerun, skip
from tests.engine.road import Road, workflow


def hook(id: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "python": "m:f", **fields}


def with_hooks(*tasks: dict[str, Any], **hooks: Any) -> Definition:
    return workflow(*(tasks or ({"id": "a"},)), hooks=hooks)


ALL = {name: [hook(name)] for name in ("on_success", "on_failure", "on_cancel", "on_end")}


@pytest.mark.parametrize(
    ("end", "ran", "state"),
    [
        (lambda road, run: road.ok("a"), {"on_success", "on_end"}, "SUCCESS"),
        (lambda road, run: road.fail("a"), {"on_failure", "on_end"}, "FAILED"),
        (lambda road, run: road.cancel(run), {"on_cancel", "on_end"}, "CANCELLED"),
        (lambda road, run: road.wait(7_200_000), {"on_failure", "on_end"}, "FAILED"),
    ],
)
def test_the_hooks_of_each_end_run_before_the_run_is_finished(
    end: Callable[[Road, str], Any], ran: set[str], state: str
) -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}, timeout="1h", hooks=ALL))
    assert {t.task_id for t in road.take()} == {"a"}
    end(road, run)
    assert road.state(run) == "RUNNING"
    assert {t.task_id for t in road.take()} == ran
    road.snapshot()
    road.take_over()
    for name in sorted(ran):
        road.ok(name)
    assert road.state(run) == state
    told = [p for p in road.progress if p.task_id.startswith("on_")]
    assert {p.task_id for p in told} == ran
    assert {p.type for p in told} == {"task.queued", "task.success"}
    positions = [p.position for p in road.progress if p.run_id == run and p.position]
    assert positions == list(range(1, len(positions) + 1))


def test_a_hook_reads_the_outputs_and_states_of_all_tasks_and_how_the_run_ends() -> None:
    road = Road()
    args = {
        "x": "${{ a.x }}",
        "b": "${{ tasks.b.state }}",
        "c": "${{ tasks.c.state }}",
        "state": "${{ run.state }}",
        "reason": "${{ run.reason }}",
    }
    tasks = ({"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["b"]})
    road.start(with_hooks(*tasks, on_failure=[hook("page", when="tasks.b.state == 'FAILED'", args=args)]))
    road.ok("a", {"x": 5})
    road.fail("b")
    road.snapshot()
    road.take_over()
    assert json.loads(road.task("page").args) == {
        "x": 5,
        "b": "FAILED",
        "c": "SKIPPED",
        "state": "FAILED",
        "reason": "task 'b' failed",
    }


def test_the_one_who_cancelled_and_the_reason_stay_those_of_the_run() -> None:
    road = Road()
    run = road.start(with_hooks(on_cancel=[hook("undo", args={"why": "${{ run.reason }}"})]))
    road.cancel(run, "wrong day")
    assert json.loads(road.ok("undo").args) == {"why": "wrong day"}
    [ended] = [p for p in road.progress if p.type == "run.cancelled"]
    assert (ended.reason, ended.actor) == ("wrong day", "me")


def fails(road: Road, run: str) -> None:
    road.fail("h")


def times_out(road: Road, run: str) -> None:
    road.started("h")
    road.wait(60_000)


def is_skipped(road: Road, run: str) -> None:
    assert skip(road, run, "h") == ""


def is_marked(road: Road, run: str) -> None:
    assert mark(road, run, "h", b"1") == ""


def is_cancelled(road: Road, run: str) -> None:
    road.started("h")
    road.cancel(run)


@pytest.mark.parametrize("what", [fails, times_out, is_skipped, is_marked, is_cancelled])
@pytest.mark.parametrize("end", ["SUCCESS", "FAILED"])
@pytest.mark.parametrize("before", ["", "takeover"])
def test_whatever_becomes_of_a_hook_the_run_ends_as_it_was_to_end(
    what: Callable[[Road, str], None], end: str, before: str
) -> None:
    road = Road()
    run = road.start(with_hooks(on_end=[hook("h", timeout="1m"), hook("then", depends_on=["h"])]))
    if end == "SUCCESS":
        road.ok("a")
    else:
        road.fail("a")
    if before:
        road.snapshot()
        road.take_over()
    what(road, run)
    if what is is_marked:
        road.ok("then")
    assert road.state(run) == end
    [ended] = [p for p in road.progress if p.type in ("run.success", "run.failed", "run.cancelled")]
    assert ended.reason == ("" if end == "SUCCESS" else "task 'a' failed")


def test_a_cancel_while_hooks_run_stops_them_and_is_answered() -> None:
    road = Road()
    run = road.start(with_hooks(on_success=[hook("h"), hook("later", depends_on=["h"])]))
    road.ok("a")
    road.started("h")
    road.cancel(run)
    assert [(s.stop.task, s.stop.reason) for s in road.stops] == [(1, "cancelled")]
    assert [p.type for p in road.progress if p.request_id == "q"] == ["command.accepted"]
    assert road.states(run) == {"a": "SUCCESS", "h": "CANCELLED", "later": "CANCELLED"}
    assert road.state(run) == "SUCCESS"


def test_hooks_run_in_the_order_of_depends_on_and_hand_over_values() -> None:
    road = Road()
    second = hook("second", args={"x": "${{ first }}"})
    run = road.start(with_hooks(on_success=[second, hook("first")], on_end=[hook("other")]))
    road.ok("a")
    assert {t.task_id for t in road.take()} == {"first", "other"}
    road.ok("first", 7)
    assert json.loads(road.ok("second").args) == {"x": 7}
    road.ok("other")
    assert road.state(run) == "SUCCESS"


def test_a_hook_may_be_mapped_wait_and_be_tried_again() -> None:
    road = Road()
    undo = hook("undo", foreach="a", args={"x": "${{ item }}"}, retry={"max_attempts": 2})
    check = hook("check", foreach_with="undo", args={"x": "${{ item }}"})
    ask = {"id": "ask", "wait_for": {"signal": "go"}, "depends_on": ["check"]}
    run = road.start(with_hooks(on_success=[check, undo, ask]))
    road.ok("a", [1, 2])
    road.snapshot()
    road.take_over()
    road.fail("undo[1]")
    road.wait(1)
    road.ok("undo[1]", 20)
    road.ok("check[1]")
    road.take_over()
    road.ok("undo[0]", 10)
    assert json.loads(road.ok("check[0]").args) == {"x": 10}
    assert road.last("ask").state == "WAITING"
    road.command(Command(signal=Signal(run_id=run, name="go")))
    assert road.state(run) == "SUCCESS"


def test_nothing_is_decided_of_hooks_before_all_tasks_have_ended() -> None:
    road = Road()
    rules = [hook("x", trigger_rule="always"), hook("y", depends_on=["x"], trigger_rule="one_failed")]
    run = road.start(with_hooks({"id": "a"}, {"id": "b"}, on_end=rules))
    road.fail("a")
    assert {t.task_id for t in road.sent} == {"a", "b"}
    road.snapshot()
    road.take_over()
    assert "hooks begin when" in skip(road, run, "x")
    road.ok("b")
    road.ok("x")
    assert road.states(run)["y"] == "SKIPPED"
    assert road.state(run) == "FAILED"


@pytest.mark.parametrize("live", [True, False])
def test_hooks_run_again_at_the_end_that_follows_a_rerun(live: bool) -> None:
    road = Road()
    run = road.start(with_hooks(on_failure=[hook("undo"), hook("page")], on_success=[hook("tell")]))
    road.fail("a")
    late = road.started("page")
    road.ok("undo", "first")
    if not live:
        road.say(late, Result.SUCCEEDED)
        assert road.state(run) == "FAILED"
    road.snapshot()
    road.take_over()
    assert rerun(road, run) == ""
    if live:
        assert [s.stop.reason for s in road.stops] == ["stale"]
    assert road.states(run) == {"a": "QUEUED", "undo": "PENDING", "page": "PENDING", "tell": "PENDING"}
    road.take_over()
    assert road.fail("a").generation == 1
    assert road.ok("undo", "second").generation == 1
    road.say(late, Result.SUCCEEDED, output=Value(json=b"1"))
    assert road.ok("page").generation == 1
    assert road.state(run) == "FAILED"
    assert rerun(road, run) == ""
    road.ok("a")
    assert road.ok("tell").generation == 0
    assert road.state(run) == "SUCCESS"


def test_hooks_that_cannot_be_told_apart_or_follow_a_task_are_refused() -> None:
    with pytest.raises(DefinitionError, match="'h' is that of a hook of on_failure"):
        with_hooks(on_failure=[hook("h")], on_end=[hook("h")])
    with pytest.raises(DefinitionError, match="'a' has ended when hooks begin"):
        with_hooks(on_failure=[hook("h", foreach_with="a", args={"x": "${{ item }}"})])
    with pytest.raises(DefinitionError, match="there is no task 'a'"):
        with_hooks(on_failure=[hook("h", depends_on=["a"])])


def test_a_run_without_a_hook_for_its_end_closes_at_once() -> None:
    road = Road()
    run = road.start(with_hooks(on_failure=[hook("h")]))
    road.ok("a")
    assert road.state(run) == "SUCCESS"
    assert not road.events(Event.RUN_CLOSING)


def test_a_hook_is_told_of_all_tasks_and_a_task_of_its_parents() -> None:
    road = Road()
    road.start(
        with_hooks(
            {"id": "a"},
            {"id": "b", "depends_on": ["a"]},
            {"id": "c", "depends_on": ["b"]},
            {"id": "d", "depends_on": ["b"], "trigger_rule": "all_done"},
            on_failure=[hook("page")],
        )
    )
    road.fail("a")
    assert dict(road.ok("d").states) == {"b": "SKIPPED"}
    told = road.ok("page")
    assert (dict(told.states), told.states_cut) == ({"a": "FAILED", "b": "SKIPPED", "c": "SKIPPED"}, False)


def test_states_of_a_wide_failure_are_cut_and_say_so() -> None:
    road = Road()
    many = [{"id": f"t{i}", "depends_on": ["a"]} for i in range(1_001)]
    last = {"id": "z", "depends_on": [task["id"] for task in many], "trigger_rule": "all_done"}
    road.start(workflow({"id": "a"}, *many, last))
    road.fail("a")
    told = road.ok("z")
    assert (len(told.states), told.states_cut) == (1_000, True)
