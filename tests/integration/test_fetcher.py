"""Fetching from a real broker: no record of one topic-partition is lost by what another one holds.

What cannot be read is made with a codec that this process pretends not to have.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiokafka.codec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError, UnsupportedCodecError
from confluent_kafka import Producer as StockProducer

from indegree.events import kafka
from indegree.events.fetcher import Fetcher
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from tests.conftest import SharedStack
from tests.integration.stream_road import make_settings

PARTITIONS = 4


@pytest.fixture
def settings(stack: SharedStack, cluster_name: str) -> Settings:
    return make_settings(stack.kafka, stack.etcd, cluster_name, PARTITIONS)


class Road:
    """The partitions of `triggers`, a fetcher on all of them, and what it has given out."""

    def __init__(self, settings: Settings, client: AIOKafkaConsumer, stop_after: int = 5) -> None:
        self.settings, self.topic = settings, Topics(settings.cluster).triggers
        self.tps = [TopicPartition(self.topic, p) for p in range(PARTITIONS)]
        self.fetcher = Fetcher(client, self.unreadable)
        self.read: dict[int, list[int]] = {p: [] for p in range(PARTITIONS)}
        self.given_up: list[tuple[int, int, type[Exception]]] = []
        self.stop_after = stop_after

    def unreadable(self, tp: TopicPartition, offset: int, times: int, error: Exception) -> None:
        if times >= self.stop_after:
            self.given_up.append((tp.partition, offset, type(error)))
            self.fetcher.step_over(tp)

    def produce(self, partition: int, n: int, codec: str = "none") -> None:
        """n records in one batch."""
        options = {"compression.type": codec, "linger.ms": 50, "batch.num.messages": max(n, 1)}
        producer = StockProducer({"bootstrap.servers": self.settings.kafka.bootstrap_servers, **options})
        for _ in range(n):
            producer.produce(self.topic, b"y" * 200, None, partition)
        assert producer.flush(10) == 0

    async def until(self, counts: dict[int, int], within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while any(len(self.read[p]) < n for p, n in counts.items()):
                for tp, records in (await self.fetcher.many(200, 50)).items():
                    self.read[tp.partition] += [record.offset for record in records]


@pytest.fixture
async def road(settings: Settings) -> AsyncIterator[Road]:
    topic = Topics(settings.cluster).triggers
    async with kafka.reading(settings, {TopicPartition(topic, p): 0 for p in range(PARTITIONS)}) as client:
        road = Road(settings, client)
        for tp in road.tps:
            road.fetcher.begin(tp, 0)
        yield road


async def test_what_cannot_be_read_costs_no_record_of_others(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiokafka.codec, "has_lz4", lambda: False)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng, good, bad = random.Random(seed), dict.fromkeys(range(PARTITIONS), 0), 0

    async def feed() -> None:
        nonlocal bad
        for round_ in range(30):
            partition, n = rng.randrange(PARTITIONS), rng.randint(1, 5)
            await asyncio.to_thread(road.produce, partition, n)
            good[partition] += n
            if round_ in (5, 15):
                await asyncio.to_thread(road.produce, 0, 2, "lz4")
                bad += 2

    feeding = asyncio.ensure_future(feed())
    while not feeding.done():
        for tp, records in (await road.fetcher.many(50, 50)).items():
            road.read[tp.partition] += [record.offset for record in records]
    await feeding
    await road.until(good)
    for partition in range(1, PARTITIONS):
        assert road.read[partition] == list(range(good[partition])), f"partition {partition}"
    left_out = {offset for _, offset, _ in road.given_up}
    assert {partition for partition, _, _ in road.given_up} == {0}
    assert {error for _, _, error in road.given_up} == {UnsupportedCodecError}
    assert len(left_out) == bad
    assert road.read[0] == [offset for offset in range(good[0] + bad) if offset not in left_out]


async def test_the_records_before_one_that_cannot_be_read_are_given_out(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):  # batches, fetched together with the one behind them
        road.produce(1, 4)
    road.produce(1, 1, "zstd")
    road.produce(1, 2)
    monkeypatch.setattr(aiokafka.codec, "has_zstd", lambda: False)
    await road.until({1: 14})
    assert road.read[1] == [*range(12), 13, 14]
    assert road.given_up == [(1, 12, UnsupportedCodecError)]


async def test_a_fault_that_passes_costs_nothing(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    for partition in range(PARTITIONS):
        road.produce(partition, 10, "lz4")
    answers = iter([True, False, True, True, False])
    monkeypatch.setattr(aiokafka.codec, "has_lz4", lambda: next(answers, True))
    await road.until(dict.fromkeys(range(PARTITIONS), 10))
    assert all(road.read[p] == list(range(10)) for p in range(PARTITIONS))
    assert road.given_up == []


async def test_records_that_the_client_passed_over_are_read(road: Road) -> None:
    road.produce(2, 10)
    road.fetcher._client.seek(road.tps[2], 7)  # whatever moved its position
    await road.until({2: 10})
    assert road.read[2] == list(range(10))


async def test_the_gaps_that_transactions_leave_are_passed_and_said_once(
    road: Road, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    producer: Any = AIOKafkaProducer(
        bootstrap_servers=settings.kafka.bootstrap_servers, transactional_id=uuid.uuid4().hex
    )
    await producer.start()
    try:
        for n in range(5):
            async with producer.transaction():
                await producer.send_and_wait(road.topic, b"x", partition=3)
            await road.until({3: n + 1})
    finally:
        await producer.stop()
    assert road.read[3] == [0, 2, 4, 6, 8], "each marker takes an offset"
    assert sum("has no records at offsets" in line for line in caplog.messages) == 1


async def test_a_position_that_kafka_does_not_have_is_said_and_costs_no_record_of_others(road: Road) -> None:
    for partition in range(PARTITIONS):
        road.produce(partition, 5)
    road.fetcher.begin(road.tps[0], 1000)
    lost: list[Any] = []
    counts = {1: 5, 2: 5, 3: 5}
    async with asyncio.timeout(20):
        while not lost or any(len(road.read[p]) < n for p, n in counts.items()):
            try:
                for tp, records in (await road.fetcher.many(200, 50)).items():
                    road.read[tp.partition] += [record.offset for record in records]
            except OffsetOutOfRangeError as error:
                lost += list(error.args[0])
    assert set(lost) == {road.tps[0]}
    assert all(road.read[p] == list(range(5)) for p in counts)
