"""Pools and rates where a log ends, where they are forgotten, and over any window of time."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from indegree.engine.limits import Limits
from indegree.events.definition import Definition
from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.trigger_pb2 import Command, SetPool
from tests.engine.cluster_road import Cluster
from tests.engine.road import Road, workflow
from tests.engine.test_tickets import pooled, set_pool

BY_HOST = workflow(
    {"id": "get", "rate_limit": {"limit": 10, "per": "1s", "key": "params.host"}},
    params={"host": {"type": "integer", "default": 0}},
)


@pytest.mark.parametrize("places", [1, 2])
def test_wherever_the_log_ends_the_places_of_a_pool_go_on_being_given(places: int) -> None:
    limits = Limits(frame_events=1, step_tasks=1)
    cluster = Cluster(1, limits)
    cluster.start(0, pooled(tasks=4))
    cluster.deliver()
    set_pool(cluster, places)
    cluster.ok("t0")
    cluster.deliver()
    log = cluster.roads[0].log
    for end in range(3, len(log) + 1):
        again = Cluster(1, limits)
        again.roads = [Road(0, 1, limits, log=list(log[:end]))]
        for _ in range(20):
            again.deliver()
            for task in {(t.run_id, t.task, t.attempt): t for t in [*again.take(), *again.roads[0].sent]}.values():
                again.say_ok(task)
            again.wait(100)
            if not again.roads[0].core.state.runs:
                break
        assert not again.roads[0].core.state.runs, f"the log ends behind frame {end} of {len(log)}"


def test_raising_a_pool_by_more_than_a_frame_holds_lets_all_in() -> None:
    cluster = Cluster(1, Limits(frame_events=4))
    set_pool(cluster, 0)
    cluster.start(0, pooled(tasks=30))
    cluster.deliver()
    set_pool(cluster, 30)
    assert len(cluster.take()) == 30


def test_setting_a_pool_is_answered_where_it_was_asked_for_by_its_request_id() -> None:
    cluster = Cluster(4)
    for partition in range(4):
        cluster.command(partition, Command(request_id=f"r{partition}", set_pool=SetPool(name="db", limit=partition)))
        cluster.deliver()
    answers = [p.request_id for p in cluster.progress() if p.type == "command.accepted"]
    assert sorted(answers) == ["r0", "r1", "r2", "r3"]
    cluster.command(0, Command(request_id="no", set_pool=SetPool(name="a b", limit=1)))
    assert "is no name of a pool" in cluster.reasons()


def test_a_sub_workflow_with_a_rate_limit_waits_for_its_token() -> None:
    child = Definition.from_normal({"id": "c", "tasks": [{"id": "x", "python": "m:f"}]})
    rate = {"limit": 1, "per": "1s"}
    parent = Definition.from_normal(
        {"id": "p", "tasks": [{"id": "k", "workflow": "c", "foreach": [1, 2, 3], "rate_limit": rate}]}
    )
    cluster = Cluster(2)
    cluster.definitions["c"] = child
    run = cluster.start(0, parent)
    cluster.deliver()
    for children in (1, 2, 3):
        assert len(cluster.events(Event.RUN_STARTED)) == 1 + children
        [task] = cluster.take()
        cluster.say_ok(task)
        cluster.deliver()
        cluster.wait(1_000)
        cluster.deliver()
    assert cluster.state(run) == "SUCCESS"


def test_a_rate_that_has_all_its_tokens_again_is_forgotten() -> None:
    cluster = Cluster(1)
    for host in range(20):
        cluster.start(0, BY_HOST, {"host": host})
        cluster.deliver()
        for task in cluster.take():
            cluster.say_ok(task)
        cluster.deliver()
    assert len(cluster.roads[0].core.state.limits) == 20
    cluster.wait(99)
    assert len(cluster.roads[0].core.state.limits) == 20
    cluster.wait(1)
    assert not cluster.roads[0].core.state.limits


def test_a_token_is_not_given_back() -> None:
    cluster = Cluster(1)
    cluster.start(0, BY_HOST)
    cluster.deliver()
    cluster.ok("get")
    cluster.deliver()
    sent = [Command.FromString(event.data) for event in cluster.events(Event.OUTBOX_ADDED)]
    assert [command.message.WhichOneof("content") for command in sent] == ["ask", "grant"]


@pytest.mark.parametrize("seed", range(12))
def test_over_any_window_no_more_tokens_are_given_than_the_bucket_holds_and_gains(seed: int) -> None:
    """A bucket of 10 that gains 10 in a second: in any window of W seconds at most 10 + 10 W, by the time of events."""
    rng = random.Random(seed)
    cluster = Cluster(3, Limits(frame_events=rng.choice([1, 50])))
    runs: list[str] = []
    for step in range(150):
        if len(runs) < 90 and rng.random() < 0.8:
            partition, host = rng.randrange(3), rng.randrange(2)
            runs.append(cluster.start(partition, BY_HOST, {"host": host}))
        if rng.random() < 0.1:
            rng.choice(cluster.roads).take_over()
        if rng.random() < 0.05:
            rng.choice(cluster.roads).snapshot(budget=rng.choice([1, 100]))
        cluster.deliver(takeovers=rng.random() < 0.3, seed=seed * 1_000 + step)
        for task in [t for road in cluster.roads for t in [*road.take(), *road.sent] if t in road.sent]:
            if rng.random() < 0.5 and task in cluster.roads[task.partition].sent:
                cluster.say_ok(task)
        cluster.wait(rng.choice([0, 7, 50, 200]))
    for _ in range(200):
        cluster.deliver()
        for road in cluster.roads:
            for task in {(t.run_id, t.attempt): t for t in [*road.take(), *road.sent]}.values():
                cluster.say_ok(task)
        cluster.wait(100)
    assert all(not road.core.state.runs and not road.core.state.limits for road in cluster.roads), seed
    given: dict[str, list[int]] = {}
    for road in cluster.roads:
        for frame in map(Frame.FromString, road.log):
            for event in frame.events:
                if event.kind == Event.LIMIT_GRANTED:
                    given.setdefault(event.label, []).append(frame.time_ms)
    assert sum(map(len, given.values())) == len(runs), seed
    for times in given.values():
        assert all(a <= b for a, b in pairwise(times))
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= 10 + (times[last] - times[first]) / 100, f"seed {seed}"
