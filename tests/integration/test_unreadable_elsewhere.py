"""What worker, catalog and workers' table do with a batch that they cannot read: leave it out, lose nothing else.

It is made with a codec that this process pretends not to have.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import AsyncIterator

import aiokafka.codec
import pytest
from confluent_kafka import Producer as StockProducer

from indegree.events import kafka
from indegree.events.appender import Appender
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.stream.catalog import Catalog
from indegree.stream.workers import Workers
from indegree.v1 import task_pb2
from indegree.v1.trigger_pb2 import Start
from indegree.v1.workflow_pb2 import DefinitionPart
from indegree.worker import Worker
from tests.conftest import SharedStack
from tests.engine.road import workflow
from tests.integration.stream_road import make_settings
from tests.integration.worker_road import Owner, owner, settings_for


def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture(autouse=True)
def _without_lz4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiokafka.codec, "has_lz4", lambda: False)


def produce_unreadable(settings: Settings, topic: str, partition: int, n: int = 30) -> None:
    """n records in one batch."""
    servers = settings.kafka.bootstrap_servers
    producer = StockProducer({"bootstrap.servers": servers, "compression.type": "lz4", "linger.ms": 50})
    for number in range(n):
        producer.produce(topic, b"y" * 200, str(number).encode(), partition)
    assert producer.flush(10) == 0


@pytest.fixture
async def engine(stack: SharedStack, cluster_name: str) -> AsyncIterator[Owner]:
    async with owner(settings_for(stack.kafka, cluster_name)) as made:
        yield made


async def test_a_worker_runs_all_that_is_addressed_to_it_around_a_batch_that_it_cannot_read(engine: Owner) -> None:
    # given a worker of two queues' worth of partitions: its tasks and `control`
    async with Worker(engine.settings, functions={"m:add": add}, slots=8) as worker:
        partition = (await engine.worker(worker.instance)).queues[0].partition
        tasks = [engine.task(worker.instance, "m:add", {"a": n, "b": 1}) for n in range(60)]
        topics = engine.topics
        # when batches that it cannot read come between its tasks, on both of its topics
        for number in range(0, 60, 20):
            await engine.send(*tasks[number : number + 10])
            await asyncio.to_thread(produce_unreadable, engine.settings, topics.control, 0, 3)
            await asyncio.to_thread(produce_unreadable, engine.settings, topics.tasks("default"), partition)
            await engine.send(*tasks[number + 10 : number + 20])
        # then it has run every task
        for number, task in enumerate(tasks):
            assert (await engine.final(task)).output.json == str(number + 1).encode()
        # and it still hears what is said on `control`
        assert worker.ready


@pytest.fixture
def settings(stack: SharedStack, cluster_name: str) -> Settings:
    return make_settings(stack.kafka, stack.etcd, cluster_name, 2)


@pytest.fixture
async def appender(settings: Settings) -> AsyncIterator[Appender]:
    appender = Appender(settings)
    await appender.start()
    yield appender
    await appender.stop()


async def test_the_catalog_knows_what_stands_around_a_batch_that_it_cannot_read(
    settings: Settings, appender: Appender, caplog: pytest.LogCaptureFixture
) -> None:
    topic, definitions = Topics(settings.cluster).workflows, [workflow({"id": f"t{n}"}) for n in range(4)]

    async def publish(number: int) -> None:
        d = definitions[number]
        part = DefinitionPart(version=d.hash, workflow="w", part=0, parts=1, data=zlib.compress(d.canonical()))
        await appender.append_wait(topic, 0, [(f"{d.hash}/0".encode(), part.SerializeToString(), ())])

    await publish(0)
    await asyncio.to_thread(produce_unreadable, settings, topic, 0)
    await publish(1)
    catalog = Catalog(settings)
    caplog.set_level(logging.WARNING)
    async with catalog:
        for number in (2, 3):
            await publish(number)
            await asyncio.to_thread(produce_unreadable, settings, topic, 0)
            for d in definitions[: number + 1]:
                found = await catalog.resolve(Start(workflow="w", version=d.hash))
                assert found is not None
                assert found.hash == d.hash
        await catalog.read_to_end(time.monotonic())
    assert sum("is left out from offset" in line for line in caplog.messages) == 3, "once for each batch"


async def test_the_workers_table_hears_what_comes_behind_a_batch_that_it_cannot_read(
    settings: Settings, appender: Appender
) -> None:
    topic, changed = Topics(settings.cluster).workers, asyncio.Event()
    await asyncio.to_thread(produce_unreadable, settings, topic, 0)
    workers = Workers(settings, changed=changed.set, lost=lambda _: None)
    async with workers, asyncio.timeout(20):
        await workers.complete.wait()
        await asyncio.to_thread(produce_unreadable, settings, topic, 0)
        announcement = task_pb2.Worker(instance="w1", slots=1, interval_ms=1000)
        record: kafka.Record = (b"w1", announcement.SerializeToString(), ())
        await appender.append_wait(topic, 0, [record])
        while workers.get("w1") is None:
            changed.clear()
            await changed.wait()
