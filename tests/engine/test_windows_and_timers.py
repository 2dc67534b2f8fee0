"""What is remembered is forgotten by the log's time; what is armed fires once, and dead entries do not pile up."""

from __future__ import annotations

from indegree.engine.dispatch import Dispatch
from indegree.engine.plan import Plan, plan_of
from indegree.engine.state import Attempt, Run
from indegree.engine.timers import Timers
from indegree.engine.windows import Windows
from tests.engine.road import workflow


def attempt(plan: Plan | None = None) -> Attempt:
    return Attempt(Run("r", plan or plan_of(workflow({"id": "a"})), 0), 0, 1, 0, 0)


def test_keys_and_ended_runs_are_evicted_by_log_time() -> None:
    windows = Windows(history_ms=1_600, ended_max=1_000)
    for time in range(0, 10_000, 10):
        windows.add_key("w", f"k{time}", f"r{time}", b"", time)
        windows.add_ended(f"r{time}", b"", time)
    assert 160 <= len(windows.keys) <= 180
    assert 160 <= len(windows.ended) <= 180
    assert windows.keyed("w", "k9990", 10_000) is not None
    assert windows.keyed("w", "k8400", 10_000) is None, "too old, whether it is still there or not"
    assert windows.ended_run("r8400", 10_000) is None


def test_ended_runs_are_bounded_in_number_and_the_oldest_go_first() -> None:
    windows = Windows(history_ms=10**9, ended_max=80)
    for i in range(1_000):
        windows.add_ended(f"r{i}", b"", i)
        assert len(windows.ended) <= 80
    assert "r999" in windows.ended
    assert min(entry.time_ms for entry in windows.ended.values()) >= 920


def test_a_timer_fires_once_in_order_and_only_the_last_one_armed() -> None:
    timers = Timers()
    a, b = attempt(), attempt()
    timers.arm(a, 50)
    timers.arm(b, 20)
    timers.arm(a, 10)
    assert timers.next_due_ms() == 10
    assert timers.pop() is a
    assert timers.pop() is b
    assert timers.next_due_ms() is None


def test_dead_timers_do_not_pile_up() -> None:
    timers = Timers()
    one = attempt()
    for i in range(100_000):
        timers.arm(one, 10**9 + i)
    assert len(timers._heap) < 10_000
    assert timers.next_due_ms() == 10**9 + 99_999


def test_dead_entries_of_a_queue_without_workers_do_not_pile_up() -> None:
    dispatch = Dispatch(30_000, 5_000)
    one = attempt()
    for number in range(1, 50_000):
        one.number = number
        dispatch.push(one)
        dispatch.drop(one)
    assert len(dispatch._lines["default"].flow(0, "w").entries) < 3_000
    assert dispatch.take("default", "w") is None
    assert dispatch.counts == {}
