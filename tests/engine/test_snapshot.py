"""Snapshots: a recovery from one knows as much as a recovery from the start of the log."""

from __future__ import annotations

import random
from unittest import mock

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from indegree.engine import snapshot
from indegree.engine.core import PartitionCore
from indegree.engine.invariants import check, image
from indegree.engine.limits import Limits
from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.trigger_pb2 import Command, Deploy, Origin, Start
from tests.engine import oracle
from tests.engine.road import Road, workflow
from tests.engine.test_random_runs import Chaos, check_log, definition_of, random_spec


def recovered(road: Road) -> PartitionCore:
    """A core that read the log from where the last snapshot says."""
    core = PartitionCore(road.number, road.partitions, road.limits)
    for data in road.log[road.recover_from :]:
        core.replay(Frame.FromString(data))
    return core


def both(road: Road) -> None:
    """A recovery from the snapshot equals one from the start."""
    core = recovered(road)
    check(core.state)
    assert image(core.state) == image(road.shadow.state)


@settings(max_examples=100, deadline=None, print_blob=True)
@given(seed=st.integers(0, 2**32 - 1), part_bytes=st.sampled_from([1, 40, 300, snapshot.PART_BYTES]))
def test_recovery_from_a_snapshot_equals_recovery_from_the_start(seed: int, part_bytes: int) -> None:
    """`part_bytes`: of one event of it; with few, each run and each window is cut into many."""
    note(f"seed {seed}")
    with mock.patch.object(snapshot, "PART_BYTES", part_bytes):
        _runs_and_snapshots(random.Random(seed))


def _runs_and_snapshots(rng: random.Random) -> None:
    limits = Limits(
        frame_events=rng.choice([2, 10, 5_000]), step_tasks=rng.choice([1, 4, 256]), heartbeat_timeout_ms=10**12
    )
    road = Road(limits=limits)
    specs = [random_spec(rng) for _ in range(rng.randint(1, 4))]
    runs = [road.start(definition_of(spec), {}, idempotency_key=f"k{i}") for i, spec in enumerate(specs)]
    outcomes = {run: {task["id"]: task["outcomes"] for task in spec} for run, spec in zip(runs, specs, strict=True)}
    chaos = Chaos(rng, specs[0], road)

    def step() -> None:
        chaos.waiting += road.take(f"w{rng.randint(1, 3)}")
        if chaos.waiting and rng.random() < 0.9:
            rng.shuffle(chaos.waiting)
            chaos.outcomes = outcomes[chaos.waiting[-1].run_id]
            chaos._answer(chaos.waiting.pop())
        elif rng.random() < 0.3:
            road.take_over()
            chaos.waiting = []
        elif not chaos.waiting and (due := road.core.next_due_ms()) is not None:
            road.now = max(road.now, due)
            road.timers()

    for _ in range(400):
        if not road.core.state.runs:
            break
        step()
        if rng.random() < 0.1:
            road.snapshot(budget=rng.choice([1, 2, 100]), between=step)
            road.step()
            both(road)
    assert not road.core.state.runs
    road.step()
    road.cut(force=True)
    both(road)
    for run, spec in zip(runs, specs, strict=True):
        state, tasks = oracle.ends(spec)
        assert road.state(run) == state
        assert road.states(run) == {task_id: end[0] for task_id, end in tasks.items()}
        check_log(road, run, definition_of(spec))


def test_work_goes_on_after_a_recovery_from_a_snapshot_and_versions_are_recorded_again() -> None:
    one, two = workflow({"id": "a"}, {"id": "b", "args": {"x": "${{ a }}"}}), workflow({"id": "z"})
    road = Road()
    run = road.start(one, idempotency_key="k")
    road.ok("a", {"n": 1})
    road.start(two)
    road.ok("z")
    road.snapshot()
    again = road.start(two)  # its definition lies before the snapshot, and no live run had it
    road.take_over()
    assert road.start(one, idempotency_key="k") == run
    assert road.task("b").args == b'{"x":{"n": 1}}'
    road.ok("b")
    road.ok("z")
    assert (road.state(run), road.state(again)) == ("SUCCESS", "SUCCESS")
    frames = [Frame.FromString(data) for data in road.log[road.recover_from :]]
    recorded = [e.version for f in frames for e in f.events if e.kind == Event.DEFINITION_RECORDED]
    assert recorded == [one.hash, two.hash]


def test_the_windows_and_the_outbox_are_in_it() -> None:
    one = workflow({"id": "a"})
    road = Road(0, 1)
    run = road.start(one, idempotency_key="k")
    road.ok("a")
    road.command(Command(deploy=Deploy(workflow="w", version=one.hash, label="v1", activate=True)), one)
    road.core.begin(road.now)
    road.core.sent(4_294_967_294, 3)
    road.step()
    road.snapshot()
    road.take_over()
    windows = road.core.state.windows
    assert (windows.active, windows.labels) == ({"w": one.hash}, {("w", "v1"): one.hash})
    assert [e.number for e in road.effects[-1].outbox] == [4]
    assert road.start(one, idempotency_key="k") == run


