"""Commands: cancel, deploy, activate; refused ones are answered."""

from __future__ import annotations

import pytest

from indegree.engine.core import WORKFLOWS
from indegree.engine.limits import Limits
from indegree.engine.state import DEAD_LETTER
from indegree.events.definition import Definition
from indegree.events.run_ids import make_run_id, partition_of_key
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result
from indegree.v1.trigger_pb2 import (
    Activate,
    Command,
    Deploy,
    ForwardedStart,
    Origin,
    PartitionMessage,
    Start,
)
from indegree.v1.workflow_pb2 import DeadLetter, VersionPointer
from tests.engine.road import EPOCH_MS, Road, workflow

ONE = workflow({"id": "a"})
TWO = workflow({"id": "a"}, {"id": "b"})


def chain(n: int) -> Definition:
    return workflow(*[{"id": f"t{i}", "depends_on": [f"t{i - 1}"] if i > 1 else []} for i in range(1, n + 1)])


def last(road: Road) -> tuple[str, str, str]:
    record = road.progress[-1]
    return record.type, record.request_id, record.reason


# -- cancel ------------------------------------------------------------------------------------------------------------


def test_a_cancelled_run_starts_nothing_more_and_its_worker_is_told_to_stop() -> None:  # CASES row 34
    road = Road()
    run = road.start(chain(5))
    road.ok("t1")
    running = road.started("t2")
    road.cancel(run, reason="changed my mind", request_id="q7")
    assert road.state(run) == "CANCELLED"
    assert [road.states(run)[f"t{i}"] for i in range(1, 6)] == ["SUCCESS"] + ["CANCELLED"] * 4
    assert [(s.worker, s.stop.task, s.stop.reason) for s in road.stops] == [("w1", running.task, "cancelled")]
    answer = next(p for p in road.progress if p.type == "command.accepted")
    assert (answer.request_id, answer.run_id, answer.reason, answer.position) == ("q7", run, "changed my mind", 0)
    end = road.progress[-1]
    assert (end.type, end.reason, end.actor) == ("run.cancelled", "changed my mind", "me")


def test_a_cancel_between_a_success_and_the_next_queued_starts_nothing() -> None:  # CASES row 34, the gap
    road = Road(limits=Limits(frame_events=1))
    run = road.start(chain(3))
    task = road.task("t1")
    road.core.begin(road.now)
    road.core.result(Result(kind=3, run_id=run, task=task.task, attempt=1, worker="w1"), road.offsets[2])
    road.offsets[2] += 1
    road.cut()  # the frame is full after the success: t2 is decidable and not queued yet
    assert road.states(run)["t2"] == "PENDING"
    road.cancel(run)
    assert road.states(run) == {"t1": "SUCCESS", "t2": "CANCELLED", "t3": "CANCELLED"}
    assert len(road.events(Event.TASK_QUEUED)) == 1


def test_a_result_that_comes_after_the_cancel_is_stale() -> None:
    road = Road()
    run = road.start(ONE)
    task = road.started("a")
    road.cancel(run)
    road.say(task, 3)
    assert road.states(run)["a"] == "CANCELLED"
    assert len(road.events(Event.RESULT_STALE)) == 1


def test_a_task_that_waits_for_its_retry_is_cancelled() -> None:
    road = Road()
    run = road.start(workflow({"id": "a", "retry": {"max_attempts": 3, "delay": "1h"}}))
    road.fail("a")
    road.cancel(run)
    road.wait(7_200_000)
    assert road.state(run) == "CANCELLED"
    assert road.take() == []


def test_a_run_over_its_timeout_fails_and_stops_its_workers() -> None:
    road = Road(limits=Limits(heartbeat_timeout_ms=10**9))
    run = road.start(workflow({"id": "a"}, {"id": "b", "depends_on": ["a"]}, timeout="1h"))
    road.started("a")
    road.wait(3_599_999)
    assert road.state(run) == "RUNNING"
    road.wait(1)
    assert (road.state(run), road.progress[-1].reason) == ("FAILED", "timeout")
    assert road.states(run) == {"a": "CANCELLED", "b": "CANCELLED"}
    assert [s.stop.reason for s in road.stops] == ["cancelled"]


