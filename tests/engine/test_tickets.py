"""Pools and rate limits over workflows and partitions: never too many, in order of priority, across takeovers."""

from __future__ import annotations

import random
from typing import Any

import pytest

from indegree.events.definition import Definition
from indegree.v1.event_pb2 import Event
from indegree.v1.task_pb2 import Task
from indegree.v1.trigger_pb2 import Command, SetPool
from tests.engine.cluster_road import Cluster
from tests.engine.road import workflow


def pooled(id: str = "w", tasks: int = 3, **fields: Any) -> Definition:
    normal = [{"id": f"t{i}", "python": "m:f", "pool": "db", **fields} for i in range(tasks)]
    return Definition.from_normal({"id": id, "tasks": normal})


def set_pool(cluster: Cluster, limit: int) -> None:
    cluster.command(0, Command(request_id="p", actor="ann", set_pool=SetPool(name="db", limit=limit)))
    cluster.deliver()


def test_a_pool_that_nobody_has_set_has_one_place() -> None:
    cluster = Cluster(2)
    cluster.start(0, pooled())
    cluster.deliver()
    assert len(cluster.take()) == 1
    waiting = [p for p in cluster.progress() if p.type == "task.waiting"]
    assert {(p.reason, p.waits_for) for p in waiting} == {("pool", "pool/db")}


def test_a_pool_is_shared_by_workflows_and_partitions_and_freed_by_ends() -> None:
    cluster = Cluster(4)
    set_pool(cluster, 2)
    assert cluster.progress()[-1].reason or cluster.progress()
    for partition in range(4):
        cluster.start(partition, pooled(f"w{partition}", 2))
    cluster.deliver()
    done = 0
    while tasks := [t for road in cluster.roads for t in [*road.take(), *road.sent] if t in road.sent]:
        unique = {(t.run_id, t.task): t for t in tasks}
        assert len(unique) <= 2
        cluster.say_ok(next(iter(unique.values())))
        done += 1
        cluster.deliver()
    assert done == 8
    assert all(not road.core.state.runs for road in cluster.roads)


def test_raising_a_pool_lets_more_in_at_once_and_lowering_takes_nothing_away() -> None:
    cluster = Cluster(1)
    cluster.start(0, pooled(tasks=4))
    cluster.deliver()
    assert len(cluster.take()) == 1
    set_pool(cluster, 3)
    assert len(cluster.take()) == 2
    set_pool(cluster, 1)
    for name in ("t0", "t1"):
        cluster.ok(name)
        cluster.deliver()
    assert not cluster.take()
    cluster.ok("t2")
    cluster.deliver()
    assert [t.task_id for t in cluster.take()] == ["t3"]


def test_places_go_by_priority_then_by_arrival() -> None:
    tasks = [{"id": f"t{p}", "python": "m:f", "pool": "db", "priority": p} for p in (0, 5, 1)]
    cluster = Cluster(1)
    set_pool(cluster, 0)
    cluster.start(0, Definition.from_normal({"id": "w", "tasks": tasks}))
    cluster.deliver()
    assert not cluster.take()
    order = []
    set_pool(cluster, 1)
    while tasks_now := cluster.take():
        order.append(tasks_now[0].task_id)
        cluster.say_ok(tasks_now[0])
        cluster.deliver()
    assert order == ["t5", "t1", "t0"]


def test_a_retry_gives_the_place_back_and_asks_again() -> None:
    cluster = Cluster(1)
    cluster.start(0, pooled(tasks=2, retry={"max_attempts": 2, "delay": "1s"}))
    cluster.deliver()
    cluster.fail("t0")
    cluster.deliver()
    assert [t.task_id for t in cluster.take()] == ["t1"]
    cluster.wait(1_000)
    cluster.deliver()
    assert not cluster.take()
    cluster.ok("t1")
    cluster.deliver()
    assert [(t.task_id, t.attempt) for t in cluster.take()] == [("t0", 2)]


