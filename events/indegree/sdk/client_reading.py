"""Reads a stretch of a topic: from a time or an offset to its end as of now.

Why: `show`, `follow` of a run that is not ours, `logs`, `replay` and the client's history all read the past of one or a
few partitions, and each must end (at the end offset as of its beginning) instead of tailing for ever.

How: a consumer without a group, positions by `offsets_for_times`; `kafka.read_range` bounds it.

It must never reset an offset silently: a position outside the log is an error of the Kafka client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from indegree.events import kafka
from indegree.events.settings import Settings

from .client_errors import ClientError


@dataclass(frozen=True, slots=True)
class Stretch:
    """One partition's part of a topic: the offsets that exist, and where reading begins and ends (exclusive)."""

    partition: int
    first: int
    begin: int
    end: int


async def stretches(
    client: AIOKafkaConsumer, topic: str, partitions: Iterable[int], *, time_ms: int | None = None
) -> list[Stretch]:
    """Where each partition begins, where `time_ms` (since the epoch; None: its start) lies, and where it ends."""
    tps = [TopicPartition(topic, number) for number in partitions]
    firsts = await client.beginning_offsets(tps)
    ends = await client.end_offsets(tps)
    begins = dict(firsts)
    if time_ms is not None:
        found = await client.offsets_for_times(dict.fromkeys(tps, time_ms))
        begins = {tp: (ends[tp] if found.get(tp) is None else found[tp].offset) for tp in tps}
    return [Stretch(tp.partition, firsts[tp], begins[tp], ends[tp]) for tp in tps]


async def open_reader(settings: Settings, topic: str, **options: Any) -> tuple[AIOKafkaConsumer, int]:
    """A started consumer that knows `topic`, and the topic's partition count. The caller stops it.

    Raises kafka.KafkaUnreachable, and ClientError when the topic does not exist.
    """
    client = kafka.consumer(settings, **options)
    await kafka.start(client, settings)
    try:
        count = await kafka.partition_count(client, topic)
        if count == 0:
            raise ClientError(
                f"topic {topic} does not exist at {settings.kafka.bootstrap_servers}: cluster "
                f"{settings.cluster!r} has not been set up there; start an engine (`indegree engine`) or set `cluster`"
            )
    except BaseException:
        await client.stop()
        raise
    return client, count


async def read(
    settings: Settings,
    topic: str,
    partitions: Iterable[int] | None = None,
    *,
    time_ms: int | None = None,
    begin: dict[int, int] | None = None,
) -> AsyncIterator[Any]:
    """The records of `partitions` (None: all) from `time_ms`, or the offsets in `begin`, to their ends as of now.

    Raises ClientError where the owner shortens the topic faster than we read it.
    """
    client, count = await open_reader(settings, topic, max_poll_records=5_000)
    try:
        numbers = list(range(count) if partitions is None else partitions)
        found = await stretches(client, topic, numbers, time_ms=time_ms)
        positions, ends = {}, {}
        for part in found:
            tp = TopicPartition(topic, part.partition)
            offset = (begin or {}).get(part.partition, part.begin)
            positions[tp] = max(part.first, min(offset, part.end))
            ends[tp] = part.end
        await kafka.assign(client, positions)
        async for _, records in kafka.read_range(client, ends):
            for record in records:
                yield record
    except OffsetOutOfRangeError:
        raise ClientError(f"{topic} was shortened while it was read; try again") from None
    finally:
        await client.stop()
