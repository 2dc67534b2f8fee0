"""Values by reference in a worker: user code does not see the difference, and every end of them has a word."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from indegree.events.payloads import PayloadLost, PayloadTooLarge
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.value_pb2 import Reference
from indegree.worker import values as values_module
from indegree.worker.bounds import Bounds
from indegree.worker.functions import Functions
from indegree.worker.runner import Runner
from indegree.worker.values import Values
from tests.worker.harness import Bench, argv, call, key_of, output, shell

INLINE = 100


class Topic:
    """The payloads topic in memory. `away`: Kafka does not answer until it is set."""

    def __init__(self) -> None:
        self.values: dict[tuple[int, int], bytes] = {}
        self.fetched: list[Reference] = []
        self.back = asyncio.Event()
        self.back.set()
        self.faults: list[Exception] = []

    def put(self, value: Any, partition: int = 3) -> Reference:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        offset = len(self.values)
        self.values[partition, offset] = data
        digest = hashlib.sha256(data).digest()
        return Reference(partition=partition, offset=offset, parts=1, size=len(data), sha256=digest)

    async def fetch(self, reference: Reference) -> bytes:
        self.fetched.append(reference)
        await self.back.wait()
        if self.faults:
            raise self.faults.pop(0)
        return self.values[reference.partition, reference.offset]

    async def store(self, partition: int, data: bytes) -> Reference:
        await self.back.wait()
        if self.faults:
            raise self.faults.pop(0)
        return self.put(data, partition)

    def of(self, result: Result) -> Any:
        """The output of a result, which must lie here."""
        assert (result.kind, result.output.json) == (Result.SUCCEEDED, b""), result
        found = result.output.reference
        return json.loads(self.values[found.partition, found.offset])


@contextlib.asynccontextmanager
async def road(
    functions: Mapping[str, Callable[..., Any]], slots: int = 4, **bounds: Any
) -> AsyncIterator[tuple[Bench, Topic]]:
    limits = Bounds(**{"kill_after_s": 1.0, "inline_bytes": INLINE, **bounds})
    topic = Topic()
    payloads: Any = topic
    registry = Functions({f"flow:{name}": function for name, function in functions.items()})

    def make(report: Callable[[int, Result], None]) -> Runner:
        return Runner(
            registry, report, worker="w1", slots=slots, commands=True, bounds=limits, values=Values(payloads, limits)
        )

    bench = Bench(make)
    try:
        yield bench, topic
    finally:
        await bench.runner.end_all()
        await bench.runner.close()


def with_references(task: Task, **references: Reference) -> Task:
    for name, reference in references.items():
        task.references[name].CopyFrom(reference)
    return task


def add(rows: list[int], more: int) -> int:
    return sum(rows) + more


async def add_async(rows: list[int], more: int) -> int:
    return sum(rows) + more


# -- inputs


@pytest.mark.parametrize("fields", [{}, {"isolate": True}])
async def test_an_argument_by_reference_is_there_like_any_other(fields: dict[str, Any]) -> None:
    async with road({"add": add, "add_async": add_async}) as (b, topic):
        for name in ("add", "add_async"):
            task = with_references(call(name, {"more": 5}, **fields), rows=topic.put(list(range(1_000))))
            if fields:
                task.python = f"tests.worker.test_values:{name}"
                b.runner.functions = Functions(allow=["tests.*"])
            assert output(await b.run(task)) == 499_505


async def test_a_reference_to_another_partition_is_followed_there() -> None:
    async with road({"add": add}) as (b, topic):
        assert output(await b.run(with_references(call("add", {"more": 0}), rows=topic.put([1], partition=7)))) == 1
        assert topic.fetched[0].partition == 7


async def test_standard_input_by_reference_comes_to_a_command() -> None:
    async with road({}) as (b, topic):
        task = argv("sh", "-c", "wc -c", output="json")
        task.input_reference.CopyFrom(topic.put("x" * 9_998))
        assert output(await b.run(task)) == 10_000


async def test_references_over_the_sum_are_not_fetched_and_the_error_names_the_task() -> None:
    async with road({"add": add}, task_payload_bytes=10_000) as (b, topic):
        task = with_references(call("add", task_id="merge"), rows=topic.put("x" * 6_000), more=topic.put("y" * 6_000))
        error = (await b.run(task)).error
        assert (error.type, error.permanent) == ("inputs_too_large", True)
        assert "inputs of task 'merge' are 12004 bytes in sum > limit 10000" in error.message
        assert "(setting limits.task_payload_bytes)" in error.message
        assert not topic.fetched


async def test_a_lost_input_fails_the_attempt_and_may_be_tried_again() -> None:
    async with road({"add": add}) as (b, topic):
        topic.faults = [PayloadLost("the value was deleted: c.payloads begins at 7")]
        result = await b.run(with_references(call("add", {"more": 1}), rows=topic.put([1])))
        assert (result.kind, result.error.type, result.error.permanent) == (Result.FAILED, "payload_lost", False)
        assert result.error.message == "argument 'rows': the value was deleted: c.payloads begins at 7"
        assert b.runner.used == 0


async def test_an_input_over_the_limit_fails_for_good() -> None:
    async with road({"add": add}) as (b, topic):
        topic.faults = [PayloadTooLarge("9 bytes > limit 8 (setting limits.payload_bytes)")]
        result = await b.run(with_references(call("add", {"more": 1}), rows=topic.put([1])))
        assert (result.error.type, result.error.permanent) == ("inputs_too_large", True)


async def test_an_input_that_is_no_json_fails_for_good_and_names_the_argument() -> None:
    async with road({"add": add}) as (b, topic):
        result = await b.run(with_references(call("add", {"more": 1}), rows=topic.put(b"[1,")))
        assert result.error.permanent
        assert "argument 'rows', held by reference, is not JSON" in result.error.message


async def test_kafka_that_is_away_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values_module, "_AGAIN_S", 0.01)
    async with road({"add": add}) as (b, topic):
        topic.faults = [KafkaConnectionError(), TimeoutError(), OSError()]
        assert output(await b.run(with_references(call("add", {"more": 1}), rows=topic.put([1])))) == 2


async def test_kafka_that_stays_away_fails_the_attempt_with_that_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values_module, "FETCH_S", 0.0)
    async with road({"add": add}) as (b, topic):
        topic.faults = [KafkaConnectionError("nobody there")]
        error = (await b.run(with_references(call("add", {"more": 1}), rows=topic.put([1])))).error
        assert (error.type, error.permanent) == ("payload_unreadable", False)
        assert "argument 'rows' could not be read from the payloads topic" in error.message


async def test_fetching_is_told_as_a_start_and_ends_by_stop_or_timeout_and_frees_its_slot() -> None:
    async with road({"add": add}, slots=2) as (b, topic):
        topic.back.clear()
        stopped = with_references(call("add", {"more": 1}), rows=topic.put([1]))
        late = with_references(call("add", {"more": 1}, timeout_ms=300), rows=topic.put([1]))
        b.runner.submit([stopped, late])
        await b.heard(stopped, Result.STARTED)
        b.runner.stop(key_of(stopped), "cancelled")
        assert (await b.final(stopped)).kind == Result.STOPPED
        result = await b.final(late)
        assert (result.kind, result.reason) == (Result.FAILED, "timeout")
        assert b.runner.used == 0
        topic.back.set()
        assert output(await b.run(with_references(call("add", {"more": 1}), rows=topic.put([1])))) == 2


# -- outputs


async def test_only_an_output_above_the_inline_limit_is_stored() -> None:
    def text(size: int) -> str:
        return "x" * (size - 2)

    async with road({"text": text}) as (b, topic):
        assert len(output(await b.run(call("text", {"size": INLINE})))) == INLINE - 2
        assert not topic.values
        result = await b.run(call("text", {"size": INLINE + 1}, partition=5))
        assert topic.of(result) == "x" * (INLINE - 1)
        assert (result.output.reference.partition, result.output.reference.size) == (5, INLINE + 1)


async def test_outputs_of_coroutines_processes_and_commands_are_stored_too() -> None:
    async def rows() -> list[int]:
        return list(range(1_000))

    async with road({"rows": rows, "isolated": numbers}) as (b, topic):
        assert topic.of(await b.run(call("rows"))) == list(range(1_000))
        b.runner.functions = Functions(allow=["tests.*"])
        task = call("tests.worker.test_values:numbers", isolate=True)
        assert len(topic.of(await b.run(task))) == 300_000
        assert topic.of(await b.run(shell("seq -s, 1 1000", output="text"))).startswith("1,2,3")


def numbers() -> list[int]:
    return list(range(300_000))


async def test_an_output_over_the_payload_limit_fails_for_good_with_both_numbers_and_is_not_stored() -> None:
    async with road({"big": lambda: "x" * 5_000}, payload_bytes=4_096) as (b, topic):
        error = (await b.run(call("big"))).error
        assert error.permanent
        assert "result too large: 5002 bytes > limit 4096 (setting limits.payload_bytes)" in error.message
        assert not topic.values


async def test_a_result_that_cannot_be_stored_yet_is_kept_and_its_timeout_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(values_module, "_AGAIN_S", 0.01)
    ran = []

    def once() -> str:
        ran.append(time.monotonic())
        return "x" * 1_000

    async with road({"once": once}, heartbeat_s=0.2) as (b, topic):
        topic.back.clear()
        topic.faults = [KafkaConnectionError(), KafkaConnectionError()]
        task = call("once", timeout_ms=250)
        b.runner.submit([task])
        await b.heard(task, Result.HEARTBEAT)
        await b.until(lambda: time.monotonic() > ran[0] + 0.4)
        assert b.runner.used == 1
        b.runner.submit([task])  # its engine sends it again: it is not run again
        topic.back.set()
        assert topic.of(await b.final(task)) == "x" * 1_000
        assert len(ran) == 1
        assert b.runner.used == 0


async def test_an_attempt_that_is_stopped_while_its_output_is_stored_ends_as_stopped() -> None:
    async with road({"big": lambda: "x" * 1_000}) as (b, topic):
        topic.back.clear()
        task = call("big")
        b.runner.submit([task])
        await b.heard(task, Result.STARTED)
        b.runner.stop(key_of(task), "cancelled")
        assert (await b.final(task)).kind == Result.STOPPED
        assert b.runner.used == 0


async def test_a_repeated_record_is_answered_with_the_same_reference() -> None:
    async with road({"big": lambda: "x" * 1_000}) as (b, topic):
        task = call("big")
        first = await b.run(task)
        b.runner.submit([task])
        again = (await b.until(lambda: b.of(task)[1:]))[0]
        assert again.output.reference == first.output.reference
        assert len(topic.values) == 1
