"""Trigger rules, skips and failures: faults that other schedulers had, each with its right outcome."""

from __future__ import annotations

import itertools

import pytest

from indegree.engine import join
from tests.engine.road import Road, workflow

MIN_ONE = "none_failed_min_one_success"


@pytest.mark.parametrize("order", [("fast", "slow"), ("slow", "fast")])
def test_a_join_is_not_decided_before_every_parent_has_ended(order: tuple[str, str]) -> None:  # CASES row 1
    definition = workflow(
        {"id": "s"},
        {"id": "fast", "when": "not s", "depends_on": ["s"]},
        {"id": "slow", "depends_on": ["s"]},
        {"id": "join", "depends_on": ["fast", "slow"], "trigger_rule": MIN_ONE},
    )
    road = Road()
    run = road.start(definition)
    road.ok("s", True)  # `fast` is skipped by this, while `slow` is under way

    assert road.states(run)["join"] == "PENDING"
    road.ok("slow")
    assert road.states(run)["join"] == "QUEUED"
    road.ok("join")
    assert road.state(run) == "SUCCESS"


@pytest.mark.parametrize(("chosen", "t1"), [(True, "SUCCESS"), (False, "SKIPPED")])
def test_a_branch_with_a_direct_edge_to_the_join_does_not_skip_it(chosen: bool, t1: str) -> None:  # CASES row 2
    definition = workflow(
        {"id": "br"},
        {"id": "t1", "depends_on": ["br"], "when": "br.go"},
        {"id": "join", "depends_on": ["br", "t1"], "trigger_rule": MIN_ONE},
    )
    road = Road()
    run = road.start(definition)
    road.ok("br", {"go": chosen})
    if chosen:
        road.ok("t1")
    road.ok("join")

    assert road.states(run) == {"br": "SUCCESS", "t1": t1, "join": "SUCCESS"}
    assert road.state(run) == "SUCCESS"


def test_skipped_by_itself_and_skipped_by_its_parent_are_one_state_with_a_reason() -> None:  # CASES row 4
    definition = workflow(
        {"id": "A"},
        {"id": "B", "when": "false"},
        {"id": "C", "depends_on": ["A"]},
        {"id": "D", "depends_on": ["B"]},
        {"id": "E", "depends_on": ["C", "D"], "trigger_rule": "none_failed"},
    )
    road = Road()
    run = road.start(definition)
    road.ok("A")
    road.ok("C")
    road.ok("E")

    reasons = road.reasons(run)
    assert (reasons["B"], reasons["D"]) == ("condition", "upstream_skipped")
    assert road.state(run) == "SUCCESS"


def test_a_child_of_a_skipped_task_is_skipped_under_the_default_rule() -> None:  # CASES row 6
    road = Road()
    run = road.start(
        workflow({"id": "a"}, {"id": "b", "depends_on": ["a"], "when": "false"}, {"id": "c", "depends_on": ["b"]})
    )
    road.ok("a")

    assert road.states(run) == {"a": "SUCCESS", "b": "SKIPPED", "c": "SKIPPED"}
    assert road.reasons(run)["c"] == "upstream_skipped"
    assert road.state(run) == "SUCCESS"


@pytest.mark.parametrize("value", [True, False])
def test_two_arms_of_a_condition_meet_again_once(value: bool) -> None:  # CASES row 7
    definition = workflow(
        {"id": "check"},
        {"id": "yes", "when": "check"},
        {"id": "no", "when": "not check"},
        {"id": "join", "depends_on": ["yes", "no"], "trigger_rule": MIN_ONE},
    )
    road = Road()
    run = road.start(definition)
    road.ok("check", value)
    road.ok("yes" if value else "no")
    road.ok("join")

    assert road.state(run) == "SUCCESS"
    assert len([t for t in road.taken if t.task_id == "join"]) == 1


