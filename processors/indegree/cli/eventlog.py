"""Reads a partition's event log from the outside: frames in force, from any time.

Why: `logs`, `replay` and `backfill --wait` look into the past without owning anything, and whether a frame counts is
not for them to guess.

How: each frame names the offset, epoch and seq where a recovery may begin (`recover_from`). So a reader that wants to
begin in the middle looks at the frame there and begins at what that frame names. `frames.InForce` judges each frame.
Retention cuts a log at the first frame of a snapshot, where a recovery may begin too; nobody needs to name that one.

It must never read `events` in any other way, and never write.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from indegree.events import kafka, run_ids
from indegree.events.frames import InForce, Verdict
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.sdk.client_errors import ClientError, RunNotFound
from indegree.sdk.client_reading import Stretch, open_reader, stretches
from indegree.v1.event_pb2 import Event, Frame

from .output import moment

_TIMES = 3  # that reading is begun anew because retention was faster


@dataclass(frozen=True, slots=True)
class Read:
    """One record of the log. `verdict`: whether it counts."""

    offset: int
    frame: Frame
    verdict: Verdict


async def read_log(
    settings: Settings, partition: int, *, time_ms: int | None = None, void: bool = False
) -> AsyncIterator[Read]:
    """The frames in force and the announcements (with `void` all frames) up to the end as of now.

    Begins where a recovery as of `time_ms` would have begun; None: at the log's start, or where it was shortened to.
    Raises ClientError where its owner shortens the log faster than we read it.
    """
    for again in range(_TIMES):
        begun = False
        try:
            async for read in _read_log(settings, partition, time_ms, void):
                begun = True
                yield read
            return
        except OffsetOutOfRangeError:
            if begun or again == _TIMES - 1:
                raise ClientError(
                    f"the event log of partition {partition} was shortened while it was read; try again"
                ) from None


async def _read_log(settings: Settings, partition: int, time_ms: int | None, void: bool) -> AsyncIterator[Read]:
    topic = Topics(settings.cluster).events
    reader, _ = await open_reader(settings, topic, max_poll_records=2_000)
    try:
        [there] = await stretches(reader, topic, [partition], time_ms=time_ms)
        offset, rule = await _beginning(reader, TopicPartition(topic, partition), there)
        tp = TopicPartition(topic, partition)
        await kafka.assign(reader, {tp: offset})
        async for _, records in kafka.read_range(reader, {tp: there.end}):
            for record in records:
                frame = Frame.FromString(record.value or b"")
                verdict = rule.judge(frame)
                if void or verdict is not Verdict.VOID:
                    yield Read(record.offset, frame, verdict)
    finally:
        await reader.stop()


async def _beginning(reader: AIOKafkaConsumer, tp: TopicPartition, there: Stretch) -> tuple[int, InForce]:
    """The offset to begin at, and the rule's state there."""
    if there.first == there.end:
        return there.first, InForce()
    cut = await _where_it_was_cut(reader, tp, there) if there.first else None
    for look_at in (min(there.begin, there.end - 1), there.end - 1):
        if look_at <= there.first == 0:
            return 0, InForce()
        frame = await _frame_at(reader, tp, look_at, there.end)
        if frame is not None and frame.HasField("recover_from") and frame.recover_from.offset >= there.first:
            start = frame.recover_from
            return start.offset, InForce(epoch=start.epoch, seq=start.seq)
        if cut is not None:
            return there.first, cut
    return there.first, InForce()


async def _where_it_was_cut(reader: AIOKafkaConsumer, tp: TopicPartition, there: Stretch) -> InForce | None:
    """The rule's state at the head of a log that retention has shortened; None: something else begins there."""
    await kafka.assign(reader, {tp: there.first})
    async for _, records in kafka.read_range(reader, {tp: there.end}):
        for record in records:
            frame = Frame.FromString(record.value or b"")
            if record.offset == there.first and frame.events and frame.events[0].kind == Event.SNAPSHOT:
                return InForce(epoch=frame.epoch, seq=frame.seq - 1) if frame.events[0].state == "begin" else None
            return None
    return None


async def not_on_the_log(settings: Settings, run_id: str) -> RunNotFound:
    """What to say of a run whose start the event log does not hold."""
    partition = run_ids.partition_of_run(run_id)
    begins_ms = 0
    async for read in read_log(settings, partition):
        begins_ms = read.frame.time_ms if read.offset else 0
        break
    if run_ids.time_of_run(run_id) <= begins_ms:
        return RunNotFound(
            f"the start of run {run_id!r} is not on the event log of partition {partition} any more: what was written "
            f"before {moment(begins_ms)} was deleted, since the history is kept for {_days(settings)} "
            "(engine.history_days)"
        )
    return RunNotFound(
        f"the start of run {run_id!r} is not on the event log of partition {partition}: check the id and the cluster's "
        "name (`indegree runs` lists runs)"
    )


def _days(settings: Settings) -> str:
    return f"{settings.engine.history_days:g} days"


async def _frame_at(reader: AIOKafkaConsumer, tp: TopicPartition, offset: int, end: int) -> Frame | None:
    await kafka.assign(reader, {tp: offset})
    async for _, records in kafka.read_range(reader, {tp: end}):
        for record in records:
            frame = Frame.FromString(record.value or b"")
            if frame.HasField("recover_from"):
                return frame
    return None
