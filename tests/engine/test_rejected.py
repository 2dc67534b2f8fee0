"""Who gets an attempt that workers have rejected: one that has not, while there is one; else it is tried later."""

from __future__ import annotations

from indegree.v1.task_pb2 import Result
from tests.engine.road import Road, workflow

TWO = workflow({"id": "a", "python": "m:a"}, {"id": "b", "python": "m:b"}, id="w")


def rejected(road: Road, *workers: str) -> None:
    """Task `a` has been at each of these workers, which lack its code; `b` is done."""
    for worker in workers:
        for task in road.take(worker):
            kind = Result.REJECTED if task.task_id == "a" else Result.SUCCEEDED
            road.say(task, kind, worker)
        road.wait(120_000)


def test_it_is_remembered_which_workers_lack_the_code_of_the_best_attempt() -> None:
    road = Road()
    road.start(TWO)
    rejected(road, "w1", "w2")
    assert road.core.refusers("default") == {"w1", "w2"}
    assert road.core.ready("default") == 1


def test_it_uses_no_attempt_and_one_who_has_the_code_runs_it() -> None:
    road = Road()
    run = road.start(TWO)
    rejected(road, "w1")
    (again,) = road.take("w2")
    assert (again.task_id, again.attempt) == ("a", 1)
    road.say(again, Result.SUCCEEDED, "w2")
    assert road.state(run) == "SUCCESS"


def test_it_is_ready_at_once_when_somebody_comes_who_has_not_rejected_it() -> None:
    road = Road()
    road.start(TWO)
    for task in road.take("w1"):
        road.say(task, Result.REJECTED, "w1")
    assert road.core.ready("default") == 0
    assert not road.core.recall(lambda queue, refusers: "w1" not in refusers)
    assert road.core.recall(lambda queue, refusers: queue == "default" and "w2" not in refusers)
    assert [task.task_id for task in road.take("w2")] == ["a", "b"]


def test_it_is_left_for_a_moment_while_who_may_have_its_code_has_no_room() -> None:
    road = Road()
    road.start(TWO)
    rejected(road, "w1")
    road.core.postpone("default")
    assert road.core.ready("default") == 0
    road.wait(2_000)
    assert [task.task_id for task in road.take("w2")] == ["a"]