@pytest.mark.parametrize(
    ("run_id", "reason"),
    [
        (make_run_id(EPOCH_MS, "0" * 12, 0), "no such run"),
        (make_run_id(EPOCH_MS, "0" * 12, 7), "no such run: its id names partition 7 of 1"),
        ("nonsense", "is not of the form"),
        ("", "is not of the form"),
    ],
)
def test_a_command_for_an_unknown_run_is_refused_with_an_answer(run_id: str, reason: str) -> None:
    road = Road()
    road.cancel(run_id, request_id="q")
    assert last(road)[:2] == ("command.refused", "q")
    assert reason in last(road)[2]


def test_a_command_for_an_ended_run_is_refused_with_an_answer() -> None:
    road = Road()
    run = road.start(ONE)
    road.ok("a")
    road.cancel(run, request_id="q")
    assert last(road) == ("command.refused", "q", "the run has ended")


def test_a_cancel_that_lands_elsewhere_goes_to_the_run() -> None:
    here, there = Road(0, 2), Road(1, 2)
    run = there.start(ONE)
    here.cancel(run, request_id="q")
    there.command(Command.FromString(here.effects[-1].outbox[0].data))
    assert there.state(run) == "CANCELLED"
    assert next(p for p in there.progress if p.type == "command.accepted").request_id == "q"


def test_a_message_in_a_message_is_not_followed() -> None:
    road = Road(0, 2)
    inner = PartitionMessage(source=1, number=9, start=ForwardedStart(start=Start(workflow="w")))
    road.command(Command(message=PartitionMessage(source=1, number=1, command=Command(message=inner))))
    assert road.progress == []
    assert road.core.state.received == {1: 1}


@pytest.mark.parametrize("number", [2, 3, 2**63, 2**64 - 1])
def test_a_message_beyond_the_next_number_is_refused_and_blocks_nothing(number: int) -> None:
    road = Road(0, 2)
    keys = [key for n in range(99) if partition_of_key("idempotency", "w", key := f"k{n}", 2) == 0]

    def message(number: int, key: str) -> Command:
        origin = Origin(topic="indegree.triggers", partition=1, offset=number % 1000, timestamp_ms=EPOCH_MS)
        start = ForwardedStart(start=Start(workflow="w", idempotency_key=key), origin=origin)
        return Command(message=PartitionMessage(source=1, number=number, start=start))

    road.command(message(number, "forged"), ONE)
    (letter,) = [entry for effects in road.effects for entry in effects.outbox]
    assert letter.target == DEAD_LETTER
    reason = DeadLetter.FromString(letter.data).reason
    assert f"message {number} of partition 1 is not the next one, which is 1" in reason
    # a new owner sends again from the lowest number that was not acknowledged: repeats, then the next ones
    for n in (1, 2, 1, 2, 3):
        road.command(message(n, keys[n]), ONE)
    assert {run.idempotency_key for run in road.core.runs()} == set(keys[1:4])
    assert road.core.state.received == {1: 3}
    assert road.core.counters["repeated_messages"] == 2


def test_a_message_of_a_partition_that_does_not_exist_is_passed_over() -> None:
    road = Road(0, 2)
    road.command(Command(message=PartitionMessage(source=7, number=1)))
    assert road.core.state.received == {}


# -- versions ----------------------------------------------------------------------------------------------------------


def pointers(road: Road) -> list[tuple[str, str]]:
    found = [e for effects in road.effects for e in effects.outbox if e.target == WORKFLOWS]
    assert all(e.topic == "workflows" for e in found)
    told = [VersionPointer.FromString(e.data) for e in found]
    return [(p.version, p.label) for p in told if not p.what]