def test_a_cancelled_run_gives_back_what_it_holds_and_asks_for() -> None:
    cluster = Cluster(2)
    run = cluster.start(0, pooled("a"))
    cluster.deliver()
    cluster.start(1, pooled("b", 1))
    cluster.deliver()
    cluster.roads[0].cancel(run)
    cluster.deliver()
    assert [t.workflow for road in cluster.roads for t in road.take()] == ["b"]
    limits = [road.core.state.limits for road in cluster.roads]
    assert sum(len(limit.holders) for of in limits for limit in of.values()) == 1


def test_a_rate_lets_so_many_begin_in_a_time_and_key() -> None:
    rate = {"limit": 2, "per": "1s", "key": "item.host"}
    items = [{"host": "a"}] * 6 + [{"host": "b"}]
    road = Cluster(3)
    road.start(0, workflow({"id": "get", "foreach": items, "rate_limit": rate}))
    road.deliver()
    assert sorted(t.task_id for t in road.take()) == ["get[0]", "get[1]", "get[6]"]
    for _ in range(4):
        road.wait(499)
        road.deliver()
        assert not road.take()
        road.wait(1)
        road.deliver()
        assert len(road.take()) == 1


def test_a_task_with_both_takes_a_place_first_and_then_a_token() -> None:
    cluster = Cluster(2)
    cluster.start(0, pooled(tasks=1, rate_limit={"limit": 1, "per": "10s"}))
    cluster.deliver()
    words = [p.reason for p in cluster.progress() if p.type == "task.waiting"]
    assert words == ["pool", "rate"]
    cluster.ok("t0")
    cluster.deliver()
    cluster.wait(20_000)
    assert all(not limit.holders for road in cluster.roads for limit in road.core.state.limits.values())


def test_a_limit_survives_snapshots_and_takeovers() -> None:
    cluster = Cluster(1)
    set_pool(cluster, 1)
    cluster.start(0, pooled(tasks=3))
    cluster.deliver()
    for expected in ("t0", "t1", "t2"):
        cluster.roads[0].snapshot()
        cluster.roads[0].take_over()
        cluster.deliver()
        [task] = cluster.take()
        assert task.task_id == expected
        cluster.say_ok(task)
        cluster.deliver()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_no_more_than_the_limit_hold_a_pool_and_everything_ends(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(rng.choice([1, 3]))
    limit = rng.randint(1, 3)
    set_pool(cluster, limit)
    runs = []
    for number in range(5):
        fields: dict[str, Any] = {"retry": {"max_attempts": 2, "delay": "1s"}, "priority": rng.randint(0, 2)}
        if rng.random() < 0.5:
            fields["rate_limit"] = {"limit": 2, "per": "1s"}
        partition = rng.randrange(len(cluster.roads))
        runs.append(cluster.start(partition, pooled(f"w{number}", rng.randint(1, 3), **fields)))
    held: dict[tuple[str, int], Task] = {}
    for step in range(3_000):
        cluster.deliver(takeovers=rng.random() < 0.3, seed=seed * 1_000 + step)
        if rng.random() < 0.05:
            rng.choice(cluster.roads).snapshot()
        for task in [t for road in cluster.roads for t in road.take()]:
            held[task.run_id, task.task] = task
        alive = {}
        for name, task in held.items():
            run = cluster.roads[task.partition].core.run(task.run_id)
            attempt = run.attempts.get(task.task) if run is not None else None
            if attempt is not None and attempt.number == task.attempt:
                alive[name] = task
        held = alive
        assert len(held) <= limit, f"seed {seed}"
        if all(cluster.roads[int(run[-4:])].core.run(run) is None for run in runs):
            break
        if held and rng.random() < 0.8:
            task = held.pop(rng.choice(list(held)))
            if rng.random() < 0.2:
                cluster.roads[task.partition].say(task, 4)
            else:
                cluster.say_ok(task)
        elif rng.random() < 0.05:
            victim = rng.choice(runs)
            cluster.roads[int(victim[-4:])].cancel(victim)
        else:
            cluster.wait(500)
    else:
        raise AssertionError(f"seed {seed}: the runs did not end")
    cluster.deliver()
    assert not any(
        limit.holders or limit.waiting for road in cluster.roads for limit in road.core.state.limits.values()
    )
    assert cluster.events(Event.LIMIT_GRANTED)
