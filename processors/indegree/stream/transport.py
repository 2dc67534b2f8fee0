"""Faust's transport for partitions that etcd gives and takes one by one.

Why: Faust moves partitions with consumer groups, and each move stops every stream. Here etcd says who owns a partition
and the event log holds the positions, so nothing of that is wanted: no group, no commit, no rebalance.

How it works. `OwnedConsumer` assigns all partitions of all inputs to one aiokafka consumer once, paused (aiokafka's
`assign` would drop every position, also of partitions that stay). To own a partition is to seek and resume, to lose
it is to pause. One Faust message carries one fetched `Batch`; while a partition's stream is busy, what arrives joins
the batch that waits, so that the next frame holds all of it (group commit). `OwnedConductor` routes a topic-partition
to the one stream that owns its number; actors.py runs those streams.

What it must never do: leave fetched records unread in aiokafka (it then backs off the whole node: throttle by pausing);
deliver a batch of an earlier ownership to a later one (see `Batch.void`); reset a position that Kafka does not have;
pass over a record (fetcher.py sees to that, and `Batch.begin` lets the partition check it).

Private names of faust-streaming and aiokafka are used; tests/integration/test_stream_contract.py has a test for each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, OffsetOutOfRangeError
from faust import Schema
from faust.transport.conductor import Conductor
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from indegree.events import kafka
from indegree.events.appender import Appender
from indegree.events.fetcher import Fetcher, damaged
from indegree.events.settings import Settings

log = logging.getLogger(__name__)

FULL = 4_000
"""Records that may wait for one topic-partition before its fetching pauses: about 100 ms of work."""
_STOP_S = 2.0
GETMANY_MS = 1_000
"""Longest wait for records; only bounds how soon a stop is seen."""
UNREADABLE_TIMES = 10
"""Failures in a row at one offset, by itself, after which its partition stops: half a second at least."""


class PositionLost(Exception):
    """Kafka has no record at the position where a partition has to go on."""


class InputUnreadable(Exception):
    """The record where a partition has to go on is there, and this process cannot read it, however often it tries."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in a batch for a record that no client of ours can ever take apart (a header's name is not UTF-8).

    It is refused like any other poison; its bytes cannot be had.
    """

    offset: int
    reason: str
    key: None = None
    value: None = None
    headers: tuple[()] = ()
    timestamp: int = 0
    timestamp_type: int = 0


class InputsSkipped(Exception):
    """A batch begins behind the position where its partition goes on: a fault of ours, seen before it does harm."""


class Batch:
    """What was fetched from one topic-partition and not yet taken by its stream. Grows until it is taken.

    `records`: aiokafka records in order of offset; empty for a wake-up and for a batch that was voided.
    `begin`: the offset behind what was handed over before; all that Kafka has from there on is in here.
    """

    __slots__ = ("_resume", "begin", "records", "taken", "topic")

    def __init__(self, topic: str, records: list[Any], begin: int = 0) -> None:
        self.topic = topic
        self.begin = begin
        self.records = records
        self.taken = False
        self._resume: Callable[[], None] | None = None

    def take(self) -> list[Any]:
        """The records; from here on nothing joins them, and fetching goes on if it was paused for them."""
        self.taken = True
        if self._resume is not None:
            self._resume()
            self._resume = None
        return self.records

    def resume_when_taken(self, resume: Callable[[], None]) -> None:
        self._resume = resume

    def void(self) -> None:
        """The ownership that it was fetched for is over: its records will be read again by the next one."""
        self.records, self.taken, self._resume = [], True, None


class BatchSchema(Schema[Any, Any]):
    """Hands a `Batch` through Faust's stream as it is."""

    def compile(self, app: Any, **_: Any) -> Any:
        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, message.headers, message)

        return decode


