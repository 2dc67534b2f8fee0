"""Pauses of runs, workflows and queues: what stands, what goes on, and that a takeover or a snapshot changes nothing.

Every step of a Road is replayed and compared (road.py). Partitions talk here as they do by their outboxes: in order,
each message once, after its frame.
"""

from __future__ import annotations

import random

import pytest

from indegree.engine.kinds import Kind
from indegree.engine.state import DEAD_LETTER
from indegree.events.run_ids import partition_of_key
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Result
from indegree.v1.trigger_pb2 import Command, Pause, Resume
from tests.engine.road import Road, workflow

CHAIN = workflow({"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["b"]})


def pause(road: Road, reason: str = "maintenance", actor: str = "ann", **what: str) -> Progress:
    """The answer."""
    return ask(road, Command(request_id="p", actor=actor, pause=Pause(reason=reason, **what)))


def resume(road: Road, reason: str = "done", actor: str = "bob", **what: str) -> Progress:
    return ask(road, Command(request_id="r", actor=actor, resume=Resume(reason=reason, **what)))


def ask(road: Road, command: Command) -> Progress:
    before = len(road.progress)
    road.command(command)
    answers = [p for p in road.progress[before:] if p.request_id == command.request_id]
    assert len(answers) == 1, answers
    return answers[0]


class Partitions:
    """Several Roads, and the way between them."""

    def __init__(self, count: int) -> None:
        self.roads = [Road(number, count) for number in range(count)]
        self._carried = [0] * count

    def home(self, kind: str, name: str) -> Road:
        return self.roads[partition_of_key(kind, name, "", len(self.roads))]

    def carry(self) -> None:
        """Brings what lies in the outboxes, until nothing does."""
        again = True
        while again:
            again = False
            for number, road in enumerate(self.roads):
                while self._carried[number] < len(road.effects):
                    for entry in road.effects[self._carried[number]].outbox:
                        if entry.target < DEAD_LETTER - 1:
                            self.roads[entry.target].command(Command.FromString(entry.data))
                            road.core.begin(road.now)
                            road.core.sent(entry.target, entry.number)
                            again = True
                    self._carried[number] += 1
                road.step()


# -- runs --------------------------------------------------------------------------------------------------------------


def test_a_paused_run_begins_nothing_and_goes_on_where_it_stood() -> None:
    road = Road()
    run_id = road.start(CHAIN)
    road.task("a")
    answer = pause(road, run_id=run_id)
    assert (answer.type, answer.state, answer.actor, answer.reason) == ("run.paused", "PAUSED", "ann", "maintenance")
    road.ok("a")  # what runs goes on, and its outcome counts
    assert road.states(run_id) == {"a": "SUCCESS", "b": "PENDING", "c": "PENDING"}
    assert road.take() == []
    answer = resume(road, run_id=run_id)
    assert (answer.type, answer.state, answer.actor, answer.reason) == ("run.running", "RUNNING", "bob", "done")
    road.ok("b")
    road.ok("c")
    assert road.state(run_id) == "SUCCESS"
    positions = [p.position for p in road.progress if p.run_id == run_id and p.position]
    assert positions == list(range(1, len(positions) + 1))


def test_what_is_ready_waits_for_the_end_of_the_pause() -> None:
    road = Road()
    run_id, other = road.start(CHAIN), road.start(CHAIN)
    pause(road, run_id=run_id)
    assert [t.run_id for t in road.take()] == [other]
    assert road.core.ready("default") == 0
    assert list(road.core.queues()) == []
    resume(road, run_id=run_id)
    assert [t.run_id for t in road.take()] == [run_id]


def test_a_retry_that_is_due_meanwhile_is_queued_and_parked() -> None:
    road = Road()
    run_id = road.start(workflow({"id": "a", "retry": {"max_attempts": 2, "delay": "5s"}}))
    road.fail("a")
    pause(road, run_id=run_id)
    road.wait(10_000)
    assert road.states(run_id) == {"a": "QUEUED"}
    assert road.take() == []
    resume(road, run_id=run_id)
    road.ok("a")
    assert road.state(run_id) == "SUCCESS"


def test_timeouts_go_on_while_a_run_is_paused() -> None:
    road = Road()
    run_id = road.start(workflow({"id": "a", "queue_timeout": "5s"}, {"id": "b"}, timeout="1m"))
    pause(road, run_id=run_id)
    road.wait(6_000)
    assert road.states(run_id) == {"a": "FAILED", "b": "QUEUED"}
    road.wait(60_000)
    assert (road.state(run_id), road.states(run_id)["b"]) == ("FAILED", "CANCELLED")


def test_a_run_whose_last_task_ends_while_it_is_paused_ends_when_it_goes_on() -> None:
    road = Road()
    run_id = road.start(workflow({"id": "a"}))
    road.task("a")
    pause(road, run_id=run_id)
    road.ok("a")
    road.wait(1_000)
    assert road.state(run_id) == "PAUSED"
    resume(road, run_id=run_id)
    assert road.state(run_id) == "SUCCESS"


def test_a_paused_run_can_be_cancelled() -> None:
    road = Road()
    run_id = road.start(CHAIN)
    pause(road, run_id=run_id)
    road.cancel(run_id)
    assert road.state(run_id) == "CANCELLED"
    assert road.take() == []


def test_a_paused_run_with_nothing_left_can_be_cancelled_too() -> None:
    road = Road()
    run_id = road.start(workflow({"id": "a"}))
    road.task("a")
    pause(road, run_id=run_id)
    road.ok("a")
    road.cancel(run_id)
    assert road.state(run_id) == "CANCELLED"


def test_what_makes_no_sense_is_refused_with_a_reason() -> None:
    road = Road()
    run_id = road.start(workflow({"id": "a"}))
    refused = [resume(road, run_id=run_id)]
    pause(road, run_id=run_id)
    refused.append(pause(road, run_id=run_id))
    resume(road, run_id=run_id)
    road.ok("a")
    refused += [pause(road, run_id=run_id), resume(road, run_id=run_id)]
    refused += [pause(road, run_id="x"), pause(road), pause(road, run_id=run_id, queue="q")]
    refused += [pause(road, workflow="no such name!"), pause(road, queue="UPPER"), resume(road, workflow="w")]
    assert {answer.type for answer in refused} == {"command.refused"}
    assert [answer.reason for answer in refused[:4]] == [
        "the run is not paused",
        "the run is paused already",
        "the run has ended",
        "the run has ended",
    ]
    assert refused[5].reason == "a pause names one of run_id, workflow and queue, not 0"
    assert refused[-1].reason == "workflow 'w' is not paused"


def test_a_command_for_a_run_that_lives_elsewhere_goes_there() -> None:
    places = Partitions(2)
    here, there = places.roads
    run_id = there.start(CHAIN)
    here.command(Command(request_id="p", actor="ann", pause=Pause(run_id=run_id)))
    places.carry()
    assert there.state(run_id) == "PAUSED"
    assert [p.request_id for p in there.progress if p.type == "run.paused"] == ["p"]


# -- workflows and queues ----------------------------------------------------------------------------------------------


def test_a_paused_workflow_stands_on_all_partitions_also_for_runs_that_start_later() -> None:
    places = Partitions(3)
    before = [road.start(CHAIN) for road in places.roads]
    other = places.roads[0].start(workflow({"id": "a"}, id="other"))
    home = places.home("workflow", "w")
    answer = pause(home, workflow="w")
    assert (answer.type, answer.workflow, answer.actor) == ("command.accepted", "w", "ann")
    places.carry()
    after = [road.start(CHAIN) for road in places.roads]
    assert [t.run_id for road in places.roads for t in road.take()] == [other]
    assert all(road.core.state.switches == {("workflow", "w"): ("ann", "maintenance")} for road in places.roads)
    for road, late in zip(places.roads, after, strict=True):
        assert road.states(late) == {"a": "PENDING", "b": "PENDING", "c": "PENDING"}
    resume(home, workflow="w")
    places.carry()
    for road, *runs in zip(places.roads, before, after, strict=True):
        assert sorted(t.run_id for t in road.take()) == sorted(runs)
        assert road.core.state.switches == {}


def test_a_switch_asked_for_elsewhere_is_judged_at_the_home_of_the_name() -> None:
    places = Partitions(4)
    elsewhere = next(road for road in places.roads if road is not places.home("queue", "default"))
    for request in ("one", "two"):
        elsewhere.command(Command(request_id=request, actor="ann", pause=Pause(queue="default", reason="full")))
    places.carry()
    answers = {p.request_id: p for road in places.roads for p in road.progress if p.request_id}
    assert answers["one"].type == "command.accepted"
    assert answers["two"].type == "command.refused"
    assert answers["two"].reason == "queue 'default' is paused already by ann: full"


def test_a_paused_queue_gives_nothing_and_others_go_on() -> None:
    road = Road()
    run_id = road.start(workflow({"id": "a"}, {"id": "heavy", "queue": "heavy"}))
    pause(road, queue="heavy")
    assert list(road.core.queues()) == ["default"]
    assert road.core.best("heavy") is None
    assert road.take(queue="heavy") == []
    road.ok("a")
    assert road.state(run_id) == "RUNNING"
    road.take_over()
    assert list(road.core.queues()) == []
    resume(road, queue="heavy")
    assert [t.task_id for t in road.take(queue="heavy")] == ["heavy"]


def test_a_run_paused_by_itself_stays_so_when_its_workflow_goes_on() -> None:
    road = Road()
    run_id, other = road.start(CHAIN), road.start(CHAIN)
    pause(road, run_id=run_id)
    pause(road, workflow="w")
    assert resume(road, run_id=other).reason == "the run is not paused by itself: its workflow 'w' is; resume that"
    resume(road, workflow="w")
    assert [t.run_id for t in road.take()] == [other]
    pause(road, workflow="w")
    assert resume(road, run_id=run_id).type == "run.paused", "its workflow is"
    assert road.take() == []
    resume(road, workflow="w")
    assert [t.run_id for t in road.take()] == [run_id]


def test_a_run_of_a_paused_workflow_can_be_cancelled_and_its_hooks_run() -> None:
    road = Road()
    definition = workflow({"id": "a"}, hooks={"on_cancel": [{"id": "undo", "command": "true"}]})
    run_id = road.start(definition)
    pause(road, workflow="w")
    road.cancel(run_id)
    road.snapshot()
    road.take_over()
    assert [t.task_id for t in road.take()] == ["undo"]
    resume(road, workflow="w")
    pause(road, workflow="w")
    road.take_over()
    road.ok("undo")
    assert road.state(run_id) == "CANCELLED"


def test_a_switch_during_a_snapshot_is_as_it_was_last() -> None:
    road = Road()
    for _ in range(3):
        road.start(CHAIN)
    pause(road, workflow="w")
    pause(road, queue="heavy")
    steps = [lambda: pause(road, queue="light"), lambda: resume(road, workflow="w")]

    def between() -> None:
        if steps:
            steps.pop()()

    road.snapshot(budget=1, between=between)
    assert not steps
    road.take_over()
    assert set(road.core.state.switches) == {("queue", "heavy"), ("queue", "light")}
    assert len(road.take()) == 3


# -- whatever happens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_pauses_takeovers_and_snapshots_in_any_order_lose_nothing(seed: int) -> None:
    print("seed", seed)
    rng = random.Random(seed)
    road = Road()
    definitions = [
        workflow(
            {"id": "a", "retry": {"max_attempts": 3, "delay": "2s"}},
            {"id": "b", "depends_on": ["a"]},
            {"id": "c", "depends_on": ["a"], "queue": "heavy"},
            {"id": "d", "depends_on": ["b", "c"]},
            id=name,
        )
        for name in ("w", "x")
    ]
    runs: list[str] = []
    for _ in range(150):
        live = [run.run_id for run in road.core.runs()]
        match rng.randrange(12):
            case 0 | 1:
                runs.append(road.start(rng.choice(definitions)))
            case 2 if live:
                pause(road, run_id=rng.choice(live))
            case 3 if live:
                resume(road, run_id=rng.choice(live))
            case 4:
                rng.choice((pause, resume))(road, workflow=rng.choice("wx"))
            case 5:
                rng.choice((pause, resume))(road, queue=rng.choice(("default", "heavy")))
            case 6:
                road.take_over()
            case 7:
                road.snapshot(budget=3)
            case 8:
                road.wait(rng.choice((500, 3_000)))
            case 9 if live and rng.random() < 0.2:
                road.cancel(rng.choice(live))
            case _:
                for queue in ("default", "heavy"):
                    for task in road.take(queue=queue):
                        run = road.core.run(task.run_id)
                        assert run is not None
                        assert not run.paused
                        assert ("queue", queue) not in road.core.state.switches
                if road.sent:
                    task = road.sent.pop(rng.randrange(len(road.sent)))
                    road.say(task, rng.choice((Result.SUCCEEDED, Result.SUCCEEDED, Result.FAILED)), reason="error")
    for what, name in list(road.core.state.switches):
        resume(road, **{what: name})
    for run in list(road.core.runs()):
        if run.paused:
            resume(road, run_id=run.run_id)
    for _ in range(60):
        road.take_over()
        for queue in ("default", "heavy"):
            for task in road.take(queue=queue):
                road.say(task, Result.SUCCEEDED)
        road.wait(120_000)
    assert not list(road.core.runs())
    assert {road.state(run_id) for run_id in runs} <= {"SUCCESS", "FAILED", "CANCELLED"}
    kinds = {event.kind for event in road.events()}
    assert {Kind.RUN_PAUSED, Kind.RUN_RESUMED, Kind.SWITCHED} <= kinds
