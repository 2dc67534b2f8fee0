"""Bad input, item by item: each error names the value, the rule and the way out, and healthy runs do not notice.

What never reaches Kafka is in tests/cli/test_bad_definitions.py. In each test here, ten runs are in their middle on the
same partition from before the bad input until after it was answered, and end with SUCCESS; the module ends with
the checker's verdict. What is told to whom: a person reads stderr, a client `run.refused` on progress, an operator the
dead-letter topic and `doctor`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from indegree.events import admin
from indegree.events.run_ids import partition_of_key
from indegree.v1.trigger_pb2 import Start, Trigger
from tests.conftest import SharedStack
from tests.integration.stream_road import free_port, make_settings, wait_until
from tests.integration.whole_road import STEADY, Whole, says, whole

pytestmark = pytest.mark.integration

P = 1  # the partition of all tests here, of 2

FLOWS = """
from indegree import Workflow

typed = Workflow("typed", params={"n": int})

@typed.task
def double(n: int) -> int:
    return 2 * n

outputs = Workflow("outputs", params={"what": str})

@outputs.task
def give(what: str) -> object:
    match what:
        case "a set":
            return {"list": [1, {2, 3}]}
        case "nan":
            return [float("nan")]
        case "too large":
            return "x" * 2_097_152
"""

LATER = """
from indegree import Retry, Workflow

elsewhere = Workflow("elsewhere")

@elsewhere.task(queue="heavy")
def lift() -> str:
    return "lifted"

absent = Workflow("absent")

@absent.task(retry=Retry(max_attempts=1))
def here() -> str:
    return "here"
