"""Values by reference on a real Kafka: in parts, between other writers' parts, after retention, and through a run."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from indegree.events.admin import ensure_topics
from indegree.events.appender import Appender
from indegree.events.payloads import PART_BYTES, PayloadLost, Payloads, PayloadTooLarge
from indegree.events.settings import LOCAL, Settings
from indegree.events.topics import Topics
from indegree.sdk import AsyncClient, Client, Workflow
from indegree.sdk.client_errors import ValueLost
from indegree.sdk.client_events import StoredValue
from indegree.v1.task_pb2 import Result
from indegree.v1.value_pb2 import Reference, ValueList
from indegree.worker import Worker
from tests.conftest import SharedStack
from tests.integration.worker_road import owner, settings_for

pytestmark = pytest.mark.integration

MIB = 1024 * 1024


class Place:
    """Two partitions of payloads, and any number of processes' worth of writers and readers."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self.settings, self._stack = settings, stack

    async def payloads(self, **options: Any) -> Payloads:
        """One process's view: a producer and readers of its own."""
        appender = Appender(self.settings)
        await appender.start()
        self._stack.push_async_callback(appender.stop)
        made = Payloads(self.settings, lambda: appender, **{"cache_bytes": 0, **options})
        self._stack.push_async_callback(made.stop)
        return made


@pytest.fixture
async def place(stack: SharedStack, cluster_name: str) -> AsyncIterator[Place]:
    settings = settings_for(stack.kafka, cluster_name)
    await ensure_topics(settings)
    async with AsyncExitStack() as closing:
        yield Place(settings, closing)


