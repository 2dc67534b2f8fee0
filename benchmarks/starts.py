"""Starts runs with a bare producer: what a client does beside it (following every run) is not what is measured."""

from __future__ import annotations

import asyncio
import secrets
import time

import uvloop

from indegree.events import kafka
from indegree.events.definition import Definition
from indegree.events.run_ids import make_run_id
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.v1.trigger_pb2 import Start, Trigger


def start_raw(settings: Settings, definition: Definition, runs: int) -> list[str]:
    """Produces starts of a version that is deployed, over all partitions; gives the run ids once acknowledged."""
    partitions, now_ms = settings.topics.partitions, time.time_ns() // 1_000_000
    ids = [make_run_id(now_ms, secrets.token_hex(6), i % partitions) for i in range(runs)]
    records: list[list[kafka.Record]] = [[] for _ in range(partitions)]
    for i, run_id in enumerate(ids):
        start = Start(workflow=definition.id, version=definition.hash, run_id=run_id)
        records[i % partitions].append((run_id.encode(), Trigger(start=start).SerializeToString(), []))
    uvloop.run(_produce(settings, records))
    return ids


async def _produce(settings: Settings, records: list[list[kafka.Record]]) -> None:
    producer = kafka.producer(settings)
    await kafka.start(producer, settings)
    try:
        topic = Topics(settings.cluster).triggers
        await asyncio.gather(*(kafka.append_wait(producer, topic, p, block) for p, block in enumerate(records)))
    finally:
        await producer.stop()
