"""Faults that a review of the features found: each was seen to fail before it was put right."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from indegree.engine import expansion, snapshot
from indegree.engine.limits import Limits
from indegree.engine.waiting import Observed
from indegree.events.definition import Definition
from indegree.events.run_ids import make_run_id, partition_of_key
from indegree.events.topics import MAX_RECORD_BYTES
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result
from indegree.v1.trigger_pb2 import (
    Cancel,
    ChildEnded,
    Command,
    ForwardedStart,
    Holder,
    LimitAsk,
    LimitGrant,
    LimitRelease,
    MarkSuccess,
    Origin,
    Parent,
    PartitionMessage,
    Pause,
    Rerun,
    SetPool,
    Signal,
    Skip,
    Start,
    Switch,
)
from indegree.v1.value_pb2 import Reference, Value
from tests.engine import reopening
from tests.engine.cluster_road import Cluster
from tests.engine.road import EPOCH_MS, Road, workflow

LIST = {"id": "list"}


def largest(road: Road) -> int:
    return max(map(len, road.log))


def message(road: Road, source: int = 1, **content: Any) -> None:
    """The next message of another partition."""
    number = road.core.state.received.get(source, 0) + 1
    road.command(Command(message=PartitionMessage(source=source, number=number, **content)))


def referenced(road: Road, task_id: str, size: int, offset: int) -> Reference:
    """The task succeeds with an output that lies in the payloads topic."""
    reference = Reference(partition=0, offset=offset, parts=1, size=size, sha256=bytes([offset]) * 32)
    road.say(road.task(task_id), Result.SUCCEEDED, output=Value(reference=reference))
    return reference


# -- frames ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 3])
def test_an_element_of_foreach_that_no_event_could_hold_fails_the_task_by_its_place(place: int) -> None:
    road = Road()
    run = road.start(workflow(LIST, {"id": "m", "foreach": "list"}))
    items = ["x"] * 4
    items[place] = "y" * 3_000_000
    text = json.dumps(items).encode()
    reference = referenced(road, "list", len(text), 1)
    assert road.core.wants() == [reference]
    road.core.supply(reference, text)
    road.step()
    assert largest(road) < MAX_RECORD_BYTES
    assert road.state(run) == "FAILED"
    assert f"element {place} of foreach is 3000002 bytes" in road.last("m").reason
    assert "limits.value_bytes" in road.last("m").reason


def test_a_record_that_ends_many_waits_takes_several_frames() -> None:
    road = Road()
    road.doubting = False
    waits = [{"id": f"t{i}", "wait_for": {"kafka": {"topic": "orders"}}} for i in range(100)]
    run = road.start(Definition.from_normal({"id": "w", "tasks": waits}))
    road.core.begin(road.now)
    while not road.core.observe(Observed("kafka", "orders", road.now, "v" * 200_000)):
        road.cut()
    road.step()
    assert largest(road) < MAX_RECORD_BYTES
    assert road.state(run) == "SUCCESS"


def keyed(limit: int, on_conflict: str = "queue", **fields: Any) -> Definition:
    tasks = [{"id": "a", "python": "m:f"}]
    return Definition.from_normal(
        {"id": "w", "tasks": tasks, "concurrency": {"limit": limit, "on_conflict": on_conflict}, **fields}
    )


def test_a_version_that_cancels_what_runs_may_find_any_number_of_runs_in_the_queue() -> None:
    road = Road(limits=Limits(frame_bytes=20_000, frame_events=100))
    road.doubting = False
    for _ in range(1_000):
        road.start(keyed(1))
    before = len(road.log)
    road.start(keyed(1, "cancel_running"))
    assert max(map(len, road.log[before:])) < 60_000
    assert len(road.core.state.runs) == 1


def test_a_version_with_a_higher_limit_lets_any_number_of_runs_begin() -> None:
    road = Road(limits=Limits(frame_bytes=20_000, frame_events=100))
    road.doubting = False
    first = road.start(keyed(1))
    task = road.task("a")
    assert task.run_id == first
    for _ in range(1_000):
        road.start(keyed(10_000))
    before = len(road.log)
    road.say(task, Result.SUCCEEDED)
    assert max(map(len, road.log[before:])) < 60_000
    assert len(road.take()) == 1_000


BIG = b'"' + b"x" * 2_090_000 + b'"'
ELSEWHERE = make_run_id(EPOCH_MS, "0" * 12, 1)


@pytest.mark.parametrize(
    "content",
    [
        {"signal": Signal(run_id=ELSEWHERE, name="s", payload=BIG)},
        {"mark_success": MarkSuccess(run_id=ELSEWHERE, task_id="a", output=BIG)},
        {"skip": Skip(run_id=ELSEWHERE, task_id="a" * 2_090_000)},
        {"rerun": Rerun(run_id=ELSEWHERE, task_ids=["a" * 100] * 20_000)},
    ],
    ids=["signal", "mark_success", "skip", "rerun"],
)
def test_a_command_that_is_too_large_for_another_partition_is_refused(content: dict[str, Any]) -> None:
    road = Road(0, 2)
    road.command(Command(request_id="q", actor="ann", **content))
    assert largest(road) < 300_000
    assert road.progress[-1].type == "command.refused"
    assert "bytes" in road.progress[-1].reason
    assert not road.core.state.outbox


# -- steps -------------------------------------------------------------------------------------------------------------


def test_raising_a_pool_with_many_that_wait_is_done_in_steps() -> None:
    road = Road(partition_of_key("limit", "pool/db", "", 2), 2, limits=Limits(step_tasks=50))
    road.doubting = False
    for task in range(500):
        message(road, ask=LimitAsk(limit="pool/db", holder=Holder(run_id=ELSEWHERE, task=task, attempt=1)))
    road.core.begin(road.now)
    road.core.command(Command(set_pool=SetPool(name="db", limit=10_000)), Origin(offset=road.offsets[1]))
    road.offsets[1] += 1
    assert road.core._draft.count < 200
    road.cut()
    road.take_over()
    road.timers()
    assert len(road.core.state.limits["pool/db"].holders) == 500


# -- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ended", ["cancelled", "rerun", "ending"])
def test_a_child_that_moved_after_its_task_was_ended_is_cancelled_where_it_lives(ended: str) -> None:
    cluster = Cluster(4, Limits(step_tasks=1) if ended == "ending" else None)
    child = {
        "id": "c",
        "params": {"k": {}},
        "concurrency": {"key": "params.k"},
        "tasks": [{"id": "x", "python": "m:f"}],
    }
    cluster.definitions["c"] = Definition.from_normal(child)
    tasks = [{"id": f"t{k}", "workflow": "c", "params": {"k": k}} for k in range(8)]
    run = cluster.start(0, Definition.from_normal({"id": "p", "tasks": tasks}))
    road = cluster.roads[0]
    if ended == "rerun":
        road.command(Command(request_id="q", rerun=Rerun(run_id=run, task_ids=[f"t{k}" for k in range(8)])))
    else:
        road.cancel(run)
    cluster.deliver()
    live = [r for of in cluster.roads for r in of.core.state.runs.values() if r.plan.workflow == "c"]
    assert len(live) == (8 if ended == "rerun" else 0)
    if ended == "rerun":
        while tasks_now := cluster.take():
            for task in tasks_now:
                cluster.say_ok(task)
        cluster.deliver()
        assert cluster.state(run) == "SUCCESS"
    else:
        assert cluster.state(run) == "CANCELLED"


def test_a_message_whose_decision_takes_several_frames_is_decided_again_where_the_log_ends_between_them() -> None:
    rng = random.Random(6)
    tasks = [
        {"id": f"t{i}", "command": ["echo", "".join(rng.choices("0123456789abcdefghijklmnop", k=1_000))]}
        for i in range(400)
    ]
    definition = Definition.from_normal({"id": "w", "tasks": tasks})
    limits = Limits(frame_bytes=20_000, definition_part_bytes=20_000)
    road = Road(0, 2, limits=limits)
    start = ForwardedStart(start=Start(workflow="w"), origin=Origin(partition=1, timestamp_ms=EPOCH_MS))
    command = Command(message=PartitionMessage(source=1, number=1, start=start))
    road.core.begin(road.now)
    road.core.command(command, Origin(offset=0), definition)
    frame, _ = road.core.cut()  # type: ignore[misc]
    log = [*road.log, frame.SerializeToString()]
    again = Road(0, 2, limits=limits, log=log)
    again.command(command, definition)
    assert [p.type for p in again.progress][:1] == ["run.accepted"]


# -- snapshots ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_between_the_slices_of_items_keeps_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "PART_BYTES", 300)
    monkeypatch.setattr(expansion, "SLICE_BYTES", 100)
    limits = Limits(step_tasks=3, frame_events=6)
    for head in range(1, 12):
        road = Road(limits=limits)
        run = road.start(workflow(LIST, {"id": "m", "foreach": "list", "args": {"x": "${{ item }}"}}))
        task = road.task("list")
        road.core.begin(road.now)
        road.core.result(
            Result(
                kind=Result.SUCCEEDED,
                run_id=run,
                task=0,
                attempt=1,
                worker=task.worker,
                output=Value(json=json.dumps([f"item {i}" for i in range(60)]).encode()),
            ),
            road.offsets[2],
        )
        road.offsets[2] += 1
        for _ in range(head):
            road.core.proceed()
            road.cut()

        def between(road: Road = road) -> None:
            road.core.proceed()
            road.cut()

        road.snapshot(1, between)
        road.take_over()
        road.step()
        tasks = road.take()
        assert sorted(json.loads(t.args)["x"] for t in tasks) == sorted(f"item {i}" for i in range(60))


# -- values ------------------------------------------------------------------------------------------------------------


def test_a_decision_that_reads_more_than_is_kept_fails_and_does_not_fetch_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("indegree.engine.values.KEPT_BYTES", 1_000)
    road = Road()
    run = road.start(workflow({"id": "a"}, {"id": "b"}, {"id": "c", "when": "a == b"}))
    texts = {1: b'"' + b"x" * 700 + b'"', 2: b'"' + b"y" * 700 + b'"'}
    for name, offset in (("a", 1), ("b", 2)):
        referenced(road, name, len(texts[offset]), offset)
    for _ in range(10):
        for reference in road.core.wants():
            road.core.supply(reference, texts[reference.offset])
        road.step()
    assert road.state(run) == "FAILED"
    assert "1404 bytes in sum" in road.last("c").reason


# -- what nobody of ours sends -----------------------------------------------------------------------------------------


HUGE = 2**63 - 1
FORGED: dict[str, dict[str, Any]] = {
    "ask of a partition that is not there": {"ask": LimitAsk(limit="pool/db", holder=Holder(partition=77, run_id="r"))},
    "ask of the workflows topic": {"ask": LimitAsk(limit="pool/db", holder=Holder(partition=2**32 - 2, run_id="r"))},
    "rate without end": {
        "ask": LimitAsk(limit="rate/w/t/", holder=Holder(partition=0, run_id="r"), tokens=1, per_ms=HUGE)
    },
    "rate backwards": {
        "ask": LimitAsk(limit="rate/w/t/", holder=Holder(partition=0, run_id="r"), tokens=1, per_ms=-HUGE)
    },
    "limit without a kind": {"ask": LimitAsk(limit="db", holder=Holder(partition=0, run_id="r"))},
    "limit with an endless name": {"ask": LimitAsk(limit="pool/" + "x" * 500_000, holder=Holder(run_id="r"))},
    "holder with an endless name": {"ask": LimitAsk(limit="pool/db", holder=Holder(run_id="r" * 500_000))},
    "grant to nobody": {"grant": LimitGrant(limit="pool/" + "x" * 500_000, holder=Holder(run_id="r", task=2**32 - 1))},
    "release of nothing": {"release": LimitRelease(limit="", holder=Holder())},
    "child of nobody": {"ended": ChildEnded(parent=Parent(run_id="r", task=2**32 - 1), run_id="x", state="SUCCESS")},
    "backfill of nobody": {"ended": ChildEnded(parent=Parent(backfill=7), run_id="x", state="SUCCESS")},
    "a child of a parent elsewhere": {
        "start": ForwardedStart(
            start=Start(workflow="w", parent=Parent(partition=99, run_id="r")), origin=Origin(timestamp_ms=-5)
        )
    },
    "a start with a trigger that is no JSON": {
        "start": ForwardedStart(start=Start(workflow="w"), origin=Origin(kind="kafka", value=b"{", scheduled_ms=0))
    },
    "a start of a time that cannot be": {
        "start": ForwardedStart(
            start=Start(workflow="w"), origin=Origin(kind="cron", scheduled_ms=HUGE, previous_scheduled_ms=-HUGE)
        )
    },
    "a placed start of nowhere": {"start": ForwardedStart(start=Start(workflow="w", run_id="x"), placed=True)},
    "a switch of nothing": {"switch": Switch(paused=True)},
}


@pytest.mark.parametrize("content", FORGED.values(), ids=list(FORGED))
def test_a_message_that_no_partition_sends_is_refused_or_does_nothing(content: dict[str, Any]) -> None:
    road = Road(0, 2)
    definition = workflow({"id": "a"}, {"id": "b", "when": "trigger.kind != 'x'"})
    number = 1
    road.command(Command(message=PartitionMessage(source=1, number=number, **content)), definition)
    for _ in range(3):
        road.wait(1)
        for task in road.take():
            road.say(task, Result.SUCCEEDED)
    assert largest(road) < 300_000
    assert all(target in (0, 1, 2**32 - 1) for target in road.core.state.outbox)
    road.snapshot()
    road.take_over()
    road.start(workflow({"id": "z"}))
    assert road.progress[-1].type == "task.queued"


def test_a_child_that_is_said_to_live_under_no_run_id_changes_nothing() -> None:
    road = Road(0, 2)
    run = road.start(Definition.from_normal({"id": "p", "tasks": [{"id": "t", "workflow": "c"}]}))
    parent = Parent(partition=0, run_id=run, task=0, attempt=1, depth=1)
    message(road, ended=ChildEnded(parent=parent, run_id="nowhere" * 100_000, state="STARTED"))
    road.cancel(run)
    assert road.state(run) == "CANCELLED"
    assert largest(road) < 300_000


def test_a_signal_of_two_tasks_with_different_forms_goes_to_one_whose_form_it_fits() -> None:
    waits = [
        {"id": "a", "wait_for": {"signal": "s", "form": {"x": "string"}}},
        {"id": "b", "wait_for": {"signal": "s", "form": {"n": "integer"}}},
    ]
    road = Road()
    run = road.start(Definition.from_normal({"id": "w", "tasks": waits}))
    road.command(Command(request_id="q", signal=Signal(run_id=run, name="s", payload=b'{"n": 1}')))
    assert (road.states(run)["a"], road.states(run)["b"]) == ("WAITING", "SUCCESS")


# -- ends --------------------------------------------------------------------------------------------------------------


def test_the_hooks_of_a_run_that_was_cancelled_in_the_queue_run() -> None:
    definition = keyed(1, hooks={"on_cancel": [{"id": "h", "python": "m:f"}]})
    road = Road()
    first = road.start(definition)
    second = road.start(definition)
    road.cancel(second)
    road.snapshot()
    road.take_over()
    road.ok("h")
    assert road.state(second) == "CANCELLED"
    road.ok("a")
    assert road.state(first) == "SUCCESS"


def test_a_newer_run_cancels_one_that_is_paused_though_all_its_tasks_have_ended() -> None:
    road = Road()
    first = road.start(keyed(1, "cancel_running"))
    task = road.task("a")
    road.command(Command(request_id="q", pause=Pause(run_id=first)))
    road.say(task, Result.SUCCEEDED)
    second = road.start(keyed(1, "cancel_running"))
    assert (road.state(first), road.state(second)) == ("CANCELLED", "RUNNING")


def test_a_run_that_was_cancelled_in_the_queue_may_begin_again_from_its_hooks_and_takes_no_place() -> None:
    definition = keyed(1, hooks={"on_cancel": [{"id": "h", "python": "m:f"}]})
    road = Road()
    road.start(definition)
    second = road.start(definition)
    road.cancel(second)
    road.command(Command(request_id="q", rerun=Rerun(run_id=second)))
    third = road.start(definition)
    assert (road.state(second), road.state(third)) == ("RUNNING", "PENDING")
    road.snapshot()
    road.take_over()
    assert len(road.take()) == 2
    for task in list(road.sent):
        road.say(task, Result.SUCCEEDED)
    assert (road.state(second), road.state(third)) == ("SUCCESS", "RUNNING")


def test_signals_that_came_early_go_to_the_tasks_whose_forms_they_fit_each_once() -> None:
    waits = [
        {"id": "a", "python": "m:f"},
        {"id": "n", "wait_for": {"signal": "s", "form": {"n": "integer"}}, "depends_on": ["a"]},
        {"id": "x", "wait_for": {"signal": "s", "form": {"x": "string"}}, "depends_on": ["a"]},
    ]
    road = Road()
    run = road.start(Definition.from_normal({"id": "w", "tasks": waits}))
    for payload in (b'{"x": "1"}', b'{"x": "2"}', b'{"n": 3}'):
        road.command(Command(request_id="q", signal=Signal(run_id=run, name="s", payload=payload)))
    road.snapshot()
    road.take_over()
    road.ok("a")
    assert [json.loads(road.last(t).output.json) for t in ("n", "x")] == [{"n": 3}, {"x": "1"}]
    assert road.state(run) == "SUCCESS"


def test_a_limit_that_is_asked_for_next_is_still_asked_for_after_a_recovery_from_a_snapshot() -> None:
    cluster = Cluster(1)
    cluster.command(0, Command(set_pool=SetPool(name="db", limit=0)))
    tasks = [{"id": "t", "python": "m:f", "pool": "db", "rate_limit": {"limit": 1, "per": "1s"}}]
    cluster.start(0, Definition.from_normal({"id": "w", "tasks": tasks}))
    cluster.deliver()
    cluster.roads[0].snapshot()
    cluster.roads[0].take_over()
    cluster.command(0, Command(set_pool=SetPool(name="db", limit=1)))
    cluster.deliver()
    assert [p.reason for p in cluster.progress() if p.type == "task.waiting"] == ["pool", "rate"]
    assert len(cluster.take()) == 1


# -- rules that no test watched ----------------------------------------------------------------------------------------


def test_a_grant_for_a_run_that_is_gone_is_given_back() -> None:
    road = Road(0, 2)
    message(road, grant=LimitGrant(limit="pool/db", holder=Holder(run_id=ELSEWHERE, attempt=1)))
    sent = [Command.FromString(event.data).message for event in road.events(Event.OUTBOX_ADDED)]
    assert [(m.WhichOneof("content"), m.release.holder.run_id) for m in sent] == [("release", ELSEWHERE)]


def test_the_interval_of_a_rate_that_does_not_divide_is_rounded_so_that_never_too_many_begin() -> None:
    cluster = Cluster(1)
    tasks = [{"id": "t", "python": "m:f", "rate_limit": {"limit": 3, "per": "1s"}}]
    cluster.start(0, Definition.from_normal({"id": "w", "tasks": tasks}))
    cluster.deliver()
    [granted] = cluster.events(Event.LIMIT_GRANTED)
    assert granted.due_ms == EPOCH_MS * 1_000 + 333_334


def test_a_run_of_a_version_with_a_higher_limit_stays_behind_those_that_wait() -> None:
    road = Road()
    road.start(keyed(1))
    second = road.start(keyed(1))
    third = road.start(keyed(5))
    assert (road.state(second), road.state(third)) == ("PENDING", "PENDING")


def test_a_sub_workflow_that_is_refused_is_not_tried_again() -> None:
    cluster = Cluster(2)
    tasks = [{"id": "t", "workflow": "nobody", "retry": {"max_attempts": 5}}]
    run = cluster.start(0, Definition.from_normal({"id": "p", "tasks": tasks}))
    cluster.deliver()
    assert cluster.state(run) == "FAILED"
    assert len(cluster.events(Event.RUN_REFUSED)) == 1


def test_of_two_tasks_that_wait_for_a_signal_the_older_takes_it() -> None:
    waits = [
        {"id": "young", "wait_for": {"signal": "s"}, "depends_on": ["a"]},
        {"id": "old", "wait_for": {"signal": "s"}},
    ]
    road = Road()
    run = road.start(Definition.from_normal({"id": "w", "tasks": [{"id": "a", "python": "m:f"}, *waits]}))
    road.now += 1
    road.ok("a")
    road.command(Command(request_id="q", signal=Signal(run_id=run, name="s")))
    assert (road.states(run)["old"], road.states(run)["young"]) == ("SUCCESS", "WAITING")


def test_a_default_of_null_is_a_default() -> None:
    road = Road()
    wait = {"id": "a", "wait_for": {"signal": "s"}, "timeout": "1s", "default": None}
    run = road.start(Definition.from_normal({"id": "w", "tasks": [wait]}))
    road.wait(1_000)
    assert (road.state(run), road.last("a").reason) == ("SUCCESS", "default")


def test_what_follows_a_map_is_not_judged_before_the_map_is() -> None:
    road = Road(limits=Limits(gathered_bytes=1))
    run = road.start(workflow(LIST, {"id": "m", "foreach": "list"}, {"id": "f", "foreach_with": "m"}))
    road.ok("list", [0])
    road.ok("m[0]", 1)
    road.ok("f[0]")
    assert road.states(run)["f"] == "RUNNING"
    [(token, _)] = road.core.to_store()
    road.core.stored(token, None, "no space")
    road.core.begin(road.now)
    road.step()
    assert (road.states(run)["m"], road.states(run)["f"]) == ("FAILED", "FAILED")
    assert road.state(run) == "FAILED"


def test_a_share_of_failures_is_rounded_down() -> None:
    road = Road()
    run = road.start(workflow(LIST, {"id": "m", "foreach": "list", "allow_failure": {"share": 0.5}}))
    road.ok("list", [0, 1, 2])
    for name in ("m[0]", "m[1]"):
        road.fail(name)
    road.ok("m[2]")
    assert road.state(run) == "FAILED"


def test_a_run_that_was_reopened_takes_no_place_of_its_key() -> None:
    road = Road()
    first = road.start(keyed(1))
    road.fail("a")
    second = road.start(keyed(1))
    assert reopening.rerun(road, first) == ""
    third = road.start(keyed(1))
    assert [road.state(run) for run in (first, second, third)] == ["RUNNING", "RUNNING", "PENDING"]
    for task in road.take():
        if task.run_id == first:
            road.say(task, Result.SUCCEEDED)
    assert [road.state(run) for run in (first, third)] == ["SUCCESS", "PENDING"]


def test_a_run_that_is_being_cancelled_is_not_held_up_by_a_pause_of_its_workflow() -> None:
    road = Road(limits=Limits(step_tasks=1))
    run = road.start(workflow(*({"id": f"t{i}"} for i in range(5))))
    for command in (Command(cancel=Cancel(run_id=run)), Command(pause=Pause(workflow="w"))):
        road.core.begin(road.now)
        road.core.command(command, Origin(offset=road.offsets[1]))
        road.offsets[1] += 1
        road.cut()
    road.step()
    assert road.state(run) == "CANCELLED"


def test_the_timeout_of_a_run_does_not_cut_its_hooks_short_after_a_recovery() -> None:
    road = Road()
    hooks = {"on_success": [{"id": "h", "python": "m:f"}]}
    run = road.start(workflow({"id": "a"}, timeout="1s", hooks=hooks))
    road.ok("a")
    road.snapshot()
    road.take_over()
    road.wait(5_000)
    road.ok("h")
    assert road.state(run) == "SUCCESS"
