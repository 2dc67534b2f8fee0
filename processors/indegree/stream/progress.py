"""The public progress records of one owned partition: in order, without a gap, a repeat only with the same id.

Progress is a projection of the event log. It has a fence of its own (a transactional id `CLUSTER.progress-P`, see
log.py). A new owner appends a marker, which fences the old one, reads the records before it back, and goes on after
the last position (epoch, seq, index) that it finds; what the log holds beyond that is produced again by replay.

`position` is what is acknowledged; it goes into the next frame, so that recovery knows where to look.

What it must never do: produce a record of a frame that is not in force; reorder; leave one out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from aiokafka.structs import RecordMetadata

from indegree.engine.progress import Encoded, Projection, encoded
from indegree.engine.progress_forms import Form, JsonForm, ProtobufForm
from indegree.events import kafka
from indegree.events.codec import decode_progress, progress_headers
from indegree.events.kafka import Record
from indegree.events.settings import Settings
from indegree.stream.log import EventLog, LogReader
from indegree.v1.event_pb2 import ProgressPosition
from indegree.v1.progress_pb2 import Progress

Position = tuple[int, int, int]
"""(epoch, seq, index): where in the event log a progress record comes from. Compares as it was produced."""
NOWHERE: Position = (0, 0, 0)
MARKER = "marker"
_LOOK_BACK = 256
_AT_ONCE = 2_000  # records encoded in one go: a few milliseconds


def position_of(message: ProgressPosition) -> Position:
    return message.epoch, message.seq, message.index


class ProgressLog:
    """Made for one ownership. `failed` (to be set) is called with the first error; nothing is sent after it."""

    def __init__(self, settings: Settings, topic: str, partition: int) -> None:
        self._settings = settings
        self.failed: Callable[[BaseException], None] = lambda error: None
        self._json = settings.engine.progress_format == "json"
        self._form: Form = JsonForm() if self._json else ProtobufForm()
        self._heads: dict[str, list[tuple[str, bytes]]] = {}  # type -> the headers that depend on nothing else
        self._log = EventLog(settings, topic, partition)
        self._reader = LogReader(settings, topic, partition)
        self._reading: asyncio.Task[LogReader] | None = None
        self._waiting: deque[_Part] = deque()
        self._waiting_count = 0
        self._ended = 0  # parts handed over whole, which no batch has said of yet
        self._task: asyncio.Task[None] | None = None
        self._open = 0  # batches that are not acknowledged
        self._idle = asyncio.Event()
        self._idle.set()
        self._error: BaseException | None = None
        self.position: Position = NOWHERE
        self.put_count = 0
        """Calls of `put` by this ownership."""
        self.acknowledged_count = 0
        """All records of the first so many of them are acknowledged."""

    @property
    def backlog(self) -> int:
        """About how many records are not yet handed to the producer."""
        return self._waiting_count

    def connect(self) -> None:
        """Begins to connect, fencing nobody yet: so that `begin` is quick. Never blocks."""
        self._log.connect()
        self._reading = asyncio.ensure_future(self._reader.__aenter__())

    async def begin(self, epoch: int, takeover_id: str, known: Position) -> Position:
        """Fences the earlier owner, and returns the position of the last record on the topic.

        `known`: a position that the event log says is acknowledged (nothing older is looked for).
        Raises KafkaUnreachable, and what an append raises.
        """
        await self._log.fence()
        marker = Progress(id=f"{MARKER}-{takeover_id}", type=MARKER)
        marker.log.epoch = epoch
        record = self._record(encoded(marker, self._form))
        at = await kafka.append_wait(self._log.producer, self._log.topic, self._log.partition, [record])
        self.position = max(known, await self._last_before(at))
        return self.position

    async def _last_before(self, marker: int) -> Position:
        found: list[Position] = []

        def use(record: object) -> None:
            progress = decode_progress(record.value or b"")  # type: ignore[attr-defined]
            if progress.type != MARKER:
                found.append(position_of(progress.log))

        stop, back = marker, _LOOK_BACK
        assert self._reading is not None, "connect() comes first"
        reader = await self._reading
        begin, _ = await reader.bounds()
        while not found and stop > begin:
            start = max(begin, stop - back)
            reader.seek(start)
            await reader.read_until(stop, use)
            stop, back = start, back * 8
        await self._close_reader()
        return max(found, default=NOWHERE)

    def put(self, progress: Projection | Sequence[Progress]) -> None:
        """Sends a frame's records (or those that a takeover found missing) behind what was put before. Never blocks."""
        if self._error is not None:
            return
        self.put_count += 1
        self._waiting.append(_Part(self._encode(progress), len(progress)))
        self._waiting_count += len(progress)
        self._idle.clear()
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    def _encode(self, progress: Projection | Sequence[Progress]) -> Iterator[tuple[Position, Record]]:
        if isinstance(progress, Projection):
            epoch, seq = progress.epoch, progress.seq
            for index, record in enumerate(progress.encoded(self._form)):
                yield (epoch, seq, index), self._record(record)
        else:
            for message in progress:
                yield position_of(message.log), self._record(encoded(message, self._form))

    async def idle(self) -> None:
        """Waits until all is acknowledged (or has failed: then `position` stays behind)."""
        await self._idle.wait()

    async def _close_reader(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()  # does nothing where it has connected
            await self._reader.__aexit__(None, None, None)

    async def abandon(self) -> None:
        """Drops what is not yet written; a next owner writes it."""
        self._error = self._error or ConnectionAbortedError("given up")
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        await asyncio.gather(self._log.abandon(), self._close_reader(), return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._waiting and self._error is None:
                records, position = self._next()
                if not records:
                    continue
                futures = await kafka.append(self._log.producer, self._log.topic, self._log.partition, records)
                self._open += len(futures)
                for future in futures[:-1]:
                    future.add_done_callback(lambda f: self._settle(f, None))
                ended, self._ended = self._ended, 0
                futures[-1].add_done_callback(lambda f, at=position, n=ended: self._settle(f, at, n))  # type: ignore[misc]
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - it ends the ownership, whatever it is
            self._fail(error)
        finally:
            self._task = None
            self._check_idle()

    def _next(self) -> tuple[list[Record], Position]:
        """The next records of what waits, and the position of the last."""
        records: list[Record] = []
        position = NOWHERE
        while self._waiting and len(records) < _AT_ONCE:
            part = self._waiting[0]
            for at, record in islice(part.records, _AT_ONCE - len(records)):
                position = at
                records.append(record)
            if len(records) < _AT_ONCE:
                self._waiting.popleft()
                self._waiting_count -= part.count
                self._ended += 1
        return records, position

    def _settle(self, future: asyncio.Future[RecordMetadata], position: Position | None, count: int = 0) -> None:
        self._open -= 1
        if future.cancelled():
            self._fail(ConnectionAbortedError("the progress producer was stopped"))
        elif (error := future.exception()) is not None:
            self._fail(error)
        elif position is not None and self._error is None:
            self.position = position
            self.acknowledged_count += count
        self._check_idle()

    def _check_idle(self) -> None:
        done = not (self._waiting or self._open or self._task is not None)
        if done and self._error is None:
            self.acknowledged_count += self._ended  # what ended without a record after the last batch
            self._ended = 0
        if done or self._error is not None:
            self._idle.set()

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
            self.failed(error)

    def _record(self, record: Encoded) -> Record:
        kind, id, key, traceparent, data = record
        # progress_headers, put together from what it said before: it is called for every transition
        head = self._heads.get(kind)
        if head is None:
            head = self._heads[kind] = [
                header
                for header in progress_headers(Progress(type=kind), self._settings.cluster, self._json)
                if header[0] != "ce_id"
            ]
        if not key:
            return None, data, [*head, ("ce_id", id)]
        headers = [*head, ("ce_id", id), ("ce_subject", key)]
        if traceparent:
            headers.append(("traceparent", traceparent.encode()))
        return key, data, headers


@dataclass(slots=True)
class _Part:
    """What was put together. `count`: about how many records it had."""

    records: Iterator[tuple[Position, Record]]
    count: int