def test_tasks_written_before_their_parents_run_the_same_in_all_orders() -> None:  # CASES row 15
    tasks = [
        {"id": "d", "depends_on": ["b", "c"]},
        {"id": "b", "depends_on": ["a"]},
        {"id": "c", "depends_on": ["a"]},
        {"id": "a"},
    ]
    for order in itertools.permutations(tasks):
        road = Road()
        run = road.start(workflow(*[dict(t) for t in order]))
        for task_id in ("a", "b", "c", "d"):
            road.ok(task_id)
        assert road.state(run) == "SUCCESS"


def test_two_values_of_one_parent_are_one_edge() -> None:  # CASES row 18
    definition = workflow(
        {"id": "p"}, {"id": "q", "depends_on": ["p", "p"], "args": {"x": "${{ p.a }}", "y": "${{ p.b }}"}}
    )
    road = Road()
    run = road.start(definition)
    assert road.core.run(run).open[1] == 1  # type: ignore[union-attr]
    road.ok("p", {"a": 1, "b": 2})
    assert road.task("q").args == b'{"x":1,"y":2}'
    road.ok("q")
    assert road.state(run) == "SUCCESS"


def test_a_failed_task_fails_the_run_when_all_else_that_can_run_has_ended() -> None:
    definition = workflow({"id": "bad"}, {"id": "child", "depends_on": ["bad"]}, {"id": "other"})
    road = Road()
    run = road.start(definition)
    road.fail("bad")
    assert road.state(run) == "RUNNING"
    road.ok("other")
    assert road.state(run) == "FAILED"
    assert road.reasons(run)["child"] == "upstream_failed"
    assert road.progress[-1].reason == "task 'bad' failed"


def test_an_allowed_failure_takes_the_edge_with_null() -> None:
    definition = workflow({"id": "bad", "allow_failure": True}, {"id": "next", "args": {"x": "${{ bad }}"}})
    road = Road()
    run = road.start(definition)
    road.fail("bad")
    assert road.task("next").args == b'{"x":null}'
    road.ok("next")
    assert road.state(run) == "SUCCESS"


def test_operands_of_a_condition_are_recorded_with_the_decision() -> None:
    road = Road()
    road.start(workflow({"id": "a"}, {"id": "b", "when": "a.n > 3 and params.go"}, params={"go": {"default": True}}))
    road.ok("a", {"n": 2})
    skipped = road.events(16)[0]
    assert skipped.data == b'{"tasks.a.output.n":2}' or b'"a.n":2' in skipped.data


def test_an_error_in_a_condition_fails_its_task_and_nothing_else() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}, {"id": "b", "when": "a.n < 3"}, {"id": "c", "depends_on": ["a"]}))
    road.ok("a", {})
    assert road.states(run) == {"a": "SUCCESS", "b": "FAILED", "c": "QUEUED"}
    assert "null" in road.reasons(run)["b"]
    assert road.last("b").attempt == 0
    road.ok("c")
    assert road.state(run) == "FAILED"


def test_a_chain_of_joins_with_nothing_to_do_succeeds_at_once() -> None:
    tasks = [{"id": f"j{i}", "join": True, "depends_on": [f"j{i - 1}"] if i else []} for i in range(2_000)]
    road = Road()
    run = road.start(workflow(*tasks))
    assert road.state(run) == "SUCCESS"
    assert set(road.states(run).values()) == {"SUCCESS"}


EVERY_COUNT = [c for c in itertools.product(range(4), repeat=4) if sum(c)]


@pytest.mark.parametrize("rule", range(10))
def test_a_rule_is_decided_as_soon_as_nothing_can_change_it_and_never_changes(rule: int) -> None:
    def ends(o: int, t: int, n: int, f: int) -> set[int]:
        if not o:
            return {join.decide(rule, 0, t, n, f)}
        return ends(o - 1, t + 1, n, f) | ends(o - 1, t, n + 1, f) | ends(o - 1, t, n, f + 1)

    for counts in EVERY_COUNT:
        possible = ends(*counts)
        decided = join.decide(rule, *counts)
        assert join.UNDECIDED not in possible
        if rule == join.ALL_DONE:  # waiting for all is what it means
            possible = possible if not counts[0] else set()
        assert decided == (possible.pop() if len(possible) == 1 else join.UNDECIDED), (rule, counts)
