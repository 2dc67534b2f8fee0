"""Taking over a partition: read its log, fence, announce, read back. Safety lives here and in partition.py.

The order matters:

1. find where to begin: the newest frames say it (`recover_from`); what they say is checked once the log has been
judged;
2. read the log to its end, and go on reading while the earlier owner has not let go (warm);
3. once granted and the lease is proven: InitProducerId, then an announcement with an epoch above every epoch seen, in
   force or void. That append is the write that fences;
4. read up to the log's end. Ours is the announcement in force: the partition is owned. A newer one stands behind it:
   fenced. Ours is void, because its epoch was taken before it: announce again, higher.

The log is the judge, not etcd: without a grant nothing is announced, and a grant alone owns nothing.
An append whose outcome is not known ends the attempt: the next one reads the log, which knows.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from google.protobuf.message import DecodeError

from indegree.engine.core import PartitionCore
from indegree.events.frames import FORMAT, InForce, Verdict
from indegree.events.settings import Settings
from indegree.ownership import fencing
from indegree.ownership.grant import Grant
from indegree.stream import plans
from indegree.stream.clock import OwnerClock
from indegree.stream.log import EventLog, LogDamaged, LogReader
from indegree.stream.progress import NOWHERE, Position, position_of
from indegree.v1.event_pb2 import Event, Frame, RecoverFrom
from indegree.v1.progress_pb2 import Progress

log = logging.getLogger(__name__)

_TAIL = 4  # frames at the end that are asked where to begin
_RECORDED = bytes([Event.KIND_FIELD_NUMBER << 3, Event.DEFINITION_RECORDED])
"""Stands in each frame that holds such an event (and in some others): most frames need no look at their events."""
_WARM_S = 0.05  # how often the tail is read while the earlier owner still holds the partition


class Fenced(Exception):
    """Somebody else owns the partition, or nobody may say that we do. Only etcd gives it back."""


class LogShortened(Exception):
    """The owner shortened the log while we read it. The next recovery begins where the log says now, and judges."""


class GivenAway(Exception):
    """The grant ended before the partition was owned."""


@dataclass(slots=True)
class Recovery:
    """What replaying a log gave. `core`: the state after the last frame in force."""

    core: PartitionCore
    rule: InForce
    begin: RecoverFrom
    frames: int = 0
    events: int = 0  # in force
    highest_epoch: int = 0
    closed: bool = False  # the last frame in force closes a graceful handover
    acknowledged: Position = NOWHERE  # the newest progress position that a frame in force names
    last: Frame | None = None  # the last frame in force or announcement in force
    newest: fencing.Announcement | None = None  # in force, of those that were read
    unsent: deque[tuple[Position, list[Progress]]] = field(default_factory=deque)  # of frames above `acknowledged`

    def use(self, record: object) -> Awaitable[None] | None:
        """The next record of the log. What it returns, if anything, is the rest of the work, to be awaited first."""
        try:
            frame = Frame.FromString(record.value)  # type: ignore[attr-defined]
        except (DecodeError, TypeError):
            raise LogDamaged(f"the record at offset {record.offset} of the event log is no frame") from None  # type: ignore[attr-defined]
        if _RECORDED in record.value and (large := list(self._large(frame))):  # type: ignore[attr-defined]
            return self._prepared(frame, record.offset, large)  # type: ignore[attr-defined]
        self._replay(frame, record.offset)  # type: ignore[attr-defined]
        return None

    def _large(self, frame: Frame) -> Iterator[tuple[str, bytes]]:
        """Definitions of which this frame has the last part, and that are too large to be read on the loop."""
        known = {version: list(parts) for version, parts in self.core.state.parts.items()}
        for event in frame.events:
            if event.kind != Event.DEFINITION_RECORDED:
                continue
            parts = known.setdefault(event.version, [])
            if event.part == 0:
                parts.clear()
            parts.append(event.data)
            if len(parts) == event.parts and sum(map(len, parts)) > plans.LARGE:
                yield event.version, b"".join(parts)

    async def _prepared(self, frame: Frame, offset: int, large: list[tuple[str, bytes]]) -> None:
        for version, packed in large:
            await plans.prepare(version, packed)
        self._replay(frame, offset)

    def _replay(self, frame: Frame, offset: int) -> None:
        self.frames += 1
        self.highest_epoch = max(self.highest_epoch, frame.epoch)
        verdict = self.rule.judge(frame)
        if verdict is Verdict.VOID:
            return
        self.last = frame
        self.closed = frame.closed
        if frame.HasField("progress"):
            self._acknowledge(position_of(frame.progress))
        if verdict is Verdict.ANNOUNCEMENT:
            self.newest = fencing.Announcement(frame.epoch, frame.takeover_id.hex(), frame.owner, offset)
            self.core.replay(frame)
        else:
            self.events += len(frame.events)
            position = (frame.epoch, frame.seq, 0)
            if position[:2] < self.acknowledged[:2]:
                self.core.replay(frame)
                return
            records: list[Progress] = []
            self.core.replay(frame, records)
            if records:
                self.unsent.append((position, records))

    def _acknowledge(self, position: Position) -> None:
        if position > self.acknowledged:
            self.acknowledged = position
            while self.unsent and self.unsent[0][0][:2] < position[:2]:
                self.unsent.popleft()

    def unsent_after(self, position: Position) -> list[Progress]:
        """The progress records of the log that stand behind `position`, in order."""
        return [p for _, records in self.unsent for p in records if position_of(p.log) > position]


@dataclass(slots=True)
class Owned:
    """A partition that is ours by its log."""

    recovery: Recovery
    log: EventLog
    clock: OwnerClock
    epoch: int
    tail: int  # the offset at which our next append must land
    takeover_id: str
    silent_ms: float  # from the grant to owning it
    inputs: list[tuple[int, int]]  # first offset and end of each input, after that


async def take_over(
    settings: Settings,
    topic: str,
    number: int,
    grant: Grant,
    valid: Callable[[], bool],
    warm: Callable[[], None],
    new_core: Callable[[], PartitionCore],
    owner: str,
    inputs: Sequence[str],
) -> Owned:
    """Blocks until the partition is owned. The returned log's producer is the caller's to abandon.

    Raises GivenAway, Fenced, LogDamaged, NewerFormat, KafkaUnreachable, and what an append raises.
    """
    event_log = EventLog(settings, topic, number)
    event_log.connect()
    try:
        return await _take_over(settings, event_log, grant, valid, warm, new_core, owner, inputs)
    except BaseException:
        await asyncio.shield(event_log.abandon())
        raise


async def _take_over(
    settings: Settings,
    event_log: EventLog,
    grant: Grant,
    valid: Callable[[], bool],
    warm: Callable[[], None],
    new_core: Callable[[], PartitionCore],
    owner: str,
    inputs: Sequence[str],
) -> Owned:
    number = event_log.partition
    async with LogReader(settings, event_log.topic, number, others=inputs) as reader:
        recovery = await _replay(reader, new_core)
        warm()
        while not grant.granted.is_set():
            try:
                async with asyncio.timeout(_WARM_S):
                    await grant.decided()
            except TimeoutError:
                pass
            if grant.revoked:
                raise GivenAway(f"partition {number}: {grant.ending}")
            await _read(reader, recovery, await reader.end())
        since = time.monotonic()
        timeout_s = settings.engine.append_timeout_s
        owned = await _announce(reader, recovery, event_log, grant, valid, owner, since, timeout_s)
        owned.inputs = await reader.bounds_of([TopicPartition(topic, number) for topic in inputs])
        return owned


async def _replay(reader: LogReader, new_core: Callable[[], PartitionCore]) -> Recovery:
    """Reads the log from where its newest frames in force say, to its end."""
    begin, end = await reader.bounds()
    if begin and begin == end:
        raise LogDamaged(
            f"{reader.tp.topic} partition {reader.tp.partition} is empty but begins at {begin}: its frames were "
            "deleted; restore the topic, or make it anew together with the inputs"
        )
    start = await _where_to_begin(reader, begin, end)
    while True:
        if start.offset < begin:
            raise LogDamaged(
                f"{reader.tp.topic} partition {reader.tp.partition} begins at {begin}, but a recovery has to begin at "
                f"{start.offset}: frames that are needed were deleted"
            )
        recovery = Recovery(new_core(), InForce(epoch=start.epoch, seq=start.seq), start, highest_epoch=start.epoch)
        reader.seek(start.offset)
        await _read(reader, recovery, end)
        last = recovery.last
        said = last.recover_from if last is not None and last.HasField("recover_from") else RecoverFrom()
        if start.offset <= said.offset or not start.offset:
            return recovery
        start = said  # a void frame had pointed too far ahead


async def _where_to_begin(reader: LogReader, begin: int, end: int) -> RecoverFrom:
    """What the newest frame says that has not been overtaken by retention; what it says is checked afterwards.

    A late frame of an earlier owner may stand at the end and name a place that is deleted: those before it tell.
    """
    found: list[RecoverFrom] = []

    def use(record: object) -> None:
        try:
            frame = Frame.FromString(record.value)  # type: ignore[attr-defined]
        except (DecodeError, TypeError):
            return
        if frame.HasField("recover_from"):
            found.append(frame.recover_from)

    start, back = end, _TAIL
    while start > begin:
        stop, start, back = start, max(begin, end - back), back * 8
        found.clear()
        reader.seek(start)
        await reader.read_until(stop, use)
        for said in reversed(found):
            if said.offset >= begin:
                return said
    return RecoverFrom(offset=0)


async def _read(reader: LogReader, recovery: Recovery, stop: int) -> None:
    try:
        await reader.read_until(stop, recovery.use)
    except OffsetOutOfRangeError as error:
        at, (begin, _) = reader.at, await reader.bounds()
        if at < begin:
            raise LogShortened(
                f"{reader.tp.topic} partition {reader.tp.partition} was shortened to {begin} while it was read at {at}"
            ) from error
        raise LogDamaged(
            f"{reader.tp.topic} partition {reader.tp.partition} has nothing at offset {at}: {error}"
        ) from error


async def _announce(
    reader: LogReader,
    recovery: Recovery,
    event_log: EventLog,
    grant: Grant,
    valid: Callable[[], bool],
    owner: str,
    since: float,
    timeout_s: float,
) -> Owned:
    clock = OwnerClock()
    await event_log.fence()
    while True:
        await _read(reader, recovery, await reader.end())
        if grant.revoked:
            raise GivenAway(f"partition {reader.tp.partition}: {grant.ending}")
        if not valid():
            raise Fenced("the lease is not proven")
        clock.not_before(recovery.core.state.time_ms)
        takeover_id = os.urandom(16)
        epoch = fencing.next_epoch(max(recovery.highest_epoch, recovery.core.state.epoch))
        closed = recovery.closed
        frame = _announcement(recovery, epoch, owner, takeover_id, clock.now_ms())
        async with asyncio.timeout(timeout_s):
            metadata = await (await event_log.send(frame.SerializeToString()))
        clock.acknowledged(metadata.timestamp)
        await _read(reader, recovery, max(await reader.end(), metadata.offset + 1))
        mine = fencing.Announcement(epoch, takeover_id.hex(), owner, metadata.offset)
        match fencing.verdict(mine, recovery.newest):
            case fencing.Verdict.WON:
                recovery.closed = closed
                silent_ms = (time.monotonic() - since) * 1000
                return Owned(recovery, event_log, clock, epoch, reader.at, mine.takeover_id, silent_ms, [])
            case fencing.Verdict.LOST:
                raise Fenced(f"epoch {recovery.rule.epoch} of {recovery.rule.owner} stands behind our epoch {epoch}")
            case fencing.Verdict.AGAIN:
                log.info(
                    "partition %d: epoch %d was taken by %s; announces again",
                    reader.tp.partition,
                    epoch,
                    recovery.rule.owner,
                )


def _announcement(recovery: Recovery, epoch: int, owner: str, takeover_id: bytes, time_ms: int) -> Frame:
    """The first record of an epoch. It repeats what a recovery needs to know from the newest frame."""
    frame = Frame(format=FORMAT, epoch=epoch, owner=owner, takeover_id=takeover_id, time_ms=time_ms)
    frame.next.extend(recovery.core.state.next)
    last = recovery.last
    if last is not None and last.HasField("recover_from"):
        recovery.begin = last.recover_from  # it may have moved since we began to read
    frame.recover_from.CopyFrom(recovery.begin)
    if recovery.acknowledged != NOWHERE:
        frame.progress.epoch, frame.progress.seq, frame.progress.index = recovery.acknowledged
    return frame


__all__ = ["Fenced", "GivenAway", "LogShortened", "Owned", "Recovery", "take_over"]
