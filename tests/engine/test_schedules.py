"""Schedules in the core: each time of a cron trigger becomes one run, whatever happens in between."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from indegree.engine.limits import Limits
from indegree.engine.scope import trigger_scope, trigger_values
from indegree.events.cron import Schedule
from indegree.events.definition import Definition
from indegree.events.run_ids import partition_of_key
from indegree.events.trace import valid
from indegree.v1.event_pb2 import Event
from indegree.v1.trigger_pb2 import Activate, Command, Deploy, Origin, Pause, Resume
from tests.engine.road import EPOCH_MS, Road, workflow

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def cron(schedule: str, timezone: str = "UTC", catch_up: str = "none") -> dict[str, Any]:
    return {"cron": {"schedule": schedule, "timezone": timezone, "catch_up": catch_up}}


def scheduled(*triggers: dict[str, Any], task: str = "a", **fields: Any) -> Definition:
    """A workflow with these triggers; another `task` makes another version of it."""
    return workflow({"id": task, "join": True}, triggers=list(triggers), **fields)


def deploy(road: Road, definition: Definition) -> None:
    command = Deploy(workflow=definition.id, version=definition.hash, activate=True)
    road.command(Command(request_id="d", actor="ann", deploy=command), definition)


def starts(road: Road) -> list[str]:
    """The scheduled times of all runs, in the order of their starts, as `HH:MM` (and the day, where it is not 25)."""
    found = [event.origin.scheduled_ms for event in road.events(Event.RUN_STARTED)]
    moments = [datetime.fromtimestamp(at / 1000, UTC) for at in found]
    return [moment.strftime("%H:%M" if moment.day == 25 else "%d %H:%M") for moment in moments]


def until(road: Road, clock: str) -> None:
    """Lives up to this time of the road's first day, 2025-11-25, which begins at 03:00 UTC, minute by minute."""
    hour, minute = map(int, clock.split(":"))
    end = EPOCH_MS + (hour - 3) * HOUR + minute * MINUTE
    while road.now < end:
        road.wait(min(MINUTE, end - road.now))


def test_an_active_version_starts_a_run_at_each_time_of_its_schedule() -> None:
    road = Road()
    deploy(road, scheduled(cron("*/20 * * * *")))
    assert road.core.next_due_ms() == EPOCH_MS + 20 * MINUTE
    for _ in range(61):
        road.wait(MINUTE)
    assert starts(road) == ["03:20", "03:40", "04:00"]
    origin = road.events(Event.RUN_STARTED)[1].origin
    assert (origin.kind, origin.topic, origin.timezone) == ("cron", "", "UTC")
    assert origin.scheduled_ms - origin.previous_scheduled_ms == 20 * MINUTE
    traces = {event.traceparent for event in road.events(Event.RUN_STARTED)}
    assert [valid(trace) for trace in traces] == [True] * 3  # each run is a trace of its own


def test_a_deployed_version_that_is_not_active_starts_nothing() -> None:
    road = Road()
    definition = scheduled(cron("*/20 * * * *"))
    road.command(Command(deploy=Deploy(workflow="w", version=definition.hash)), definition)
    assert (road.core.next_due_ms(), road.core.state.schedules) == (None, {})
    road.command(Command(activate=Activate(workflow="w", version=definition.hash)), definition)
    assert road.core.next_due_ms() == EPOCH_MS + 20 * MINUTE


def test_the_same_time_is_one_run_however_often_the_log_ends_before_its_next_time_is_set() -> None:
    road = Road(limits=Limits(step_tasks=1, frame_events=1))
    deploy(road, scheduled(cron("0 * * * *")))
    road.now = EPOCH_MS + HOUR
    road.core.begin(road.now)
    road.core.fire_timers()
    road.cut()
    kept = [i for i, data in enumerate(road.log) if b"cron" in data and Event.RUN_STARTED in _kinds(data)]
    whole = road.log
    cut = 0
    for end in range(kept[0] + 1, len(whole) + 1):
        again = Road(log=list(whole[:end]))
        again.now = EPOCH_MS + HOUR + MINUTE
        again.timers()
        assert starts(again) == ["04:00"], end
        assert again.core.next_due_ms() == EPOCH_MS + 2 * HOUR
        cut += 1
    assert cut


def _kinds(data: bytes) -> list[int]:
    from indegree.v1.event_pb2 import Frame

    return [event.kind for event in Frame.FromString(data).events]


