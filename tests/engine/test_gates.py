"""Concurrency keys and delayed starts: in order per key, never too many at once, on any partition, across takeovers."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from typing import Any

import pytest

from indegree.events.definition import Definition
from indegree.v1.event_pb2 import Event
from indegree.v1.trigger_pb2 import Origin
from tests.engine.cluster_road import Cluster
from tests.engine.road import EPOCH_MS, Road, workflow

PARAMS = {"customer": {"type": "string", "default": "c"}, "n": {"type": "integer", "default": 0}}


def keyed(limit: int = 1, on_conflict: str = "queue", key: str | None = "params.customer", **fields: Any) -> Definition:
    concurrency: dict[str, Any] = {"limit": limit, "on_conflict": on_conflict}
    if key is not None:
        concurrency["key"] = key
    return workflow({"id": "a"}, params=PARAMS, concurrency=concurrency, **fields)


def started(road: Road) -> list[str]:
    """Ids of the runs that have begun, in that order."""
    return [p.run_id for p in road.progress if p.type == "run.running"]


def test_the_second_run_of_a_key_waits_for_the_first_and_others_do_not() -> None:
    road = Road()
    one, two, other = (road.start(keyed(), {"customer": c}) for c in ("x", "x", "y"))
    assert started(road) == [one, other]
    assert (road.state(two), len(road.take())) == ("PENDING", 2)
    road.snapshot()
    road.take_over()
    road.say(next(t for t in road.taken if t.run_id == one), 3)
    assert started(road) == [one, other, two]


def test_without_a_key_the_limit_is_of_the_workflow() -> None:
    road = Road()
    runs = [road.start(keyed(limit=2, key=None), {"customer": c}) for c in "abc"]
    assert started(road) == runs[:2]


def test_skip_refuses_with_the_run_that_holds_the_key() -> None:
    road = Road()
    one = road.start(keyed(on_conflict="skip"))
    road.start(keyed(on_conflict="skip"))
    assert road.progress[-1].type == "run.refused"
    assert one in road.progress[-1].reason


def test_cancel_running_cancels_the_older_ones_and_only_the_newest_stays() -> None:
    road = Road()
    runs = [road.start(keyed(on_conflict="cancel_running")) for _ in range(3)]
    assert [road.state(run) for run in runs] == ["CANCELLED", "CANCELLED", "RUNNING"]


def test_a_cancelled_run_that_waits_leaves_the_queue() -> None:
    road = Road()
    one, two, three = (road.start(keyed()) for _ in range(3))
    road.cancel(two)
    assert road.state(two) == "CANCELLED"
    road.ok("a")
    assert started(road) == [one, three]


def test_a_key_without_a_value_refuses_the_start() -> None:
    road = Road()
    road.start(keyed(key="params.n < trigger.value"))
    assert "the concurrency key has no value" in road.progress[-1].reason


def test_a_delayed_start_begins_when_its_time_has_come() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}), not_before_ms=EPOCH_MS + 60_000)
    assert road.state(run) == "PENDING"
    assert not road.take()
    road.wait(30_000)
    road.snapshot()
    road.take_over()
    road.wait(29_999)
    assert road.state(run) == "PENDING"
    road.wait(1)
    assert road.state(run) == "RUNNING"
    road.ok("a")
    assert road.state(run) == "SUCCESS"


def test_a_delayed_start_of_a_key_queues_up_when_its_time_has_come() -> None:
    road = Road()
    later = road.start(keyed(), not_before_ms=EPOCH_MS + 1_000)
    now = road.start(keyed())
    assert started(road) == [now]
    road.wait(1_000)
    assert road.state(later) == "PENDING"
    road.take_over()
    road.ok("a")
    assert started(road) == [now, later]


def test_a_start_too_far_ahead_is_refused() -> None:
    road = Road()
    road.start(workflow({"id": "a"}), not_before_ms=EPOCH_MS + 400 * 86_400_000)
    assert "more than 366 days ahead" in road.progress[-1].reason


def test_a_delayed_run_can_be_cancelled() -> None:
    road = Road()
    run = road.start(workflow({"id": "a"}), not_before_ms=EPOCH_MS + 1_000)
    road.cancel(run)
    assert road.state(run) == "CANCELLED"
    road.wait(2_000)
    assert started(road) == []


def test_the_idempotency_key_is_answered_where_it_is_judged_and_the_run_lives_with_its_key() -> None:
    cluster = Cluster(4)
    for _ in range(2):
        for partition in range(4):
            cluster.start(partition, keyed(), {"customer": "x"}, idempotency_key="k1", request_id=f"r{partition}")
            cluster.deliver()
    assert len(cluster.events(Event.RUN_STARTED)) == 1
    [run_id] = {p.run_id for p in cluster.progress() if p.type == "run.accepted"}
    repeats = [p for p in cluster.progress() if p.type == "run.accepted" and p.reason == "repeated"]
    assert len(repeats) == 7
    assert run_id


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_customers_with_twenty_records_each_start_in_offset_order(seed: int) -> None:
    """INTERFACES section 5: mixed order, four source partitions, takeovers at random moments (seed in the name)."""
    rng = random.Random(seed)
    customers, each, partitions = (1_000, 20, 4) if seed == 0 else (30, 20, 4)
    definition = keyed()
    cluster = Cluster(partitions)
    cluster.doubt(seed != 0)  # the large one without comparing states after every step
    records = [f"c{c}" for c in range(customers) for _ in range(each)]
    rng.shuffle(records)
    offsets: dict[int, int] = defaultdict(int)
    for customer in records:
        source = int(customer[1:]) % partitions
        origin = Origin(kind="kafka", topic="orders", partition=source, offset=offsets[source], timestamp_ms=EPOCH_MS)
        offsets[source] += 1
        cluster.start(source, definition, {"customer": customer, "n": offsets[source]}, origin=origin)
    active: dict[str, int] = defaultdict(int)
    order: dict[str, list[int]] = defaultdict(list)
    steps = 0
    while True:
        cluster.deliver(takeovers=seed != 0, seed=seed + steps)
        tasks = cluster.take()
        steps += 1
        if not tasks:
            break
        rng.shuffle(tasks)
        for task in tasks:
            run = cluster.roads[task.partition].core.run(task.run_id)
            assert run is not None
            params = json.loads(run.params)
            active[params["customer"]] += 1
            assert active[params["customer"]] == 1, "two runs of a customer at once"
            order[params["customer"]].append(params["n"])
        for task in tasks:
            run = cluster.roads[task.partition].core.run(task.run_id)
            assert run is not None
            active[json.loads(run.params)["customer"]] -= 1
            cluster.say_ok(task)
        if seed and rng.random() < 0.3:
            rng.choice(cluster.roads).take_over()
    assert {c: len(n) for c, n in order.items()} == {f"c{c}": each for c in range(customers)}
    assert all(numbers == sorted(numbers) for numbers in order.values())