def test_the_outputs_of_a_large_run_take_several_events() -> None:
    road = Road()
    run = road.start(workflow(*[{"id": f"t{i}"} for i in range(5)], {"id": "end", "depends_on": ["t0"], "when": "t4"}))
    for i in range(5):
        road.ok(f"t{i}", "x" * 100_000)
    road.snapshot()
    both(road)
    parts = [e for e in road.events(Event.SNAPSHOT) if e.state == "run"]
    assert len(parts) == 3
    assert max(e.ByteSize() for e in parts) < 256 * 1024
    road.take_over()
    road.ok("end")
    assert road.state(run) == "SUCCESS"


@settings(max_examples=60, deadline=None, print_blob=True)
@given(seed=st.integers(0, 2**32 - 1), part_bytes=st.sampled_from([1, 200, snapshot.PART_BYTES]))
def test_versions_keys_and_messages_of_any_number_survive_a_snapshot_in_slices(seed: int, part_bytes: int) -> None:
    note(f"seed {seed}")
    rng = random.Random(seed)
    definitions = [workflow({"id": "j", "join": True}, {"id": f"t{i}", "join": True}) for i in range(4)]
    road = Road(0, 2)

    def step() -> None:
        road.now += rng.choice([0, 1])
        one = rng.choice(definitions)
        match rng.randrange(4):
            case 0:
                label = rng.choice(["", f"v{rng.randrange(50)}"])
                deploy = Deploy(workflow="w", version=one.hash, label=label, activate=rng.random() < 0.5)
                road.command(Command(deploy=deploy), one)
            case 1 | 2:  # some of them belong to the other partition
                road.start(one, {}, idempotency_key=f"k{rng.randrange(100)}")
            case 3:
                target = rng.choice([1, 4_294_967_294])
                waiting = list(road.core.state.outbox.get(target, ()))
                if waiting:
                    road.core.sent(target, rng.choice(waiting))
                    road.step()

    with mock.patch.object(snapshot, "PART_BYTES", part_bytes):
        for _ in range(rng.randint(1, 6)):
            for _ in range(rng.randint(0, 20)):
                step()
            road.snapshot(budget=rng.choice([1, 3, 100]), between=step)
            road.step()
            both(road)
            if rng.random() < 0.3:
                road.take_over()
    times = [entry.time_ms for entry in recovered(road).state.windows.keys.values()]
    assert times == sorted(times)


def test_a_takeover_between_the_pieces_of_a_run_leaves_the_snapshot_before_in_force() -> None:
    limits = Limits(frame_events=3)
    road = Road(limits=limits)
    run = road.start(workflow(*[{"id": f"t{i}"} for i in range(30)]))
    road.snapshot()
    with mock.patch.object(snapshot, "PART_BYTES", 100):
        road.core.snapshot(road.core.begin_snapshot(), 1)
    road.cut()
    frames = [Frame.FromString(data) for data in road.log]
    pieces = [i for i, frame in enumerate(frames) if any(event.state == "piece" for event in frame.events)]
    assert len(pieces) > 1
    again = Road(limits=limits, log=road.log[: pieces[0] + 1])
    again.recover_from = road.recover_from
    again.take_over()
    assert len(again.take()) == 30
    again.snapshot()
    both(again)
    assert again.core.run(run) is not None


def test_a_snapshot_is_written_in_steps_that_do_not_grow_with_what_is_remembered() -> None:
    core = PartitionCore(0, 1)
    core.announced(1, 1)
    windows = core.state.windows
    for i in range(50_000):
        windows.add_key("w", f"order-{i}", "20251125T030000.000Z-27AC28A80D85-0000", b"d" * 32, i)
    core.begin(60_000)
    cursor = core.begin_snapshot()
    steps = 0
    while core.snapshot(cursor, 1):
        steps += 1
        (frame, _) = core.cut() or (Frame(), None)
        assert sum(len(event.data) for event in frame.events) < 400_000
    assert steps >= 25


@pytest.mark.parametrize("keys", [5_000])
def test_many_keys_come_in_slices_and_keep_their_order(keys: int) -> None:
    one = workflow({"id": "j", "join": True})
    road = Road()
    for i in range(keys // 100):
        road.now += 1
        for k in range(100):
            road.core.begin(road.now)
            origin = Origin(topic="t", offset=i * 100 + k)
            road.core.trigger(Start(workflow="w", idempotency_key=f"k{i}-{k}"), origin, one)
    road.step()
    road.snapshot(budget=1)
    core = recovered(road)
    assert image(core.state) == image(road.shadow.state)
    times = [entry.time_ms for entry in core.state.windows.keys.values()]
    assert times == sorted(times)
    assert len(times) == keys
    assert core.live_records() > 2
