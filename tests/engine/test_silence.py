"""Deadlines that workers miss: measured in steady time, and decided only as far as results have been read."""

from __future__ import annotations

import pytest

from indegree.engine.limits import Limits
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result
from tests.engine.road import Road, workflow


@pytest.mark.parametrize(
    ("task", "begun", "fields"),
    [
        ({"timeout": "10s"}, True, {}),
        ({"queue_timeout": "10s"}, False, {}),
        ({}, True, {"timeout": "10s"}),
        ({}, True, {}),
    ],
    ids=["timeout", "queue timeout", "run timeout", "heartbeat"],
)
def test_what_came_due_after_the_results_were_read_waits(
    task: dict[str, str], begun: bool, fields: dict[str, str]
) -> None:
    road = Road(limits=Limits(heartbeat_timeout_ms=10_000, start_timeout_ms=10**9))
    run = road.start(workflow({"id": "a", **task}, **fields))
    road.started("a") if begun else road.task("a")
    heard = (road.now + 9_999, road.now + 9_999)
    road.now += 12_000
    road.core.begin(road.now)
    assert road.core.fire_timers(heard)
    road.step()
    assert road.state(run) == "RUNNING"
    assert not road.core.fire_timers((heard[0] + 1, heard[1] + 1))
    road.step()
    assert road.state(run) == "FAILED"


def test_a_retrys_delay_waits_for_nothing() -> None:
    road = Road()
    road.start(workflow({"id": "a", "retry": {"max_attempts": 2, "delay": "1s", "jitter": 0}}))
    road.fail("a")
    heard = (road.now, road.now)
    road.now += 1_000
    road.core.begin(road.now)
    assert not road.core.fire_timers(heard)
    road.step()
    assert [task.attempt for task in road.take()] == [2]


def test_a_jump_of_the_owners_time_is_no_silence() -> None:
    road = Road(limits=Limits(heartbeat_timeout_ms=30_000))
    run = road.start(workflow({"id": "a"}))
    road.started("a")
    steady = road.now
    road.core.begin(road.now + 10**9, steady + 29_000)
    road.core.fire_timers()
    road.step()
    assert road.states(run)["a"] == "RUNNING"
    road.core.begin(road.now + 10**9, steady + 30_000)
    road.core.fire_timers()
    road.step()
    assert road.state(run) == "FAILED"


def test_silence_is_counted_anew_from_when_somebody_could_be_heard_again() -> None:
    road = Road(limits=Limits(heartbeat_timeout_ms=30_000))
    run = road.start(workflow({"id": "a"}))
    road.started("a")
    road.core.hear_anew(road.now + 25_000)
    road.wait(54_999)
    assert road.states(run)["a"] == "RUNNING"
    road.wait(3_000)
    assert road.state(run) == "FAILED"


def test_what_a_worker_does_not_begin_is_given_back_and_uses_no_attempt() -> None:
    road = Road()
    road.start(workflow({"id": "a"}))
    assert len(road.take("w1")) == 1
    road.wait(4_999)
    assert (road.core.ready("default"), road.core.held("w1")) == (0, 1)
    events = len(road.events())
    road.wait(1)
    assert (road.core.ready("default"), road.core.held("w1"), road.core.counters["unstarted"]) == (1, 0, 1)
    assert len(road.events()) == events, "nothing of it is on the log"
    assert [task.attempt for task in road.take("w2")] == [1]


def test_it_stays_with_a_worker_that_says_nothing_at_all() -> None:
    road = Road()
    road.start(workflow({"id": "a"}))
    road.take("w1")
    for _ in range(5):
        road.now += 6_000
        road.core.begin(road.now)
        for _ in range(2):
            road.core.fire_timers(None, lambda instance: False)
    assert road.core.held("w1") == 1
    due = road.core.next_due_ms()
    assert due is not None
    assert due > road.now, "and it is not looked at all the time"


def test_the_first_to_begin_has_it_and_the_other_is_stopped() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}))
    (first,) = road.take("w1")
    road.wait(5_000)
    (second,) = road.take("w2")
    road.say(first, Result.STARTED)
    assert (road.core.held("w1"), road.core.held("w2")) == (1, 0)
    road.say(second, Result.STARTED)
    road.wait(1_000)
    assert {(stop.worker, stop.stop.reason) for stop in road.stops} == {("w2", "stale")}
    road.say(first, Result.SUCCEEDED)
    assert road.state(run) == "SUCCESS"
    assert len(road.events(Event.TASK_STARTED)) == 1
