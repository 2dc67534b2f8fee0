"""Stock clients: a bare confluent-kafka script and kcat start runs and read progress, without any code of ours.

The script's producer hashes keys its own way (CRC32): the key only chooses a partition, so every run lives where its
trigger landed. What they read is JSON with CloudEvents headers, positions without a gap, and the trace of the trigger.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from indegree.v1.trigger_pb2 import Start, Trigger
from tests.conftest import SharedStack
from tests.integration.stream_road import wait_until
from tests.integration.whole_road import Whole, whole

pytestmark = pytest.mark.integration

FLOW = """
from indegree import Workflow

pair = Workflow("pair", params={"n": int})

@pair.task
def double(n: int) -> int:
    return 2 * n

@pair.task
def plus(double: int) -> int:
    return double + 1
"""

SCRIPT = """
import json, sys, time
from confluent_kafka import Consumer, Producer

servers, cluster, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
reader = Consumer({"bootstrap.servers": servers, "group.id": cluster, "auto.offset.reset": "earliest"})
reader.subscribe([cluster + ".progress"])
writer = Producer({"bootstrap.servers": servers})
for n in range(count):
    start = {"workflow": "pair", "params": {"n": n}, "request_id": "stock-%d" % n}
    writer.produce(cluster + ".triggers", json.dumps({"start": start}).encode(), key=b"order-%d" % n)
assert writer.flush(20) == 0
runs, ended, deadline = {}, set(), time.time() + 60
while len(ended) < count and time.time() < deadline:
    message = reader.poll(0.5)
    if message is None or message.error():
        continue
    record = json.loads(message.value())
    if record["type"] == "run.accepted" and record["request_id"].startswith("stock-"):
        runs[record["run_id"]] = []
    if record.get("run_id") in runs:
        record["partition"] = message.partition()
        record["headers"] = {name: value.decode() for name, value in message.headers()}
        runs[record["run_id"]].append(record)
        if record["type"] in ("run.success", "run.failed", "run.cancelled"):
            ended.add(record["run_id"])
reader.close()
print(json.dumps(runs))
"""

WANTED = [
    ("run.accepted", None),
    ("run.running", None),
    ("task.queued", "double"),
    ("task.success", "double"),
    ("task.queued", "plus"),
    ("task.success", "plus"),
    ("run.success", None),
]


@pytest.fixture(scope="module")
def place(stack: SharedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("stock")
    with whole(stack, folder, modules={"flow": FLOW}, worker=["flow"], partitions=4) as found:
        yield found


def without_running(records: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """(type, task): RUNNING is left out where the outcome was there at once."""
    return [(r["type"], r.get("task_id")) for r in records if r["type"] != "task.running"]


def test_a_bare_script_starts_runs_by_key_and_reads_each_to_its_end(place: Whole) -> None:
    (place.folder / "stock.py").write_text(SCRIPT)
    command = [sys.executable, "-I", "stock.py", place.settings.kafka.bootstrap_servers, place.settings.cluster, "40"]
    done = subprocess.run(command, cwd=place.folder, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    runs: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    assert len(runs) == 40
    outputs = set()
    for run_id, records in runs.items():
        assert without_running(records) == WANTED
        assert [record["position"] for record in records] == list(range(1, len(records) + 1))
        assert {record["partition"] for record in records} == {int(run_id.rsplit("-", 1)[1])}
        assert records[-1]["headers"]["ce_type"] == "indegree.run.success"
        assert records[-1]["headers"]["ce_subject"] == run_id
        outputs |= {
            record["output"] for record in records if record["type"] == "task.success" and record["task_id"] == "plus"
        }
    assert outputs == {2 * n + 1 for n in range(40)}
    assert len({run_id.rsplit("-", 1)[1] for run_id in runs}) > 1, "its partitioner has spread the keys"


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not on PATH (apt-get install kcat)")
def test_kcat_starts_a_run_and_reads_its_progress(place: Whole) -> None:
    request, servers, cluster = uuid.uuid4().hex, place.settings.kafka.bootstrap_servers, place.settings.cluster
    trigger = {"start": {"workflow": "pair", "params": {"n": 20}, "request_id": request}}
    kcat = ["kcat", "-q", "-b", servers]
    sent = subprocess.run(
        [*kcat, "-P", "-t", f"{cluster}.triggers"],
        input=json.dumps(trigger),
        text=True,
        capture_output=True,
        timeout=30,
    )
    assert (sent.returncode, sent.stderr) == (0, "")

    def read() -> list[tuple[str, dict[str, Any]]]:
        """(headers, record) of the run, once it has ended."""
        command = [*kcat, "-C", "-t", f"{cluster}.progress", "-o", "beginning", "-e", "-f", "%h\t%s\n"]
        lines = subprocess.run(command, text=True, capture_output=True, timeout=30, check=True).stdout.splitlines()
        pairs = [(headers, json.loads(text)) for headers, _, text in (line.partition("\t") for line in lines)]
        ids = [record["run_id"] for _, record in pairs if record.get("request_id") == request]
        mine = [(headers, record) for headers, record in pairs if record.get("run_id") in ids]
        return mine if mine and any(record["type"] == "run.success" for _, record in mine) else []

    found = wait_until(read, "kcat reads the end of the run")
    for headers, record in found:
        print(headers, json.dumps(record))
    assert without_running([record for _, record in found]) == WANTED
    assert "ce_type=indegree.run.success" in found[-1][0]
    assert "content-type=application/json" in found[-1][0]


def test_a_protobuf_trigger_with_a_traceparent_is_one_trace_in_progress(place: Whole) -> None:
    request, trace = uuid.uuid4().hex, uuid.uuid4().hex
    start = Start(workflow="pair", params=b'{"n": 3}', request_id=request)
    producer = place.kafka.producer
    producer.produce(
        f"{place.settings.cluster}.triggers",
        Trigger(start=start).SerializeToString(),
        headers=[("traceparent", f"00-{trace}-00f067aa0ba902b7-01".encode()), ("tracestate", b"vendor=1")],
    )
    assert producer.flush(20) == 0

    def accepted() -> str:
        return next((r["run_id"] for r in place.tail.look() if r.get("request_id") == request), "")

    run = wait_until(accepted, "the run is accepted")
    assert place.ended(run) == "SUCCESS"
    assert {record["traceparent"].split("-")[1] for record in place.progress(run)} == {trace}
    headers = [dict(m.headers()) for m in place.kafka.read_all("progress") if m.key() == run.encode()]
    assert {found["traceparent"].decode().split("-")[1] for found in headers} == {trace}