def deploy(road: Road, definition: Definition, **fields: object) -> None:
    deployed = Deploy(workflow="w", version=definition.hash, **fields)  # type: ignore[arg-type]
    road.command(Command(request_id="q", actor="me", deploy=deployed), definition)


def test_a_deploy_activates_and_tells_the_workflows_topic() -> None:
    road = Road()
    deploy(road, ONE, label="v1", activate=True)
    assert [p.type for p in road.progress] == ["workflow.deployed", "workflow.activated"]
    assert {(p.request_id, p.actor, p.workflow, p.version) for p in road.progress} == {("q", "me", "w", ONE.hash)}
    assert pointers(road) == [(ONE.hash, "v1"), (ONE.hash, "")]


def test_the_same_label_with_other_content_is_refused() -> None:
    road = Road()
    deploy(road, ONE, label="v1")
    deploy(road, ONE, label="v1")
    assert road.progress[-1].type == "workflow.deployed"
    deploy(road, TWO, label="v1", activate=True)
    assert last(road)[:2] == ("workflow.refused", "q")
    assert f"label 'v1' of workflow 'w' stands for version {ONE.hash}" in last(road)[2]
    assert pointers(road) == [(ONE.hash, "v1")]


def test_a_start_of_an_object_activates_only_where_none_is_active() -> None:
    road = Road()
    deploy(road, ONE, activate_if_none=True)
    deploy(road, TWO, activate_if_none=True)
    assert road.core.state.windows.active == {"w": ONE.hash}


def test_activating_what_is_active_tells_the_topic_again_which_may_say_something_else() -> None:
    road = Road()
    deploy(road, ONE, activate=True)
    road.now += 1_000
    road.command(Command(request_id="q", activate=Activate(workflow="w", version=ONE.hash)), ONE)
    told = [VersionPointer.FromString(e.data) for effects in road.effects for e in effects.outbox]
    assert [(p.version, p.time_ms) for p in told if not p.what] == [(ONE.hash, road.now - 1_000), (ONE.hash, road.now)]


def test_activate_takes_a_version_or_a_label_and_rolls_back() -> None:
    road = Road()
    deploy(road, ONE, label="v1", activate=True)
    deploy(road, TWO, activate=True)
    road.command(Command(request_id="q", activate=Activate(workflow="w", label="v1")), ONE)
    assert road.core.state.windows.active == {"w": ONE.hash}
    road.command(Command(request_id="q", activate=Activate(workflow="w", version=TWO.hash)), TWO)
    assert pointers(road)[-1] == (TWO.hash, "")
    road.command(Command(request_id="q", activate=Activate(workflow="w", label="v9")), None)
    assert "no version with the label 'v9'" in last(road)[2]


@pytest.mark.parametrize("definition", [None, TWO])
def test_a_deploy_of_what_was_not_published_is_refused(definition: Definition | None) -> None:
    road = Road()
    road.command(Command(request_id="q", deploy=Deploy(workflow="w", version=ONE.hash)), definition)
    assert "does not lie on the workflows topic: publish it" in last(road)[2]


def test_a_deploy_is_judged_on_the_partition_of_the_workflows_name() -> None:
    home = partition_of_key("workflow", "w", "", 2)
    roads = [Road(0, 2), Road(1, 2)]
    away = roads[1 - home]
    deploy(away, ONE, activate=True)
    assert away.progress == []
    roads[home].command(Command.FromString(away.effects[-1].outbox[0].data), ONE)
    assert roads[home].core.state.windows.active == {"w": ONE.hash}
    assert roads[home].progress[0].request_id == "q"


def test_versions_and_labels_survive_a_takeover() -> None:
    road = Road()
    deploy(road, ONE, label="v1", activate=True)
    road.take_over()
    assert road.core.state.windows.active == {"w": ONE.hash}
    deploy(road, TWO, label="v1")
    assert road.progress[-1].type == "workflow.refused"
