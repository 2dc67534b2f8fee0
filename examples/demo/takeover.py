"""What the topics say about a takeover: owners, epochs, silence, attempts sent again, stale results."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from indegree.events import kafka
from indegree.events.frames import InForce, Verdict
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.events.trace import trace_id
from indegree.v1.event_pb2 import Event, Frame
from indegree.v1.task_pb2 import Task, Worker


@dataclass(slots=True)
class Takeover:
    """Of one partition. `owners`: (epoch, owner, when the broker took its announcement in ms since the epoch)."""

    owners: list[tuple[int, str, int]] = field(default_factory=list)
    # Trace id of each run that began here.
    traces: dict[str, str] = field(default_factory=dict)
    stale: int = 0
    void: int = 0
    again: int = 0

    def silence_ms(self, killed_ms: int) -> int:
        """From the kill to the new owner's announcement."""
        return next((at - killed_ms for _, _, at in self.owners if at > killed_ms), -1)


async def read(settings: Settings, partition: int) -> Takeover:
    """Reads the event log of one partition and the task topic. Blocks until their present ends."""
    out = await _read_log(settings, partition)
    out.again = await _sent_again(settings, partition)
    return out


async def owners(settings: Settings, partition: int) -> list[tuple[int, str, int]]:
    """The owners of a partition so far, by its log, as in `Takeover`."""
    return (await _read_log(settings, partition)).owners


async def _read_log(settings: Settings, partition: int) -> Takeover:
    out, rule = Takeover(), InForce()
    tp = TopicPartition(Topics(settings.cluster).events, partition)
    async with kafka.reading(settings, {tp: 0}) as reader:
        async for _, records in kafka.read_range(reader, await reader.end_offsets([tp])):
            for record in records:
                frame = Frame.FromString(record.value or b"")
                match rule.judge(frame):
                    case Verdict.ANNOUNCEMENT:
                        out.owners.append((frame.epoch, frame.owner, record.timestamp))
                    case Verdict.IN_FORCE:
                        for event in frame.events:
                            out.stale += event.kind == Event.RESULT_STALE
                            if event.kind == Event.RUN_STARTED:
                                out.traces[event.run_id] = trace_id(event.traceparent)
                    case Verdict.VOID:
                        out.void += 1
    return out


async def _sent_again(settings: Settings, partition: int) -> int:
    sent: Counter[tuple[str, int, int, int]] = Counter()
    queue = Topics(settings.cluster).tasks("default")
    async with kafka.reading(settings, {}) as reader:
        count = await kafka.partition_count(reader, queue)
    positions = {TopicPartition(queue, p): 0 for p in range(count)}
    async with kafka.reading(settings, positions) as reader:
        async for _, records in kafka.read_range(reader, await reader.end_offsets(list(positions))):
            for record in records:
                task = Task.FromString(record.value or b"")
                if task.partition == partition:
                    sent[task.run_id, task.task, task.generation, task.attempt] += 1
    return sum(times - 1 for times in sent.values())


async def workers(settings: Settings) -> int:
    """How many workers have announced themselves and not left."""
    tp = TopicPartition(Topics(settings.cluster).workers, 0)
    there: dict[bytes | None, bool] = {}
    async with kafka.reading(settings, {tp: 0}, auto_offset_reset="earliest") as reader:
        async for _, records in kafka.read_range(reader, await reader.end_offsets([tp])):
            for record in records:
                there[record.key] = bool(record.value) and not Worker.FromString(record.value or b"").draining
    return sum(there.values())


def owner(settings: Settings, partition: int) -> str:
    """Who owns the partition by its log, empty if nobody has yet."""
    found = asyncio.run(owners(settings, partition))
    return found[-1][1] if found else ""
