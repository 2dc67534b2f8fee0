"""Queues of keys after a recovery: the order is that in which the runs came, wherever the snapshot's mark lies."""

from __future__ import annotations

import random

import pytest

from indegree.engine.limits import Limits
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Result
from indegree.v1.trigger_pb2 import Cancel, Command, Origin
from tests.engine.cluster_road import Cluster
from tests.engine.road import EPOCH_MS, Road, workflow
from tests.engine.test_gates import keyed, started


def end_one(road: Road) -> None:
    """Of those at a worker one succeeds."""
    task = next(iter([*road.take(), *road.sent]))
    road.say(task, Result.SUCCEEDED)
    road.sent = [other for other in road.sent if other != task]


def gates(road: Road) -> dict[object, tuple[list[str], list[str]]]:
    return {name: (list(gate.active), list(gate.queued)) for name, gate in road.core.state.gates.items()}


def test_runs_that_queue_up_while_a_snapshot_is_written_stay_behind_those_before_it() -> None:
    road = Road()
    runs = [road.start(keyed()) for _ in range(3)]
    road.snapshot(budget=1, between=lambda: runs.append(road.start(keyed())) if len(runs) < 6 else None)
    road.take_over()
    for _ in range(6):
        end_one(road)
    assert len(runs) == 6
    assert started(road) == runs


def test_cancel_running_takes_the_oldest_also_where_a_younger_one_began_while_the_snapshot_was_written() -> None:
    road = Road()
    definition = keyed(limit=2, on_conflict="cancel_running")
    road.start(workflow({"id": "other"}, id="other"))  # its snapshot is written first, and then the younger one begins
    runs = [road.start(definition)]
    road.snapshot(budget=1, between=lambda: runs.append(road.start(definition)) if len(runs) < 2 else None)
    road.take_over()
    runs.append(road.start(definition))
    assert [road.state(run) for run in runs] == ["CANCELLED", "RUNNING", "RUNNING"]


def test_a_run_cancelled_in_the_queue_holds_no_place_while_its_tasks_are_cancelled_one_by_one() -> None:
    road = Road(limits=Limits(step_tasks=1, frame_events=2))
    definition = workflow(*[{"id": f"t{i}"} for i in range(6)], concurrency={"limit": 1})
    one, two, three = (road.start(definition) for _ in range(3))
    road.core.begin(road.now)
    road.core.command(Command(request_id="q", actor="me", cancel=Cancel(run_id=two)), Origin(), None)
    road.cut(force=True)
    assert gates(road) == {("w", "k"): ([one], [three])}
    road.snapshot(budget=1)
    road.take_over()
    assert gates(road) == {("w", "k"): ([one], [three])}


@pytest.mark.parametrize("seed", range(10))
def test_whatever_happens_the_runs_of_a_key_begin_in_the_order_in_which_they_queued_up(seed: int) -> None:
    rng = random.Random(seed)
    road = Road(limits=Limits(frame_events=rng.choice([1, 3, 1_000]), step_tasks=rng.choice([1, 100])))
    limit = rng.randint(1, 3)
    keys, queued = ["x", "y"], dict[str, list[str]]()

    def start() -> None:
        key = rng.choice(keys)
        run = road.start(keyed(limit=limit), {"customer": key})
        queued.setdefault(key, []).append(run)

    cancelled = set[str]()
    for _ in range(60):
        dice = rng.random()
        if dice < 0.4:
            start()
        elif dice < 0.6 and (road.take() or road.sent):
            end_one(road)
        elif dice < 0.7:
            waiting = [run for gate in gates(road).values() for run in gate[1]]
            if waiting:
                cancelled.add(run := rng.choice(waiting))
                road.cancel(run)
        elif dice < 0.8:
            road.snapshot(budget=rng.choice([1, 2, 100]), between=lambda: start() if rng.random() < 0.5 else None)
        elif dice < 0.95:
            road.take_over()
        else:
            road.wait(100)
        assert all(len(active) <= limit for active, _ in gates(road).values()), f"seed {seed}"
    while road.core.state.runs:
        end_one(road)
    for runs in queued.values():
        assert [run for run in started(road) if run in runs] == [run for run in runs if run not in cancelled], seed


def test_a_delayed_run_takes_its_turn_when_its_time_has_come_also_after_a_recovery() -> None:
    road = Road()
    later = road.start(keyed(), not_before_ms=EPOCH_MS + 500)
    runs = [road.start(keyed()), road.start(keyed())]
    road.snapshot(budget=1, between=lambda: road.wait(500))
    last = road.start(keyed())
    road.take_over()
    for _ in range(4):
        end_one(road)
    assert started(road) == [*runs, later, last]


def test_a_start_refused_on_the_partition_of_its_key_does_not_use_up_its_idempotency_key() -> None:
    cluster = Cluster(4)
    definition = keyed(on_conflict="skip")
    cluster.start(0, definition, {"customer": "x"})
    cluster.deliver()
    keys = [f"k{i}" for i in range(12)]  # of several partitions, the own one among them

    def answers(request: str) -> set[str]:
        for key in keys:
            params = {"customer": "x", "n": keys.index(key)}
            cluster.start(0, definition, params, idempotency_key=key, request_id=f"{request} {key}")
            cluster.deliver(takeovers=True, seed=len(key))
        told = {p.request_id: p.type for p in cluster.progress() if p.request_id.startswith(request)}
        assert len(told) == len(keys)
        return set(told.values())

    assert answers("first") == {"run.refused"}
    assert answers("second") == {"run.refused"}
    cluster.ok("a")
    cluster.deliver()
    cluster.start(0, definition, {"customer": "x", "n": 0}, idempotency_key="k0", request_id="third")
    cluster.deliver()
    assert cluster.events(Event.RUN_STARTED)[-1].request_id == "third"
