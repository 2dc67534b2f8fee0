"""Appends to many topic-partitions for as long as a process lives, whatever becomes of one producer.

Why: an idempotent producer of aiokafka numbers the batches of a topic-partition when it takes them for sending. One
that then fails (no leader for 40 s, a refusal of the broker) has used up its number, so the broker refuses whatever
this producer sends there afterwards, for ever. Or, where the broker has not heard of this producer yet, it takes the
next batch as the first one: a later record overtakes an earlier one.

How: when a batch fails, those that wait behind it in its topic-partition fail with it, and the next append there goes
through a new producer. The other topic-partitions stay with the old one until nothing of theirs is under way, so their
order holds too; a producer that is not the newest is closed once it is idle.

It must never send a batch of a topic-partition behind one that failed, unless its caller hands it over again.
`kafka.append` says what an append does and raises. Private names of aiokafka are used; each has a test in
tests/integration/test_stream_contract.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, ProducerClosed
from aiokafka.structs import RecordMetadata

from indegree.events import kafka
from indegree.events.settings import Settings

log = logging.getLogger(__name__)

_STOP_S = 2.0


class _Producer:
    """One producer, and how many batches and appends are under way on it."""

    __slots__ = ("client", "open")

    def __init__(self, client: AIOKafkaProducer) -> None:
        self.client = client
        self.open = 0

    @property
    def dead(self) -> bool:
        """It takes nothing more, for no topic-partition."""
        accumulator = self.client._message_accumulator
        return accumulator._exception is not None or accumulator._closed

    def drop(self, tp: TopicPartition, error: BaseException) -> None:
        """Fails what waits for `tp` and was not taken for sending."""
        for batch in self.client._message_accumulator._batches.pop(tp, ()):
            batch.failure(error)
            batch._drain_waiter.exception()  # nobody may wait for it: seen, so that asyncio does not complain


class _Way:
    """A topic-partition: the producer that its batches take, and how much is under way there. None: the newest."""

    __slots__ = ("on", "open")

    def __init__(self) -> None:
        self.on: _Producer | None = None
        self.open = 0


class Appender:
    """See the module. `options` are those of `kafka.producer`. `start` it, `stop` it."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        self._settings, self._options = settings, options
        self._newest: _Producer | None = None
        self._known: AIOKafkaProducer | None = None  # the last one that was started: for what it knows of topics
        self._ways: dict[TopicPartition, _Way] = {}
        self._producers: set[_Producer] = set()
        self._opening: asyncio.Task[_Producer] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._stopped = False
        self.replaced = 0
        """How often a producer was given up."""

    async def start(self) -> None:
        """Opens the first producer. Raises KafkaUnreachable."""
        await self._current()

    def knows(self, topic: str, partition: int) -> bool:
        """Whether the topic has this partition, as far as is known. Asks nobody."""
        found = None if self._known is None else self._known.client.cluster.partitions_for_topic(topic)
        return found is not None and partition in found

    async def learn(self, topic: str) -> bool:
        """Asks Kafka for a topic; whether it exists. Raises KafkaUnreachable, KafkaError."""
        client = (await self._current()).client.client
        await client.add_topic(topic)
        await client.force_metadata_update()
        return bool(client.cluster.partitions_for_topic(topic))

    async def append(
        self, topic: str, partition: int, records: Sequence[kafka.Record]
    ) -> list[asyncio.Future[RecordMetadata]]:
        """Like `kafka.append`. Calls for one topic-partition are made one after the other. Also raises KafkaUnreachable
        (10 s at most) when a new producer is needed and cannot be opened."""
        tp = TopicPartition(topic, partition)
        way = self._ways.get(tp)
        if way is None:
            way = self._ways[tp] = _Way()
        on = way.on
        if on is None or (on is not self._newest and not way.open):
            way.on = on = await self._current()
        batches = kafka.batches(on.client, topic, records)
        futures: list[asyncio.Future[RecordMetadata]] = []
        self._begun(way, on)
        try:
            for batch in batches:
                future = await on.client.send_batch(batch, topic, partition=partition)
                self._begun(way, on)
                future.add_done_callback(lambda f, on=on: self._settled(tp, way, on, f))
                futures.append(future)
                if way.on is not on:  # one before it failed while this one waited for its turn
                    error = KafkaConnectionError(f"{topic}-{partition}: a batch before this one failed")
                    on.drop(tp, error)
                    raise error
        except KafkaError as error:
            if isinstance(error, ProducerClosed) or on.dead:
                self._failed(tp, way, on, error)
            raise
        finally:
            self._ended(way, on)
        return futures

    async def append_wait(self, topic: str, partition: int, records: Sequence[kafka.Record]) -> int:
        """Appends and waits for every acknowledgement; gives the base offset of the first batch."""
        done = await asyncio.gather(*await self.append(topic, partition, records))
        return int(done[0].offset) if done else -1

    async def stop(self, within_s: float = _STOP_S) -> None:
        """Sends what is left, for at most `within_s` seconds, and closes. Raises nothing."""
        self._stopped = True
        if self._opening is not None:
            self._opening.cancel()
        closing = [self._close(producer, within_s) for producer in self._producers]
        self._newest = None
        await asyncio.gather(*closing, *self._closing, return_exceptions=True)

    # -- producers

    async def _current(self) -> _Producer:
        if self._newest is not None and self._newest.dead:
            self._newest = None
        if self._newest is not None:
            return self._newest
        if self._stopped:
            raise ProducerClosed()
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    async def _open(self) -> _Producer:
        client = kafka.producer(self._settings, **self._options)
        await kafka.start(client, self._settings)
        self._newest = producer = _Producer(client)
        self._known = client
        self._producers.add(producer)
        return producer

    def _opened(self, task: asyncio.Task[_Producer]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # who waited for it has been told

    def _begun(self, way: _Way, on: _Producer) -> None:
        way.open += 1
        on.open += 1

    def _ended(self, way: _Way, on: _Producer) -> None:
        way.open -= 1
        on.open -= 1
        if not on.open and on is not self._newest and on in self._producers and not self._stopped:
            self._producers.discard(on)
            task = asyncio.ensure_future(self._close(on, _STOP_S))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _settled(self, tp: TopicPartition, way: _Way, on: _Producer, future: asyncio.Future[RecordMetadata]) -> None:
        error = ProducerClosed() if future.cancelled() else future.exception()
        if error is not None:
            self._failed(tp, way, on, error)
        self._ended(way, on)

    def _failed(self, tp: TopicPartition, way: _Way, on: _Producer, error: BaseException) -> None:
        if way.on is on:
            way.on = None
            log.warning("%s-%d: %s: %s; goes on with a new producer", *tp, type(error).__name__, error)
        if self._newest is on:
            self._newest = None
            self.replaced += 1
        on.drop(tp, error)

    @staticmethod
    async def _close(producer: _Producer, within_s: float) -> None:
        try:
            await asyncio.wait_for(producer.client.stop(), within_s)
        except Exception as error:  # noqa: BLE001 - what is unsent is known to its caller as not acknowledged
            log.warning("a producer is dropped: %s: %s", type(error).__name__, error)
            with contextlib.suppress(Exception):
                await kafka.abandon(producer.client)
