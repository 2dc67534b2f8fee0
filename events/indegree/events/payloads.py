"""Values by reference: written to the payloads topic in parts, read back whole.

Why: an event, a task record or a progress record has room for a few KiB. A larger value lies once in `payloads`, and
what goes around is a `Reference`: partition, offset of the first part, number of parts, size, digest.

How: `store` writes parts of 512 KiB at most, in the order of offsets, some at a time, and gives the reference once
Kafka has acknowledged all of them. A record's key is the digest of the whole value; its headers say which writing it
belongs to (`value`) and which part it is (`part`). Two writers may interleave on a partition, since a batch of Kafka is
smaller than a value may be: readers leave out the parts of others (payload_reading.py). A writing that failed is begun
anew under another name; what is left of it is passed over, and goes with retention.

`fetch` reads, checks size and digest, and resolves lists: a `ValueList` becomes the JSON text of a list. Four readers
at most are open at a time; the values read last are kept, up to `cache_bytes`, and one that is under way is read once
for all who ask.

It must never give a reference to what is not acknowledged, nor a value over `limits.payload_bytes`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from google.protobuf.message import DecodeError

from indegree.events import kafka
from indegree.events.appender import Appender
from indegree.events.payload_reading import PART, VALUE, PayloadLost, Place, digest_of, place_of, scan, told
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.v1.value_pb2 import Reference, ValueList

__all__ = ["PART_BYTES", "PayloadLost", "PayloadTooLarge", "Payloads", "records_of"]

PART_BYTES = 512 * 1024
CACHE_BYTES = 32 * 1024 * 1024
"""Values kept by a reader: a fan-out over one value reads it once. One that is larger is not kept."""

_AT_A_TIME = 8  # parts under way: 4 MiB, so that a large value does not fill the producer's memory
_READERS = 4
_FETCH_BYTES = 1024 * 1024  # of one answer; a small value costs no more than that
_DEPTH = 8  # of lists in lists


class PayloadTooLarge(ValueError):
    """A value over `limits.payload_bytes`; the message names both numbers."""


def records_of(data: bytes, digest: bytes, value: bytes) -> list[kafka.Record]:
    """The parts of one writing, which is called `value`."""
    return [
        (digest, part, ((VALUE, value), (PART, b"%d" % number)))
        for number, part in enumerate(kafka.chunks(data, PART_BYTES))
    ]


class Payloads:
    """The payloads topic of one cluster, for one event loop. `appender()` is its owner's; without it nothing is stored.

    `stop` it. Memory: `cache_bytes`, and what is being read and written: a value at a time for each of four readers.
    """

    def __init__(
        self, settings: Settings, appender: Callable[[], Appender] | None = None, *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._settings, self._appender, self._cache_bytes = settings, appender, cache_bytes
        self._topic = Topics(settings.cluster).payloads
        self._most = settings.limits.payload_bytes
        self._room = asyncio.Semaphore(_READERS)
        self._idle: list[AIOKafkaConsumer] = []
        self._kept: OrderedDict[Place, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._reading: dict[Place, asyncio.Task[bytes]] = {}
        self._stopped = False

    # -- writing

    async def store(self, partition: int, data: bytes) -> Reference:
        """Writes a value; returns where it lies once all of it is acknowledged. Where `data` is a `ValueList`, the
        caller says so in the reference (`list`, `whole`).

        Blocks while Kafka does not acknowledge. Raises PayloadTooLarge before anything is written, KafkaError and
        KafkaUnreachable: then try again, from the beginning.
        """
        if self._appender is None:
            raise RuntimeError("these payloads are only read: no appender was given")
        self._within(len(data), "")
        digest = await digest_of(data)
        records = records_of(data, digest, secrets.token_bytes(8))
        offset = -1
        for begin in range(0, len(records), _AT_A_TIME):
            at = await self._appender().append_wait(self._topic, partition, records[begin : begin + _AT_A_TIME])
            offset = at if begin == 0 else offset
        return Reference(partition=partition, offset=offset, parts=len(records), size=len(data), sha256=digest)

    # -- reading

    async def fetch(self, reference: Reference) -> bytes:
        """The JSON text of a value; of a list, with all of its elements.

        Raises PayloadLost (it cannot be had), PayloadTooLarge, and for what may pass: TimeoutError, KafkaError,
        KafkaUnreachable, OSError.
        """
        self._within(max(reference.size, reference.whole), f"{told(reference)}: ")
        key = place_of(reference)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.ensure_future(self._read(reference))
            task.add_done_callback(lambda done: self._read_ended(key, done))
        return await asyncio.shield(task)

    async def stop(self) -> None:
        """Ends what is being read and closes the readers, within some seconds. Raises nothing."""
        self._stopped = True
        reading = list(self._reading.values())
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        idle, self._idle = self._idle, []
        for client in idle:
            await self._close(client)

    async def _read(self, reference: Reference) -> bytes:
        found = await self._scan([reference])
        return await self._resolved(reference, found[place_of(reference)], 0)

    def _read_ended(self, key: Place, task: asyncio.Task[bytes]) -> None:
        self._reading.pop(key, None)
        if not task.cancelled() and task.exception() is None:
            self._keep(key, task.result())

    def _keep(self, key: Place, data: bytes) -> None:
        if len(data) > self._cache_bytes or key in self._kept:
            return
        self._kept[key] = data
        self._kept_bytes += len(data)
        while self._kept_bytes > self._cache_bytes:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1])

    async def _resolved(self, reference: Reference, data: bytes, depth: int) -> bytes:
        """The JSON text behind what was read."""
        if not reference.list:
            return data
        if depth == _DEPTH:
            raise PayloadLost(f"{told(reference)} holds lists in lists, more than {_DEPTH} deep")
        try:
            values = ValueList.FromString(data).values
        except DecodeError:
            raise PayloadLost(f"{told(reference)} is said to be a list, and is none") from None
        elements = [value.reference for value in values if value.HasField("reference")]
        lengths = sum(max(r.size, r.whole) if r.list else r.size for r in elements)
        self._within(lengths, f"{told(reference)}, with its elements: ")
        found = await self._scan(elements) if elements else {}
        texts = []
        for value in values:
            if value.HasField("reference"):
                inner = value.reference
                texts.append(await self._resolved(inner, found[place_of(inner)], depth + 1))
            else:
                texts.append(value.json or b"null")
        text = b"[" + b",".join(texts) + b"]"
        if len(text) != reference.whole:
            raise PayloadLost(
                f"{told(reference)} stands for a list of {reference.whole} bytes, and its elements make {len(text)}"
            )
        return text

    async def _scan(self, references: Sequence[Reference]) -> dict[Place, bytes]:
        by_partition: dict[int, list[Reference]] = {}
        for reference in references:
            by_partition.setdefault(reference.partition, []).append(reference)
        found: dict[Place, bytes] = {}
        for partition, wanted in by_partition.items():
            tp = TopicPartition(self._topic, partition)
            async with self._reader() as client:
                if tp not in client.assignment():
                    raise PayloadLost(f"{told(wanted[0])} is not there: {self._topic} has no such partition")
                client.resume(tp)
                found |= await scan(client, tp, wanted)
                client.pause(tp)
        return found

    @contextlib.asynccontextmanager
    async def _reader(self) -> AsyncIterator[AIOKafkaConsumer]:
        """One that is assigned to all partitions, all of them paused. After an error it is not used again."""
        async with self._room:
            client = self._idle.pop() if self._idle else await self._open()
            good = False
            try:
                yield client
                good = not self._stopped
            finally:
                if good:
                    self._idle.append(client)
                else:
                    await asyncio.shield(self._close(client))

    async def _open(self) -> AIOKafkaConsumer:
        client = kafka.consumer(self._settings, max_partition_fetch_bytes=_FETCH_BYTES)
        await kafka.start(client, self._settings)
        try:
            count = await kafka.partition_count(client, self._topic)
            tps = [TopicPartition(self._topic, number) for number in range(count)]
            if tps:
                await kafka.assign(client, dict.fromkeys(tps, 0))
                client.pause(*tps)
        except BaseException:
            await asyncio.shield(self._close(client))
            raise
        return client

    @staticmethod
    async def _close(client: AIOKafkaConsumer) -> None:
        # a task of its own: while Kafka is away, aiokafka's stop() ends by the CancelledError of its own fetches
        stopping = asyncio.ensure_future(client.stop())
        await asyncio.wait([stopping], timeout=2)
        if not stopping.done():
            stopping.cancel()
        elif not stopping.cancelled():
            stopping.exception()  # whatever it is, the reader is not used any more

    def _within(self, size: int, what: str) -> None:
        if size > self._most:
            raise PayloadTooLarge(
                f"{what}{size} bytes > limit {self._most} (setting limits.payload_bytes); keep the data elsewhere and "
                "hand over where it lies"
            )
