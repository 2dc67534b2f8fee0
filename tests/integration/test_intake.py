"""Kafka triggers on real topics: what is produced starts its run once, whatever happens to engines meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from indegree.events.frames import Verdict
from indegree.v1.event_pb2 import Event
from tests.integration.stream_road import EngineProcess, Road, check_log, make_settings, wait_until

pytestmark = pytest.mark.integration

PARTITIONS = 4


def flow(name: str, topic: str, task: dict[str, Any] | None = None, **trigger: Any) -> dict[str, Any]:
    """A workflow without tasks for a worker, whose runs end at once."""
    return {
        "id": name,
        "params": {"n": {"default": 0}},
        "triggers": [{"kafka": {"topic": topic, **trigger}}],
        "tasks": [task or {"id": "a"}],
    }


class Orders:
    """A topic of a user's."""

    def __init__(self, road: Road, name: str, partitions: int = 3, **config: str) -> None:
        self.road, self.name, self.partitions = road, f"{road.settings.cluster}.user.{name}", partitions
        self.config = config
        servers = road.settings.kafka.bootstrap_servers
        self.admin = AdminClient({"bootstrap.servers": servers})

    def make(self) -> Orders:
        topic = NewTopic(self.name, self.partitions, 1, config=self.config)
        self.admin.create_topics([topic])[self.name].result(20)
        return self

    def put(self, *values: Any, partition: int | None = None, headers: Any = None) -> None:
        producer = Producer({"bootstrap.servers": self.road.settings.kafka.bootstrap_servers})
        for place, value in enumerate(values):
            data = value if isinstance(value, bytes | None) else json.dumps(value).encode()
            k = place % self.partitions if partition is None else partition
            producer.produce(self.name, data, b"k", k, headers=headers)
            if place % 1_000 == 999:
                producer.poll(0)
        assert producer.flush(30) == 0


@pytest.fixture
def road(stack: Any, cluster_name: str, tmp_path: Path) -> Iterator[Road]:
    road = Road(make_settings(stack.kafka, stack.etcd, cluster_name, PARTITIONS), tmp_path)
    yield road
    road.close()


def starts(road: Road) -> Counter[tuple[str, int, int]]:
    """(workflow, partition, offset) of each run that was started by a record of a user's, as the event logs have it."""
    found: Counter[tuple[str, int, int]] = Counter()
    for frames in road.frames().values():
        for _, frame, verdict in frames:
            if verdict is Verdict.IN_FORCE:
                for event in frame.events:
                    if event.kind == Event.RUN_STARTED and event.origin.kind == "kafka":
                        found[event.workflow, event.origin.partition, event.origin.offset] += 1
    return found


def triggers(road: Road, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("INDEGREE_")} | road.settings.environment()
    command = [sys.executable, "-m", "indegree.cli", "triggers", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=road.folder, timeout=60)


def audit(road: Road, topic: str, *options: str) -> subprocess.CompletedProcess[str]:
    return triggers(road, "audit", topic, "--json", *options)


def test_records_of_a_users_topic_start_runs_and_those_that_the_filter_refuses_do_not(road: Road) -> None:
    orders = Orders(road, "orders").make()
    road.engine("one").wait_ready()
    road.deploy(flow("w", orders.name, filter="value.n > 0"))
    orders.put({"n": 1}, {"n": 0}, {"n": 2}, None)
    wait_until(lambda: len(starts(road)) == 2, "two runs")
    check_log(road)


def test_a_topic_that_comes_later_and_one_that_grows_are_picked_up(road: Road) -> None:
    orders = Orders(road, "late", partitions=1)
    road.engine("one").wait_ready()
    road.deploy(flow("w", orders.name, begin="earliest"))
    orders.make()
    orders.put(1, 2)
    wait_until(lambda: len(starts(road)) == 2, "two runs")
    orders.admin.create_partitions([NewPartitions(orders.name, 3)])[orders.name].result(20)
    orders.partitions = 3
    wait_until(lambda: len(orders.admin.list_topics(orders.name).topics[orders.name].partitions) == 3, "it has grown")
    orders.put(3, 4, 5)
    wait_until(lambda: len(starts(road)) == 5, "five runs")


def test_what_cannot_be_read_lies_on_dead_letter_with_its_bytes_headers_and_reason(road: Road) -> None:
    orders = Orders(road, "orders", partitions=1).make()
    road.engine("one").wait_ready()
    road.deploy(flow("w", orders.name))
    orders.put(b"{oops", headers={"h": b"x"})
    orders.put(1)
    [letter] = wait_until(lambda: list(road.read_all("dead-letter")), "a dead letter")
    headers = dict(letter.headers())
    assert letter.value() == b"{oops"
    assert headers["h"] == b"x"
    assert headers["indegree.topic"] == orders.name.encode()
    assert headers["indegree.offset"] == b"0"
    assert b"not JSON" in headers["indegree.reason"]
    wait_until(lambda: len(starts(road)) == 1, "the next one starts")
    refused = [record for record in road.progress() if record["type"] == "run.refused"]
    assert [record["workflow"] for record in refused] == ["w"]


