"""Backfills in the core: the times of a range that have no run yet, a few at a time."""

from __future__ import annotations

import random
from typing import Any

import pytest

from indegree.engine.limits import Limits
from indegree.events.cron import Schedule
from indegree.events.definition import Definition
from indegree.events.run_ids import make_run_id, partition_of_key, schedule_digits, time_of_run
from indegree.v1.event_pb2 import Event
from indegree.v1.trigger_pb2 import (
    Backfill,
    ChildEnded,
    Command,
    Deploy,
    ForwardedStart,
    Origin,
    Parent,
    PartitionMessage,
    Pause,
    Resume,
    Start,
)
from tests.engine.road import EPOCH_MS, Road, workflow

HOUR, DAY = 3_600_000, 86_400_000
HOURLY = {"cron": {"schedule": "0 * * * *"}}
MORNING = EPOCH_MS - 3 * HOUR  # midnight of the road's first day, which begins at 03:00 UTC


def deployed(definition: Definition, number: int = 0, partitions: int = 1, limits: Limits | None = None) -> Road:
    road = Road(number, partitions, limits)
    deploy(road, definition)
    return road


def deploy(road: Road, definition: Definition) -> None:
    road.command(Command(deploy=Deploy(workflow=definition.id, version=definition.hash, activate=True)), definition)


def hourly(task: dict[str, Any] | None = None, **fields: Any) -> Definition:
    return workflow(task or {"id": "a"}, **{"triggers": [HOURLY], **fields})


def backfill(road: Road, start: int = MORNING, end: int = MORNING + 3 * HOUR, **fields: Any) -> tuple[str, str]:
    """Asks for it and lets it begin; returns the answer."""
    asked = Backfill(**{"workflow": "w", "start_ms": start, "end_ms": end, **fields})
    road.command(Command(request_id="b", actor="ann", backfill=asked))
    answers = [(record.type, record.reason) for record in road.progress if record.request_id == "b"]
    road.timers()
    return answers[-1] if answers else ("", "")


