"""What the shell may decide against a worker, and when: a result that lies unread beats its own timeout."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest

from indegree.stream.clock import OwnerClock
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result
from tests.engine.road import workflow
from tests.stream.live_road import EPOCH_MS, LiveRoad, OwnersTime

HEARTBEAT_S = 8.0
SETTINGS = {"engine.heartbeat_timeout_s": HEARTBEAT_S, "engine.start_timeout_s": 5.0}
ONE: dict[str, Any] = {"id": "a", "python": "m:a"}


async def running(*, task: dict[str, Any] | None = None, **fields: Any) -> LiveRoad:
    """A run with one task that its worker has begun."""
    road = await LiveRoad.open(workflow({**ONE, **(task or {})}, **fields), **SETTINGS)
    road.come("w1")
    await road.start()
    road.say(road.out.tasks[0], Result.STARTED)
    await road.read()
    assert road.events(Event.TASK_STARTED)
    return road


async def sent(**task: Any) -> LiveRoad:
    """A run with one task that a worker was sent and has not begun."""
    road = await LiveRoad.open(workflow({**ONE, **task}), **SETTINGS)
    road.come("w1")
    await road.start()
    assert len(road.out.tasks) == 1
    return road


async def heartbeat_is_due(road: LiveRoad) -> None:
    await road.later(HEARTBEAT_S + 1)


async def timeout_is_due(road: LiveRoad) -> None:
    await road.later(3)


async def the_worker_is_lost(road: LiveRoad) -> None:
    road.live.worker_lost("w1")
    await road.later(0.1)


DUE: list[Any] = [
    pytest.param(running, heartbeat_is_due, id="heartbeat"),
    pytest.param(lambda: running(task={"timeout": "3s"}), timeout_is_due, id="attempt timeout"),
    pytest.param(lambda: running(timeout="3s"), timeout_is_due, id="run timeout"),
    pytest.param(lambda: sent(queue_timeout="3s"), timeout_is_due, id="queue timeout"),
    pytest.param(running, the_worker_is_lost, id="worker lost"),
]
Make: TypeAlias = Callable[[], Awaitable[LiveRoad]]
Comes: TypeAlias = Callable[[LiveRoad], Awaitable[None]]


@pytest.mark.parametrize(("make", "due"), DUE)
async def test_a_result_that_lies_unread_beats_what_is_due(make: Make, due: Comes) -> None:
    road = await make()
    road.say(road.out.tasks[0], Result.SUCCEEDED)
    await due(road)
    assert not road.ended(), "decided although a result lies unread"
    await road.read()
    assert road.ended() == "SUCCESS"
    await road.close()


@pytest.mark.parametrize(("make", "due"), DUE)
async def test_what_is_due_is_decided_once_all_is_read_with_one_question_for_the_end(make: Make, due: Comes) -> None:
    road = await make()
    asked = road.broker.questions
    await due(road)
    assert road.ended() == "FAILED"
    assert road.broker.questions == asked + 1
    await road.close()


async def test_many_timeouts_of_one_moment_ask_once() -> None:
    tasks = [{"id": f"t{i}", "python": "m:a", "timeout": "3s"} for i in range(50)]
    road = await LiveRoad.open(workflow(*tasks), **SETTINGS)
    road.come("w1", slots=50)
    await road.start()
    for task in road.out.tasks:
        road.say(task, Result.STARTED)
    await road.read()
    asked = road.broker.questions
    await road.later(4)
    assert (road.ended(), len(road.events(Event.ATTEMPT_FAILED))) == ("FAILED", 50)
    assert road.broker.questions == asked + 1
    await road.close()


async def test_work_that_ends_in_time_asks_nothing() -> None:
    road = await running(task={"timeout": "3s"})
    asked = road.broker.questions
    for _ in range(10):
        await road.later(0.2)
    road.say(road.out.tasks[0], Result.SUCCEEDED)
    await road.read()
    for _ in range(10):
        await road.later(HEARTBEAT_S)
    assert road.ended() == "SUCCESS"
    assert road.broker.questions == asked
    await road.close()


async def test_the_end_of_a_retrys_delay_asks_nothing() -> None:
    road = await running(task={"retry": {"max_attempts": 2, "delay": "2s", "jitter": 0}})
    road.say(road.out.tasks[0], Result.FAILED)
    await road.read()
    assert road.events(Event.TASK_RETRYING)
    asked = road.broker.questions
    road.come("w1")
    await road.later(3)
    assert [task.attempt for task in road.out.tasks] == [1, 2]
    assert road.broker.questions == asked
    await road.close()


async def test_an_absence_of_kafka_begins_every_silence_anew() -> None:
    road = await running()
    road.broker.away = True
    for _ in range(10):
        await road.later(HEARTBEAT_S / 5)
    assert not road.events(Event.ATTEMPT_FAILED)
    road.broker.away = False
    road.broker.back.set()
    await road.later(0.1)  # it answers; what the worker could not send is not there yet
    await road.later(HEARTBEAT_S / 2)
    assert not road.events(Event.ATTEMPT_FAILED), "the worker had half a timeout to be heard again"
    await road.later(HEARTBEAT_S)
    assert road.events(Event.ATTEMPT_FAILED)[0].reason == "worker_lost"
    await road.close()


async def test_a_timeout_that_came_due_while_kafka_was_away_waits_for_what_could_not_be_sent() -> None:
    road = await running(task={"timeout": "3s"})
    road.broker.away = True
    for _ in range(4):
        await road.later(1)
    road.broker.away = False
    road.broker.back.set()
    await road.later(0.1)
    assert not road.events(Event.ATTEMPT_FAILED)
    road.say(road.out.tasks[0], Result.SUCCEEDED)
    await road.read()
    assert road.ended() == "SUCCESS"
    await road.close()


def test_a_jump_of_the_brokers_clock_moves_no_steady_time() -> None:
    now = OwnersTime()
    clock = OwnerClock(now)
    clock.acknowledged(EPOCH_MS)
    assert clock.both_ms() == (EPOCH_MS, EPOCH_MS)
    now.at += 2
    clock.acknowledged(EPOCH_MS + 3_600_000)
    assert clock.both_ms() == (EPOCH_MS + 3_600_000, EPOCH_MS + 2_000)


async def test_a_jump_of_the_brokers_clock_silences_nobody() -> None:
    road = await running()
    road.time.broker_ahead_ms = 3_600_000
    await road.start()  # an append: the owner's time follows the broker's
    assert road.live.now_ms() > 3_600_000
    await road.later(HEARTBEAT_S / 2)
    assert not road.events(Event.ATTEMPT_FAILED)
    await road.later(HEARTBEAT_S)
    assert road.events(Event.ATTEMPT_FAILED)[0].reason == "worker_lost"
    await road.close()


# -- an attempt that its worker does not begin


async def test_an_attempt_that_a_living_worker_does_not_begin_is_sent_again() -> None:
    road = await sent()
    await road.later(4.5)
    road.come("w1")
    assert len(road.out.tasks) == 1
    await road.later(1)
    assert [(task.attempt, task.worker) for task in road.out.tasks] == [(1, "w1"), (1, "w1")]
    assert road.metrics.registry.get_sample_value("indegree_tasks_unstarted_total", {"partition": "0"}) == 1
    await road.close()


async def test_it_is_not_sent_again_while_its_start_lies_unread() -> None:
    road = await sent()
    road.say(road.out.tasks[0], Result.STARTED)
    road.come("w1")
    await road.later(6)
    assert len(road.out.tasks) == 1
    await road.read()
    assert road.events(Event.TASK_STARTED)[0].worker == "w1"
    await road.close()


async def test_it_is_not_sent_again_while_its_worker_says_nothing_at_all() -> None:
    road = await sent()
    await road.later(6)
    await road.later(6)
    assert len(road.out.tasks) == 1
    await road.close()


async def test_of_two_workers_that_were_sent_it_the_first_to_begin_has_it_and_the_other_is_stopped() -> None:
    road = await sent()
    road.come("w2", slots=16)
    road.workers.heard(b"w1", None, live=True)  # it gets no more, and is not taken for lost: see `lost` of the road
    await road.later(6)
    assert [task.worker for task in road.out.tasks] == ["w1", "w2"]
    first, second = road.out.tasks
    road.say(second, Result.STARTED)
    road.say(first, Result.STARTED)
    road.say(second, Result.SUCCEEDED)
    await road.read()
    assert [event.worker for event in road.events(Event.TASK_STARTED)] == ["w2"]
    assert road.ended() == "SUCCESS"
    assert road.core.held("w1") == road.core.held("w2") == 0
    await road.close()


# -- what was put off


async def test_what_is_put_off_outside_of_a_step_has_a_timer() -> None:
    road = await sent()
    road.come("w2", slots=1)
    held = {"w1": 9, "w2": 9}  # by another partition of this engine
    core = SimpleNamespace(
        queues=list, holders=lambda: list(held), held=held.__getitem__, recall=lambda _: False, best=lambda _: None
    )
    other: Any = SimpleNamespace(core=core, serving=True)
    road.dispatcher.join(other)
    road.say(road.out.tasks[0], Result.REJECTED)
    await road.read()
    await road.later(2)
    assert road.core.ready("default") == 1, "nobody has room"
    assert road.live._timer_ms > road.live.now_ms() + 1_000
    held["w1"] = 0
    road.dispatcher.run()  # by news of a worker: no step of ours
    assert road.core.ready("default") == 0, "put off: w2 may have the code"
    assert road.live._timer is not None
    assert road.live._timer_ms <= road.live.now_ms() + 1_000
    held["w2"] = 0
    await road.later(1.1)
    assert [task.worker for task in road.out.tasks] == ["w1", "w2"]
    await road.close()