"""


# The cluster ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(stack: SharedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("bad")
    modules = {"steady_flow": STEADY, "bad_flows": FLOWS, "later_flows": LATER}
    worker = ["steady_flow", "bad_flows", "--slots", "32"]
    with whole(stack, folder, modules=modules, worker=worker, **{"limits.payload_bytes": 1_000_000}) as found:
        yield found


@pytest.fixture
def healthy(place: Whole) -> Iterator[None]:
    """Ten runs in their middle on the same partition."""
    with place.ten_runs(P):
        yield


def refused(place: Whole, partition: int = P, **start: Any) -> str:
    """Sends a start as JSON to a partition; the reason of its refusal."""
    request = uuid.uuid4().hex
    body = {"start": {"request_id": request, **start}}
    place.kafka.produce("triggers", [(partition, None, json.dumps(body).encode())])
    return place.refusal(request)


@pytest.mark.usefixtures("healthy")
def test_an_unknown_workflow_or_version_is_refused(place: Whole) -> None:
    says(refused(place, workflow="no-such"), "'no-such' is not known", "deploy it first", "indegree workflow deploy")
    says(refused(place, workflow="typed", version="0" * 64), "'typed' has no version", "0" * 64, "deploy it first")
    says(
        refused(place, workflow="typed", label="gold"), "no version with the label 'gold'", "deploy one with that label"
    )


@pytest.mark.usefixtures("healthy")
def test_an_id_outside_the_rule_is_refused(place: Whole) -> None:
    says(refused(place, workflow="not a name"), "'not a name'", "letters, digits, _, - and ., at most 100")
    says(refused(place, workflow="typed", run_id="run-7"), "'run-7'", "20261125T101530.123Z-")
    far = "20261125T101530.123Z-0123456789AB-0099"
    says(refused(place, workflow="typed", run_id=far), far, "partition 99", "this cluster has 2", "leave the id out")


@pytest.mark.usefixtures("healthy")
def test_params_that_are_not_json_or_too_large_or_of_another_type_are_refused(place: Whole) -> None:
    request = uuid.uuid4().hex
    start = Start(workflow="typed", request_id=request, params=b'{"n": nan}')
    place.kafka.produce("triggers", [(P, None, Trigger(start=start).SerializeToString())])
    says(place.refusal(request), "not JSON")
    says(
        refused(place, workflow="typed", params={"n": "x" * 300_000}),
        "300008 bytes", "the limit is 262144", "limits.value_bytes", "a path or a URL instead",
    )  # fmt: skip
    (place.folder / "large.json").write_text(json.dumps({"what": "x" * 300_000}))
    done = place.commands.command("trigger", "outputs", "--params", "large.json")
    assert done.returncode == 2
    says(done.stderr, "300011 bytes", "the limit is 262144", "limits.value_bytes", "hand over a reference")
    says(refused(place, workflow="typed", params={"n": "three"}), "'n'", "'three'", "its type is integer")
    says(refused(place, workflow="typed"), "'n'", "required")
    says(refused(place, workflow="typed", params={"n": 1, "m": 2}), "unknown parameter 'm'")


@pytest.mark.usefixtures("healthy")
def test_a_result_that_is_not_json_or_too_large_fails_its_task_with_the_path(place: Whole) -> None:  # row 50
    runs = {what: place.start("outputs", {"what": what}, P) for what in ("a set", "nan", "too large")}
    assert {place.ended(run) for run in runs.values()} == {"FAILED"}
    errors = {what: place.wait_for(run, "task.failed")["error"]["message"] for what, run in runs.items()}
    says(errors["a set"], "$.list[1]", "set")
    says(errors["nan"], "$[0]", "NaN is not JSON", "use null")
    words = "result too large: 2097154", "limit 1000000", "limits.payload_bytes", "return a reference"
    says(errors["too large"], *words)


@pytest.mark.usefixtures("healthy")
def test_a_trigger_neither_protobuf_nor_json_and_a_misspelt_one_are_dead_letters(place: Whole) -> None:  # row 47
    before = {line["offset"] for line in place.lines("dead-letters", "list")}
    bad = [b"\x00\xff{", b'{"start": {"workflow": "typed"', b'{"start": {"workflo": "typed"}}', b"{}"]
    offsets = place.kafka.produce("triggers", [(P, b"key", data) for data in bad])

    def letters() -> list[dict[str, Any]]:
        return [line for line in place.lines("dead-letters", "list") if line["offset"] not in before]

    found = wait_until(lambda: len(letters()) == 4 and letters(), "four dead letters")
    assert [(line["topic"], line["partition"]) for line in found] == [
        (f"{place.settings.cluster}.triggers", str(P))
    ] * 4
    by_offset = {int(line["record"]): line["reason"] for line in found}
    reasons = [by_offset[offset] for offset in offsets]
    says(reasons[0], "neither protobuf nor JSON", "00 ff 7b")
    says(reasons[1], "not JSON")
    says(reasons[2], "unknown field 'workflo'", "did you mean 'workflow'?")
    says(reasons[3], "a trigger must hold a start", '{"start": {"workflow": "NAME"')


@pytest.mark.usefixtures("healthy")
def test_a_tombstone_is_skipped_and_counted(place: Whole) -> None:  # CASES row 48
    def counted() -> float:
        lines = str(place.page("/metrics")[1]).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("indegree_tombstones_total"))

    before = counted()
    for topic in ("triggers", "commands", "results"):
        place.kafka.produce(topic, [(P, b"key", None)])
    wait_until(lambda: counted() == before + 3, "three tombstones are counted")


@pytest.mark.usefixtures("healthy")
def test_an_oversized_record_is_refused_by_the_broker_and_one_that_fills_the_limit_is_buried_cut(place: Whole) -> None:
    name, servers = f"{place.settings.cluster}.triggers", place.settings.kafka.bootstrap_servers
    stock = Producer({"bootstrap.servers": servers, "message.max.bytes": 10_000_000})
    errors: list[Any] = []
    stock.produce(name, b"\xff" * 2_200_000, partition=P, on_delivery=lambda error, _: errors.append(error))
    assert stock.flush(20) == 0
    says(str(errors[0]), "MSG_SIZE_TOO_LARGE")
    before = len(list(place.kafka.read_all("dead-letter")))
    filling = b"\xff" * (2 * 1024 * 1024 - 200)
    stock.produce(name, filling, partition=P, on_delivery=lambda error, _: errors.append(error))
    assert stock.flush(20) == 0
    assert errors[1] is None
    letter = wait_until(lambda: list(place.kafka.read_all("dead-letter"))[before:], "a dead letter")[0]
    headers = dict(letter.headers())
    assert int(headers["indegree.cut"]) == len(filling)
    assert filling.startswith(letter.value())


@pytest.mark.usefixtures("healthy")
def test_other_content_under_the_same_idempotency_key_is_refused(place: Whole) -> None:
    key = next(f"k{i}" for i in range(99) if partition_of_key("idempotency", "typed", f"k{i}", 2) == P)
    body = {"start": {"workflow": "typed", "params": {"n": 1}, "idempotency_key": key, "request_id": f"first-{key}"}}
    for _ in range(2):  # the second is a repeat, not a run
        place.kafka.produce("triggers", [(P, None, json.dumps(body).encode())])

    def accepted() -> list[dict[str, Any]]:
        found = [r for r in place.tail.look() if r.get("request_id") == f"first-{key}" and r["type"] == "run.accepted"]
        return found if len(found) == 2 else []

    (run,) = {record["run_id"] for record in wait_until(accepted, "both are accepted")}
    assert place.ended(run) == "SUCCESS"
    reason = refused(place, partition=0, workflow="typed", params={"n": 2}, idempotency_key=key)
    says(reason, repr(key), run, "other content", "use another key, or the same content")
    says(refused(place, workflow="typed", params={"n": 2}, run_id=run), run, "other content")


@pytest.mark.usefixtures("healthy")
def test_other_content_under_the_same_label_is_refused(place: Whole) -> None:
    name = next(f"labelled{i}" for i in range(99) if partition_of_key("workflow", f"labelled{i}", "", 2) == P)
    for number in (1, 2):
        (place.folder / f"v{number}.yaml").write_text(f"id: {name}\ntasks:\n  - {{id: a, command: echo {number}}}\n")
    [one] = place.lines("workflow", "deploy", "v1.yaml", "--label", "gold")
    done = place.commands.command("workflow", "deploy", "v2.yaml", "--label", "gold")
    assert done.returncode == 2
    says(done.stderr, "'gold'", repr(name), one["version"], "a label is never moved", "use another one")


# What is not reachable, and what is in the way ------------------------------------------------------------------------


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (["engine"], "--kafka"),
        (["engine"], "--etcd"),
        (["worker", "--commands"], "--kafka"),
        (["trigger", "typed", "-p", "n=1"], "--kafka"),
        (["doctor"], "--etcd"),
    ],
)
def test_kafka_or_etcd_that_is_not_reachable_is_exit_3_in_a_bounded_time(
    place: Whole, command: list[str], missing: str
) -> None:
    port = free_port()
    begun = time.monotonic()
    done = place.commands.command(*command, missing, f"127.0.0.1:{port}", timeout=40)
    assert done.returncode == 3, done.stdout + done.stderr
    assert time.monotonic() - begun < 25
    setting = {"--kafka": "kafka.bootstrap_servers", "--etcd": "etcd.endpoints"}[missing]
    says(done.stderr + done.stdout, f"127.0.0.1:{port}", setting, "indegree stack up")
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("healthy")
def test_a_topic_with_another_partition_count_or_weaker_settings_is_refused(stack: SharedStack, place: Whole) -> None:
    settings = make_settings(stack.kafka, stack.etcd, f"w{uuid.uuid4().hex[:10]}", 2)
    results, events = f"{settings.cluster}.results", f"{settings.cluster}.events"
    client = AdminClient({"bootstrap.servers": stack.kafka})
    try:
        client.create_partitions([NewPartitions(results, 3)])[results].result(20)
        weaker = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, events, incremental_configs=[weaker])
        client.incremental_alter_configs([resource])[resource].result(20)
        for command in (["engine"], ["worker", "--commands"]):
            done = place.commands.command(*command, "--cluster", settings.cluster, timeout=40)
            assert done.returncode == 3, done.stderr
            says(
                done.stderr,
                f"topic {results} has 3 partitions, but the cluster has 2",
                "may not change",
                "make the topic again",
            )
            says(done.stderr, f"topic {events}: retention.ms = 1000, must be -1", "alter the topic's configuration")
    finally:
        asyncio.run(admin.delete_cluster(settings))


@pytest.mark.usefixtures("healthy")
def test_a_port_in_use_is_said_by_engine_and_worker(place: Whole) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for command, setting in (
            (["engine", "--port", port], "engine.port"),
            (["worker", "--commands", "--set", f"worker.port={port}"], "worker.port"),
        ):
            done = place.commands.command(*command, timeout=40)
            assert done.returncode == 2, done.stderr
            says(done.stderr, f"port {port}", "127.0.0.1", "in use", setting)
            assert "Traceback" not in done.stderr


# Nobody can run it ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("healthy")
def test_a_queue_without_a_worker_is_said_by_doctor_and_show_and_the_run_goes_on_when_one_comes(place: Whole) -> None:
    place.lines("workflow", "deploy", "later_flows")
    run = place.start("elsewhere", partition=P)
    place.wait_for(run, "task.queued", "lift")

    def told() -> Any:
        found = place.commands.command("doctor")
        return found if "queue heavy" in found.stdout else None

    done = wait_until(told, "doctor says so")
    assert done.returncode == 3
    says(done.stdout, "1 task(s) are ready and no worker serves it", "indegree worker MODULE --queue heavy")
    shown = place.commands.command("show", run).stdout
    says(shown, "lift", "QUEUED", "no worker serves queue 'heavy'", "--queue heavy")
    place.worker("later_flows", "--queue", "heavy", "--slots", "2")
    assert place.ended(run) == "SUCCESS"
    assert {attempt for _, task, attempt in place.story(run) if task == "lift"} == {1}


@pytest.mark.usefixtures("healthy")
def test_a_worker_without_the_code_rejects_uses_no_attempt_and_one_with_it_runs_the_task(place: Whole) -> None:
    place.lines("workflow", "deploy", "later_flows")
    run = place.start("absent", partition=P)
    first = place.wait_for(run, "task.queued", "here")

    def rejection() -> dict[str, Any] | None:
        found = [r for r in place.progress(run, task="here") if r.get("error")]
        return found[0] if found else None

    rejected = wait_until(rejection, "the rejection is on progress")
    assert rejected["attempt"] == first["attempt"] == 1
    says(rejected["error"]["message"], "not given the module 'later_flows'", "start it with later_flows")
    done = place.commands.command("doctor")
    assert done.returncode == 3
    says(done.stdout, run, "here: rejected by", "later_flows", "indegree worker MODULE")
    says(place.commands.command("show", run).stdout, "rejected: ", "not given the module 'later_flows'")
    # a worker with fewer slots, so that the one without the code has more room all the time
    place.worker("later_flows", "--slots", "1")
    assert place.ended(run) == "SUCCESS"
    assert {attempt for _, task, attempt in place.story(run) if task == "here"} == {1}
