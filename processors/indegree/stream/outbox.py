"""Carries out the outbox: what leaves a partition other than tasks and progress.

Entries are facts of the log, numbered for each target, produced after their frame is acknowledged, and sent again by
the next owner until an event says that they are acknowledged. The receiver keeps the highest number of each source
and refuses what is not above it, so the order of one target must be kept, and a repeat is harmless.

- target P: a message to partition P, on its `commands`;
- WORKFLOWS: an active version, a label, or a line of a workflow's history, on `workflows`;
- DEAD_LETTER: a refused input. The entry only says where the record lies: its bytes are read again here, and cut where
  they would not fit into one record beside our headers.

What it must never do: produce an entry of a frame that is not acknowledged, or count one as sent before all below it
are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from indegree.engine.state import DEAD_LETTER, WORKFLOWS, OutboxEntry
from indegree.events import kafka
from indegree.events.codec import dead_letter_headers
from indegree.events.kafka import Record
from indegree.events.settings import Settings
from indegree.events.topics import MAX_RECORD_BYTES, Topics
from indegree.stream.outbound import Outbound, Ticket
from indegree.v1.workflow_pb2 import DeadLetter, VersionPointer

_READ_S = 10.0
_ROOM = MAX_RECORD_BYTES - 4_096  # for key, value and headers of a dead letter, ours among them
_BESIDE = 65_536  # what the key, and the record's own headers, may keep of it where not all has room
_FRAMING = 16  # bytes at most that a header takes beside its name and its value


class Outbox:
    """Of one ownership. `acknowledged()` wakes the partition: `take_sent` then has news for its core."""

    def __init__(
        self,
        settings: Settings,
        topics: Topics,
        outbound: Outbound,
        ticket: Ticket,
        acknowledged: Callable[[], None],
    ) -> None:
        self._settings, self._topics = settings, topics
        self._outbound, self._ticket, self._acknowledged = outbound, ticket, acknowledged
        self._sent: dict[int, int] = {}  # target -> highest number acknowledged, not yet taken
        self._letters: deque[OutboxEntry] = deque()
        self._task: asyncio.Task[None] | None = None

    def put(self, entries: Iterable[OutboxEntry]) -> None:
        """Sends these, which stand in the log, in order. Never blocks."""
        for entry in entries:
            if entry.target == DEAD_LETTER:
                self._ticket.add(1)
                self._letters.append(entry)
                continue
            if entry.target == WORKFLOWS:
                topic, partition, key = self._topics.workflows, 0, _pointer_key(entry)
            else:
                topic, partition, key = self._topics.commands, entry.target, None
            record: Record = (key, entry.data, ())
            self._outbound.put(topic, partition, [record], self._ticket, self._done(entry))
        if self._letters and self._task is None:
            self._task = asyncio.ensure_future(self._bury())

    def take_sent(self) -> dict[int, int]:
        """Target to highest number acknowledged since the last call."""
        sent, self._sent = self._sent, {}
        return sent

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _done(self, entry: OutboxEntry) -> Callable[[], None]:
        target, number = entry.target, entry.number

        def done() -> None:
            # one lane a target, in order: when this is acknowledged, so is all below it
            self._sent[target] = max(number, self._sent.get(target, 0))
            self._acknowledged()

        return done

    # -- dead letters

    async def _bury(self) -> None:
        """Sends the waiting dead letters in order; their records are read from the inputs again."""
        try:
            originals = _Originals(self._settings)
            try:
                while self._letters:
                    entry = self._letters[0]
                    letter = DeadLetter.FromString(entry.data)
                    if not letter.foreign:  # the log holds its short name
                        letter.topic = f"{self._topics.cluster}.{letter.topic}"
                    record = _letter(await originals.read(letter), letter)
                    self._letters.popleft()
                    self._outbound.put(self._topics.dead_letter, 0, [record], self._ticket, self._done(entry))
                    self._ticket.done(1)  # the one of `put`; the record has its own
            finally:
                await originals.close()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - what cannot be sent now is sent after a restart from the log
            left = len(self._letters)
            self._letters.clear()
            self._ticket.fail(error, left)
        finally:
            self._task = None


class _Originals:
    """Reads single records of input topics, cheaply where they stand close together."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: AIOKafkaConsumer | None = None
        self._tp: TopicPartition | None = None
        self._near: dict[int, Any] = {}  # offset -> record, of the last fetch

    async def read(self, letter: DeadLetter) -> Any | None:
        """The record, or None where it cannot be had: Kafka has it no more, or nobody can take it apart.

        Raises TimeoutError after 10 s.
        """
        tp = TopicPartition(letter.topic, letter.partition)
        if tp == self._tp and letter.offset in self._near:
            return self._near[letter.offset]
        if self._client is None:
            self._client = kafka.consumer(self._settings)
            await kafka.start(self._client, self._settings)
        if tp != self._tp:
            await kafka.assign(self._client, {tp: letter.offset})
            self._tp = tp
        self._client.seek(tp, letter.offset)
        most = 500
        async with asyncio.timeout(_READ_S):
            while True:
                try:
                    fetched = (await self._client.getmany(timeout_ms=500, max_records=most)).get(tp, [])
                except OffsetOutOfRangeError:
                    return None
                except ValueError:  # see transport.Unreadable: this one, or one behind it
                    if most == 1:
                        return None
                    most = 1
                    self._client.seek(tp, letter.offset)
                    continue
                if fetched:
                    self._near = {record.offset: record for record in fetched}
                    return self._near.get(letter.offset)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.stop()


def _letter(original: Any | None, letter: DeadLetter) -> Record:
    """The record for dead-letter: the original one with our headers.

    Its parts may have been as large as a record's limit together, or larger (their producer compressed them): what does
    not fit is cut, and headers `indegree.cut`, `indegree.cut-key` (bytes that there were) and `indegree.cut-headers`
    (how many were left out) say so.
    """
    headers = list(dead_letter_headers(letter.topic, letter.partition, letter.offset, letter.reason))
    if original is None:
        return None, b"", headers
    key, value, own = original.key, original.value or b"", list(original.headers)
    room = _ROOM - _size(headers)
    if len(key or b"") + len(value) + _size(own) <= room:
        return key, value, [*own, *headers]
    if key is not None and len(key) > _BESIDE:
        headers.append(("indegree.cut-key", str(len(key)).encode()))
        key = key[:_BESIDE]
    kept, left = list[tuple[str, bytes]](), _BESIDE
    for header in own:
        left -= _size([header])
        if left < 0:
            break
        kept.append(header)
    if len(kept) < len(own):
        headers.append(("indegree.cut-headers", str(len(own) - len(kept)).encode()))
    room = _ROOM - _size(headers) - _size(kept) - len(key or b"") - 64
    if len(value) > room:
        headers.append(("indegree.cut", str(len(value)).encode()))
        value = value[:room]
    return key, value, [*kept, *headers]


def _size(headers: Iterable[tuple[str, bytes | None]]) -> int:
    return sum(len(name.encode("utf-8", "replace")) + len(value or b"") + _FRAMING for name, value in headers)


def _pointer_key(entry: OutboxEntry) -> bytes:
    """The key under which `workflows` keeps an active version, a label, or what was done when.

    The last one is never replaced: the time of the decision and the entry's number, which are the same in a repeat,
    make a key of its own.
    """
    pointer = VersionPointer.FromString(entry.data)
    if pointer.what:
        return f"history/{pointer.workflow}/{pointer.time_ms:013d}-{entry.number}".encode()
    name = f"label/{pointer.workflow}/{pointer.label}" if pointer.label else f"active/{pointer.workflow}"
    return name.encode()