class OwnedConsumer(Consumer):
    """One aiokafka consumer for all input partitions, on the app's own loop (no cross-thread call per fetch)."""

    mundane_level = "debug"
    consumer_stopped_errors = (ConsumerStoppedError,)
    transport: Transport
    kafka: AIOKafkaConsumer

    async def on_start(self) -> None:
        settings: Settings = self.transport.settings
        self._channels: dict[TP, Any] = {}  # owned topic-partitions and the channel of the stream that owns each
        self._waiting: dict[TP, Batch] = {}  # the last batch handed to the stream
        self._handed: dict[TP, int] = {}  # the offset behind what was handed to the stream
        self._held: set[TP] = set()  # paused for back-pressure by the stream itself
        self.kafka = kafka.consumer(settings, fetch_max_wait_ms=settings.engine.fetch_max_wait_ms)
        await kafka.start(self.kafka, settings)
        self._fetcher = Fetcher(self.kafka, self._unreadable)
        self._refused: list[tuple[TopicPartition, Unreadable]] = []  # of this round, to be handed over

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Faust's conductor calls this when it is ready, and again (45 s later) whenever a stream came or went."""
        if self.kafka.assignment():
            return
        names: tuple[str, ...] = self.transport.inputs
        partitions: int = self.transport.partitions
        for name in names:
            count = await kafka.partition_count(self.kafka, name)
            if count != partitions:
                raise PositionLost(
                    f"topic {name} has {count} partitions, but the cluster has {partitions}: a run lives on the "
                    "partition that its id names, so the count may not change; make the topic again with that count"
                )
        tps = [TopicPartition(name, p) for name in names for p in range(partitions)]
        self.kafka.assign(tps)
        self.kafka.pause(*tps)
        for tp in tps:  # without a position each would be looked up, and there is no reset that we allow
            self.kafka.seek(tp, 0)
        # Faust waits for a first assignment before it starts timers, services and web: give it an empty one, as a task
        # (awaited here it would wait for this very call)
        self.app.on_rebalance_start()
        self.add_future(self.on_partitions_assigned(set(), self.app.consumer_generation_id))

    # -- for the streams

    def open(self, positions: Mapping[TP, int], channel: Any) -> None:
        """Begins to read: the batches of these topic-partitions go to `channel`, from these offsets on."""
        for tp, offset in positions.items():
            self._fetcher.begin(TopicPartition(*tp), offset)
            self._handed[tp] = offset
            self._channels[tp] = channel
            self._waiting.pop(tp, None)
        self.kafka.resume(*(TopicPartition(*tp) for tp in positions))

    def close_partitions(self, tps: Iterable[TP]) -> None:
        """Ends reading, and makes what was fetched and not yet taken void."""
        for tp in tps:
            self._channels.pop(tp, None)
            self._held.discard(tp)
            batch = self._waiting.pop(tp, None)
            if batch is not None and not batch.taken:
                batch.void()
            self._fetcher.end(TopicPartition(*tp))
            self.kafka.pause(TopicPartition(*tp))

    def hold(self, tp: TP, held: bool) -> None:
        """Back-pressure: stops or goes on to fetch one owned topic-partition."""
        if tp not in self._channels or (tp in self._held) == held:
            return
        if held:
            self._held.add(tp)
            self.kafka.pause(TopicPartition(*tp))
        else:
            self._held.discard(tp)
            self._resume(tp)

    async def read_up_to(self, tp: TP) -> int:
        """The offset up to which records of an owned topic-partition have been taken by its stream."""
        batch = self._waiting.get(tp)
        if batch is not None and not batch.taken and batch.records:
            return int(batch.records[0].offset)
        return int(await self.kafka.position(TopicPartition(*tp)))

    def answered(self, tp: TP) -> object:
        """Something that changes whenever Kafka answers a fetch of an owned topic-partition (every `fetch_max_wait_ms`,
        while it is there and we are not behind)."""
        return self.kafka.last_poll_timestamp(TopicPartition(*tp))

    def wake(self, channel: Any, tp: TP) -> None:
        """Sends a batch without records, so that a stream whose inputs are silent takes a step."""
        message = self._message(tp, Batch(tp.topic, []), 0, 0.0, 0)
        channel.queue.force_put_nowait(self.app.create_event(None, message.value, None, message))

    # -- fetching

    def _resume(self, tp: TP) -> None:
        if tp in self._channels and tp not in self._held:
            self.kafka.resume(TopicPartition(*tp))

    def _message(self, tp: TP, batch: Batch, offset: int, timestamp_s: float, timestamp_type: int) -> Any:
        return ConsumerMessage(
            tp.topic, tp.partition, offset, timestamp_s, timestamp_type, [], None, cast(Any, batch), None, 0, 0, tp,
            generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    async def _drain_messages(self, fetcher: Any) -> None:
        while not (self.should_stop or fetcher.should_stop):
            try:
                fetched = await self._fetcher.many(GETMANY_MS, FULL)
            except ConsumerStoppedError:
                return
            except OffsetOutOfRangeError as error:
                self._lost(error)
                continue
            for kafka_tp, refused in self._refused:  # of these the fetcher had nothing else in this round
                fetched.setdefault(kafka_tp, []).append(refused)
            self._refused.clear()
            fresh: list[tuple[TP, Batch]] = []  # all are known as waiting before the first is handed on: see read_up_to
            for kafka_tp, records in fetched.items():
                tp = TP(*kafka_tp)
                if tp not in self._channels or not records:
                    continue
                begin, self._handed[tp] = self._handed[tp], records[-1].offset + 1
                batch = self._waiting.get(tp)
                if batch is not None and not batch.taken:
                    batch.records.extend(records)
                    if len(batch.records) > FULL:
                        batch.resume_when_taken(lambda tp=tp: self._resume(tp))  # type: ignore[misc]
                        self.kafka.pause(kafka_tp)
                    continue
                batch = self._waiting[tp] = Batch(tp.topic, records, begin)
                fresh.append((tp, batch))
            for tp, batch in fresh:
                last = batch.records[-1] if batch.records else None
                if last is not None:
                    await self.callback(
                        self._message(tp, batch, last.offset, last.timestamp / 1000, last.timestamp_type)
                    )

    def _lost(self, error: OffsetOutOfRangeError) -> None:
        """Stops the partitions whose position Kafka does not have; the others go on."""
        where: Mapping[Any, int] = error.args[0] if error.args and isinstance(error.args[0], Mapping) else {}
        for kafka_tp, offset in where.items():
            self._stop_partition(
                kafka_tp,
                PositionLost(
                    f"{kafka_tp.topic} partition {kafka_tp.partition} has no record at {offset}, where to go on"
                ),
            )

    def _unreadable(self, kafka_tp: TopicPartition, offset: int, times: int, error: Exception) -> None:
        """Stops the partition whose record cannot be read, after some tries; the others go on.

        A record that is malformed in itself is refused instead. aiokafka takes batches apart from their beginning, so
        what stands behind it in the same batch (of the same producer) fails as well and is refused with it.
        """
        malformed = isinstance(error, ValueError)  # a header's name that is not UTF-8
        if times < UNREADABLE_TIMES and not (malformed and self._fetcher.behind_left_out(kafka_tp, offset)):
            return
        if malformed:
            reason = f"the record cannot be taken apart: {type(error).__name__}: {error}"
            self._refused.append((kafka_tp, Unreadable(offset, reason)))
            self._fetcher.step_over(kafka_tp)
            return
        if not damaged(error):
            self._stop_partition(kafka_tp, error)  # of the surroundings: it begins anew after a while
            return
        self._stop_partition(
            kafka_tp,
            InputUnreadable(
                f"{kafka_tp.topic} partition {kafka_tp.partition} has a record at offset {offset} that cannot be read "
                f"({type(error).__name__}: {error}): install what reads it on every engine, or restore the topic"
            ),
        )

    def _stop_partition(self, kafka_tp: TopicPartition, error: Exception) -> None:
        self.kafka.pause(kafka_tp)
        self._fetcher.end(kafka_tp)
        channel = self._channels.get(TP(*kafka_tp))
        if channel is not None:
            channel._throw(error)

    # -- what Faust asks of a consumer. Positions are in the event log: nothing of its committing and seeking is used

    def assignment(self) -> set[TP]:
        return set(self._channels)

    async def on_stop(self) -> None:
        try:
            await asyncio.wait_for(self.kafka.stop(), _STOP_S)
        except Exception as error:  # noqa: BLE001 - an error here would leave Faust hanging
            log.warning("the consumer is dropped: %s: %s", type(error).__name__, error)

    async def perform_seek(self) -> None:
        return None

    async def seek_to_committed(self) -> Mapping[TP, int]:
        return {}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        return True

    async def _seek(self, partition: TP, offset: int) -> None:
        self.kafka.seek(TopicPartition(*partition), offset)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        raise NotImplementedError("batches are fetched by _drain_messages")

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    def _to_message(self, tp: TP, record: Any) -> Any:
        raise NotImplementedError("a message carries a batch")

    def topic_partitions(self, topic: str) -> int:
        return len(self.kafka.partitions_for_topic(topic) or ())

    def highwater(self, tp: TP) -> int:
        return int(self.kafka.highwater(TopicPartition(*tp)) or 0)

    async def position(self, tp: TP) -> int:
        return int(await self.kafka.position(TopicPartition(*tp)))

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        raise NotImplementedError("partitions are opened by open()")

    async def earliest_offsets(self, *tps: TP) -> Mapping[TP, int]:
        found = await self.kafka.beginning_offsets([TopicPartition(*tp) for tp in tps])
        return {TP(*tp): offset for tp, offset in found.items()}

    async def highwaters(self, *tps: TP) -> Mapping[TP, int]:
        found = await self.kafka.end_offsets([TopicPartition(*tp) for tp in tps])
        return {TP(*tp): offset for tp, offset in found.items()}

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Topics are made and checked by indegree.events.admin, never in passing."""

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        raise NotImplementedError("a record's partition is named by its run id")


class OwnedConductor(Conductor):
    """Adds and removes one partition's stream without Faust's clear-and-rebuild and without stopping the flow."""

    def _compile_message_handler(self) -> Any:
        async def on_message(message: Any) -> None:
            callback = self._tp_to_callback.get(message.tp)  # Faust's raises here, which would end the whole app
            if callback is not None:
                await callback(message)

        return on_message

    def open(self, channel: Any) -> None:
        for tp in channel.active_partitions:
            channels: Any = {channel}
            self._tp_index[tp] = channels
            self._tp_to_callback[tp] = self._build_handler(tp, channels)

    def close(self, channel: Any) -> None:
        for tp in channel.active_partitions:
            self._tp_index.pop(tp, None)
            self._tp_to_callback.pop(tp, None)
        self._topics.discard(channel)


class OutputProducer(driver.Producer):
    """Faust's producer, as the service that holds our `Appender`: everything goes out through outbound.py."""

    mundane_level = "debug"
    appender: Appender

    async def on_start(self) -> None:
        self.appender = Appender(cast(Transport, self.transport).settings)
        await self.appender.start()

    async def flush(self) -> None:
        """Whoever sent something waits for it by a ticket."""

    async def on_stop(self) -> None:
        """Within two seconds, also while Kafka is away: what is unsent is sent by the next owner, from the log."""
        await self.appender.stop(_STOP_S)


class Transport(driver.Transport):
    """Faust's aiokafka transport with our consumer, conductor and producer."""

    Consumer, Conductor, Producer = OwnedConsumer, OwnedConductor, OutputProducer

    def __init__(self, url: Any, app: Any, *, settings: Settings, inputs: tuple[str, ...], partitions: int) -> None:
        super().__init__(url, app)
        self.settings, self.inputs, self.partitions = settings, inputs, partitions