def started(road: Road) -> list[int]:
    """Hours since midnight of the runs that were started, in order."""
    return [(event.origin.scheduled_ms - MORNING) // HOUR for event in road.events(Event.RUN_STARTED)]


def finish(road: Road, task_id: str = "a") -> None:
    """One run that is under way ends."""
    road.ok(task_id)
    road.sent = [task for task in road.sent if road.core.run(task.run_id) is not None]
    road.timers()


def steps(road: Road) -> list[tuple[str, int]]:
    return [(event.state, (event.due_ms - MORNING) // HOUR) for event in road.events(Event.BACKFILL_STEP)]


def test_a_backfill_starts_the_times_of_its_range_the_end_not_in_it() -> None:
    road = deployed(hourly({"id": "a", "join": True}))
    assert backfill(road) == ("command.accepted", "backfill 1 goes through 3 times, 1 at a time")
    assert started(road) == [0, 1, 2]
    begun, ended = road.events(Event.BACKFILL_CHANGED)
    assert (begun.actor, begun.state, begun.number, ended.state, ended.number) == ("ann", "begun", 1, "ended", 1)
    assert road.core.state.backfills == {}
    event = road.events(Event.RUN_STARTED)[1]
    assert (event.origin.kind, event.actor, event.origin.scheduled_ms) == ("backfill", "ann", MORNING + HOUR)
    assert event.origin.previous_scheduled_ms == MORNING


def test_at_most_so_many_runs_are_under_way() -> None:
    road = deployed(hourly())
    backfill(road, MORNING - 5 * HOUR, concurrency=3)
    for _ in range(8):
        assert len(list(road.core.runs())) <= 3
        finish(road)
    assert started(road) == list(range(-5, 3))
    assert [event.state for event in road.events(Event.BACKFILL_CHANGED)] == ["begun", "ended"]


def test_a_run_that_fails_or_is_cancelled_makes_room_for_the_next_one() -> None:
    road = deployed(hourly())
    backfill(road)
    road.fail("a")
    road.timers()
    (run,) = road.core.runs()
    road.cancel(run.run_id)
    road.timers()
    finish(road)
    assert [event.state for event in road.events(Event.RUN_FINISHED)] == ["FAILED", "CANCELLED", "SUCCESS"]
    assert started(road) == [0, 1, 2]
    assert road.core.state.backfills == {}


def test_a_time_that_has_a_run_is_not_started_again() -> None:
    road = deployed(hourly())
    for _ in range(2):  # at 04:00 and 05:00 by the schedule: the first ends, the second is under way
        road.wait(HOUR)
    road.ok("a")
    backfill(road, end=EPOCH_MS + DAY, concurrency=10)
    assert started(road) == [4, 5, 0, 1, 2, 3]
    assert [step for step in steps(road) if step[0] == "known"] == [("known", 4), ("known", 5)]
    backfill(road, concurrency=10)  # and a second one finds all of them
    assert started(road) == [4, 5, 0, 1, 2, 3]


def test_the_schedule_does_not_start_what_a_backfill_has_started() -> None:
    road = deployed(hourly())
    road.now = EPOCH_MS + HOUR  # 04:00 is due, and the backfill is asked for in the same millisecond
    backfill(road, EPOCH_MS, EPOCH_MS + 2 * HOUR, concurrency=5)
    assert sorted(started(road)) == [3, 4]
    road.wait(HOUR)
    assert sorted(started(road)) == [3, 4, 5]


def test_times_that_are_still_to_come_are_left_to_the_schedule() -> None:
    road = deployed(hourly({"id": "a", "join": True}))
    assert backfill(road, end=EPOCH_MS + DAY)[1] == "backfill 1 goes through 4 times, 1 at a time"  # 03:00 is now
    assert started(road) == [0, 1, 2, 3]


def test_a_backfill_keeps_its_version() -> None:
    road = deployed(hourly())
    backfill(road)
    finish(road)
    deploy(road, hourly({"id": "b"}, triggers=[]))
    finish(road)
    finish(road)
    assert len({event.version for event in road.events(Event.RUN_STARTED)}) == 1
    assert started(road) == [0, 1, 2]


def test_a_cancelled_backfill_starts_nothing_more_and_what_it_started_goes_on() -> None:
    road = deployed(hourly())
    backfill(road, concurrency=2)
    assert backfill(road, cancel=True) == ("command.accepted", "backfill 1 ended; what it has started goes on")
    assert road.events(Event.BACKFILL_CHANGED)[-1].actor == "ann"
    finish(road)
    finish(road)
    assert started(road) == [0, 1]
    assert [event.state for event in road.events(Event.RUN_FINISHED)] == ["SUCCESS", "SUCCESS"]
    assert backfill(road, cancel=True) == ("command.refused", "no backfill of workflow 'w' is under way")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"workflow": "nobody"}, "workflow 'nobody' is not known, or has no active version"),
        ({"workflow": "a b"}, "'a b' is no name of a workflow"),
        ({"workflow": "plain"}, "the active version of workflow 'plain' has no cron trigger"),
        ({"end_ms": MORNING}, "is empty: its end lies behind its start"),
        ({"start_ms": MORNING, "end_ms": MORNING - 1}, "is empty"),
        ({"start_ms": -1}, "is empty"),
        (
            {"start_ms": MORNING + 1, "end_ms": MORNING + HOUR},
            "'0 * * * *' names no time from 2025-11-25T00:00:00.001Z",
        ),
        ({"start_ms": EPOCH_MS + 1, "end_ms": EPOCH_MS + DAY}, "the range lies in the future"),
        ({"start_ms": EPOCH_MS - 100_001 * HOUR}, "has more than 100000 times"),
        ({"trigger": 7}, "trigger 7 of workflow 'w' is no cron trigger; those are: 1, 2"),
        ({"concurrency": 10_001}, "10001 runs at a time; the limit is 10000"),
    ],
)
def test_a_backfill_that_cannot_be_is_refused_with_the_reason(fields: dict[str, Any], reason: str) -> None:
    kafka = {"kafka": {"topic": "t"}}
    road = deployed(hourly(triggers=[kafka, HOURLY, {"cron": {"schedule": "30 6 * * *"}}]))
    deploy(road, workflow({"id": "a"}, id="plain"))
    answer, why = backfill(road, **fields)
    assert (answer, reason in why) == ("command.refused", True), why
    assert started(road) == []


def test_the_first_cron_trigger_is_meant_where_the_trigger_named_is_none() -> None:
    kafka = {"kafka": {"topic": "t"}}
    road = deployed(hourly({"id": "a", "join": True}, triggers=[kafka, HOURLY, {"cron": {"schedule": "30 1 * * *"}}]))
    backfill(road)
    assert len(started(road)) == 3
    backfill(road, trigger=2)
    assert len(started(road)) == 4


def test_no_more_than_twenty_backfills_of_a_workflow_are_under_way() -> None:
    road = deployed(hourly())
    for day in range(20):
        assert backfill(road, MORNING - day * DAY, MORNING - day * DAY + HOUR)[0] == "command.accepted"
    assert "20 backfills of workflow 'w' are under way" in backfill(road)[1]


def test_a_paused_workflow_starts_nothing_of_a_backfill_until_it_goes_on() -> None:
    road = deployed(hourly())
    backfill(road)
    road.take()
    road.command(Command(pause=Pause(workflow="w")))
    road.ok("a")
    road.command(Command(resume=Resume(workflow="w")))  # the run ends: nothing of it is decided while it is paused
    road.command(Command(pause=Pause(workflow="w")))
    road.take_over()
    road.timers()
    assert started(road) == [0]
    road.command(Command(resume=Resume(workflow="w")))
    road.timers()
    assert started(road) == [0, 1]


def test_runs_that_are_refused_do_not_hold_up_a_backfill() -> None:
    road = deployed(hourly(params={"region": {"type": "string", "required": True}}))
    backfill(road)
    assert len(road.events(Event.RUN_REFUSED)) == 3
    ends = [event for event in road.events(Event.BACKFILL_STEP) if event.state == "ended"]
    assert [("region" in event.reason) for event in ends] == [True] * 3
    assert road.core.state.backfills == {}


