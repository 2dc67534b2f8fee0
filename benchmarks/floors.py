"""The floors: what the same clients do with no logic between them, on the same broker, in the same run.

- **Relay**: a process consumes a record, appends it to a log with acknowledgement, produces it, and somebody consumes
  that: what a hop from one task to the next consists of, for both sides. With as many partitions as the engine reads,
  and uvloop, since a consumer sends every partition in every fetch.
- **Append and read**: records a second that the producer takes in whole batches, and that the consumer gives.

`python -m benchmarks.floors PREFIX` is the relay between topics of that prefix; its settings are in its environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.machine import percentile
from indegree.events import kafka
from indegree.events.settings import Settings

_WARM_UP = 50
_PAYLOAD = b"x" * 120  # about what a result of a no-op task weighs
_BLOCK = 2_000


def relay_hop_ms(settings: Settings, hops: int) -> list[float]:
    """Milliseconds of each of `hops` round trips through the relay process. Blocks for about 5 ms a hop."""
    return uvloop.run(_ping(settings, hops))


def append_and_read(settings: Settings, records: int) -> tuple[float, float]:
    """(appended, read) records a second, of `records` small records over all partitions."""
    return uvloop.run(_append_and_read(settings, records))


@contextlib.asynccontextmanager
async def _topics(settings: Settings, *names: str) -> AsyncIterator[str]:
    """Makes topics, gives their prefix (new each time: a name used again meets stale metadata), deletes them."""
    prefix = f"{settings.cluster}.floor-{uuid.uuid4().hex[:6]}-"
    client = AIOKafkaAdminClient(**settings.kafka.client())
    await client.start()
    full = [prefix + name for name in names]
    try:
        await client.create_topics([NewTopic(name, settings.topics.partitions, 1) for name in full])
        yield prefix
        await client.delete_topics(full)
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def _producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    client = kafka.producer(settings)
    await kafka.start(client, settings)
    try:
        yield client
    finally:
        await client.stop()


@contextlib.asynccontextmanager
async def _reader(settings: Settings, topic: str, **options: int) -> AsyncIterator[AIOKafkaConsumer]:
    tps = {TopicPartition(topic, p): 0 for p in range(settings.topics.partitions)}
    options.setdefault("fetch_max_wait_ms", settings.engine.fetch_max_wait_ms)
    async with kafka.reading(settings, tps, **options) as client:
        yield client


async def _ping(settings: Settings, hops: int) -> list[float]:
    taken: list[float] = []
    async with _topics(settings, "in", "log", "out") as prefix:
        environ = {**os.environ, **settings.environment()}
        relay = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.floors",
            prefix,
            env=environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert relay.stdin is not None
        assert relay.stdout is not None
        await asyncio.wait_for(relay.stdout.readline(), 30)
        async with _producer(settings) as producer, _reader(settings, prefix + "out") as reader:
            for i in range(hops + _WARM_UP):
                begun = time.perf_counter()
                await kafka.append(producer, prefix + "in", 0, [(b"k", _PAYLOAD, [])])
                while not await reader.getmany(timeout_ms=1000):
                    if time.perf_counter() - begun > 30:
                        raise TimeoutError("the relay did not answer in 30 s")
                if i >= _WARM_UP:
                    taken.append((time.perf_counter() - begun) * 1000)
        relay.stdin.close()
        await asyncio.wait_for(relay.wait(), 10)
    return taken


async def _relay(settings: Settings, prefix: str) -> None:
    """Until the input of this process closes."""
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    async with _reader(settings, prefix + "in") as reader, _producer(settings) as log, _producer(settings) as out:
        print("ready", flush=True)
        while not ended.done():
            for tp, records in (await reader.getmany(timeout_ms=200)).items():
                values = [(record.key, record.value, ()) for record in records]
                await kafka.append_wait(log, prefix + "log", tp.partition, values)
                await kafka.append(out, prefix + "out", tp.partition, values)


async def _append_and_read(settings: Settings, records: int) -> tuple[float, float]:
    partitions = settings.topics.partitions
    async with _topics(settings, "bulk") as prefix, _producer(settings) as producer:
        topic = prefix + "bulk"
        block: list[kafka.Record] = [(b"k", _PAYLOAD, [])] * _BLOCK
        blocks = max(1, records // _BLOCK)
        begun = time.perf_counter()
        futures = []
        for i in range(blocks):
            futures += await kafka.append(producer, topic, i % partitions, block)
        await asyncio.gather(*futures)
        appended_s = time.perf_counter() - begun
        count = 0
        async with _reader(settings, topic) as reader:
            begun = time.perf_counter()
            while count < blocks * _BLOCK:
                for found in (await reader.getmany(timeout_ms=1000)).values():
                    count += len(found)
                if time.perf_counter() - begun > 60:
                    raise TimeoutError(f"{count} of {blocks * _BLOCK} records were read in 60 s")
            read_s = time.perf_counter() - begun
    return blocks * _BLOCK / appended_s, count / read_s


def shown(hops_ms: list[float]) -> str:
    return f"p50 {percentile(hops_ms, 0.5):.2f} ms, p99 {percentile(hops_ms, 0.99):.2f} ms"


if __name__ == "__main__":
    uvloop.run(_relay(Settings.load(), sys.argv[1]))
