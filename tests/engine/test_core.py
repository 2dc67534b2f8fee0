"""The core as the shell sees it: frames, positions, poison, dispatch, faults."""

from __future__ import annotations

import pytest

from indegree.engine import decide
from indegree.engine.core import DEAD_LETTER, Broken
from indegree.engine.kinds import Kind
from indegree.engine.limits import Limits
from indegree.engine.progress import VISIBLE
from indegree.engine.states import ILLEGAL, NEXT, TASK_STATES, TRANSITIONS, IllegalTransition
from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.task_pb2 import Result
from indegree.v1.trigger_pb2 import Origin, Start
from indegree.v1.workflow_pb2 import DeadLetter
from tests.engine.road import Road, replayed, workflow

ONE = workflow({"id": "a"})


def wide(n: int) -> list[dict[str, object]]:
    middle: list[dict[str, object]] = [{"id": f"t{i}", "depends_on": ["root"]} for i in range(n)]
    return [{"id": "root"}, *middle, {"id": "last", "depends_on": [str(t["id"]) for t in middle]}]


# -- frames ------------------------------------------------------------------------------------------------------------


def test_a_wide_fan_out_takes_several_frames_and_goes_on_after_a_takeover_in_the_middle() -> None:
    road = Road(limits=Limits(frame_events=10))
    run = road.start(workflow(*wide(95)))
    root = road.task("root")
    road.core.begin(road.now)
    road.core.result(Result(kind=3, run_id=run, task=root.task, attempt=1, worker="w1"), 0)
    road.cut()
    assert len(Frame.FromString(road.log[-1]).events) == 10
    road.take_over()  # what is left to be queued is state
    road.step()
    tasks = road.take()
    assert len({t.task_id for t in tasks}) == 95
    assert max(len(Frame.FromString(data).events) for data in road.log) <= 10
    for task in tasks:
        road.say(task, Result.SUCCEEDED)
    road.ok("last")
    assert road.state(run) == "SUCCESS"


def test_a_wide_run_does_not_keep_the_others_waiting() -> None:
    road = Road(limits=Limits(frame_events=600, step_tasks=200))
    road.core.begin(road.now)
    road.core.trigger(Start(workflow="w"), Origin(offset=0), workflow(*[{"id": f"t{i}"} for i in range(3_000)]))
    road.core.trigger(Start(workflow="w"), Origin(offset=1), ONE)
    road.cut()
    road.core.proceed()
    road.cut()
    small = list(road.core.state.runs)[1]
    assert road.states(small) == {"a": "QUEUED"}


def test_inputs_without_an_event_move_the_position_on_now_and_then() -> None:
    road = Road(limits=Limits(silent_inputs=5))
    frames = len(road.log)
    for i in range(12):
        road.core.begin(road.now)
        road.core.skip(2, i)
        road.cut()
    assert len(road.log) - frames == 2
    assert list(Frame.FromString(road.log[-1]).next) == [0, 0, 10]
    road.cut(force=True)
    assert list(Frame.FromString(road.log[-1]).next) == [0, 0, 12]
    assert road.core.cut() is None


def test_the_time_of_frames_never_goes_back_and_stands_while_one_is_open() -> None:
    road = Road()
    road.start(ONE)
    road.now -= 10_000
    road.start(ONE)
    times = [Frame.FromString(data).time_ms for data in road.log]
    assert times == sorted(times)
    road.core.begin(times[-1] + 5)
    road.core.trigger(Start(workflow="w"), Origin(offset=2), ONE)
    road.core.begin(times[-1] + 50)
    cut = road.core.cut()
    assert cut is not None
    assert cut[0].time_ms == times[-1] + 5


def test_run_ids_and_causes_stand_only_where_they_change() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}, {"id": "b", "depends_on": ["a"]}))
    road.ok("a")
    frame = Frame.FromString(road.log[-1])
    assert [(e.kind, e.run_id) for e in frame.events] == [(Event.TASK_SUCCEEDED, run), (Event.TASK_QUEUED, "")]
    assert [e.HasField("cause") for e in frame.events] == [True, False]
    assert (frame.events[0].cause, frame.events[0].cause_offset) == (2, 0)


