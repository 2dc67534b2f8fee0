"""foreach: expansion, gathering, limits, failures, followers, and takeovers in the middle of all of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from indegree.engine.limits import Limits
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result
from indegree.v1.value_pb2 import Reference, Value, ValueList
from tests.engine.road import Road, workflow

LIST = {"id": "list"}


def mapped(id: str = "m", over: str = "list", **fields: Any) -> dict[str, Any]:
    return {"id": id, "foreach": over, "args": {"x": "${{ item }}", "i": "${{ index }}"}, **fields}


def gathered(road: Road, task_id: str) -> Any:
    return json.loads(road.last(task_id).output.json)


def test_an_instance_runs_for_each_element_and_the_outputs_come_in_the_order_of_the_list() -> None:
    road = Road()
    run = road.start(workflow(LIST, mapped(), {"id": "sum", "args": {"all": "${{ m }}"}}))
    road.ok("list", ["a", "b", "c"])
    road.take()
    assert [t.task_id for t in road.sent[-3:]] == ["m[0]", "m[1]", "m[2]"]
    assert [json.loads(t.args) for t in road.sent[-3:]] == [{"x": x, "i": i} for i, x in enumerate("abc")]
    for i in (2, 0, 1):
        road.ok(f"m[{i}]", i * 10)
    assert gathered(road, "m") == [0, 10, 20]
    assert json.loads(road.task("sum").args) == {"all": [0, 10, 20]}
    road.ok("sum")
    assert road.state(run) == "SUCCESS"


def test_an_empty_list_as_the_only_leaf_is_a_success_with_an_empty_list() -> None:  # CASES 10 (a)
    road = Road()
    run = road.start(workflow(LIST, mapped()))
    road.ok("list", [])
    assert road.state(run) == "SUCCESS"
    assert road.last("m").state == "SUCCESS"
    assert gathered(road, "m") == []


def test_three_chained_empty_maps_end_the_run() -> None:  # CASES 10 (b)
    road = Road()
    run = road.start(workflow(LIST, mapped("m1"), mapped("m2", "m1"), mapped("m3", "m2")))
    road.ok("list", [])
    assert road.state(run) == "SUCCESS"


def test_a_reduce_over_no_instances_is_called_once_with_an_empty_list() -> None:  # CASES 16
    road = Road()
    road.start(workflow(LIST, mapped(), {"id": "sum", "args": {"all": "${{ m }}"}}))
    road.ok("list", [])
    assert json.loads(road.task("sum").args) == {"all": []}
    assert [t.task_id for t in road.taken].count("sum") == 1


def test_a_join_never_starts_before_the_instances_that_it_awaits_are_registered() -> None:  # CASES 13
    road = Road(limits=Limits(frame_events=1, step_tasks=1))
    road.start(workflow(LIST, mapped(), {"id": "join", "depends_on": ["m"]}))
    road.ok("list", [1, 2])
    for _ in range(4):
        road.take_over()
        assert "join" not in {t.task_id for t in road.take()}
    road.ok("m[0]")
    road.ok("m[1]")
    assert road.task("join").task_id == "join"


def test_only_so_many_instances_run_at_a_time_as_concurrency_says() -> None:
    road = Road()
    road.start(workflow(LIST, mapped(concurrency=2)))
    road.ok("list", list(range(5)))
    assert [t.task_id for t in road.take()] == ["m[0]", "m[1]"]
    road.ok("m[1]")
    assert [t.task_id for t in road.take()] == ["m[2]"]
    road.take_over()
    road.snapshot()
    road.ok("m[0]")
    assert "m[3]" in [t.task_id for t in road.take()]


def test_one_instance_is_tried_again_alone() -> None:
    road = Road()
    run = road.start(workflow(LIST, mapped(retry={"max_attempts": 2})))
    road.ok("list", [1, 2])
    road.ok("m[0]", "first")
    road.fail("m[1]")
    road.wait(1)
    assert [(t.task_id, t.attempt) for t in road.take()] == [("m[1]", 2)]
    road.ok("m[1]", "second")
    assert (road.state(run), gathered(road, "m")) == ("SUCCESS", ["first", "second"])


@pytest.mark.parametrize(
    ("allow", "failures", "end"),
    [
        (None, 1, "FAILED"),
        (True, 4, "SUCCESS"),
        ({"max": 1}, 1, "SUCCESS"),
        ({"max": 1}, 2, "FAILED"),
        ({"share": 0.5}, 2, "SUCCESS"),
        ({"share": 0.5}, 3, "FAILED"),
    ],
)
def test_failures_of_instances_are_judged_by_allow_failure(allow: Any, failures: int, end: str) -> None:
    road = Road()
    fields = {} if allow is None else {"allow_failure": allow}
    run = road.start(workflow(LIST, mapped(**fields)))
    road.ok("list", [0, 1, 2, 3])
    for i in range(4):
        road.fail(f"m[{i}]") if i < failures else road.ok(f"m[{i}]", i)
    assert road.state(run) == end
    if end == "SUCCESS":
        assert gathered(road, "m") == [None if i < failures else i for i in range(4)]


def test_the_errors_of_instances_are_readable() -> None:
    road = Road()
    road.start(workflow(LIST, mapped(allow_failure=True), {"id": "see", "args": {"e": "${{ tasks.m.errors }}"}}))
    road.ok("list", [1, 2])
    road.ok("m[0]")
    road.fail("m[1]", message="disk full")
    [error] = json.loads(road.task("see").args)["e"]
    assert (error["index"], error["type"], error["message"]) == (1, "ValueError", "disk full")


def test_over_an_empty_list_there_are_no_errors() -> None:
    road = Road()
    road.start(workflow(LIST, mapped(), {"id": "see", "args": {"e": "${{ tasks.m.errors }}"}}))
    road.ok("list", [])
    assert json.loads(road.task("see").args)["e"] == []


def test_followers_need_only_the_instance_of_the_same_place() -> None:
    road = Road()
    run = road.start(workflow(LIST, mapped(), {"id": "f", "foreach_with": "m", "args": {"x": "${{ item }}"}}))
    road.ok("list", [1, 2, 3])
    road.ok("m[1]", "one")
    assert json.loads(road.task("f[1]").args) == {"x": "one"}
    assert {t.task_id for t in road.taken} == {"list", "m[0]", "m[1]", "m[2]", "f[1]"}
    road.take_over()
    road.ok("f[1]", "f1")
    road.fail("m[0]")
    road.ok("m[2]", "two")
    road.ok("f[2]", "f2")
    assert road.states(run)["f[0]"] == "SKIPPED"
    assert road.last("f").state == "FAILED"  # what it follows has failed as a whole
    assert road.state(run) == "FAILED"


def test_followers_of_an_empty_or_skipped_map_end_like_it() -> None:
    road = Road()
    follow = {"id": "f", "foreach_with": "m"}
    run = road.start(workflow(LIST, mapped(), follow))
    road.ok("list", [])
    assert (road.state(run), gathered(road, "f")) == ("SUCCESS", [])
    run = road.start(workflow(LIST, mapped(when="list == 1"), follow))
    road.ok("list", [1])
    assert road.state(run) == "SUCCESS"
    assert road.states(run) == {"list": "SUCCESS", "m": "SKIPPED", "f": "SKIPPED"}


def test_a_value_that_is_no_list_fails_the_task_with_the_reason() -> None:
    road = Road()
    run = road.start(workflow(LIST, mapped()))
    road.ok("list", {"a": 1})
    assert road.last("m").reason == "foreach needs a list, and its value is an object ({a})"
    assert road.state(run) == "FAILED"


def test_too_many_elements_are_refused_with_the_limit() -> None:
    road = Road(limits=Limits(instances=2))
    road.start(workflow(LIST, mapped()))
    road.ok("list", [1, 2, 3])
    assert "3 elements; the limit is 2 (limits.instances)" in road.last("m").reason


@pytest.mark.parametrize("kill_every", [1, 3, 10])
def test_items_are_written_in_slices_and_a_takeover_in_the_middle_goes_on(kill_every: int) -> None:
    road = Road(limits=Limits(frame_events=7, step_tasks=5))
    definition = workflow(LIST, mapped(), params={})
    run = road.start(definition)
    items = ["x" * 20_000 for _ in range(12)]  # 240 KB: several slices
    task = road.task("list")
    road.core.begin(road.now)
    road.core.result(
        Result(
            kind=Result.SUCCEEDED,
            run_id=run,
            task=task.task,
            attempt=1,
            worker="w1",
            output=Value(json=json.dumps(items).encode()),
        ),
        road.offsets[2],
    )
    road.offsets[2] += 1
    steps = 0
    while True:
        more = road.core.proceed()
        road.cut()
        steps += 1
        if steps % kill_every == 0 and steps < 40:
            road.take_over()
            road.core.begin(road.now)
            more = True
        if not more:
            break
    assert len(road.events(Event.TASK_ITEMS)) >= 1
    road.take()
    assert len([t for t in road.sent if t.task_id.startswith("m[")]) == 12
    for i in range(12):
        road.ok(f"m[{i}]", i)
    assert road.state(run) == "SUCCESS"


def test_a_large_gathered_list_is_stored_as_a_list_of_references() -> None:
    road = Road(limits=Limits(gathered_bytes=100))
    run = road.start(workflow(LIST, mapped(), {"id": "sum", "args": {"all": "${{ m }}"}}))
    road.ok("list", [0, 1, 2])
    inside = Reference(partition=0, offset=5, parts=1, size=50_000, sha256=b"x" * 32)
    task = road.task("m[0]")
    road.say(task, Result.SUCCEEDED, output=Value(reference=inside))
    road.ok("m[1]", "a" * 100)
    road.ok("m[2]")
    [(token, data)] = road.core.to_store()
    assert ValueList.FromString(data).values[0].reference == inside
    assert ValueList.FromString(data).values[2].json == b"null"
    road.take_over()  # forgotten: it asks again
    road.core.begin(road.now)
    road.step()
    [(token, data)] = road.core.to_store()
    road.core.stored(token, Reference(partition=0, offset=9, parts=1, size=len(data), sha256=b"y" * 32))
    road.step()
    reference = road.task("sum").references["all"]
    assert (reference.offset, reference.list, reference.whole) == (9, True, 50_000 + 102 + 4 + 4)
    road.snapshot()
    road.take_over()
    assert road.task("sum").references["all"] == reference
    road.ok("sum")
    assert road.state(run) == "SUCCESS"


def test_an_expression_over_a_referenced_output_waits_for_the_value_and_holds_up_nobody() -> None:
    road = Road()
    run = road.start(workflow(LIST, mapped(), {"id": "other", "depends_on": ["list"]}))
    reference = Reference(partition=0, offset=5, parts=1, size=7, sha256=b"x" * 32)
    road.say(road.task("list"), Result.SUCCEEDED, output=Value(reference=reference))
    assert [t.task_id for t in road.take()] == ["other"]
    assert road.core.wants() == [reference]
    assert road.core.wants() == []
    road.core.supply(reference, b"[10,20]")
    road.step()
    assert [t.task_id for t in road.take()] == ["m[0]", "m[1]"]
    assert road.core.oldest_payload() == 5
    assert run


def test_a_value_that_cannot_be_fetched_fails_the_task_that_needs_it() -> None:
    road = Road()
    run = road.start(workflow(LIST, mapped()))
    reference = Reference(partition=0, offset=5, parts=1, size=7, sha256=b"x" * 32)
    road.say(road.task("list"), Result.SUCCEEDED, output=Value(reference=reference))
    road.core.wants()
    road.core.supply(reference, None, "payload 0/5 is gone")
    road.step()
    assert "payload 0/5 is gone" in road.last("m").reason
    assert road.state(run) == "FAILED"


def test_a_cancelled_run_cancels_its_instances() -> None:
    road = Road()
    run = road.start(workflow(LIST, mapped(concurrency=1)))
    road.ok("list", [1, 2, 3])
    road.started("m[0]")
    road.cancel(run)
    assert road.state(run) == "CANCELLED"
    assert [road.last(f"m[{i}]").state for i in range(3)] == ["CANCELLED"] * 3
    assert road.stops[-1].stop.task == 2


def test_snapshots_in_the_middle_keep_instances() -> None:
    road = Road()
    run = road.start(workflow(LIST, mapped(concurrency=2, retry={"max_attempts": 2, "delay": "1s"})))
    road.ok("list", list(range(6)))
    road.ok("m[0]", 0)
    road.fail("m[1]")
    road.snapshot()
    road.take_over()
    road.wait(1_000)
    for i in range(1, 6):
        road.ok(f"m[{i}]", i)
    assert (road.state(run), gathered(road, "m")) == ("SUCCESS", [0, 1, 2, 3, 4, 5])