async def delete_below(settings: Settings, partition: int, offset: int) -> None:
    """As retention does it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    await admin.start()
    try:
        tp = TopicPartition(Topics(settings.cluster).payloads, partition)
        await admin.delete_records({tp: RecordsToDelete(offset)})
    finally:
        await admin.close()


@pytest.mark.parametrize("size", [1, 5_000, PART_BYTES, PART_BYTES + 1, 20 * MIB])
async def test_a_value_comes_back_equal(place: Place, size: int) -> None:
    payloads = await place.payloads()
    data = os.urandom(size)
    reference = await payloads.store(1, data)
    assert (reference.partition, reference.size, reference.parts) == (1, size, -(-size // PART_BYTES))
    assert await payloads.fetch(reference) == data


async def test_values_of_writers_that_interleave_on_a_partition_come_back_equal(place: Place) -> None:
    writers = [await place.payloads() for _ in range(4)]
    values = [os.urandom(5 * MIB) for _ in range(8)]
    references = await asyncio.gather(*(writers[n % 4].store(0, data) for n, data in enumerate(values)))
    firsts = sorted(reference.offset for reference in references)
    assert any(b - a < 10 for a, b in itertools.pairwise(firsts)), "no two of them interleaved"
    reader = await place.payloads()
    assert await asyncio.gather(*(reader.fetch(reference) for reference in references)) == values


async def test_a_list_of_many_stored_values_is_read_back_in_order(place: Place) -> None:
    payloads = await place.payloads()
    texts = [json.dumps([n, "x" * random.Random(n).randrange(5_000, 9_000)]).encode() for n in range(300)]
    references: list[Reference] = []
    for begin in range(0, len(texts), 20):  # as many at a time as a worker has slots
        some = range(begin, min(begin + 20, len(texts)))
        references += await asyncio.gather(*(payloads.store(n % 2, texts[n]) for n in some))
    values = ValueList()
    for n, reference in enumerate(references):
        if n % 3:
            values.values.add(reference=reference)
        else:
            values.values.add(json=texts[n])
    gathered = await payloads.store(0, values.SerializeToString())
    gathered.list, gathered.whole = True, sum(map(len, texts)) + len(texts) + 1
    assert await payloads.fetch(gathered) == b"[" + b",".join(texts) + b"]"


async def test_what_retention_deleted_is_lost_and_what_it_kept_is_not(place: Place) -> None:
    payloads = await place.payloads()
    old = await payloads.store(0, os.urandom(MIB + 1))
    new = await payloads.store(0, b"new")
    await delete_below(place.settings, 0, old.offset + 1)
    with pytest.raises(PayloadLost, match=r"was deleted: .*payloads begins at 1 \(setting engine\.history_days"):
        await payloads.fetch(old)
    assert await payloads.fetch(new) == b"new"
    with pytest.raises(PayloadLost, match="has no such partition"):
        await payloads.fetch(Reference(partition=9, parts=1, size=1, sha256=b"s" * 32))


async def test_a_value_over_the_limit_is_not_written(place: Place) -> None:
    place.settings = place.settings.with_values(limits__payload_bytes=1_000)
    payloads = await place.payloads()
    with pytest.raises(PayloadTooLarge, match=r"1001 bytes > limit 1000 \(setting limits\.payload_bytes\)"):
        await payloads.store(0, b"x" * 1_001)
    assert (await payloads.store(0, b"y")).offset == 0


# -- a worker, with the engine's part played by hand


def sized(size: int) -> str:
    return "x" * (size - 2)


def length(text: str, more: str = "") -> int:
    return len(text) + len(more)


FUNCTIONS: dict[str, Callable[..., Any]] = {"flow:sized": sized, "flow:length": length}


async def test_a_worker_stores_what_it_returns_and_reads_what_it_is_given(place: Place) -> None:
    async with owner(place.settings) as engine, Worker(place.settings, functions=FUNCTIONS) as worker:
        small = engine.task(worker.instance, "flow:sized", {"size": 4_096})
        large = engine.task(worker.instance, "flow:sized", {"size": 5 * MIB})
        elsewhere = engine.task(worker.instance, "flow:sized", {"size": 4_097})
        await engine.send(small, large, elsewhere)
        assert len((await engine.final(small)).output.json) == 4_096
        references = [(await engine.final(task)).output.reference for task in (large, elsewhere)]
        assert [(r.partition, r.size) for r in references] == [(large.partition, 5 * MIB), (elsewhere.partition, 4_097)]
        assert large.partition != elsewhere.partition
        task = engine.task(worker.instance, "flow:length")
        task.references["text"].CopyFrom(references[0])
        task.references["more"].CopyFrom(references[1])
        await engine.send(task)
        assert (await engine.final(task)).output.json == str(5 * MIB - 2 + 4_095).encode()


async def test_a_worker_whose_input_is_gone_fails_the_attempt_with_that_reason(place: Place) -> None:
    payloads = await place.payloads()
    old = await payloads.store(0, b'"old"')
    await payloads.store(0, b'"new"')
    await delete_below(place.settings, 0, 1)
    async with owner(place.settings) as engine, Worker(place.settings, functions=FUNCTIONS) as worker:
        task = engine.task(worker.instance, "flow:length")
        task.references["text"].CopyFrom(old)
        await engine.send(task)
        result = await engine.final(task)
    assert (result.kind, result.error.type, result.error.permanent) == (Result.FAILED, "payload_lost", False)
    assert "argument 'text': the value of 5 bytes in payloads partition 0 at 0 was deleted" in result.error.message


# -- a whole run

relay = Workflow("relay", params={"size": int})


@relay.task
def make(size: int) -> list[str]:
    return ["x" * 1_000] * (size // 1_003)


@relay.task
def count(make: list[str]) -> int:
    return sum(map(len, make))


@relay.task(isolate=True)
def apart(make: list[str]) -> int:
    return len(make)


relay.command("words", "wc -c", input="${{ make }}", output="json")


@relay.task(when="len(make) > 10")
def chosen(make: list[str]) -> str:
    return make[0]


spread = Workflow("spread", params={"n": int})


@spread.task
def items(n: int) -> list[str]:
    return [f"{number:05d}" * 200 for number in range(n)]


@spread.task(foreach="items")
def grow(item: str) -> str:
    return item * 6


@spread.task
def gather(grow: list[str]) -> list[int]:
    return [int(text[:5]) for text in grow] + [sum(map(len, grow))]


ALL = {**relay.functions, **spread.functions}


@pytest.fixture
async def settings(stack: SharedStack, cluster_name: str, tmp_path: Path) -> AsyncIterator[Settings]:
    """A cluster with one engine process and one worker."""
    flags = {**LOCAL, "cluster": cluster_name, "kafka.bootstrap_servers": stack.kafka, "etcd.endpoints": [stack.etcd]}
    made = Settings.load({**flags, "topics.partitions": 2, "engine.lease_ttl_s": 2.0}, environ={})
    environment = {**os.environ, **made.environment()}
    with (tmp_path / "engine.log").open("wb") as log:
        engine = await asyncio.to_thread(
            subprocess.Popen, [sys.executable, "-m", "indegree.stream"], env=environment, stdout=log, stderr=log
        )
    try:
        async with Worker(made, functions=ALL, commands=True, slots=4):
            yield made
    finally:
        engine.terminate()
        await asyncio.to_thread(engine.wait, 30)
        print((tmp_path / "engine.log").read_text()[-4_000:])


def show(settings: Settings, run_id: str, *flags: str) -> str:
    """What `indegree show` prints."""
    environment = {**os.environ, **settings.environment()}
    command = [sys.executable, "-m", "indegree.cli", "show", run_id, *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_an_output_of_five_mebibytes_reaches_functions_processes_commands_conditions_and_people(
    settings: Settings,
) -> None:
    size = 5 * MIB
    rows = size // 1_003
    text = json.dumps(["x" * 1_000] * rows, separators=(",", ":"))
    async with AsyncClient(settings) as client:
        run = await client.start(relay, {"size": size})
        assert await run.wait(timeout=90) == "SUCCESS", {t.id: (t.state, t.error, t.reason) for t in run.tasks.values()}
        assert isinstance(run["make"].output, StoredValue)
        assert await run.output("make") == ["x" * 1_000] * rows
        assert (run["count"].output, run["apart"].output) == (rows * 1_000, rows)
        assert (run["words"].output, run["chosen"].output) == (len(text), "x" * 1_000)
    run_id = run.run_id

    def as_a_script() -> None:
        with Client(settings) as blocking:
            seen = blocking.run(run_id)
            assert seen["make"].output == ["x" * 1_000] * rows

    await asyncio.to_thread(as_a_script)
    told = json.loads(await asyncio.to_thread(show, settings, run_id, "--json"))
    assert {task["id"]: task["output"] for task in told["tasks"]}["make"] == ["x" * 1_000] * rows
    assert "(5.0 MiB)" in await asyncio.to_thread(show, settings, run_id)


async def test_a_gathered_list_of_stored_outputs_reaches_its_child_in_order(settings: Settings) -> None:
    n = 60
    async with AsyncClient(settings) as client:
        run = await client.start(spread, {"n": n})
        assert await run.wait(timeout=90) == "SUCCESS", {t.id: (t.state, t.error, t.reason) for t in run.tasks.values()}
        assert await run.output("gather") == [*range(n), n * 6_000]
        assert await run.output("grow") == [f"{number:05d}" * 1_200 for number in range(n)]


async def test_a_value_that_is_gone_is_told_to_whoever_asks_for_it(settings: Settings) -> None:
    async with AsyncClient(settings) as client:
        run = await client.start(relay, {"size": 20_000})
        assert await run.wait(timeout=90) == "SUCCESS"
        stored = run["make"].output
        assert isinstance(stored, StoredValue)
        await delete_below(settings, stored.partition, -1)
        with pytest.raises(ValueLost, match="was deleted"):
            await run.output("make")
    shown = await asyncio.to_thread(show, settings, run.run_id)
    assert "was deleted" in shown