def test_a_new_version_takes_over_where_the_old_one_stood(road: Road) -> None:
    orders = Orders(road, "orders", partitions=1).make()
    road.engine("one").wait_ready()
    road.deploy(flow("w", orders.name))
    orders.put(*range(5))
    road.deploy(flow("w", orders.name, task={"id": "b"}))
    orders.put(*range(5))
    wait_until(lambda: len(starts(road)) == 10, "ten runs")
    assert max(starts(road).values()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("end", ["kill", "hand over"])
def test_five_thousand_records_whose_engine_ends_in_the_middle_start_exactly_once(road: Road, end: str) -> None:
    orders = Orders(road, "orders", partitions=6).make()
    engines = [road.engine("one"), road.engine("two")]
    for engine in engines:
        engine.wait_ready()
    road.deploy(flow("w", orders.name))
    road.deploy(flow("evens", orders.name, filter="value.even"))
    values = [{"n": i, "even": i % 12 < 6} for i in range(5_000)]
    orders.put(*values[:3_000])
    victim = wait_until(lambda: next((e for e in engines if 100 < position(e) < 1_400), None), "one is in the middle")
    if end == "kill":
        victim.kill()
    else:
        victim.stop()
    orders.put(*values[3_000:])
    wait_until(lambda: sum(starts(road).values()) >= 7_500, "all have started", 90)
    found = starts(road)
    assert len(found) == sum(1 + value["even"] for value in values)  # type: ignore[misc]
    assert set(found.values()) == {1}
    check_log(road)
    answer = audit(road, orders.name)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    rows = [json.loads(line) for line in answer.stdout.splitlines()]
    assert sum(row["records"] for row in rows) == sum(row["started"] for row in rows) == 5_000
    assert sum(row["runs"] for row in rows) == len(found)


def position(engine: EngineProcess) -> int:
    """Records that were decided by the partitions of this engine."""
    status, body = engine.get("/state")
    return sum(view.get("position", 0) for view in body["intake"].values()) if status == 200 else 0


def test_the_audit_finds_what_was_passed_over_refused_and_not_decided(road: Road) -> None:
    orders = Orders(road, "orders", partitions=1).make()
    road.engine("one").wait_ready()
    road.deploy(flow("w", orders.name, filter="value.n > 1"))
    orders.put({"n": 1}, {"n": 2}, {}, None)
    wait_until(lambda: position(road.engines[0]) == 4, "all are decided")
    answer = audit(road, orders.name)
    [row] = map(json.loads, answer.stdout.splitlines())
    assert (row["started"], row["passed_over"], row["refused"], row["runs"]) == (1, 2, 1, 1)
    assert answer.returncode == 0
    road.engines[0].kill()
    orders.put({"n": 5})
    answer = audit(road, orders.name, "--to", "5")
    [row] = map(json.loads, answer.stdout.splitlines())
    assert answer.returncode == 1
    assert row["problems"] == ["offset 4 is not decided"]
    [at] = map(json.loads, triggers(road, "--json").stdout.splitlines())
    assert (at["topic"], at["partition"], at["position"], at["lag"], at["workflows"]) == (orders.name, 0, 4, 1, ["w"])
    print(triggers(road).stdout, triggers(road, "audit", orders.name).stdout, triggers(road, "audit", "nothing").stderr)
    assert triggers(road, "audit", "nothing").returncode == 2


def test_positions_can_be_seen_by_the_tools_of_consumer_groups(road: Road) -> None:
    orders = Orders(road, "orders", partitions=1).make()
    road.engine("one").wait_ready()
    road.deploy(flow("w", orders.name))
    orders.put(1, 2, 3)
    client = Consumer(
        {"bootstrap.servers": road.settings.kafka.bootstrap_servers, "group.id": f"{road.settings.cluster}.intake"}
    )
    try:
        at = [TopicPartition(orders.name, 0)]
        wait_until(lambda: client.committed(at, timeout=10)[0].offset == 3, "the position is committed", 40)
    finally:
        client.close()


@pytest.mark.parametrize("on_lost", ["stop", "earliest"])
def test_a_position_that_was_deleted_stops_its_partition_or_goes_on_as_set(road: Road, on_lost: str) -> None:
    orders = Orders(road, "orders", partitions=1).make()
    one = road.engine("one")
    one.wait_ready()
    road.deploy(flow("w", orders.name))
    orders.put(*range(3))
    wait_until(lambda: len(starts(road)) == 3, "three runs")
    one.kill()
    orders.put(*range(5))
    deleted = TopicPartition(orders.name, 0, 6)
    orders.admin.delete_records([deleted])[deleted].result(20)
    road.settings = road.settings.with_values(triggers__on_lost=on_lost)
    two = road.engine("two")
    two.wait_ready()
    if on_lost == "earliest":
        wait_until(lambda: len(starts(road)) == 5, "it goes on with what is there")
        assert audit(road, orders.name).returncode == 0
        assert "no records below 6" in audit(road, orders.name, "--from", "0").stdout
    else:
        wait_until(lambda: "the intake stands at 3" in str(two.get("/state")[1]["intake"]), "the page says so")
        assert "indegree_intake_partitions_stopped 1.0" in str(two.get("/metrics")[1])
        orders.put(9)
        assert len(starts(road)) == 3


DECODERS = """
import struct

def wire(value, headers, topic):
    # protobuf by hand: field 1, a varint below 128
    if value[:1] != b"\x08":
        raise ValueError("not field 1")
    return {"n": value[1], "kind": headers.get("kind"), "topic": topic}
"""


def test_a_topic_in_another_format_is_decoded_by_a_function_of_the_users(road: Road) -> None:
    orders = Orders(road, "orders", partitions=1).make()
    (road.folder / "our_decoders.py").write_text(DECODERS)
    pattern = f"{road.settings.cluster}.user.*"
    road.settings = road.settings.with_values(triggers__decoders={pattern: "our_decoders:wire"})
    road.engine("one").wait_ready()
    road.deploy(flow("w", orders.name, filter="value.kind == 'order'"))
    orders.put(b"\x08\x07", headers={"kind": b"order"})
    orders.put(b"oops")
    [letter] = wait_until(lambda: list(road.read_all("dead-letter")), "a dead letter")
    assert b"not field 1" in dict(letter.headers())["indegree.reason"]
    assert letter.value() == b"oops"
    wait_until(lambda: len(starts(road)) == 1, "one run")


def test_a_task_that_waits_for_a_record_ends_with_the_first_that_passes_its_filter(road: Road) -> None:
    orders = Orders(road, "paid", partitions=2).make()
    one = road.engine("one")
    one.wait_ready()
    wait = {"kafka": {"topic": orders.name, "filter": "value.order == params.order"}}
    params = {"order": {"type": "integer", "required": True}}
    road.deploy({"id": "w", "params": params, "tasks": [{"id": "paid", "wait_for": wait}]})
    orders.put({"order": 7, "too": "early"})
    requests = road.trigger("w", 1, params={"order": 7}) + road.trigger("w", 1, params={"order": 8})
    wait_until(lambda: sum(r["type"] == "task.waiting" for r in road.progress()) == 2, "both wait")
    orders.put({"order": 1}, {"order": 7, "first": True}, {"order": 7}, partition=1)
    [first] = wait_until(lambda: [r for r in road.progress() if r["type"] == "task.success"], "one has ended")
    assert first["output"] == {"order": 7, "first": True}
    one.kill()
    orders.put({"order": 8})
    road.engine("two").wait_ready()  # it reads from the beginning of the wait
    assert set(road.wait_finished(requests).values()) == {"SUCCESS"}


def test_a_task_that_waits_for_the_end_of_another_workflows_run_ends_with_it(road: Road) -> None:
    road.engine("one").wait_ready()
    road.deploy({"id": "upstream", "tasks": [{"id": "a"}]})
    road.deploy({"id": "w", "tasks": [{"id": "after", "wait_for": {"run": {"workflow": "upstream"}}}]})
    road.wait_finished(road.trigger("upstream"))  # too early
    requests = road.trigger("w")
    wait_until(lambda: any(r["type"] == "task.waiting" for r in road.progress()), "it waits")
    road.wait_finished(requests + road.trigger("upstream"))
    [end] = [r for r in road.progress() if r["type"] == "task.success" and r["task_id"] == "after"]
    assert end["output"]["workflow"] == "upstream"


def test_a_workflow_whose_trigger_is_the_end_of_another_ones_run_is_started_once_for_each(road: Road) -> None:
    road.engine("one").wait_ready()
    road.deploy({"id": "upstream", "tasks": [{"id": "a"}]})
    trigger = {"run": {"workflow": "upstream", "params": {"of": "value.run_id"}}}
    road.deploy({"id": "after", "params": {"of": {"required": True}}, "triggers": [trigger], "tasks": [{"id": "b"}]})
    road.wait_finished(road.trigger("upstream", 40))
    wait_until(lambda: sum(starts(road).values()) >= 40, "each starts one")
    assert {workflow for workflow, *_ in starts(road)} == {"after"}
    assert sum(starts(road).values()) == 40