def test_progress_can_be_made_again_from_the_log_with_the_same_ids() -> None:
    road = Road()
    road.start(ONE, request_id="r")
    road.fail("a")
    road.start(None)
    road.cancel("x")
    assert replayed(road.log)[1] == road.progress
    assert len({p.id for p in road.progress}) == len(road.progress)


# -- bad records -------------------------------------------------------------------------------------------------------


def test_a_record_that_cannot_be_read_goes_to_dead_letter_and_the_next_one_starts_a_run() -> None:  # CASES row 47
    road = Road()
    road.core.begin(road.now)
    road.core.poison(0, 0, "not a Trigger record: it begins with 00 ff 7b \ud800")
    road.offsets[0] = 1
    road.step()
    entry = road.effects[-1].outbox[0]
    letter = DeadLetter.FromString(entry.data)
    assert (entry.target, entry.topic) == (DEAD_LETTER, "dead-letter")
    assert (letter.topic, letter.partition, letter.offset) == ("triggers", 0, 0)
    assert "00 ff 7b" in letter.reason
    refused = road.events(Event.INPUT_REFUSED)[0]
    assert (refused.cause, refused.cause_offset, refused.number) == (0, 0, entry.number)
    assert road.start(ONE)
    road.core.sent(DEAD_LETTER, 1)
    road.step()
    assert road.core.state.outbox == {}


def test_a_tombstone_is_skipped_and_counted() -> None:  # CASES row 48
    road = Road()
    road.core.begin(road.now)
    road.core.skip(0, 0)
    assert road.core.counters["tombstones"] == 1
    assert road.core.state.next == [1, 0, 0]


# -- dispatch ----------------------------------------------------------------------------------------------------------


def test_nothing_is_taken_before_its_frame_is_acknowledged() -> None:
    road = Road()
    road.core.begin(road.now)
    road.core.trigger(Start(workflow="w"), Origin(offset=0), ONE)
    assert list(road.core.queues()) == []
    cut = road.core.cut()
    assert cut is not None
    assert road.core.take("default", "w") is None
    road.core.release(cut[1])
    assert road.core.ready("default") == 1
    task = road.core.take("default", "w")
    assert task is not None
    assert (task.seq, task.epoch, task.worker, task.partition) == (cut[0].seq, 1, "w", 0)
    assert list(road.core.queues()) == []


def test_the_best_is_taken_by_priority_then_depth_then_age() -> None:
    road = Road()
    road.start(
        workflow({"id": "low1"}, {"id": "high", "priority": 5}, {"id": "low2"}, {"id": "d", "depends_on": ["high"]})
    )
    road.now += 1
    first = road.core.take("default", "w")
    assert first is not None
    assert first.task_id == "high"
    road.say(first, Result.SUCCEEDED)
    road.start(workflow({"id": "young"}))
    assert [t.task_id for t in road.take()] == ["low1", "low2", "young", "d"]


def test_queues_are_apart() -> None:
    road = Road()
    road.start(workflow({"id": "a", "queue": "heavy"}, {"id": "b"}))
    assert sorted(road.core.queues()) == ["default", "heavy"]
    assert [t.task_id for t in road.take(queue="heavy")] == ["a"]
    assert road.take(queue="nowhere") == []


def test_after_a_takeover_only_attempts_without_a_start_are_sent_again() -> None:
    road = Road()
    road.start(workflow({"id": "a"}, {"id": "b"}, {"id": "c"}))
    road.take()
    road.started("a")
    road.ok("b")
    road.take_over()
    again = road.take("w2")
    assert [(t.task_id, t.attempt, t.seq, t.epoch) for t in again] == [("c", 1, 0, 2)]


def test_a_task_whose_inputs_have_no_value_fails_before_it_is_queued() -> None:
    definition = workflow({"id": "a"}, {"id": "b", "args": {"x": "${{ a.n < 1 }}"}}, {"id": "c", "depends_on": ["a"]})
    road = Road()
    run = road.start(definition)
    road.ok("a", {})
    assert road.states(run) == {"a": "SUCCESS", "b": "FAILED", "c": "QUEUED"}
    assert "an input of task 'b' has no value" in road.reasons(run)["b"]


