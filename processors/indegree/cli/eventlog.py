"""Reads a partition's event log from the outside: frames in force, from any time.

Why: `logs`, `replay` and `workflow rollback` look into the past without owning anything, and whether a frame counts is
not for them to guess.

How: each frame names the offset, epoch and seq where a recovery may begin (`recover_from`). So a reader that wants to
begin in the middle looks at the frame there and begins at what that frame names. `frames.InForce` judges each frame.

It must never read `events` in any other way, and never write.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from indegree.events import kafka
from indegree.events.frames import InForce, Verdict
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.sdk.client_reading import Stretch, open_reader, stretches
from indegree.v1.event_pb2 import Frame


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
    """
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
    for look_at in (min(there.begin, there.end - 1), there.end - 1):
        if look_at <= there.first == 0:
            return 0, InForce()
        frame = await _frame_at(reader, tp, look_at, there.end)
        if frame is not None and frame.HasField("recover_from") and frame.recover_from.offset >= there.first:
            start = frame.recover_from
            return start.offset, InForce(epoch=start.epoch, seq=start.seq)
    return there.first, InForce()


async def _frame_at(reader: AIOKafkaConsumer, tp: TopicPartition, offset: int, end: int) -> Frame | None:
    await kafka.assign(reader, {tp: offset})
    async for _, records in kafka.read_range(reader, {tp: end}):
        for record in records:
            frame = Frame.FromString(record.value or b"")
            if frame.HasField("recover_from"):
                return frame
    return None
