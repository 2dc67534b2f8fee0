"""On the real stack: no secret is on any topic, and each kind of error and time limit ends as docs/errors.md says."""

from __future__ import annotations

import base64
import os
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.cluster import Cluster
from indegree.sdk.client import Client
from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.workflow_pb2 import DefinitionPart
from tests.checker import check
from tests.conftest import SharedStack
from tests.integration import error_flows as flows

pytestmark = pytest.mark.integration

TOKEN, PIN = "tk-9f8e7d6c5b4a", "8675309424242"


@pytest.fixture(scope="module")
def cluster(stack: SharedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pin: Path = tmp_path_factory.mktemp("secrets") / "pin"
    pin.write_text(PIN + "\n")
    known = {"INDEGREE_SECRET_TOKEN": TOKEN, "INDEGREE_SECRET_PIN_FILE": str(pin)}
    with Cluster(f"{stack.kafka},{stack.etcd}", 2, **{"engine.progress_format": "json"}) as cluster:
        cluster.engine()
        cluster.worker(8, "--commands", module=flows.__name__, environ=known)
        yield cluster
        verdict = check(cluster.settings.kafka.bootstrap_servers, cluster.settings.cluster)
        assert verdict.ok, verdict.report()


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[Client]:
    with Client(cluster.settings) as client:
        yield client


def test_a_secret_that_tasks_print_raise_and_return_is_on_no_topic(cluster: Cluster, client: Client) -> None:
    assert TOKEN not in os.environ.values()
    run = client.start(flows.careless)
    assert run.wait(60) == "SUCCESS"
    assert run["prints"].output == {"token": "***", "pin": "***", "at": flows.MARK}
    assert run["isolated"].output == f"{flows.MARK} ***"
    errors = [run[f"raises_{place}"].error for place in ("here", "apart")]
    assert [error and error.message for error in errors] == [f"{flows.MARK} pin ***"] * 2
    read = everything(cluster)
    found = {
        topic: [text for text in texts if any(secret in text for secret in forms(TOKEN, PIN))]
        for topic, texts in read.items()
    }
    assert {topic: texts for topic, texts in found.items() if texts} == {}
    # The search would have found them: what stands beside the secrets was found wherever they could have been.
    beside = {name for name, texts in read.items() if any(flows.MARK.encode() in text for text in texts)}
    assert beside >= {"results", "events", "progress", "payloads", "workflows"}, beside
    assert {name.partition(".")[0] for name in read} >= {"triggers", "commands", "tasks", "workers", "dead-letter"}


def forms(*secrets: str) -> list[bytes]:
    """A secret as it is, and as base64 has it at each place in a text."""
    out = []
    for secret in secrets:
        out.append(secret.encode())
        out += [base64.b64encode(b" " * shift + secret.encode())[4:-4] for shift in range(3)]
    return out


def everything(cluster: Cluster) -> dict[str, list[bytes]]:
    """Keys, values and headers of every record of every topic of the cluster, and definitions inflated, by topic."""
    settings = cluster.settings
    bootstrap, prefix = settings.kafka.bootstrap_servers, settings.cluster + "."
    topics = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=15).topics
    options = {"bootstrap.servers": bootstrap, "group.id": f"{settings.cluster}-search", "fetch.wait.max.ms": 20}
    consumer = Consumer(options)
    out: dict[str, list[bytes]] = {name.removeprefix(prefix): [] for name in topics if name.startswith(prefix)}
    places = [(prefix + name, p) for name in out for p in topics[prefix + name].partitions]
    ends = {place: consumer.get_watermark_offsets(TopicPartition(*place), timeout=15) for place in places}
    left = {place: high for place, (low, high) in ends.items() if low < high}
    try:
        consumer.assign([TopicPartition(*place, ends[place][0]) for place in left])
        deadline = time.monotonic() + 60
        while left:
            assert time.monotonic() < deadline, f"not read to their end: {left}"
            for message in consumer.consume(1_000, 0.1):
                assert message.error() is None, message.error()
                topic, value = (message.topic() or "").removeprefix(prefix), message.value() or b""
                out[topic] += [message.key() or b"", value, *inflated(topic, value)]
                for header in message.headers() or ():
                    out[topic] += [part.encode() if isinstance(part, str) else part or b"" for part in header]
                if (message.offset() or 0) + 1 >= left.get((prefix + topic, message.partition() or 0), 0):
                    left.pop((prefix + topic, message.partition() or 0), None)
    finally:
        consumer.close()
    return out


def inflated(topic: str, value: bytes) -> list[bytes]:
    """Definitions in a record, unpacked. They are small here, so each is one part."""
    packed: list[bytes] = []
    if topic == "events":
        packed = [e.data for e in Frame.FromString(value).events if e.kind == Event.DEFINITION_RECORDED]
    elif topic == "workflows" and value and not value.startswith(b"{"):
        packed = [DefinitionPart.FromString(value).data]
    return [zlib.decompress(data) for data in packed if data]


def test_errors_and_exit_codes_are_retried_as_their_policy_says(client: Client) -> None:
    run = client.start(flows.failing)
    assert run.wait(60) == "SUCCESS"
    attempts = {
        "permanent": ("FAILED", 1),
        "of_a_base_class": ("SUCCESS", 3),
        "of_a_builtin_base_class": ("SUCCESS", 2),
        "of_another_class": ("FAILED", 1),
        "code_75": ("FAILED", 3),
        "code_1": ("FAILED", 1),
        "unserved": ("FAILED", 2),
    }
    assert {task: (run[task].state, run[task].attempts) for task in attempts} == attempts
    assert run["unserved"].reason == "queue_timeout"
    assert Counter(view.reason for view in run.tasks.values() if view.state == "FAILED")["error"] == 4


def test_a_run_over_its_timeout_fails_with_what_was_open_cancelled(client: Client) -> None:
    run = client.start(flows.overdue)
    begun = time.monotonic()
    assert run.wait(30) == "FAILED"
    assert time.monotonic() - begun < 10
    assert "timeout" in run.reason
    assert {name: view.state for name, view in run.tasks.items()} == dict.fromkeys(
        ("sleeps", "waits", "after"), "CANCELLED"
    )
