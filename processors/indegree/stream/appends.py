"""Frames on their way into the log: handed over two at a time, settled in order, judged by their offset.

Nothing of a frame may be seen outside before `settled` is called with it: that is when it is known to be in force.

- **Offset fence.** The base offset of each acknowledged append must be the end that was expected. A gap means that
  somebody else wrote: the gap is read, and a higher announcement in it means that we are fenced; a late frame of an
  older epoch is void for every reader and has only moved the offsets.
- **Unknown outcome.** An append that failed, or that nobody acknowledged in time, may or may not be in the log. It ends
  this ownership: nothing of it or of what follows is settled, the producer is dropped, and the log tells the next one.
- A broker that says "duplicate" gives no offset: we go on only if the record at the expected place is our own.

Acknowledgements are handled in their callbacks, without a task: a hop of a run passes here once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from aiokafka.errors import ProducerFenced
from aiokafka.structs import RecordMetadata

from indegree.engine.core import Effects
from indegree.events.frames import FORMAT, NewerFormat
from indegree.ownership.fencing import Intruder, intruder
from indegree.stream.log import EventLog, LogDamaged, LogReader
from indegree.stream.takeover import Fenced
from indegree.v1.event_pb2 import Frame

IN_FLIGHT = 2


class AppendUnknown(Exception):
    """An append failed or was not acknowledged in time: whether it is in the log, only the log can tell."""


@dataclass(slots=True)
class _Entry:
    future: asyncio.Future[RecordMetadata]
    frame: Frame
    effects: Effects
    sent_at: float


class Appends:
    """Of one ownership. `tail`: the offset at which the next append must land.

    `settled(frame, effects, offset, timestamp_ms, seconds)` is called in order for each frame known to be in force;
    what it raises ends the ownership. `failed(error)` is called once, `gap()` whenever somebody else has written.
    """

    def __init__(
        self,
        log: EventLog,
        epoch: int,
        tail: int,
        reader: Callable[[int], LogReader],
        settled: Callable[[Frame, Effects, int, int, float], None],
        failed: Callable[[BaseException], None],
        gap: Callable[[], None],
        timeout_s: float,
    ) -> None:
        self.tail = tail
        self.error: BaseException | None = None
        self._log, self._epoch, self._reader = log, epoch, reader
        self._settled, self._failed, self._gap, self._timeout_s = settled, failed, gap, timeout_s
        self._inflight: deque[_Entry] = deque()
        self._judging: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    @property
    def room(self) -> bool:
        """Whether a frame can be handed over without waiting."""
        return len(self._inflight) < IN_FLIGHT

    @property
    def expected(self) -> int:
        """The offset at which the next frame handed over will land, if nobody else writes."""
        return self.tail + len(self._inflight)

    async def send(self, frame: Frame, effects: Effects) -> None:
        """Hands a frame over; waits while two are under way. Raises what ended the ownership."""
        await self._until(lambda: self.room)
        try:
            async with asyncio.timeout(self._timeout_s):  # aiokafka would wait longer for a broker that is away
                future = await self._log.send(frame.SerializeToString())
        except TimeoutError:
            raise AppendUnknown(f"a frame could not be handed to Kafka within {self._timeout_s:g} s") from None
        entry = _Entry(future, frame, effects, time.monotonic())
        self._inflight.append(entry)
        entry.future.add_done_callback(self._acknowledged)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(self._timeout_s, self._overdue)

    async def join(self) -> None:
        """Waits until all that was handed over is settled. Raises what ended the ownership."""
        await self._until(lambda: not self._inflight)

    async def _until(self, true: Callable[[], bool]) -> None:
        while self.error is None and not true():
            self._changed.clear()
            await self._changed.wait()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Settles nothing more."""
        self.error = self.error or AppendUnknown("the ownership has ended")
        self._release()

    def _release(self) -> None:
        self._inflight.clear()
        self._changed.set()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._judging is not None and self._judging is not asyncio.current_task():
            self._judging.cancel()

    def _fail(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
            self._release()
            self._failed(error)

    def _overdue(self) -> None:
        self._watch = None
        if not self._inflight or self.error is not None:
            return
        left = self._inflight[0].sent_at + self._timeout_s - time.monotonic()
        if left <= 0:
            self._fail(
                AppendUnknown(f"an append was not acknowledged within {self._timeout_s:g} s (engine.append_timeout_s)")
            )
        else:
            self._watch = asyncio.get_running_loop().call_later(left, self._overdue)

    def _acknowledged(self, future: asyncio.Future[RecordMetadata]) -> None:
        if not future.cancelled():
            future.exception()  # looked at, whatever becomes of it
        if self._judging is None:
            self._settle_ready()

    def _settle_ready(self) -> None:
        try:
            while self.error is None and self._inflight and self._inflight[0].future.done():
                entry = self._inflight[0]
                metadata = self._metadata(entry)
                if metadata.offset != self.tail:
                    self._judging = asyncio.ensure_future(self._judge(entry, metadata))
                    return
                self._settle(entry, metadata, metadata.offset)
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this ownership
            self._fail(error)

    def _metadata(self, entry: _Entry) -> RecordMetadata:
        if entry.future.cancelled():
            raise AppendUnknown("the log's producer was stopped")
        error = entry.future.exception()
        if isinstance(error, ProducerFenced):
            raise Fenced("Kafka refused an append: a newer owner has a higher producer epoch") from error
        if error is not None:
            raise AppendUnknown(f"an append failed: {type(error).__name__}: {error}") from error
        return entry.future.result()

    def _settle(self, entry: _Entry, metadata: RecordMetadata, offset: int) -> None:
        self.tail = offset + 1
        self._inflight.popleft()
        self._changed.set()
        self._settled(entry.frame, entry.effects, offset, metadata.timestamp or -1, time.monotonic() - entry.sent_at)

    async def _judge(self, entry: _Entry, metadata: RecordMetadata) -> None:
        """Somebody else wrote to our log, or the broker does not say where our record is: the log tells."""
        try:
            async with asyncio.timeout(self._timeout_s):
                offset = await self._find(entry, metadata.offset)
            self._settle(entry, metadata, offset)
        except TimeoutError:
            self._fail(AppendUnknown(f"the log could not be read within {self._timeout_s:g} s to judge a gap"))
            return
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this ownership
            self._fail(error)
            return
        self._judging = None
        self._settle_ready()

    async def _find(self, entry: _Entry, offset: int) -> int:
        seen: list[tuple[int, Frame]] = []
        if 0 <= offset < self.tail:
            raise LogDamaged(f"an append landed at offset {offset}, but the log had already reached {self.tail}")
        self._gap()
        async with self._reader(self.tail) as reader:
            stop = offset if offset >= 0 else min(await reader.end(), self.tail + 1)
            await reader.read_until(
                stop, lambda record: seen.append((record.offset, Frame.FromString(record.value or b"")))
            )
        for _, frame in seen:
            if frame.format > FORMAT:
                raise NewerFormat(
                    f"a frame of format {frame.format} stands in the log; this release reads up to {FORMAT}"
                )
            announces = bool(frame.owner) and frame.seq == 0
            if intruder(self._epoch, frame.epoch, announces) is Intruder.FENCED:
                raise Fenced(f"epoch {frame.epoch} of {frame.owner} stands in the log; ours was {self._epoch}")
        if offset >= 0:
            return offset
        if seen and (seen[0][0], seen[0][1]) == (self.tail, entry.frame):
            return self.tail
        raise AppendUnknown("the broker calls an append a duplicate, and it is not at the place where it belongs")
