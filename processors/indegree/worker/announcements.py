"""The worker's word on `workers`: that it lives, what it serves, how much room it has.

Engines send tasks by these words and take their absence for the loss of the worker. They go out every interval, and at
once when room or willingness changes (throttled). A clean end puts a tombstone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from indegree.events import kafka
from indegree.events.appender import Appender
from indegree.events.topics import Topics
from indegree.v1 import task_pb2
from indegree.worker.senders import Senders

if TYPE_CHECKING:
    from indegree.worker.worker import Worker

log = logging.getLogger(__name__)

_MAX_FAILURES = 20
_AWAY = (kafka.KafkaUnreachable, KafkaConnectionError, KafkaTimeoutError, OSError)
_AT_ONCE_S = 0.05  # "at once" is at most so often


class Announcements:
    """Sends a worker's announcements."""

    def __init__(self, worker: Worker, appender: Appender, partitions: dict[str, int], senders: Senders) -> None:
        self._worker = worker
        self._appender = appender
        self._senders = senders
        self._topic = Topics(worker.settings.cluster).workers
        self._interval_s = worker.settings.worker.announce_s
        self._beat = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._said_senders = 0
        self._queues = [task_pb2.Worker.Queue(name=name, partition=number) for name, number in partitions.items()]

    async def start(self) -> asyncio.Task[None]:
        """Sends the first and waits for its acknowledgement, then goes on in the task that it gives, which ends only
        by a lasting error. Raises KafkaError."""
        await self.now()
        self._task = asyncio.create_task(self._go_on(), name="indegree-worker-announcements")
        return self._task

    def soon(self) -> None:
        """Something has changed."""
        self._wake.set()

    async def now(self) -> None:
        """Sends one and waits for its acknowledgement, at most 10 seconds. Raises KafkaError,
        KafkaUnreachable, TimeoutError."""
        await asyncio.wait_for(self._appender.append_wait(self._topic, 0, [self._record()]), 10.0)

    async def leave(self) -> None:
        """The worker ends: engines need not wait for its timeout. Never raises."""
        await self.close()
        tombstone: kafka.Record = (self._worker.instance.encode(), None, ())
        with contextlib.suppress(KafkaError, kafka.KafkaUnreachable, OSError, TimeoutError):
            await asyncio.wait_for(self._appender.append_wait(self._topic, 0, [tombstone]), 5.0)

    async def close(self) -> None:
        """Ends the announcements."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, KafkaError, OSError):
                await self._task
            self._task = None

    async def _go_on(self) -> None:
        failures = 0
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._wait_s())
            self._wake.clear()
            try:
                # Not awaited to its end: one that hangs must not hold up the next.
                await self._appender.append(self._topic, 0, [self._record()])
                failures = 0
            except (KafkaError, kafka.KafkaUnreachable, OSError) as error:
                log.warning("the worker could not announce itself: %s: %s", type(error).__name__, error)
                failures += not isinstance(error, _AWAY)
                if failures >= _MAX_FAILURES:
                    raise  # no absence of Kafka, and no single producer's fault: somebody has to look at it
            await asyncio.sleep(_AT_ONCE_S)

    def _wait_s(self) -> float:
        # A new sender halves everyone's share: told without waiting for the next beat.
        return _AT_ONCE_S if self._senders.count() != self._said_senders else self._interval_s - _AT_ONCE_S

    def _record(self) -> kafka.Record:
        worker, runner = self._worker, self._worker.runner
        self._beat += 1
        self._said_senders = self._senders.count()
        message = task_pb2.Worker(
            instance=worker.instance,
            queues=self._queues,
            slots=worker.slots,
            used=runner.used,
            abandoned=runner.abandoned,
            senders=self._said_senders,
            draining=runner.draining,
            beat=self._beat,
            host=socket.gethostname(),
            pid=os.getpid(),
            address=worker.address,
            modules=worker.functions.modules,
            commands=worker.commands,
            interval_ms=round(self._interval_s * 1000),
        )
        return (worker.instance.encode(), message.SerializeToString(), ())
