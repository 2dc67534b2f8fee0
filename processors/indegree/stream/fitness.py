"""Whether this engine can do its work: reach its logs, on topics that are as they were when it started.

The session asks in every round, and etcd's leader gives nothing to a member that is not fit (it moves nothing either
while nobody is). A topic with another partition count than the cluster's is worse than an outage: run ids name their
partition, and records go where nobody looks. Then intake stops, for good, with the reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

from indegree.events import kafka
from indegree.events.kafka import KafkaUnreachable
from indegree.events.settings import Settings
from indegree.events.topics import Topics

log = logging.getLogger(__name__)

_EVERY_S = 2.0
_ANSWER_S = 2.0
_UNFIT_AFTER = 2  # failures in a row


class Fitness(Service):
    """`changed(reason)` is called once when a topic is not what it was."""

    mundane_level = "debug"

    def __init__(self, settings: Settings, partitions: int, changed: Callable[[str], None], **service: Any) -> None:
        super().__init__(**service)
        self.fault = ""
        """Why intake has stopped, for good; empty while it has not."""
        self._settings, self._partitions, self._changed = settings, partitions, changed
        topics = Topics(settings.cluster)
        self._names = (*topics.inputs, topics.events, topics.progress)
        self._logs = [TopicPartition(topics.events, p) for p in range(partitions)]
        self._failures = 0

    def fit(self) -> bool:
        """For the session; never blocks."""
        return not self.fault and self._failures < _UNFIT_AFTER

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
            await self.sleep(_EVERY_S)
        await self._drop(client)

    async def _drop(self, client: AIOKafkaConsumer | None) -> None:
        if client is not None:
            try:
                await asyncio.wait_for(client.stop(), 1)
            except Exception as error:  # noqa: BLE001 - it is thrown away
                log.debug("closing a client: %s", error)

    async def _look(self, client: AIOKafkaConsumer) -> None:
        await client.end_offsets(self._logs)
        for name in self._names:
            count = await kafka.partition_count(client, name)
            if count != self._partitions and not self.fault:
                self.fault = (
                    f"topic {name} has {count} partitions, but the cluster has {self._partitions}: a run lives on the "
                    "partition that its id names, so the count may not change; make the topic again with that count"
                )
                log.error("intake stops: %s", self.fault)
                self._changed(self.fault)