def test_an_unchanged_schedule_of_the_version_before_keeps_its_time() -> None:
    road = Road()
    deploy(road, scheduled(cron("0 6 * * *"), cron("30 * * * *")))
    until(road, "03:10")
    deploy(road, scheduled(cron("0 7 * * *"), cron("30 * * * *"), task="b"))
    due = {place: found.due_ms - EPOCH_MS for (_, place), found in road.core.state.schedules.items()}
    assert due == {0: 4 * HOUR, 1: 30 * MINUTE}
    until(road, "08:00")
    second = {event.version for event in road.events(Event.RUN_STARTED)}
    assert starts(road) == ["03:30", "04:30", "05:30", "06:30", "07:00", "07:30"]  # and no more at 06:00
    assert len(second) == 1


def test_a_late_time_is_not_lost_by_a_new_version_with_the_same_schedule() -> None:
    road = Road()
    deploy(road, scheduled(cron("0 4 * * *", catch_up="all")))
    road.now += 2 * HOUR  # no engine was there
    deploy(road, scheduled(cron("0 4 * * *", catch_up="all"), task="b"))
    road.timers()
    assert starts(road) == ["04:00"]


def test_a_trigger_that_is_gone_starts_nothing_more() -> None:
    road = Road()
    deploy(road, scheduled(cron("0 * * * *"), cron("30 * * * *")))
    deploy(road, scheduled(cron("0 * * * *"), task="b"))
    assert list(road.core.state.schedules) == [("w", 0)]
    deploy(road, scheduled(task="c"))
    assert road.core.state.schedules == {}
    road.wait(DAY)
    assert starts(road) == []


@pytest.mark.parametrize(
    ("catch_up", "right", "skipped"),
    [
        ("none", ["06:10", "06:20"], 18),
        ("last", ["06:00", "06:10", "06:20"], 17),
        ("all", [f"{m // 60:02}:{m % 60:02}" for m in range(190, 390, 10)], 0),
    ],
)
def test_missed_times_are_caught_up_as_the_trigger_says(catch_up: str, right: list[str], skipped: int) -> None:
    road = Road()
    deploy(road, scheduled(cron("*/10 * * * *", catch_up=catch_up)))
    road.now = EPOCH_MS + 3 * HOUR + 10 * MINUTE + 30_000  # 06:10:30: 06:10 is late, and not missed
    road.take_over()
    road.timers()
    until(road, "06:20")
    assert starts(road) == right
    assert sum(event.total for event in road.events(Event.SCHEDULE_SKIPPED)) == skipped


def test_a_time_that_comes_within_a_minute_is_not_missed() -> None:
    road = Road()
    deploy(road, scheduled(cron("0 4 * * *"), cron("1 4 * * *")))
    road.now = EPOCH_MS + HOUR + MINUTE + 1  # the first one is 60.001 s late, the second 1 ms
    road.timers()
    assert starts(road) == ["04:01"]


def test_many_missed_times_take_several_frames_and_each_is_started_in_order() -> None:
    road = Road(limits=Limits(step_tasks=8, frame_events=20))
    deploy(road, scheduled(cron("* * * * *", catch_up="all")))
    before = len(road.log)
    road.now += 200 * MINUTE
    road.core.begin(road.now)
    road.core.fire_timers()
    road.cut()
    assert 0 < len(starts(road)) <= 8
    road.take_over()  # in the middle of it
    road.timers()
    found = [event.origin.scheduled_ms for event in road.events(Event.RUN_STARTED)]
    assert found == [EPOCH_MS + minute * MINUTE for minute in range(1, 201)]
    assert len(road.log) - before > 20


def test_what_falls_into_a_pause_of_the_workflow_was_missed() -> None:
    for catch_up, right in (("none", ["03:10", "03:50"]), ("last", ["03:10", "03:40", "03:50"])):
        road = Road()
        deploy(road, scheduled(cron("*/10 * * * *", catch_up=catch_up)))
        until(road, "03:15")
        road.command(Command(pause=Pause(workflow="w")))
        until(road, "03:45")
        assert starts(road) == ["03:10"]
        road.take_over()
        until(road, "03:46")
        road.command(Command(resume=Resume(workflow="w")))
        road.timers()
        until(road, "03:50")
        assert starts(road) == right


