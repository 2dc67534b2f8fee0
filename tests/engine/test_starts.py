"""Starts: runs, repeats, refusals, forwarding; each with one answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from indegree.engine.limits import Limits
from indegree.events.definition import Definition
from indegree.events.run_ids import make_run_id, partition_of_key, partition_of_run
from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.trigger_pb2 import Command, Origin, Start
from tests.engine.road import EPOCH_MS, TRACE, Road, workflow

ONE = workflow({"id": "a"}, params={"n": {"type": "integer", "default": 0}})


def answers(road: Road) -> list[tuple[str, str, int]]:
    return [(p.type, p.request_id, p.position) for p in road.progress if p.type in ("run.accepted", "run.refused")]


def test_a_start_is_accepted_then_running_and_has_its_id_from_where_its_record_lies() -> None:
    road = Road(number=3, partitions=8)
    run = road.start(ONE, {"n": 5}, request_id="r1", actor="me")
    assert [(p.type, p.state, p.position) for p in road.progress[:2]] == [
        ("run.accepted", "PENDING", 1),
        ("run.running", "RUNNING", 2),
    ]
    first = road.progress[0]
    assert (first.request_id, first.actor, first.traceparent) == ("r1", "me", TRACE)
    assert partition_of_run(run) == 3
    started = road.events(Event.RUN_STARTED)[0]
    assert (started.version, started.value.json, started.origin.offset) == (ONE.hash, b'{"n":5}', 0)
    assert (started.traceparent, started.request_id) == (TRACE, "r1")


def test_a_run_keeps_the_version_that_it_started_with() -> None:  # CASES row 44
    old = workflow({"id": "a"}, {"id": "b", "depends_on": ["a"]})
    new = workflow({"id": "a"}, {"id": "c", "depends_on": ["a"]})
    road = Road()
    first = road.start(old)
    second = road.start(new)
    for task in road.take():
        road.say(task, 3)
    assert set(road.states(first)) == {"a", "b"}
    assert set(road.states(second)) == {"a", "c"}
    assert [e.version for e in road.events(Event.RUN_STARTED)] == [old.hash, new.hash]


@pytest.mark.parametrize(
    ("start", "definition", "reason"),
    [
        (Start(workflow="nope"), None, "workflow 'nope' is not known, or has no active version: deploy it first"),
        (Start(workflow="w", version="ff"), None, "workflow 'w' has no version 'ff'"),
        (Start(workflow="w", label="v1"), None, "no version with the label 'v1'"),
        (Start(workflow="other"), ONE, "workflow 'other' is not known"),
        (Start(workflow="no good"), None, "is no name of a workflow"),
        (Start(workflow="w", params=b"{"), ONE, "the parameters are not JSON"),
        (Start(workflow="w", params=b"[1]"), ONE, "must be a JSON object"),
        (Start(workflow="w", params=b'{"n":"x"}'), ONE, "its type is integer"),
        (Start(workflow="w", params=b'{"m":1}'), ONE, "unknown parameter 'm'"),
        (
            Start(workflow="w", params=b'{"n":"' + b"x" * 300_000 + b'"}'),
            ONE,
            "the limit is 262144 (limits.value_bytes)",
        ),
        (Start(workflow="w", run_id="mine"), ONE, "is not of the form"),
        (Start(workflow="w", run_id=make_run_id(0, "0" * 12, 9)), ONE, "names partition 9, and this cluster has 1"),
    ],
)
def test_a_start_that_cannot_run_is_refused_with_the_value_and_the_way_out(
    start: Start, definition: Definition | None, reason: str
) -> None:
    road = Road()
    healthy = [road.start(ONE) for _ in range(10)]
    start.request_id = "bad"
    road.trigger(start, definition)
    refused = road.progress[-1]
    assert (refused.type, refused.request_id, refused.position) == ("run.refused", "bad", 0)
    assert reason in refused.reason
    assert refused.run_id
    for task in road.take():
        road.say(task, 3)
    assert [road.state(run) for run in healthy] == ["SUCCESS"] * 10


# -- repeats -----------------------------------------------------------------------------------------------------------


def test_the_same_idempotency_key_twice_is_one_run() -> None:
    road = Road()
    first = road.start(ONE, {"n": 1}, idempotency_key="k", request_id="r1")
    again = road.start(ONE, {"n": 1}, idempotency_key="k", request_id="r2")
    assert first == again
    assert len(road.events(Event.RUN_STARTED)) == 1
    assert answers(road) == [("run.accepted", "r1", 1), ("run.accepted", "r2", 0)]


def test_a_key_stands_for_its_run_also_after_that_has_ended_and_after_a_deploy() -> None:
    road = Road()
    first = road.start(ONE, {"n": 1}, idempotency_key="k")
    road.ok("a")
    assert road.start(workflow({"id": "other"}), {"n": 1}, idempotency_key="k") == first
    assert road.start(None, {"n": 1}, idempotency_key="k") == first


@pytest.mark.parametrize("other", [{"params": {"n": 2}}, {"params": {"n": 1}, "version": ONE.hash}])
def test_other_content_under_the_same_key_is_refused(other: dict[str, Any]) -> None:
    road = Road()
    first = road.start(ONE, {"n": 1}, idempotency_key="k")
    params = other.pop("params")
    road.start(ONE, params, idempotency_key="k", request_id="r2", **other)
    refused = road.progress[-1]
    assert (refused.type, refused.request_id) == ("run.refused", "r2")
    assert f"idempotency key 'k' stands for run {first}, which was started with other content" in refused.reason


def test_the_order_of_keys_in_the_parameters_is_no_other_content() -> None:
    two = workflow({"id": "a"}, params={"n": {}, "m": {}})
    road = Road()
    start = Start(workflow="w", idempotency_key="k", params=b'{"n":1,"m":2}')
    road.trigger(start, two)
    start.params = b'{ "m":2, "n":1 }'
    road.trigger(start, two)
    assert len(road.events(Event.RUN_REPEATED)) == 1


def test_a_key_is_forgotten_after_the_history_setting() -> None:
    road = Road(limits=Limits(history_ms=1_000))
    first = road.start(ONE, idempotency_key="k")
    road.now += 999
    assert road.start(ONE, idempotency_key="k") == first
    road.now += 1
    assert road.start(ONE, idempotency_key="k") != first


def test_a_client_made_run_id_twice_is_one_run_and_other_content_is_refused() -> None:
    road = Road()
    mine = make_run_id(EPOCH_MS, "0123456789AB", 0)
    assert road.start(ONE, {"n": 1}, run_id=mine, request_id="r1") == mine
    assert road.start(ONE, {"n": 1}, run_id=mine, request_id="r2") == mine
    road.start(ONE, {"n": 2}, run_id=mine, request_id="r3")
    assert f"run id {mine} is used by a run that was started with other content" in road.progress[-1].reason
    road.ok("a")
    road.start(ONE, {"n": 1}, run_id=mine, request_id="r4")
    assert answers(road) == [
        ("run.accepted", "r1", 1),
        ("run.accepted", "r2", 0),
        ("run.refused", "r3", 0),
        ("run.accepted", "r4", 0),
    ]


def test_a_run_id_and_a_key_of_different_partitions_are_refused() -> None:
    road = Road(partitions=8)
    home = partition_of_key("idempotency", "w", "k", 8)
    road.start(ONE, run_id=make_run_id(EPOCH_MS, "0" * 12, (home + 1) % 8), idempotency_key="k")
    assert f"its idempotency key is judged on partition {home}: leave the run id out" in road.progress[-1].reason


# -- other partitions --------------------------------------------------------------------------------------------------


def forwarded(road: Road) -> Command:
    entry = road.effects[-1].outbox[0]
    command = Command.FromString(entry.data)
    assert (entry.topic, entry.number) == ("commands", command.message.number)
    return command


def test_a_start_whose_run_lives_elsewhere_goes_there_once_and_keeps_its_id() -> None:
    here, there = Road(0, 2), Road(1, 2)
    mine = make_run_id(EPOCH_MS, "0123456789AB", 1)
    here.start(ONE, run_id=mine, request_id="r1")
    assert here.effects[-1].outbox[0].target == 1
    assert here.progress == []
    command = forwarded(here)
    there.command(command, ONE)
    there.command(command, ONE)  # the sender could not know that it had arrived
    assert answers(there) == [("run.accepted", "r1", 1)]
    assert there.core.run(mine) is not None
    assert there.core.counters["repeated_messages"] == 1
    origin = there.events(Event.RUN_STARTED)[0].origin
    assert (origin.topic, origin.partition, origin.traceparent) == ("indegree.triggers", 0, TRACE)


def test_a_key_is_judged_on_its_own_partition_wherever_it_lands() -> None:
    home = partition_of_key("idempotency", "w", "k", 2)
    roads = [Road(0, 2), Road(1, 2)]
    for road in roads:
        road.start(ONE, {"n": 1}, idempotency_key="k", request_id=f"r{road.number}")
    away = roads[1 - home]
    roads[home].command(forwarded(away), ONE)
    assert len(roads[home].events(Event.RUN_STARTED)) == 1
    assert len(roads[home].events(Event.RUN_REPEATED)) == 1
    run_id = roads[home].progress[0].run_id
    assert partition_of_run(run_id) == home


def test_the_outbox_is_sent_again_after_a_takeover_until_it_is_acknowledged() -> None:
    road = Road(0, 2)
    for i in range(3):
        road.start(ONE, run_id=make_run_id(EPOCH_MS, f"{i:012d}", 1))
    road.take_over()
    assert [e.number for e in road.effects[-1].outbox] == [1, 2, 3]
    road.core.begin(road.now)
    road.core.sent(1, 2)
    road.step()
    road.take_over()
    assert [e.number for e in road.effects[-1].outbox] == [3]
    road.start(ONE, run_id=make_run_id(EPOCH_MS, "F" * 12, 1))
    assert [e.number for e in road.effects[-1].outbox] == [4]


# -- definitions -------------------------------------------------------------------------------------------------------


def test_the_definition_stands_on_the_log_once_before_the_first_run_of_its_version() -> None:
    road = Road()
    road.start(ONE)
    road.start(ONE)
    kinds = [e.kind for e in road.events(Event.DEFINITION_RECORDED, Event.RUN_STARTED)]
    assert kinds == [Event.DEFINITION_RECORDED, Event.RUN_STARTED, Event.RUN_STARTED]


def test_a_large_definition_takes_several_frames_and_its_start_is_decided_again_after_a_kill() -> None:
    limits = Limits(definition_part_bytes=100, frame_bytes=400)
    wide = workflow(*[{"id": f"task-{i}", "python": f"m:f{i * 7919 % 1000}"} for i in range(60)])
    road = Road(limits=limits)
    run = road.start(wide)
    frames = [Frame.FromString(data) for data in road.log]
    parts = [[e.part for e in f.events if e.kind == Event.DEFINITION_RECORDED] for f in frames]
    assert sum(map(bool, parts)) > 1
    assert [p for found in parts for p in found] == list(range(len([p for f in parts for p in f])))
    before = [list(f.next) for f, p in zip(frames, parts, strict=True) if p]
    assert before[0] == [0, 0, 0], "the input is not behind us before its last frame"

    cut_short = Road(limits=limits, log=road.log[:2])
    assert cut_short.core.state.next == [0, 0, 0]
    cut_short.trigger(Start(workflow="w"), wide)
    assert cut_short.progress[0].run_id == run
    assert len(cut_short.states(run)) == 60


def test_an_old_offset_is_passed_over() -> None:
    road = Road()
    road.start(ONE)
    road.core.trigger(Start(workflow="w"), Origin(offset=0), ONE)
    assert road.core.counters["passed_over"] == 1
    assert len(road.core.state.runs) == 1
    assert json.loads(road.events(Event.RUN_STARTED)[0].value.json) == {"n": 0}