def test_a_command_record_carries_words_environment_and_input() -> None:
    definition = workflow(
        {
            "id": "a",
            "command": "echo ${{ params.s }} $X",
            "env": {"X": "${{ params.s }}", "Y": "plain"},
            "input": {"n": "${{ params.n }}"},
            "output": "json",
            "timeout": "5s",
            "secrets": ["TOKEN"],
        },
        {"id": "b", "command": ["ls", "${{ params.s }}"]},
        params={"s": {"default": "a b"}, "n": {"default": 1}},
    )
    road = Road()
    road.start(definition)
    a, b = road.task("a"), road.task("b")
    assert (list(a.command), a.shell, dict(a.env)) == (["echo 'a b' $X"], True, {"X": "a b", "Y": "plain"})
    assert (a.input, a.output, a.timeout_ms, list(a.secrets)) == (b'{"n":1}', "json", 5_000, ["TOKEN"])
    assert (list(b.command), b.shell) == (["ls", "a b"], False)


def test_whole_values_are_spliced_as_they_are() -> None:
    definition = workflow(
        {"id": "a"},
        {"id": "b", "args": {"a": "${{ a }}", "p": "${{ params.n }}", "c": [1], "t": "${{ a.x }}!"}},
        params={"n": {"default": 2}},
    )
    road = Road()
    run = road.start(definition)
    road.say(road.task("a"), Result.SUCCEEDED, output={"json": b'{"x":  1.50}'})
    assert road.task("b").args == b'{"a":{"x":  1.50},"p":2,"c":[1],"t":"1.5!"}'
    assert run


# -- faults ------------------------------------------------------------------------------------------------------------


def test_a_fault_leaves_a_core_that_refuses_everything_and_gives_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    road = Road()
    run = road.start(ONE)
    task = road.task("a")

    def fault(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(decide, "_finish", fault)
    road.core.begin(road.now)
    with pytest.raises(ZeroDivisionError):
        road.core.result(Result(kind=3, run_id=run, task=task.task, attempt=1, worker="w1"), 0)
    for call in (road.core.cut, road.core.proceed, road.core.fire_timers, lambda: road.core.begin(0)):
        with pytest.raises(Broken, match="planted"):
            call()
    monkeypatch.undo()
    road.take_over()
    road.ok("a")
    assert road.state(run) == "SUCCESS"


# -- the table ---------------------------------------------------------------------------------------------------------


def test_kinds_are_those_of_the_contract() -> None:
    ours = {name: number for name, number in vars(Kind).items() if name.isupper()}
    theirs = {name: number for name, number in Event.Kind.items() if number}
    assert ours == theirs
    assert set(ours.values()) >= VISIBLE


@pytest.mark.parametrize("kind", sorted(NEXT))
@pytest.mark.parametrize("state", range(len(TASK_STATES)))
def test_every_legal_transition_is_made_and_every_illegal_one_raises(kind: int, state: int) -> None:
    road = Road()
    mapped = {"foreach": [1]} if kind == Kind.TASK_EXPANDED else {}
    run_id = road.start(workflow({"id": "a", **mapped}, {"id": "b", "depends_on": ["a"]}))
    run = road.core.run(run_id)
    assert run is not None
    run.states[0] = state
    legal = {(old, k): new for old, k, new in TRANSITIONS}
    fields = {"attempt": 2, "due_ms": road.now, "worker": "w", "reason": "condition", "total": 1}
    if (state, kind) not in legal:
        assert NEXT[kind][state] == ILLEGAL
        if kind == Kind.TASK_RETURNED:
            return  # a fact for the history: applied without a transition
        with pytest.raises(IllegalTransition, match=TASK_STATES[state]):
            road.core._draft.emit(kind, run_id, task=0, **fields)
        return
    road.core._draft.emit(kind, run_id, task=0, **fields)
    assert run.states[0] == legal[state, kind]
