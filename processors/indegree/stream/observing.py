"""What tasks wait for elsewhere: records of users' topics, and ends of other runs (`wait_for: {kafka}`, `{run}`).

Why: a task that waits for a record holds no slot and no process, so the engine reads for it; and a topic that a
thousand tasks wait for is read once.

How: each topic that a task of a served partition waits for is read, all its partitions, from the time at which the
oldest of those waits began. When a wait begins on a topic that is read already, it is read once more from that moment,
since what came between its beginning and our hearing of it may have been read before. After a takeover all is read from
the beginning of the waits: whatever was observed twice ends nothing twice. Ends of runs lie on the cluster's own
progress topic.

No positions are kept: a wait is over with its first record. It must never decide whether a record is what a task waits
for; that is the core's part (engine/waiting.py).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka import TopicPartition
from mode import Service

from indegree.engine.intake import Taken
from indegree.engine.waiting import Observed
from indegree.events import json_values, kafka
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.stream.decoders import Decoders, DecoderUnusable
from indegree.stream.feed import Feed
from indegree.stream.offers import Offers
from indegree.stream.taken import Taker, progress_taken
from indegree.v1.trigger_pb2 import Origin

log = logging.getLogger(__name__)

_LOOK_S = 0.1
_RETRY_S = 1.0
_COUNTS_S = 2.0
_FETCH_MS = 100
_ENDS = frozenset({b"indegree.run.success", b"indegree.run.failed", b"indegree.run.cancelled"})

_Name = tuple[str, str]
"""kind ("kafka" or "run") and label (the topic, or the workflow)."""


class Observing(Service):
    """`owned()`: the partitions that this engine serves."""

    mundane_level = "debug"

    def __init__(self, settings: Settings, owned: Callable[[], Mapping[int, Offers]], **service: Any) -> None:
        super().__init__(**service)
        self._settings, self._owned = settings, owned
        self._progress = Topics(settings.cluster).progress
        self._decoders = Decoders(settings.triggers.decoders)
        self._taker = Taker(self._decoders, "")
        self._feed: Feed | None = None
        self._known: dict[tuple[Offers, _Name], tuple[int, int]] = {}  # when the newest wait began, how many there are
        self._read_from: dict[str, int] = {}  # topic -> the earliest time it is still to be read from, until it is
        self._partitions: dict[str, int] = {}  # topic -> how many of its partitions are read
        self._counted_at = float("-inf")

    @Service.task
    async def _run(self) -> None:
        while not self.should_stop:
            try:
                await self._serve()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # Kafka away, or a decoder that is missing: tries again
                known = isinstance(error, (DecoderUnusable, kafka.KafkaUnreachable, TimeoutError, OSError))
                log.warning(
                    "observing topics pauses: %s: %s", type(error).__name__, error, exc_info=None if known else error
                )
            finally:
                await self._end()
            await self.sleep(_RETRY_S)
        self._decoders.close()

    async def _end(self) -> None:
        feed, self._feed = self._feed, None
        self._known.clear()
        self._read_from.clear()
        self._partitions.clear()
        if feed is not None:
            await feed.stop()

    async def _serve(self) -> None:
        while not self.should_stop:
            wanted = self._look()
            if not wanted:
                if self._feed is not None:
                    await self._end()
                await self.sleep(_LOOK_S)
                continue
            if self._feed is None:
                self._feed = await Feed.opened(self._settings)
            await self._arrange(self._feed, wanted)
            if self._feed.assigned:
                await self._read(self._feed)
            else:
                await self.sleep(_LOOK_S)

    # -- what to read

    def _look(self) -> set[str]:
        """The topics that somebody waits for; notes from when on they have to be read again."""
        wanted: set[str] = set()
        known: dict[tuple[Offers, _Name], tuple[int, int]] = {}
        for offers in self._owned().values():
            for name, waits in offers.core.state.awaited.items():
                topic = name[1] if name[0] == "kafka" else self._progress
                wanted.add(topic)
                before = self._known.get((offers, name))
                if before is None:
                    newest = max(wait.since_ms for wait in waits)
                    since = min(wait.since_ms for wait in waits)
                else:
                    newest, since = next(reversed(waits)).since_ms, before[0]  # the last one began last
                known[offers, name] = max(newest, before[0] if before is not None else 0), len(waits)
                if before is None or newest > before[0] or (newest == before[0] and len(waits) > before[1]):
                    self._read_from[topic] = min(since, self._read_from.get(topic, since))
        self._known = known
        return wanted

    async def _arrange(self, feed: Feed, wanted: set[str]) -> None:
        now = time.monotonic()
        if now > self._counted_at + _COUNTS_S or wanted - self._partitions.keys():
            counts, self._counted_at = await feed.counts(wanted), now
        else:
            counts = {topic: self._partitions[topic] for topic in wanted}
        end = [tp for tp in feed.assigned if tp.topic not in wanted]
        times: dict[TopicPartition, int] = {}
        fresh: list[TopicPartition] = []
        for topic in wanted:
            tps = [TopicPartition(topic, k) for k in range(counts[topic])]
            if topic in self._read_from and tps:
                times |= dict.fromkeys(tps, self._read_from.pop(topic))
            fresh += tps[self._partitions.get(topic, 0) :]  # a topic that grew, or has come to be: from its beginning
        fresh = [tp for tp in fresh if tp not in times and tp not in feed.assigned]
        self._partitions = counts
        begin = await feed.at(times) if times else {}
        if fresh:
            begin |= await feed.begins(fresh)
        gone = [tp for tp in feed.gone if tp not in begin and tp.topic in wanted]
        if gone:  # deleted while it was read: what is left is what there is to observe
            begin |= await feed.begins(gone)
        if begin or end:
            await feed.change(begin, end)

    # -- what is read

    async def _read(self, feed: Feed) -> None:
        owned = self._owned()
        full = any(not offers.hearing for offers in owned.values())
        for tp in list(feed.assigned):
            feed.hold(tp, full)
        for tp, _, records in await feed.fetch(_FETCH_MS):
            waited = [offers for offers in owned.values() if ("kafka", tp.topic) in offers.core.state.awaited]
            if waited:
                for taken in await self._taker.take(tp, records):
                    self._tell(tp, taken, waited)
            if tp.topic == self._progress:
                for record in records:
                    self._tell_end(tp, record, owned)

    def _tell(self, tp: TopicPartition, taken: Taken, waited: list[Offers]) -> None:
        if taken.data is None:
            return
        try:
            value = json_values.loads(taken.data)
        except json_values.JsonValueError:
            return  # no value that a filter could be asked about
        key = taken.key.decode("utf-8", "replace") if taken.key else None
        seen = Observed("kafka", tp.topic, taken.timestamp_ms, value, key, dict(taken.headers), _origin(tp, taken))
        for offers in waited:
            offers.observed(seen)

    def _tell_end(self, tp: TopicPartition, record: Any, owned: Mapping[int, Offers]) -> None:
        taken = progress_taken(tp, record, _ENDS)
        if taken.data is None:
            return
        value = json.loads(taken.data)
        workflow = value.get("workflow", "")
        for offers in owned.values():
            if ("run", workflow) in offers.core.state.awaited:
                offers.observed(Observed("run", workflow, taken.timestamp_ms, value, origin=_origin(tp, taken)))


def _origin(tp: TopicPartition, taken: Taken) -> Origin:
    return Origin(
        topic=tp.topic,
        partition=tp.partition,
        offset=taken.offset,
        timestamp_ms=max(0, taken.timestamp_ms),
        key=taken.key[:1_024],
        traceparent=taken.traceparent,
    )
