"""The appender on a real broker: what becomes of a topic-partition, and of the others, when one batch has failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, LeaderNotAvailableError, MessageSizeTooLargeError

from indegree.events import kafka
from indegree.events.appender import Appender
from indegree.events.kafka import Record
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from tests.conftest import SharedStack
from tests.integration.stream_road import make_settings


@pytest.fixture
def settings(stack: SharedStack, cluster_name: str) -> Settings:
    return make_settings(stack.kafka, stack.etcd, cluster_name, 2)


@pytest.fixture
async def appender(settings: Settings) -> AsyncIterator[Appender]:
    appender = Appender(settings)
    await appender.start()
    yield appender
    await appender.stop()


def record(value: str) -> list[Record]:
    return [(None, value.encode(), ())]


async def values(settings: Settings, topic: str, partition: int) -> list[str]:
    tp, found = TopicPartition(topic, partition), list[str]()
    async with kafka.reading(settings, {tp: 0}) as client:
        async for _, records in kafka.read_range(client, await client.end_offsets([tp])):
            found += [(record.value or b"").decode() for record in records]
    return found


def leaderless(monkeypatch: pytest.MonkeyPatch, appender: Appender, tp: TopicPartition) -> None:
    """The newest producer sees no leader for `tp`, and waits for one for 50 ms only."""
    assert appender._newest is not None
    accumulator = appender._newest.client._message_accumulator
    real = accumulator._cluster.leader_for_partition
    monkeypatch.setattr(accumulator._cluster, "leader_for_partition", lambda t: -1 if t == tp else real(t))
    monkeypatch.setattr(accumulator, "_batch_ttl", 0.05)


@pytest.mark.parametrize("known", [True, False], ids=["the broker knows the producer", "it does not"])
async def test_a_partition_without_a_leader_is_written_again_once_it_has_one(
    settings: Settings, appender: Appender, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    topic = Topics(settings.cluster).commands
    tp = TopicPartition(topic, 0)
    written = []
    if known:
        await appender.append_wait(topic, 0, record("before"))
        written.append("before")
    leaderless(monkeypatch, appender, tp)
    with pytest.raises(LeaderNotAvailableError):
        await appender.append_wait(topic, 0, record("lost"))
    for n in range(4):
        async with asyncio.timeout(10):
            await appender.append_wait(topic, 0, record(f"after {n}"))
        written.append(f"after {n}")
    assert await values(settings, topic, 0) == written
    assert appender.replaced == 1


async def test_nothing_that_waited_behind_a_batch_that_failed_is_written(
    settings: Settings, appender: Appender, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Topics(settings.cluster).commands
    await appender.append_wait(topic, 1, record("of another partition"))
    assert appender._newest is not None
    large = appender._newest.client.create_batch()
    large.append(key=None, value=b"x" * 3_000_000, timestamp=1, headers=[])  # the broker refuses it
    large.close()

    async def put(value: str) -> type[BaseException] | None:
        try:
            await appender.append_wait(topic, 0, record(value))
        except KafkaError as error:
            return type(error)
        return None

    with monkeypatch.context() as patch:
        patch.setattr(kafka, "batches", lambda *_: [large])
        refused = asyncio.ensure_future(put("refused"))
        await asyncio.sleep(0)  # it is handed over
    others = [asyncio.ensure_future(put(f"behind {n}")) for n in range(3)]
    assert await refused is MessageSizeTooLargeError
    assert None not in await asyncio.gather(*others), "they were put before it was known"
    assert await put("again") is None
    assert await put("and again") is None
    assert await values(settings, topic, 0) == ["again", "and again"]


async def test_other_partitions_stay_in_order_while_one_fails(
    settings: Settings, appender: Appender, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Topics(settings.cluster).commands
    for partition in (0, 1):
        await appender.append_wait(topic, partition, record("before"))
    leaderless(monkeypatch, appender, TopicPartition(topic, 0))
    failing = asyncio.ensure_future(appender.append_wait(topic, 0, record("lost")))
    futures: list[asyncio.Future[Any]] = []
    for n in range(300):
        futures += await appender.append(topic, 1, record(str(n)))
        if failing.done():
            await asyncio.sleep(0)
    with pytest.raises(LeaderNotAvailableError):
        await failing
    await appender.append_wait(topic, 0, record("after"))
    await asyncio.gather(*futures)
    await appender.append_wait(topic, 1, record("last"))
    assert await values(settings, topic, 1) == ["before", *map(str, range(300)), "last"]
    for task in list(appender._closing):
        await task
    assert len(appender._producers) == 1, "the one that failed is closed once nothing is under way on it"
