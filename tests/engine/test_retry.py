"""Retries: delays that cannot overflow, no delay after the last attempt, and what is retried at all."""

from __future__ import annotations

import pytest

from indegree.engine.retry import delay_ms, is_retried
from indegree.events.definition_model import RetryPolicy
from indegree.v1.value_pb2 import Error
from tests.engine.road import Road, workflow

CAP = 30 * 86_400_000


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(10**9, 300_000, 2, 3_600_000),
        RetryPolicy(10**9, 10**12, 10, None),
        RetryPolicy(10**9, 1, 1e300, 5),
        RetryPolicy(10**9, 10**18, 1.0000001, 10**15),
    ],
)
def test_the_delay_never_overflows_never_passes_its_cap_and_never_shrinks(policy: RetryPolicy) -> None:  # CASES row 21
    cap = policy.max_delay_ms if policy.max_delay_ms is not None else CAP
    before = 0
    for attempt in range(1, 2_001):
        delay = delay_ms(policy, "r", "t", attempt, CAP)
        assert before <= delay <= cap
        before = delay


def test_jitter_takes_off_at_most_its_share_and_is_the_same_for_the_same_attempt() -> None:
    policy = RetryPolicy(5, 1_000, 2, None, jitter=0.5)
    delays = [delay_ms(policy, "r", f"t{i}", 1, CAP) for i in range(500)]
    assert min(delays) > 500
    assert max(delays) <= 1_000
    assert len(set(delays)) > 300
    assert delays == [delay_ms(policy, "r", f"t{i}", 1, CAP) for i in range(500)]


@pytest.mark.parametrize(
    ("policy", "error", "retried"),
    [
        (RetryPolicy(3), Error(type="ValueError"), True),
        (RetryPolicy(3), Error(type="m.Bad", permanent=True), False),
        (RetryPolicy(3, errors=("OSError",)), Error(type="ConnectionError", bases=["OSError", "Exception"]), True),
        (RetryPolicy(3, errors=("OSError",)), Error(type="builtins.OSError"), True),
        (RetryPolicy(3, errors=("OSError",)), Error(type="ValueError"), False),
        (RetryPolicy(3, errors=("a.Bad",)), Error(type="b.Bad"), False),
        (RetryPolicy(3, exit_codes=(75,)), Error(type="exit_code", exit_code=75), True),
        (RetryPolicy(3, exit_codes=(75,)), Error(type="exit_code", exit_code=1), False),
        (RetryPolicy(3, exit_codes=(75,)), Error(type="ValueError"), False),
        (RetryPolicy(3, errors=("OSError",), exit_codes=(75,)), Error(type="exit_code", exit_code=75), True),
        (RetryPolicy(3, exit_codes=(0,)), Error(type="signal"), False),
    ],
)
def test_errors_and_exit_codes_narrow_what_is_retried(policy: RetryPolicy, error: Error, retried: bool) -> None:
    assert is_retried(policy, 1, "error", error) is retried
    assert not is_retried(policy, 3, "error", error), "no attempt is left"


@pytest.mark.parametrize("reason", ["timeout", "queue_timeout", "worker_lost"])
def test_what_is_no_fault_of_the_code_is_retried_whatever_the_errors_say(reason: str) -> None:
    assert is_retried(RetryPolicy(2, errors=("OSError",)), 1, reason, Error(type="x"))


def test_there_is_no_delay_after_the_last_attempt() -> None:  # CASES row 23
    road = Road()
    run = road.start(workflow({"id": "a", "retry": {"max_attempts": 2, "delay": "60s"}}))
    road.fail("a")
    assert road.states(run)["a"] == "RETRYING"
    road.wait(59_999)
    assert road.states(run)["a"] == "RETRYING"
    road.wait(1)
    road.fail("a")
    assert road.states(run)["a"] == "FAILED"
    assert road.state(run) == "FAILED"


def test_a_retry_keeps_run_and_task_and_counts_the_attempt() -> None:  # CASES row 25
    road = Road()
    run = road.start(workflow({"id": "a", "retry": {"max_attempts": 2}}))
    first = road.fail("a", message="first")
    road.wait(0)
    second = road.ok("a", "done")
    assert (first.run_id, first.task_id) == (second.run_id, second.task_id) == (run, "a")
    assert (first.attempt, second.attempt) == (1, 2)
    told = [(p.state, p.attempt) for p in road.progress if p.task_id == "a"]
    assert told == [("QUEUED", 1), ("RETRYING", 1), ("QUEUED", 2), ("SUCCESS", 2)]
    retrying = next(p for p in road.progress if p.state == "RETRYING")
    assert (retrying.reason, retrying.error.message) == ("error", "first")


def test_a_task_that_kills_every_worker_ends_after_its_attempts() -> None:
    road = Road()
    run = road.start(workflow({"id": "a", "retry": {"max_attempts": 3}}))
    for _ in range(3):
        task = road.started("a")
        road.core.begin(road.now)
        road.core.worker_lost(task.worker)
        road.step()
        road.wait(0)
    assert road.state(run) == "FAILED"
    assert road.last("a").reason == "worker_lost"
    assert [t.attempt for t in road.taken] == [1, 2, 3]
