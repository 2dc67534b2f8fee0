"""Results on their way to Kafka: collected while a batch is being handed over, appended by partition, in order.

Several batches may be unacknowledged at a time. One that failed is put back and sent again: the engine takes a repeated
result for stale, a lost one would leave its task running until a timeout. Order within a partition may suffer by that;
an engine accepts a final result without a start before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from indegree.events import kafka
from indegree.events.appender import Appender
from indegree.events.topics import MAX_RECORD_BYTES
from indegree.v1.task_pb2 import Result
from indegree.v1.value_pb2 import Error

log = logging.getLogger(__name__)

_MAX_UNACKNOWLEDGED = 64  # appends; beyond, results are collected into larger batches
_AGAIN_S = 0.5
_MAX_BYTES = MAX_RECORD_BYTES - 2048  # with room for key and headers


def _replaced(result: Result, size: int) -> Result:
    """What is said instead of a result that no record can hold."""
    small = Result()
    small.CopyFrom(result)
    small.kind = Result.FAILED
    small.reason = "error"
    small.ClearField("output")
    small.ClearField("log")
    why = f"result too large: {size} bytes > limit {_MAX_BYTES} of a Kafka record"
    small.error.CopyFrom(Error(type="result_too_large", message=why, permanent=True))
    return small


class Outgoing:
    """The queue of results of one worker."""

    def __init__(self, appender: Appender, topic: str) -> None:
        self._appender = appender
        self._topic = topic
        self._waiting: dict[int, list[kafka.Record]] = {}
        self._wake = asyncio.Event()
        self._open: set[_Batch] = set()
        self._room = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._sender: asyncio.Task[None] | None = None
        # True while a batch that is in neither of the two is being handed over.
        self._handing = False
        # Results handed over and acknowledged, and appends that had to be repeated.
        self.acknowledged = 0
        self.repeated = 0
        self._warned = 0.0

    def put(self, partition: int, result: Result) -> None:
        """Takes a result; never blocks."""
        data = result.SerializeToString()
        if len(data) > _MAX_BYTES:
            data = _replaced(result, len(data)).SerializeToString()
        record: kafka.Record = (result.run_id.encode(), data, ())
        waiting = self._waiting.get(partition)
        if waiting is None:
            self._waiting[partition] = [record]
        else:
            waiting.append(record)
        self._wake.set()

    def start(self) -> None:
        """Begins to send."""
        self._sender = asyncio.create_task(self._send(), name="indegree-worker-results")

    async def stop(self, within_s: float) -> None:
        """Sends what is left, for at most `within_s` seconds; says how much could not be sent."""
        if self._sender is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._waiting or self._open or self._handing:
                    self._settled.clear()
                    await self._settled.wait()
        left = sum(map(len, self._waiting.values())) + sum(len(batch.records) for batch in self._open)
        if left:
            log.error("%d results were not acknowledged by Kafka before the worker ended", left)
        self._sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sender
        self._sender = None

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while len(self._open) >= _MAX_UNACKNOWLEDGED:
                self._room.clear()
                await self._room.wait()
            batches, self._waiting = self._waiting, {}
            self._handing = True
            for partition, records in batches.items():
                batch = _Batch(self, partition, records)
                self._open.add(batch)
                try:
                    futures = await self._appender.append(self._topic, partition, records)
                except (KafkaError, kafka.KafkaUnreachable, OSError, ValueError) as error:
                    self._again(batch, error)  # later: the way is open for the other partitions
                else:
                    batch.follow(futures)
            self._handing = False
            self._settled.set()

    def closed(self, batch: _Batch, error: BaseException | None) -> None:
        """A batch is acknowledged, or has failed."""
        if error is not None:
            self._again(batch, error)
            return
        self._open.discard(batch)
        self.acknowledged += len(batch.records)
        self._settled.set()
        self._room.set()

    def _again(self, batch: _Batch, error: BaseException) -> None:
        self.repeated += 1
        now = time.monotonic()
        if now - self._warned > 5.0:
            self._warned = now
            log.warning("results for partition %d: %s: %s; sent again", batch.partition, type(error).__name__, error)
        asyncio.get_running_loop().call_later(_AGAIN_S, self._put_back, batch)

    def _put_back(self, batch: _Batch) -> None:
        self._open.discard(batch)
        self._room.set()
        self._waiting[batch.partition] = [*batch.records, *self._waiting.get(batch.partition, ())]
        self._wake.set()


class _Batch:
    """Results of one partition that were handed over together."""

    __slots__ = ("_error", "_left", "_out", "partition", "records")

    def __init__(self, out: Outgoing, partition: int, records: list[kafka.Record]) -> None:
        self._out = out
        self.partition = partition
        self.records = records
        self._left = 0
        self._error: BaseException | None = None

    def follow(self, futures: list[asyncio.Future[RecordMetadata]]) -> None:
        """Waits, without a task of its own, for every acknowledgement."""
        self._left = len(futures)
        for future in futures:
            future.add_done_callback(self._done)

    def _done(self, future: asyncio.Future[RecordMetadata]) -> None:
        if future.cancelled():
            self._error = KafkaError("the producer gave it up")
        elif (error := future.exception()) is not None:
            self._error = error
        self._left -= 1
        if not self._left:
            self._out.closed(self, self._error)