def test_expressions_and_tasks_read_the_scheduled_time_in_the_triggers_zone() -> None:
    road = Road()
    task = {"id": "a", "python": "m:f", "args": {"day": "${{ trigger.date }}", "at": "${{ trigger.scheduled_at }}"}}
    deploy(road, workflow(task, triggers=[cron("30 23 * * *", "America/New_York")]))
    until(road, "04:30")
    record = road.task("a")
    inputs = record.SerializeToString()
    assert b"2025-11-24T23:30:00-05:00" in inputs
    assert b'"2025-11-24"' in inputs
    run = road.core.run(record.run_id)
    assert run is not None
    scope = trigger_scope(run)
    assert scope["previous_scheduled_at"] == "2025-11-23T23:30:00-05:00"
    assert (scope["topic"], scope["offset"], scope["value"]) == (None, None, None)
    assert record.run_id.startswith("20251125T043000.000Z-")


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "right/UTC", "x" * 300])
@pytest.mark.parametrize("time_ms", [-(2**63), -1, 1, 2**63 - 1])
def test_a_scheduled_time_that_no_schedule_of_ours_gives_has_a_text_all_the_same(zone: str, time_ms: int) -> None:
    found = trigger_values(Origin(kind="cron", scheduled_ms=time_ms, previous_scheduled_ms=time_ms, timezone=zone))
    assert found["scheduled_at"][10] == "T"


def test_a_version_whose_runs_are_refused_goes_on_to_its_next_time() -> None:
    road = Road()
    params = {"region": {"type": "string", "required": True}}
    deploy(road, scheduled(cron("0 * * * *"), params=params))
    until(road, "05:00")
    refused = road.events(Event.RUN_REFUSED)
    assert len(refused) == 2
    assert "region" in refused[0].reason
    assert road.core.next_due_ms() == EPOCH_MS + 3 * HOUR


def test_schedules_live_on_the_partition_of_the_workflows_name() -> None:
    home = partition_of_key("workflow", "w", "", 4)
    away = (home + 1) % 4
    definition = scheduled(cron("0 * * * *"))
    for number in (home, away):
        road = Road(number, 4)
        deploy(road, definition)
        assert bool(road.core.state.schedules) == (number == home)


def test_two_triggers_of_one_time_are_two_runs_and_two_workflows_too() -> None:
    road = Road()
    deploy(road, scheduled(cron("0 4 * * *"), cron("0 4 * * 2")))
    deploy(road, workflow({"id": "a", "join": True}, id="other", triggers=[cron("0 4 * * *")]))
    until(road, "04:00")
    found = [event.run_id for event in road.events(Event.RUN_STARTED)]
    assert len(set(found)) == len(found) == 3


def test_a_recovery_from_a_snapshot_has_the_schedules() -> None:
    road = Road()
    deploy(road, scheduled(cron("0 * * * *"), cron("30 2 * * *", "America/New_York", "last")))
    deploy(road, workflow({"id": "a", "join": True}, id="other", triggers=[cron("15 * * * *")]))
    until(road, "04:20")
    road.snapshot()
    assert road.recover_from
    road.take_over()  # reads the log from the snapshot on, and compares
    until(road, "05:10")
    assert starts(road) == ["03:15", "04:00", "04:15", "05:00"]


@pytest.mark.parametrize("seed", range(12))
def test_a_schedule_gives_each_time_once_through_takeovers_snapshots_pauses_and_new_versions(seed: int) -> None:
    print("seed", seed)
    rng = random.Random(seed)
    limits = Limits(step_tasks=rng.choice([1, 3, 256]), frame_events=rng.choice([2, 7, 5_000]))
    road = Road(limits=limits)
    schedule, zone = rng.choice([("*/7 * * * *", "UTC"), ("0 */2 * * *", "America/New_York"), ("30 1,2 * * *", "UTC")])
    versions = [scheduled(cron(schedule, zone, "all"), task=f"t{i}") for i in range(3)]
    deploy(road, versions[0])
    end = EPOCH_MS + 3 * DAY
    while road.now < end:
        road.now = min(end, road.now + rng.choice([1, 20_000, 5 * MINUTE, HOUR, 5 * HOUR]))
        match rng.randrange(6):
            case 0:
                road.take_over()
            case 1:
                deploy(road, rng.choice(versions))
            case 2:
                road.snapshot(budget=rng.choice([1, 1_000]), between=road.timers)
            case 3:
                road.command(Command(pause=Pause(workflow="w")))
            case 4:
                road.command(Command(resume=Resume(workflow="w")))
            case _:
                road.timers()
    road.command(Command(resume=Resume(workflow="w")))
    road.timers()
    found = [event.origin.scheduled_ms for event in road.events(Event.RUN_STARTED)]
    assert found == list(Schedule(schedule, zone).between(EPOCH_MS + 1, end + 1))
