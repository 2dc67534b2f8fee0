"""Whether this engine can do its work: reach its logs, on topics that are as they were when it started.

The session asks in every round, and etcd's leader gives nothing to a member that is not fit (it moves nothing either
while nobody is). Two things are worse than an outage, and stop intake for good, with the reason (`fault`):

- a topic with another partition count than the cluster's: run ids name their partition, and records go where nobody
  looks;
- a topic with another id than when the cluster was set up: it was deleted and made anew, and offsets mean other
  records.

A topic that is missing makes us unfit at once, and is a fault when it stays so: a broker that has just started may not
know it yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from mode import Service

from indegree.events import kafka
from indegree.events.admin import Cluster
from indegree.events.kafka import KafkaUnreachable
from indegree.events.settings import Settings
from indegree.events.topic_ids import TopicIdentity, identities
from indegree.events.topics import Partitions, Topics

log = logging.getLogger(__name__)

_EVERY_S = 2.0
_ANSWER_S = 2.0
_UNFIT_AFTER = 2  # failures in a row
_MISSING_AFTER = 5  # looks in a row that do not find a topic


class Fitness(Service):
    """`changed(reason)` is called once when a topic is not what it was (`cluster`: what it was)."""

    mundane_level = "debug"

    def __init__(self, settings: Settings, cluster: Cluster, changed: Callable[[str], None], **service: Any) -> None:
        super().__init__(**service)
        self.fault = ""
        """Why intake has stopped, for good; empty while it has not."""
        self._settings, self._cluster, self._changed = settings, cluster, changed
        topics = Topics(settings.cluster)
        self._names = {name: topics.describe(name).partitions for name in topics.of_work}
        self._logs = [TopicPartition(topics.events, p) for p in range(cluster.partitions)]
        self._failures = 0
        self._missing = 0
        self._hurry = asyncio.Event()
        self._looked = asyncio.Event()  # of this moment: set and replaced after each look

    def fit(self) -> bool:
        """For the session; never blocks."""
        return not self.fault and self._failures < _UNFIT_AFTER

    async def look(self) -> None:
        """Looks at once: `fault` is of now afterwards, unless Kafka does not answer within 4 s. Raises nothing."""
        self._hurry.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * _ANSWER_S):
                await self._looked.wait()

    @Service.task
    async def _watch(self) -> None:
        client: AIOKafkaConsumer | None = None
        while not self.should_stop:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    if client is None:
                        client = kafka.consumer(self._settings)
                        await client.start()
                    await self._look(client)
                if self._failures >= _UNFIT_AFTER:
                    log.info("the logs' ends can be read again: this engine is fit")
                self._failures = 0
            except (KafkaError, KafkaUnreachable, OSError, TimeoutError) as error:
                self._failures += 1
                if self._failures == _UNFIT_AFTER:
                    log.warning("the logs' ends cannot be read (%s): this engine is not fit", type(error).__name__)
                await self._drop(client)
                client = None
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
            await self.wait_first(self._hurry.wait(), timeout=_EVERY_S)
            self._hurry.clear()
        await self._drop(client)

    async def _drop(self, client: AIOKafkaConsumer | None) -> None:
        if client is not None:
            try:
                await asyncio.wait_for(client.stop(), 1)
            except Exception as error:  # noqa: BLE001 - it is thrown away
                log.debug("closing a client: %s", error)

    async def _look(self, client: AIOKafkaConsumer) -> None:
        if self.fault:
            return
        found = await identities(client._client, self._names)
        if found is None:  # brokers before 2.8
            found = {name: TopicIdentity("", await kafka.partition_count(client, name)) for name in self._names}
        self.fault = self._compared(found)
        if self.fault:
            log.error("intake stops: %s", self.fault)
            self._changed(self.fault)
            return
        await client.end_offsets(self._logs)

    def _compared(self, found: Mapping[str, TopicIdentity]) -> str:
        """What is not as it was; empty: nothing. Raises UnknownTopicOrPartitionError for a topic that is missing."""
        for name, kind in self._names.items():
            was = self._cluster.topic_ids.get(name, "")
            if name not in found or not found[name].partitions:
                self._missing += 1
                if self._missing >= _MISSING_AFTER:
                    return f"topic {name} is missing: restore it with all its offsets, or use another cluster name"
                raise UnknownTopicOrPartitionError(f"topic {name}")
            if was and found[name].id and found[name].id != was:
                return (
                    f"topic {name} was deleted and made anew (its id was {was}, now {found[name].id}): its records are "
                    "gone, and offsets mean other ones; use another cluster name, or, if it was restored with all its "
                    "offsets, `indegree topics --accept` and start the engines again"
                )
            count, wanted = found[name].partitions, self._cluster.partitions if kind is Partitions.SHARED else 1
            if count != wanted:
                return (
                    f"topic {name} has {count} partitions, but the cluster has {wanted}: a run lives on the partition "
                    "that its id names, so the count may not change; make the topic again with that count, or use "
                    "another cluster name"
                )
        self._missing = 0
        return ""
