"""A run that has ended, read back from its partition's log, for a command that has it begin again.

Why: only live runs are in memory. What a rerun needs of one that has ended stands in the log, as long as the history is
kept.

How: the run's id begins with its time, so reading begins where a recovery of then would have begun: the frame of that
time says where that is. It ends with the frames of the time when the run ended. Where the run's id lies about its time
the log is read once more from its head. The frames are taken apart in a thread (engine/past.py); the partition waits
meanwhile, with this command, as it does for a definition that is not known yet.

It must never write, and never give half a run: what cannot be found whole is a problem that is told.
"""

from __future__ import annotations

import asyncio
from functools import partial

from aiokafka.errors import OffsetOutOfRangeError

from indegree.engine.past import Past, Reopened
from indegree.events.frames import InForce, Verdict
from indegree.events.run_ids import InvalidId, time_of_run
from indegree.events.settings import Settings
from indegree.stream.log import LogReader
from indegree.v1.event_pb2 import Event, Frame

_LONGEST_S = 60.0
"""The partition decides nothing meanwhile."""
_RECORDS = 500
"""That are taken apart at a time."""
_EARLIER_MS = 60_000
"""A client's clock may be ahead of the log's."""

_Start = tuple[int, InForce]
"""Where reading begins, and the rule's state there."""


async def read_back(settings: Settings, topic: str, partition: int, run_id: str, ended_ms: int) -> Reopened:
    """The run as it was when it ended, or why it cannot be had. `ended_ms`: the owner's time of that.

    Blocks for at most 60 s. Everything up to that time must have been acknowledged. Raises KafkaUnreachable.
    """
    try:
        async with asyncio.timeout(_LONGEST_S), LogReader(settings, topic, partition) as reader:
            return await _read_back(reader, run_id, ended_ms, settings.engine.history_days)
    except TimeoutError:
        problem = f"its events could not be read back within {_LONGEST_S:g} s; start the workflow anew instead"
    except OffsetOutOfRangeError:
        problem = "its events are being deleted, since the history is kept for a time only; start the workflow anew"
    return Reopened(run_id, problem=problem)


async def _read_back(reader: LogReader, run_id: str, ended_ms: int, days: float) -> Reopened:
    begin, end = await reader.bounds()
    for offset, rule in [
        s for s in (await _at_its_time(reader, begin, end, run_id), await _head(reader, begin, end)) if s
    ]:
        past = Past(run_id)
        reader.seek(offset)
        while reader.at < end:
            values: list[bytes] = []
            await reader.read_until(min(end, reader.at + _RECORDS), lambda record, to=values: to.append(record.value))  # type: ignore[misc]
            work = partial(_use, past, rule, ended_ms, values)
            if await asyncio.get_running_loop().run_in_executor(None, work):
                break
        if past.run is not None and past.ended_ms == ended_ms:
            return Reopened(run_id, past.run)
    problem = (
        f"the events of the run are not on the log any more: the history is kept for {days:g} days "
        "(engine.history_days); start the workflow anew"
    )
    return Reopened(run_id, problem=problem)


def _use(past: Past, rule: InForce, ended_ms: int, values: list[bytes]) -> bool:
    """True: what follows is younger than the run's end."""
    for value in values:
        frame = Frame.FromString(value)
        if rule.judge(frame) is Verdict.IN_FORCE:
            if frame.time_ms > ended_ms:
                return True
            past.use(frame)
    return False


async def _at_its_time(reader: LogReader, begin: int, end: int, run_id: str) -> _Start | None:
    """Where a recovery as of the run's start would have begun."""
    try:
        offset = await reader.offset_at(time_of_run(run_id) - _EARLIER_MS)
    except InvalidId:
        return None
    frame = await _frame(reader, max(begin, min(offset, end - 1)), end)
    if frame is None or not frame.HasField("recover_from") or frame.recover_from.offset < begin:
        return None
    start = frame.recover_from
    return start.offset, InForce(epoch=start.epoch, seq=start.seq)


async def _head(reader: LogReader, begin: int, end: int) -> _Start | None:
    """The log's head, where a recovery may begin: its first record of all, or the mark of a snapshot."""
    if not begin:
        return 0, InForce()
    frame = await _frame(reader, begin, end)
    if frame is None or not frame.events:
        return None
    first = frame.events[0]
    if first.kind != Event.SNAPSHOT or first.state != "begin":
        return None
    return begin, InForce(epoch=frame.epoch, seq=frame.seq - 1)


async def _frame(reader: LogReader, offset: int, end: int) -> Frame | None:
    """The frame at an offset; None where there is none."""
    found: list[Frame] = []
    if offset < end:
        reader.seek(offset)
        await reader.read_until(offset + 1, lambda record: found.append(Frame.FromString(record.value)))
    return found[0] if found else None