def test_the_end_of_a_run_on_another_partition_comes_as_a_message() -> None:
    home = partition_of_key("workflow", "w", "", 4)
    road = deployed(hourly(), home, 4)
    backfill(road)
    assert list(road.core.state.backfills[1].active) == [MORNING]
    away = (home + 1) % 4
    run_id = make_run_id(MORNING, schedule_digits("w", 0, MORNING), away)
    parent = Parent(partition=home, backfill=1)
    for number, message in enumerate(
        (
            ChildEnded(parent=parent, run_id=run_id, state="SUCCESS"),
            ChildEnded(parent=parent, run_id=run_id, state="SUCCESS"),  # told twice
            ChildEnded(parent=parent, run_id="nonsense", state="SUCCESS"),
            ChildEnded(parent=Parent(partition=home, backfill=9), run_id=run_id, state="SUCCESS"),
        ),
        1,
    ):
        road.command(Command(message=PartitionMessage(source=away, number=number, ended=message)))
    road.timers()
    assert steps(road) == [("started", 0), ("ended", 0), ("started", 1)]


def test_a_time_whose_run_lives_elsewhere_is_started_there_or_found_there_and_its_end_comes_back() -> None:
    home = partition_of_key("workflow", "w", "", 4)
    away = (home + 1) % 4
    definition = hourly()
    there = Road(away, 4)
    origin = Origin(kind="cron", timestamp_ms=MORNING, scheduled_ms=MORNING, timezone="UTC")
    start = Start(workflow="w", version=definition.hash)
    schedule = ForwardedStart(start=start, origin=origin)
    origin.kind, start.parent.partition, start.parent.backfill = "backfill", home, 1
    again = ForwardedStart(start=start, origin=origin)
    origin.timestamp_ms = origin.scheduled_ms = MORNING + HOUR
    other = ForwardedStart(start=start, origin=origin)
    for number, forwarded in enumerate((schedule, again, other), 1):
        message = PartitionMessage(source=home, number=number, start=forwarded)
        there.command(Command(message=message), definition)
    assert len(there.events(Event.RUN_STARTED)) == 2
    there.ok("a")
    there.sent.clear()
    told = [Command.FromString(entry.data).message.ended for entry in there.core.state.outbox[home].values()]
    assert [(ended.state, ended.parent.backfill) for ended in told] == [("REFUSED", 1), ("SUCCESS", 1)]
    assert [time_of_run(ended.run_id) for ended in told] == [MORNING, MORNING + HOUR]


def test_a_backfill_goes_to_the_partition_of_the_workflows_name() -> None:
    home = partition_of_key("workflow", "w", "", 4)
    road = Road((home + 1) % 4, 4)
    backfill(road)
    (entry,) = road.core.state.outbox[home].values()
    sent = Command.FromString(entry.data).message.command
    assert (sent.request_id, sent.actor, sent.backfill.workflow) == ("b", "ann", "w")


def test_a_recovery_from_a_snapshot_goes_on_with_a_backfill() -> None:
    road = deployed(hourly())
    backfill(road, MORNING - 3 * HOUR, concurrency=2)
    finish(road)
    road.snapshot()
    assert road.recover_from
    road.take_over()
    road.timers()
    while list(road.core.runs()):
        finish(road)
    assert started(road) == list(range(-3, 3))
    assert road.core.state.backfills == {}
    assert backfill(road)[1].startswith("backfill 2 ")


@pytest.mark.parametrize("seed", range(12))
def test_each_time_of_a_range_is_one_run_through_takeovers_snapshots_cancels_and_schedules(seed: int) -> None:
    print("seed", seed)
    rng = random.Random(seed)
    limits = Limits(step_tasks=rng.choice([1, 3, 256]), frame_events=rng.choice([2, 7, 5_000]))
    road = deployed(hourly(triggers=[{"cron": {"schedule": "*/10 * * * *", "catch_up": "all"}}]), limits=limits)
    for _ in range(60):
        match rng.randrange(8):
            case 0:
                road.take_over()
            case 1:
                road.snapshot(budget=rng.choice([1, 1_000]), between=road.timers)
            case 2:
                start = EPOCH_MS - rng.randrange(5 * HOUR)
                backfill(road, start, start + rng.randrange(1, 4 * HOUR), concurrency=rng.randrange(4))
            case 3:
                road.wait(rng.choice([1, 60_000, HOUR // 2]))
            case 4 if rng.random() < 0.3:
                backfill(road, cancel=True)
            case _:
                if list(road.core.runs()):
                    finish(road)
    backfill(road, EPOCH_MS - 6 * HOUR, road.now + 1, concurrency=5)
    while list(road.core.runs()):
        finish(road)
    found = [event.origin.scheduled_ms for event in road.events(Event.RUN_STARTED)]
    assert len(set(found)) == len(found)
    assert sorted(found) == list(Schedule("*/10 * * * *").between(EPOCH_MS - 6 * HOUR, road.now + 1))
    assert road.core.state.backfills == {}
