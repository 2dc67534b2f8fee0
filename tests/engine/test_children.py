"""Sub-workflows: start and wait, start and forget, results, failures, cancels, depth, fan-out over partitions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from indegree.engine.limits import Limits
from indegree.events.definition import Definition
from tests.engine.cluster_road import Cluster
from tests.engine.road import workflow


def parent(**fields: Any) -> Definition:
    return workflow(
        {"id": "bill", "workflow": "child", "params": {"day": "${{ params.day }}"}, "join": True, **fields},
        {"id": "after", "args": {"x": "${{ bill }}"}},
        params={"day": {"default": "mon"}},
    )


def child(*tasks: dict[str, Any], **fields: Any) -> Definition:
    tasks = tasks or ({"id": "work", "python": "m:f", "args": {"d": "${{ params.day }}"}},)
    return Definition.from_normal(
        {"id": "child", "params": {"day": {"type": "string", "required": True}}, "tasks": list(tasks), **fields}
    )


def cluster(*definitions: Definition, partitions: int = 4, limits: Limits | None = None) -> Cluster:
    found = Cluster(partitions, limits=limits)
    for definition in definitions:
        found.definitions[definition.id] = definition
    return found


def test_the_parameters_go_in_the_result_comes_out_and_no_slot_is_held() -> None:
    c = cluster(child())
    run = c.start(0, parent(), {"day": "tue"})
    c.deliver()
    assert c.roads[0].states(run)["bill"] == "WAITING"
    task = c.task("work")
    assert json.loads(task.args) == {"d": "tue"}
    assert task.run_id == c.roads[0].last("bill").waits_for
    c.ok("work", {"sum": 7})
    c.deliver()
    assert json.loads(c.task("after").args) == {"x": {"sum": 7}}
    c.ok("after")
    assert c.roads[0].state(run) == "SUCCESS"


def test_the_result_of_several_leaves_is_an_object_by_id() -> None:
    c = cluster(child({"id": "a", "python": "m:f"}, {"id": "b", "python": "m:f"}))
    c.start(0, parent())
    c.deliver()
    c.ok("a", 1)
    c.ok("b", [2])
    c.deliver()
    assert json.loads(c.task("after").args) == {"x": {"a": 1, "b": [2]}}


def test_a_failure_goes_up_and_a_retry_starts_another_child() -> None:
    c = cluster(child())
    run = c.start(0, parent(retry={"max_attempts": 2, "delay": "1s"}))
    c.deliver()
    first = c.task("work").run_id
    c.fail("work")
    c.deliver()
    assert c.roads[0].states(run)["bill"] == "RETRYING"
    c.wait(1_000)
    c.deliver()
    second = c.task("work").run_id
    assert second != first
    c.fail("work")
    c.deliver()
    assert c.roads[0].state(run) == "FAILED"
    assert f"run {second} failed" in c.roads[0].last("bill").error.message


def test_a_child_that_is_forgotten_lets_its_task_succeed_at_once() -> None:
    c = cluster(child())
    c.start(0, parent(wait=False))
    c.deliver()
    after = c.task("after")
    assert json.loads(after.args)["x"]["run_id"] == c.task("work").run_id
    c.fail("work")
    c.deliver()
    c.ok("after")
    assert c.roads[0].state(after.run_id) == "SUCCESS"


def test_a_cancel_goes_down() -> None:
    c = cluster(child())
    run = c.start(0, parent())
    c.deliver()
    task = c.task("work")
    c.roads[0].cancel(run)
    c.deliver()
    assert c.state(task.run_id) == "CANCELLED"
    assert c.roads[0].state(run) == "CANCELLED"


def test_the_timeout_of_the_task_cancels_the_child() -> None:
    c = cluster(child())
    run = c.start(0, parent(timeout="1h"))
    c.deliver()
    task = c.task("work")
    c.wait(3_600_000)
    c.deliver()
    assert c.roads[0].last("bill").reason == "timeout"
    assert c.roads[0].state(run) == "FAILED"
    assert c.state(task.run_id) == "CANCELLED"


@pytest.mark.parametrize("known", [True, False])
def test_a_child_that_is_refused_fails_its_task_with_the_reason(known: bool) -> None:
    c = cluster(*([child()] if known else []))
    definition = workflow({"id": "bill", "workflow": "child", "join": True}) if known else parent()
    run = c.start(0, definition)
    c.deliver()
    assert c.roads[0].state(run) == "FAILED"
    words = "day" if known else "workflow 'child' is not known"
    assert words in c.roads[0].last("bill").error.message


def test_a_workflow_that_starts_itself_ends_at_the_limit() -> None:
    again = Definition.from_normal({"id": "w", "tasks": [{"id": "again", "workflow": "w"}]})
    c = cluster(again, limits=Limits(child_depth=3))
    run = c.start(0, again)
    c.deliver()
    assert c.roads[0].state(run) == "FAILED"
    assert "limits.child_depth" in c.reasons()


def test_a_fan_out_over_children_spreads_over_the_partitions_and_gathers_in_order() -> None:
    definition = workflow(
        {"id": "list"},
        {"id": "kids", "foreach": "list", "workflow": "child", "params": {"day": "${{ item }}"}, "join": True},
        {"id": "sum", "args": {"all": "${{ kids }}"}},
    )
    c = cluster(child())
    run = c.start(0, definition)
    c.ok("list", [f"d{i}" for i in range(12)])
    c.deliver()
    for _ in range(12):
        task = c.task("work")
        c.say_ok(task, json.loads(task.args)["d"].upper())
    c.deliver()
    assert json.loads(c.task("sum").args) == {"all": [f"D{i}" for i in range(12)]}
    c.ok("sum")
    assert c.roads[0].state(run) == "SUCCESS"
    assert len({r.number for r in c.roads if any(t.task_id == "work" for t in r.taken)}) > 1


@pytest.mark.parametrize("seed", range(5))
def test_takeovers_anywhere_change_nothing(seed: int) -> None:
    c = cluster(child())
    run = c.start(0, parent())
    c.deliver(seed=seed, takeovers=True)
    c.ok("work", 5)
    c.deliver(seed=seed, takeovers=True)
    assert json.loads(c.task("after").args) == {"x": 5}
    c.ok("after")
    assert c.roads[0].state(run) == "SUCCESS"
