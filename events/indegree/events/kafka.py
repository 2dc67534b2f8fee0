"""Opens every Kafka client of ours from the settings, and appends records in batches.

aiokafka's `send()` costs a coroutine and a future for each record; `create_batch`/`send_batch` carries seven times as
many records a second. So everything that produces goes through `append`.
Defaults that a client may not weaken: acks=all, idempotence, no offset reset, no automatic commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, TypeAlias

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from indegree.events.settings import KafkaSettings, Settings
from indegree.events.topics import MAX_RECORD_BYTES

# (key, value, headers)
Record = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]

# As read: key and value are bytes or None.
Consumed: TypeAlias = "aiokafka.ConsumerRecord[bytes | None, bytes | None]"

MAX_BATCH_BYTES = 900_000  # below the broker's default limit of a batch, with room for its own overhead


class KafkaUnreachable(Exception):
    """No broker answered; the message names the address and the way out."""


class RecordTooLarge(ValueError):
    """A record over the limit of a topic."""


def unreachable(settings: Settings, error: BaseException) -> KafkaUnreachable:
    """What to raise when no broker answered: where it was looked for, why it failed, the way out."""
    where = settings.kafka.bootstrap_servers
    match error:
        case TimeoutError():
            why = "no answer in time"
        case KafkaConnectionError():
            why = "nobody answers there"
        case _:
            name = type(error).__name__
            why = str(error).removeprefix(f"{name}: ").removeprefix(f"[{name}] ") or name
    if where == KafkaSettings().bootstrap_servers and not settings.notes:
        hint = (
            "no address is set and this folder has no .indegree/stack.json, so the default was tried: go to the folder "
            "of your stack, start one here (`indegree stack up`), or set kafka.bootstrap_servers"
        )
    elif settings.notes:
        hint = "the local stack of this folder does not answer: `indegree stack status` and `indegree stack up`"
    else:
        hint = "start it (`indegree stack up` on this machine) or set kafka.bootstrap_servers"
    return KafkaUnreachable(f"Kafka cannot be reached at {where} ({why}); {hint}")


def producer(settings: Settings, **options: Any) -> AIOKafkaProducer:
    """An idempotent producer, not started."""
    values: dict[str, Any] = {
        **settings.kafka.client(),
        "acks": "all",
        "enable_idempotence": True,
        "max_batch_size": MAX_BATCH_BYTES,
        "max_request_size": MAX_RECORD_BYTES,
        "linger_ms": 0,
        **options,
    }
    return AIOKafkaProducer(**values)


def consumer(settings: Settings, **options: Any) -> AIOKafkaConsumer:
    """A consumer without a group and without an offset reset, not started. Assign and seek it yourself."""
    values: dict[str, Any] = {
        **settings.kafka.client(),
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "fetch_max_wait_ms": 50,
        "max_partition_fetch_bytes": 2 * MAX_RECORD_BYTES,
        **options,
    }
    return AIOKafkaConsumer(**values)


async def start(client: AIOKafkaConsumer | AIOKafkaProducer, settings: Settings, within_s: float = 10.0) -> None:
    """Starts a client. Raises KafkaUnreachable after `within_s` seconds."""
    try:
        await asyncio.wait_for(client.start(), within_s)
    except (KafkaConnectionError, KafkaError, OSError, TimeoutError) as error:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client.stop(), 2)
        raise unreachable(settings, error) from error


async def append(
    client: AIOKafkaProducer, topic: str, partition: int, records: Sequence[Record]
) -> list[asyncio.Future[RecordMetadata]]:
    """Hands `records` to the producer in as few batches as fit, in order.

    Returns one future a batch; each gives the base offset once acknowledged. Blocks only while the producer's buffer
    for the partition is full. A record over the batch size goes out by itself. Raises RecordTooLarge before anything
    is sent if a record is over the topics' limit.
    """
    return [await client.send_batch(batch, topic, partition=partition) for batch in batches(client, topic, records)]


def batches(client: AIOKafkaProducer, topic: str, records: Sequence[Record]) -> list[BatchBuilder]:
    """`records` in as few batches as fit, in order. Raises RecordTooLarge."""
    now_ms = time.time_ns() // 1_000_000
    filled: list[BatchBuilder] = []
    i, n = 0, len(records)
    while i < n:
        batch = client.create_batch()
        put = batch.append
        first = i
        while i < n:
            key, value, headers = records[i]
            # aiokafka's compiled batch takes a list and nothing else
            listed = headers if type(headers) is list else list(headers)
            if put(key=key, value=value, timestamp=now_ms, headers=listed) is None:
                break
            i += 1
        if i == first + 1:  # a batch takes its first record whatever its size
            size = batch.size()  # key, headers, value and what frames them: what the broker measures
            if size > MAX_RECORD_BYTES - 1024:
                raise RecordTooLarge(f"record of {size} bytes for {topic}: the limit is {MAX_RECORD_BYTES - 1024}")
        batch.close()
        filled.append(batch)
    return filled


async def abandon(producer: AIOKafkaProducer) -> None:
    """Drops a producer without flushing, within about a second, also while Kafka is away. Raises nothing.

    `producer.stop()` would wait for ever for appends that no broker answers: an idempotent batch never expires.
    """
    producer._closed = True
    task = producer._sender._sender_task
    for _ in range(4):  # the first cancel makes the sender wait for its requests, the next ones end those
        if task is None or task.done():
            break
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
    with contextlib.suppress(Exception):
        await asyncio.wait_for(producer.client.close(), 1)


async def append_wait(client: AIOKafkaProducer, topic: str, partition: int, records: Sequence[Record]) -> int:
    """Appends and waits for every acknowledgement; gives the base offset of the first batch."""
    futures = await append(client, topic, partition, records)
    done = await asyncio.gather(*futures)
    return int(done[0].offset) if done else -1


async def assign(client: AIOKafkaConsumer, positions: dict[TopicPartition, int]) -> None:
    """Assigns exactly these partitions at these offsets (metadata first: a new topic would be assigned empty)."""
    for topic in {tp.topic for tp in positions}:
        await client._client.add_topic(topic)
    await client._client.force_metadata_update()
    client.assign(list(positions))
    for tp, offset in positions.items():
        client.seek(tp, offset)


async def partition_count(client: AIOKafkaConsumer, topic: str) -> int:
    """The number of partitions, 0 if there is no such topic."""
    await client._client.add_topic(topic)
    await client._client.force_metadata_update()
    return len(client.partitions_for_topic(topic) or ())


@contextlib.asynccontextmanager
async def reading(
    settings: Settings, positions: dict[TopicPartition, int], **options: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer at `positions`, stopped at the end. Raises KafkaUnreachable."""
    client = consumer(settings, **options)
    await start(client, settings)
    try:
        await assign(client, positions)
        yield client
    finally:
        await client.stop()


async def read_range(
    client: AIOKafkaConsumer, ends: dict[TopicPartition, int]
) -> AsyncIterator[tuple[TopicPartition, list[Consumed]]]:
    """Yields batches until every partition in `ends` has reached its end offset; records beyond are left out."""
    left = {tp for tp, end in ends.items() if await client.position(tp) < end}
    while left:
        got = await client.getmany(timeout_ms=1000)
        for tp, records in got.items():
            if tp in left:
                wanted = [record for record in records if record.offset < ends[tp]]
                if wanted:
                    yield tp, wanted
        left = {tp for tp in left if await client.position(tp) < ends[tp]}


def chunks(data: bytes, size: int) -> Iterable[bytes]:
    """`data` in slices of at most `size` bytes; one empty slice for no data."""
    return [data[i : i + size] for i in range(0, max(len(data), 1), size)]
