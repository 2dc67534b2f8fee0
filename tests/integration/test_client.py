"""The client against a real engine, worker, Kafka and etcd."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from indegree.events import kafka, run_ids
from indegree.events.topics import Topics
from indegree.sdk import AsyncClient, Client, Workflow
from indegree.sdk.client_errors import InvalidStart, Refused, RunNotFound, Unreachable
from indegree.v1.trigger_pb2 import Trigger
from tests.conftest import SharedStack
from tests.integration.cli_road import Road, road

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def place(stack: SharedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    with road(stack.kafka, stack.etcd, tmp_path_factory.mktemp("client")) as found:
        yield found


@pytest.fixture(scope="module")
def flows(place: Road) -> ModuleType:
    """The module that the worker has, as the program that starts runs has it."""
    specification = importlib.util.spec_from_file_location("client_flows", place.folder / "client_flows.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["client_flows"] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def client(place: Road) -> Iterator[Client]:
    with Client(place.settings) as found:
        yield found


def test_a_workflow_object_runs_and_gives_its_outputs(client: Client, flows: ModuleType) -> None:
    run = client.start(flows.diamond, {"n": 4})
    assert run_ids.is_run_id(run.run_id), "known at once"
    assert run.wait(60) == "SUCCESS"
    assert (run["d"].output, run["d"].attempts, run["d"].state) == (45, 1, "SUCCESS")
    assert run.version == flows.diamond.definition().hash


def test_follow_gives_every_position_once_and_resumes(client: Client, flows: ModuleType) -> None:
    run = client.start(flows.diamond)
    events = list(run.follow())
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert (events[0].type, events[-1].type) == ("run.accepted", "run.success")
    again = client.run(run.run_id)
    assert [event.position for event in again.follow(5)] == [event.position for event in events[5:]]


def test_a_run_of_somebody_else_is_found_by_its_id(client: Client, place: Road, flows: ModuleType) -> None:
    with Client(place.settings) as other:
        run = other.start(flows.diamond, {"n": 2})
        run.wait(60)
    found = client.run(run.run_id)
    assert (found.state, found["d"].output, found.workflow) == ("SUCCESS", 23, "diamond")


def test_a_run_that_never_was_is_not_found(client: Client) -> None:
    with pytest.raises(RunNotFound):
        client.run("20261125T101530.123Z-0123456789AB-0001")
    with pytest.raises(InvalidStart, match="names a partition"):
        client.run("20261125T101530.123Z-0123456789AB-0099")
    with pytest.raises(run_ids.InvalidId):
        client.run("nonsense")


def test_a_retry_keeps_the_task_s_id_and_counts_attempts(client: Client, flows: ModuleType) -> None:
    run = client.start(flows.flaky)
    assert run.wait(60) == "SUCCESS"
    assert (run["once"].attempts, run["once"].output) == (2, "up")


def test_a_failed_run_is_a_state_with_the_error_s_words(client: Client, flows: ModuleType) -> None:
    run = client.start(flows.failing)
    assert run.wait(60) == "FAILED"
    assert "no such bucket" in str(run["broken"].error)
    assert (run["after"].state, run["after"].reason) == ("SKIPPED", "upstream_failed")


def test_the_same_idempotency_key_is_one_run(client: Client, place: Road, flows: ModuleType) -> None:
    first = client.start(flows.diamond, {"n": 7}, idempotency_key="batch-7")
    assert first.wait(60) == "SUCCESS"
    with Client(place.settings) as other:
        second = other.start(flows.diamond, {"n": 7}, idempotency_key="batch-7")
        assert second.accepted(30) == first.run_id
        assert second.wait(30) == "SUCCESS"
        assert second["d"].output == 78


def test_other_content_under_the_same_key_is_refused(client: Client, flows: ModuleType) -> None:
    client.start(flows.diamond, {"n": 8}, idempotency_key="batch-8").accepted(30)
    run = client.start(flows.diamond, {"n": 9}, idempotency_key="batch-8")
    with pytest.raises(Refused, match="batch-8") as caught:
        run.wait(30)
    assert caught.value.reason
    with pytest.raises(Refused):
        list(run.follow())


def test_other_content_under_the_same_run_id_is_refused(client: Client, flows: ModuleType) -> None:
    chosen = run_ids.make_run_id(1_795_000_000_000, "ABCDEF012345", 2)
    first = client.start(flows.diamond, {"n": 1}, run_id=chosen)
    assert first.wait(60) == "SUCCESS"
    with pytest.raises(Refused):
        client.start(flows.diamond, {"n": 2}, run_id=chosen).accepted(30)
    assert first.state == "SUCCESS"


def test_the_same_start_twice_under_one_run_id_is_one_run(client: Client, place: Road, flows: ModuleType) -> None:
    chosen = run_ids.make_run_id(1_795_000_000_001, "ABCDEF012346", 3)
    assert client.start(flows.diamond, {"n": 1}, run_id=chosen).wait(60) == "SUCCESS"
    with Client(place.settings) as other:
        again = other.start(flows.diamond, {"n": 1}, run_id=chosen)
        assert again.wait(30) == "SUCCESS"
        assert again["d"].output == 12


def test_what_can_be_known_here_is_refused_before_anything_is_sent(client: Client, flows: ModuleType) -> None:
    client.deploy(flows.diamond)
    cases: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        (("dimond",), {}, "did you mean 'diamond'"),
        (("diamond", {"m": 1}), {}, "unknown parameter 'm'"),
        (("diamond", {"n": "x"}), {}, "its type is integer"),
        (("diamond", {"n": float("nan")}), {}, "params of 'diamond'"),
        (("diamond",), {"idempotency_key": ""}, "1 to 1024 bytes"),
        (("diamond",), {"version": "0" * 64}, "has no version"),
        (("diamond",), {"label": "nope"}, "has no version"),
        (("not a name",), {}, "a name has letters"),
        (("diamond",), {"run_id": "20261125T101530.123Z-0123456789AB-0099"}, "names partition 99"),
    ]
    for arguments, keywords, words in cases:
        with pytest.raises(InvalidStart, match=words):
            client.start(*arguments, **keywords)


def test_deploy_activates_and_a_label_never_means_other_content(client: Client) -> None:
    one, two = Workflow("versions"), Workflow("versions")
    one.command("a", "echo 1", output="json")
    two.command("a", "echo 2", output="json")
    assert client.deploy(one, label="v1").new
    assert client.start("versions").wait(60) == "SUCCESS"
    client.deploy(two)
    run = client.start("versions")
    assert run.wait(60) == "SUCCESS"
    assert run["a"].output == 2
    labelled = client.start("versions", label="v1")
    assert labelled.wait(60) == "SUCCESS"
    assert labelled["a"].output == 1
    with pytest.raises(Refused, match="v1"):
        client.deploy(two, label="v1")
    back = client.activate("versions", one.definition().hash[:10])
    assert (back.version, back.active) == (one.definition().hash, True)
    again = client.start("versions")
    again.wait(60)
    assert again["a"].output == 1


def test_a_started_workflow_object_does_not_take_over_the_active_version(client: Client) -> None:
    one, two = Workflow("steady"), Workflow("steady")
    one.command("a", "echo 1", output="json")
    two.command("a", "echo 2", output="json")
    client.deploy(one)
    run = client.start(two)
    assert run.wait(60) == "SUCCESS"
    assert run["a"].output == 2
    assert client.refresh().active["steady"].version == one.definition().hash


def test_a_run_is_cancelled_and_starts_nothing_more(client: Client, flows: ModuleType) -> None:
    run = client.start(flows.slow)
    for event in run.follow():
        if event.task_id == "nap" and event.state in ("RUNNING", "QUEUED"):
            break
    run.cancel("enough")
    assert run.wait(60) == "CANCELLED"
    assert {task.state for task in run.tasks.values()} == {"CANCELLED"}
    with pytest.raises(Refused, match="has ended"):
        run.cancel()


def test_waiting_times_out_and_the_run_goes_on(client: Client, flows: ModuleType) -> None:
    run = client.start(flows.slow, {"seconds": 2.0})
    with pytest.raises(TimeoutError, match="goes on"):
        run.wait(0.2)
    assert run.wait(60) == "SUCCESS"


async def test_a_thousand_starts_are_told_apart(place: Road, flows: ModuleType) -> None:
    async with AsyncClient(place.settings) as client:
        runs = await client.start_many(flows.diamond, ({"n": number} for number in range(1_000)))
        assert len({run.run_id for run in runs}) == 1_000
        states = await asyncio.gather(*(run.wait(120) for run in runs))
        assert set(states) == {"SUCCESS"}
        assert [run["d"].output for run in runs] == [number + 1 + number * 10 for number in range(1_000)]


async def test_many_starts_by_key_repeat_without_new_runs(place: Road, flows: ModuleType) -> None:
    async with AsyncClient(place.settings) as client:
        rows, keys = [{"n": number} for number in range(50)], [f"k{number}" for number in range(50)]
        first = await client.start_many(flows.diamond, rows, keys)
        ids = [await run.accepted(60) for run in first]
        second = await client.start_many(flows.diamond, rows, keys)
        assert [await run.accepted(60) for run in second] == ids
        assert {await run.wait(60) for run in second} == {"SUCCESS"}


async def test_nothing_is_sent_when_one_of_many_is_wrong(place: Road, flows: ModuleType) -> None:
    async with AsyncClient(place.settings) as client:
        before = await _ends(place, Topics(place.settings.cluster).triggers)
        with pytest.raises(InvalidStart, match=r"params\[2\]"):
            await client.start_many(flows.diamond, [{"n": 1}, {"n": 2}, {"n": "three"}])
        assert await _ends(place, Topics(place.settings.cluster).triggers) == before


async def test_the_current_trace_context_goes_with_the_start(place: Road, flows: ModuleType) -> None:
    context = SpanContext(0x1234567890ABCDEF1234567890ABCDEF, 0x1234567890ABCDEF, False, TraceFlags(1))
    async with AsyncClient(place.settings) as client:
        with trace.use_span(NonRecordingSpan(context)):
            run = await client.start(flows.diamond)
        assert await run.wait(60) == "SUCCESS"
    record = await _record_of(place, run.run_id)
    headers = dict(record.headers)
    assert headers["traceparent"] == b"00-1234567890abcdef1234567890abcdef-1234567890abcdef-01"
    assert Trigger.FromString(record.value).start.run_id == run.run_id


def test_an_unreachable_kafka_is_said_with_its_address(place: Road) -> None:
    settings = place.settings.with_values(kafka__bootstrap_servers="127.0.0.1:1")
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        Client(settings).open()


def test_a_cluster_that_was_never_set_up_is_said(place: Road) -> None:
    with pytest.raises(Exception, match="has not been set up"):
        Client(place.settings.with_values(cluster="nobody-made-this")).open()


async def _ends(place: Road, topic: str) -> dict[TopicPartition, int]:
    client = kafka.consumer(place.settings)
    await kafka.start(client, place.settings)
    try:
        tps = [TopicPartition(topic, number) for number in range(await kafka.partition_count(client, topic))]
        ends: dict[TopicPartition, int] = await client.end_offsets(tps)
        return ends
    finally:
        await client.stop()


async def _record_of(place: Road, run_id: str) -> Any:
    tp = TopicPartition(Topics(place.settings.cluster).triggers, run_ids.partition_of_run(run_id))
    reader: AIOKafkaConsumer
    async with kafka.reading(place.settings, {tp: 0}) as reader:
        async for _, records in kafka.read_range(reader, await reader.end_offsets([tp])):
            for record in records:
                if record.key == run_id.encode():
                    return record
    raise AssertionError(f"no start of {run_id}")
