"""Cancel reaches whatever is open: tasks that wait, runs that have not begun, runs that are paused, children."""

from __future__ import annotations

from typing import Any

import pytest

from indegree.engine.kinds import Kind
from indegree.engine.plan import plan_of
from indegree.engine.starts import record
from indegree.v1.event_pb2 import Event
from indegree.v1.trigger_pb2 import Command, Pause
from tests.engine.reopening import mark, rerun, skip
from tests.engine.road import Road, workflow


@pytest.mark.parametrize(
    "waits",
    [
        {"wait_for": {"signal": "go"}},
        {"wait_for": {"kafka": {"topic": "ready"}}},
        {"wait_for": {"run": {"workflow": "other"}}},
        {"wait_for": {"delay": "1h"}},
        {"wait_for": {"until": "'2026-01-01T00:00:00Z'"}},
        {"workflow": "other"},
    ],
)
@pytest.mark.parametrize("before", ["", "takeover"])
def test_a_task_that_waits_is_cancelled_whatever_it_waits_for(waits: dict[str, Any], before: str) -> None:
    road = Road()
    run = road.start(workflow({"id": "t", "join": True, **waits}, {"id": "u", "depends_on": ["t"]}))
    assert road.last("t").state == "WAITING"
    sent = len(road.events(Event.OUTBOX_ADDED))
    if before:
        road.snapshot()
        road.take_over()
    road.cancel(run)
    assert road.states(run) == {"t": "CANCELLED", "u": "CANCELLED"}
    assert road.state(run) == "CANCELLED"
    assert not road.core.awaited()
    assert road.core.next_due_ms() is None
    assert len(road.events(Event.OUTBOX_ADDED)) == sent + ("workflow" in waits)  # its child is cancelled


def accepted_for_later(road: Road) -> str:
    """A run in the state PENDING, by the event that a delayed start is."""
    plan = plan_of(workflow({"id": "a"}, {"id": "b", "depends_on": ["a"]}))
    run_id = "20251125T030000.000Z-0123456789AB-0000"
    road.core.begin(road.now)
    record(road.core._draft, plan)
    road.core._draft.emit(
        Kind.RUN_STARTED, run_id, workflow="w", version=plan.version, state="PENDING", due_ms=road.now + 60_000
    )
    road.step()
    return run_id


@pytest.mark.parametrize("before", ["", "takeover"])
def test_a_run_that_has_not_begun_is_cancelled_and_its_time_does_not_come(before: str) -> None:
    road = Road()
    run = accepted_for_later(road)
    assert road.state(run) == "PENDING"
    if before:
        road.snapshot()
        road.take_over()
    road.cancel(run)
    assert road.states(run) == {"a": "CANCELLED", "b": "CANCELLED"}
    assert road.state(run) == "CANCELLED"
    road.wait(120_000)
    assert not road.take()


def test_nothing_is_ended_by_hand_or_rerun_in_a_run_that_has_not_begun() -> None:
    road = Road()
    run = accepted_for_later(road)
    assert "the run has not begun" in skip(road, run, "a")
    assert "the run has not begun" in mark(road, run, "a")
    assert "the run has not begun" in rerun(road, run)
    road.wait(60_000)
    road.ok("a")
    road.ok("b")
    assert road.state(run) == "SUCCESS"


@pytest.mark.parametrize("what", ["run_id", "workflow"])
@pytest.mark.parametrize("before", ["", "takeover"])
def test_a_paused_run_is_cancelled_at_once(what: str, before: str) -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}, {"id": "b"}, {"id": "c", "depends_on": ["a"]}))
    road.started("b")
    name = run if what == "run_id" else "w"
    road.command(Command(request_id="p", pause=Pause(**{what: name})))
    road.ok("a")
    if before:
        road.snapshot()
        road.take_over()
    road.cancel(run)
    assert road.states(run) == {"a": "SUCCESS", "b": "CANCELLED", "c": "CANCELLED"}
    assert road.state(run) == "CANCELLED"
    assert [s.stop.reason for s in road.stops] == ["cancelled"]


def test_a_mapped_task_is_cancelled_with_its_instances_in_the_middle_of_its_expansion() -> None:
    road = Road()
    run = road.start(
        workflow({"id": "list"}, {"id": "m", "foreach": "list", "args": {"x": "${{ item }}"}, "concurrency": 1})
    )
    road.ok("list", [1, 2, 3])
    road.ok("m[0]")
    road.started("m[1]")
    road.snapshot()
    road.take_over()
    road.cancel(run)
    states = road.states(run)
    assert [states[f"m[{i}]"] for i in range(3)] == ["SUCCESS", "CANCELLED", "CANCELLED"]
    assert (states["m"], road.state(run)) == ("CANCELLED", "CANCELLED")
