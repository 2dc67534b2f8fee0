"""Retention: the owner of a partition shortens its logs. Nobody else does, and Kafka never by itself.

Why: a topic of ours has no time limit of its own, since Kafka would delete what a recovery needs, or an input that was
not decided yet. Only the owner knows what that is.

How: rarely (every 10 minutes; more often where the history is kept for minutes), one partition after the other, one
DeleteRecords request each. What goes is what is old (by the broker's time of the event log) **and** not needed:

| topic | below | and older than |
| --- | --- | --- |
| events | the `recover_from` that a frame in force carries | `engine.history_days` |
| progress | the last 100 records | `engine.history_days` |
| payloads | what a live run refers to | the first event that is kept, less an hour |
| triggers, commands, results | where a recovery's oldest frame stands; an unsent dead letter | `engine.inputs_days` |

A log is cut only where a recovery could have begun, at the first frame of a snapshot: so what is left can be replayed
from its first record on. The frame that stood at the end of the log so many days ago names that place. `recover_from`
moves behind acknowledged progress only (snapshots.py), so events below it are on the progress topic already.

A value lies in `payloads` before the record that names it. So what the kept events bring is no older than the first of
them, less the time that a result may have waited and that the writer's clock may be behind; what a live run refers to
is known exactly (`core.oldest_payload`). What a kept snapshot says of a run that has ended since may name an older
value that is gone; and a reference to the payloads of another partition (a sub-workflow's result) is good for as long
as that partition keeps its history.

Where the newest snapshot is older than half of the time that is kept, a new one is asked for, else a quiet partition
would never be shortened.

What it must never do: delete at or behind what the log itself says is needed, whatever we believe about owning it (a
frame that is settled is in force for ever, so an owner that was fenced and does not know it deletes nothing that is
needed); end an ownership because it failed: it says so once and tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError
from mode import Service

from indegree.engine.core import DEAD_LETTER, PartitionCore
from indegree.events import kafka
from indegree.events.kafka import KafkaUnreachable
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.stream.metrics import Metrics
from indegree.v1.event_pb2 import Frame
from indegree.v1.workflow_pb2 import DeadLetter

if TYPE_CHECKING:
    from indegree.stream.partition import Partition

log = logging.getLogger(__name__)

_EVERY_S = 600.0
_LEAST_S = 1.0
_ANSWER_S = 30.0  # of one partition
_DAY_MS = 86_400_000
_KEEP_PROGRESS = 100
"""A new owner looks for the last progress record. The log knows an older position: it would send again what follows."""
_PAYLOADS_MARGIN_MS = 3_600_000
"""A value is written before the result that names it, by a machine with another clock. No more than the history."""


class Retention(Service):
    """`owned()`: the ownerships of now; `valid()`: the lease is proven."""

    mundane_level = "debug"

    def __init__(
        self,
        settings: Settings,
        topics: Topics,
        owned: Callable[[], Sequence[Partition]],
        valid: Callable[[], bool],
        metrics: Metrics,
        **service: object,
    ) -> None:
        super().__init__(**service)  # type: ignore[arg-type]
        self._settings, self._topics, self._owned, self._valid, self._metrics = settings, topics, owned, valid, metrics
        self._history_ms = int(settings.engine.history_days * _DAY_MS)
        self._payloads_margin_ms = min(_PAYLOADS_MARGIN_MS, self._history_ms)
        self._inputs_ms = int(settings.engine.inputs_days * _DAY_MS)
        self._shortest_ms = min(self._history_ms, self._inputs_ms)
        self._said = ""
        self._words = {name: name.rpartition(".")[2] for name in topics.of_work}

    @Service.task
    async def _run(self) -> None:
        every_s = min(_EVERY_S, max(_LEAST_S, self._shortest_ms / 4000))
        while not self.should_stop:
            await self.sleep(every_s)
            try:
                await self._round()
            except Exception as error:  # noqa: BLE001 - nothing that fails here may stop an engine
                self._tell(error)
            else:
                if self._said:
                    log.info("the logs are shortened again")
                    self._said = ""

    def _tell(self, error: Exception) -> None:
        words = f"{type(error).__name__}: {error}"
        if words != self._said:
            self._said = words
            known = isinstance(error, (KafkaError, KafkaUnreachable, OSError, TimeoutError))
            log.warning("the logs were not shortened; tries again: %s", words, exc_info=None if known else error)

    async def _round(self) -> None:
        parts = [part for part in self._owned() if part.serving]
        if not parts or self.should_stop:
            return
        client = kafka.consumer(self._settings)
        admin = AIOKafkaAdminClient(**self._settings.kafka.client(), request_timeout_ms=10_000)
        try:
            await kafka.start(client, self._settings)
            for name in self._topics.of_work:
                await client._client.add_topic(name)
            async with asyncio.timeout(_ANSWER_S):
                await admin.start()
            for part in parts:
                async with asyncio.timeout(_ANSWER_S):
                    await self._shorten(part, client, admin)
        finally:
            for closing in (client.stop(), admin.close()):
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(closing, 2)

    async def _shorten(self, part: Partition, client: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        wanted = await self._wanted(part, client)
        # nobody but the owner; and what the partition says of itself is of now
        if not wanted or not part.serving or not self._valid():
            return
        before = await client.beginning_offsets(list(wanted))
        await admin.delete_records({tp: RecordsToDelete(offset) for tp, offset in wanted.items()})
        for tp, offset in wanted.items():
            self._metrics.records_deleted.labels(self._words[tp.topic]).inc(offset - before[tp])
        words = ", ".join(f"{self._words[tp.topic]} {offset}" for tp, offset in wanted.items())
        log.info("partition %d: deleted what is older than the history, below offset: %s", part.number, words)

    async def _wanted(self, part: Partition, client: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """The first offset that is kept, of each topic where that deletes something."""
        core, snapshots, number = part.core, part.snapshots, part.number
        if core is None or snapshots is None:
            return {}
        now_ms, logged, newest = part.now_ms(), snapshots.logged, snapshots.begin.offset
        letters = _letters(core)
        events = TopicPartition(self._topics.events, number)
        oldest = await self._frame(client, events, newest)
        snapshots.nudge(oldest is not None and oldest.time_ms < now_ms - self._shortest_ms // 2)
        if snapshots.say:
            part.wake()
        keep = {events: min(logged, await self._began(client, events, now_ms - self._history_ms, logged))}
        begin = min(logged, await self._began(client, events, now_ms - self._inputs_ms, logged))
        frame = await self._frame(client, events, begin) if begin else None
        if frame is not None:
            for topic, position in zip(self._topics.inputs, frame.next, strict=False):
                keep[TopicPartition(topic, number)] = min(position, letters.get(self._words[topic], position))
        progress, payloads = (TopicPartition(name, number) for name in (self._topics.progress, self._topics.payloads))
        kept = await self._frame(client, events, keep[events])
        since_ms = min(now_ms - self._history_ms, now_ms if kept is None else kept.time_ms)
        times = {progress: max(0, now_ms - self._history_ms), payloads: max(0, since_ms - self._payloads_margin_ms)}
        found = await client.offsets_for_times(times)
        ends = await client.end_offsets([*keep, *times])
        for tp in times:
            keep[tp] = ends[tp] if found.get(tp) is None else int(found[tp].offset)
        keep[progress] = min(keep[progress], ends[progress] - _KEEP_PROGRESS)
        oldest_payload = core.oldest_payload()  # asked last: a value that is named from now on is younger than the cut
        if oldest_payload is not None:
            keep[payloads] = min(keep[payloads], oldest_payload)
        begins = await client.beginning_offsets(list(keep))
        return {tp: min(offset, ends[tp]) for tp, offset in keep.items() if min(offset, ends[tp]) > begins[tp]}

    async def _began(self, client: AIOKafkaConsumer, events: TopicPartition, time_ms: int, otherwise: int) -> int:
        """Where a recovery as of `time_ms` would have begun; `otherwise` where no frame is younger."""
        found = (await client.offsets_for_times({events: max(0, time_ms)})).get(events)
        if found is None:
            return otherwise
        frame = await self._frame(client, events, found.offset)
        return int(frame.recover_from.offset) if frame is not None else 0

    async def _frame(self, client: AIOKafkaConsumer, events: TopicPartition, offset: int) -> Frame | None:
        """The frame at or behind an offset, None where there is none. Raises DecodeError, TimeoutError."""
        if offset >= (await client.end_offsets([events]))[events]:
            return None
        await kafka.assign(client, {events: offset})
        async with asyncio.timeout(_ANSWER_S):
            while True:
                records = (await client.getmany(timeout_ms=500, max_records=1)).get(events, ())
                if records:
                    return Frame.FromString(records[0].value or b"")


def _letters(core: PartitionCore) -> dict[str, int]:
    """Short topic name to the lowest offset whose dead letter is not acknowledged: its bytes are read again."""
    found: dict[str, int] = {}
    for entry in core.state.outbox.get(DEAD_LETTER, {}).values():
        letter = DeadLetter.FromString(entry.data)
        if letter.foreign:  # a user's topic is not ours to shorten
            continue
        found[letter.topic] = min(letter.offset, found.get(letter.topic, letter.offset))
    return found
