"""The event log of one owned partition: the fenced producer that appends to it, and the reader that replays it.

Why a producer of its own: aiokafka has one request in flight for each producer and broker, and an append must not wait
for task records; and the broker's fence (a producer id and epoch from InitProducerId, under a transactional id that
belongs to the partition) is a property of a producer.

How the fence works: the batches stay non-transactional, only the producer's identity comes from InitProducerId with
the transactional id `CLUSTER.events-P`. A new owner's InitProducerId raises the epoch, and from its first write on
the broker refuses the old owner's. It may be missing (Kafka forgets it after days): the log's own epoch, seq and
offset decide.

What it must never do: flush or close gracefully after a failure (`abandon`: what is unsent must not be written later);
take a second producer id within one ownership; reset a position.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import CoordinationType
from aiokafka.errors import KafkaError
from aiokafka.producer.sender import InitPIDHandler
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.structs import RecordMetadata

from indegree.events import kafka
from indegree.events.settings import Settings

YIELD_S = 0.005
"""Replay gives way to the other partitions' streams and to the lease after this long."""
_READ_RECORDS = 500
_START_S = 10.0
_WAIT_MS = 5
_FENCE_TIMEOUT_MS = 60_000  # of a transaction that is never begun: the broker only wants a value below its maximum


class LogDamaged(Exception):
    """The log is not what it must be (shortened, emptied, shorter than what was read): nobody may own it as it is."""


class _FencedInit(InitPIDHandler):  # type: ignore[misc]
    """InitProducerId under a transactional id, for a producer that never begins a transaction."""

    def __init__(self, sender: Any, fencing_id: str) -> None:
        super().__init__(sender)
        self._fencing_id = fencing_id

    def create_request(self) -> Any:
        return InitProducerIdRequest(transactional_id=self._fencing_id, transaction_timeout_ms=_FENCE_TIMEOUT_MS)


def fenced_producer(settings: Settings, fencing_id: str, gate: asyncio.Event) -> AIOKafkaProducer:
    """A producer, not started, whose start raises the epoch of `fencing_id` and so fences whoever had it before.

    Its start connects at once and waits for `gate` before it asks for that.
    """
    producer = kafka.producer(settings)
    sender, manager = producer._sender, producer._txn_manager

    async def wait_for_pid() -> None:
        if manager.has_pid():
            return
        await gate.wait()
        while True:
            node = await sender._find_coordinator(CoordinationType.TRANSACTION, fencing_id)
            if await _FencedInit(sender, fencing_id).do(node):
                return
            await asyncio.sleep(0.02)

    sender._maybe_wait_for_pid = wait_for_pid
    return producer


class EventLog:
    """Appends to one partition of one topic under a fence. Made for one ownership, then thrown away."""

    def __init__(self, settings: Settings, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._gate = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None

    def connect(self) -> None:
        """Begins to connect, fencing nobody yet: so that `fence` is quick. Never blocks."""
        if self._starting is None:
            self._producer = fenced_producer(self._settings, f"{self.topic}-{self.partition}", self._gate)
            self._starting = asyncio.ensure_future(self._producer.start())

    async def fence(self) -> None:
        """InitProducerId: from our first append on, earlier owners are refused. Raises KafkaUnreachable."""
        self.connect()
        assert self._starting is not None
        self._gate.set()
        try:
            async with asyncio.timeout(_START_S):
                await self._starting
        except (KafkaError, OSError, TimeoutError) as error:
            raise kafka.unreachable(self._settings, error) from error

    @property
    def producer(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError(f"{self.topic}-{self.partition}: fence() comes before the first append")
        return self._producer

    async def send(self, value: bytes) -> asyncio.Future[RecordMetadata]:
        """Hands one record over, in a batch of its own; blocks while one before it has not been sent."""
        (future,) = await kafka.append(self.producer, self.topic, self.partition, [(None, value, [])])
        return future

    async def abandon(self) -> None:
        producer, self._producer = self._producer, None
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
        if producer is not None:
            await kafka.abandon(producer)


class LogReader:
    """Reads one topic-partition in order, as far as it is told. Use with `async with`.

    `at`: the next offset to read. Raises LogDamaged where the log does not go on at `at`.
    A broker answers one request after the other on a connection, so a fetch that waits for records delays whatever is
    asked next: fetches wait for 5 ms only, and none is under way between two readings (the partition is paused).
    """

    def __init__(self, settings: Settings, topic: str, partition: int, at: int = 0, others: Sequence[str] = ()) -> None:
        self.tp = TopicPartition(topic, partition)
        self.at = at
        self._settings, self._others = settings, others
        self._kafka: AIOKafkaConsumer = kafka.consumer(
            settings, max_poll_records=_READ_RECORDS, fetch_max_wait_ms=_WAIT_MS
        )

    async def __aenter__(self) -> Self:
        await kafka.start(self._kafka, self._settings)
        for topic in self._others:
            await self._kafka._client.add_topic(topic)
        await kafka.assign(self._kafka, {self.tp: self.at})
        self._kafka.pause(self.tp)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._kafka.stop(), 2)

    def seek(self, offset: int) -> None:
        self.at = offset
        self._kafka.seek(self.tp, offset)

    async def bounds(self) -> tuple[int, int]:
        """(first offset, end) as of now."""
        return (await self.bounds_of([self.tp]))[0]

    async def bounds_of(self, tps: Sequence[TopicPartition]) -> list[tuple[int, int]]:
        """(first offset, end) as of now of topic-partitions, in their order.

        Quick for the topics named as `others`; for any other one the client looks for its leader first.
        """
        begin, end = await asyncio.gather(self._kafka.beginning_offsets(tps), self._kafka.end_offsets(tps))
        return [(int(begin[tp]), int(end[tp])) for tp in tps]

    async def offset_at(self, time_ms: int) -> int:
        """The first offset that was appended at this time or later (the broker's time); the end where none was."""
        found = (await self._kafka.offsets_for_times({self.tp: max(0, time_ms)})).get(self.tp)
        return (await self.bounds())[1] if found is None else int(found.offset)

    async def end(self) -> int:
        end = int((await self._kafka.end_offsets([self.tp]))[self.tp])
        if end < self.at:
            raise LogDamaged(
                f"{self.tp.topic} partition {self.tp.partition} ends at {end}, but {self.at} records of it had been "
                "read: acknowledged records are gone (an unclean leader election, or the topic was made anew)"
            )
        return end

    async def read_until(self, stop: int, use: Callable[[Any], Awaitable[None] | None]) -> int:
        """Gives each record below offset `stop` to `use`, in order; returns how many. Yields every 5 ms.

        What `use` returns, if anything, is awaited before the next record: for work that is too long for the loop.
        """
        count, since = 0, time.monotonic()
        if self.at < stop:
            self._kafka.resume(self.tp)
        while self.at < stop:
            fetched = await self._kafka.getmany(timeout_ms=1000, max_records=_READ_RECORDS)
            for record in fetched.get(self.tp, ()):
                if record.offset >= stop:
                    self._kafka.seek(self.tp, stop)
                    break
                rest = use(record)
                if rest is not None:
                    await rest
                count, self.at = count + 1, record.offset + 1
                if time.monotonic() - since > YIELD_S:
                    await asyncio.sleep(0)
                    since = time.monotonic()
            self.at = max(self.at, min(stop, await self._kafka.position(self.tp)))  # offsets may have gaps at the end
        self._kafka.pause(self.tp)
        return count
