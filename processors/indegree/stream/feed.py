"""Reads partitions of users' topics, which come and go, with one plain consumer.

Why: users' topics are no inputs of Faust's: they are read for whoever owns the partition that an intake belongs to, or
whose tasks wait for their records.

How: `change` assigns another set; those that stay go on where they stood. `fetch` gives out records together with the
offset behind what was given out before, so that whoever takes them can see that nothing is missing. Committed records
only: what a producer's transaction has taken back was never said.

It must never pass over a record that is there: what cannot be taken apart is given out as `Unreadable`, and what cannot
be read here stops its topic-partition (`broken`) and no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from indegree.events import kafka
from indegree.events.fetcher import Fetcher, damaged
from indegree.events.settings import Settings
from indegree.stream.transport import UNREADABLE_TIMES, Unreadable

log = logging.getLogger(__name__)

_ANSWER_S = 10.0
_MOST = 1_000  # records of one fetch


class Feed:
    """`broken`: topic-partition to why it is read no further; `gone`: those whose position Kafka does not have."""

    def __init__(self, settings: Settings) -> None:
        options = {"fetch_max_wait_ms": settings.engine.fetch_max_wait_ms, "isolation_level": "read_committed"}
        # two connections: a broker would answer a question behind a fetch that waits for records
        self._client: AIOKafkaConsumer = kafka.consumer(settings, **options)
        self._asker: AIOKafkaConsumer = kafka.consumer(settings)
        self._fetcher = Fetcher(self._client, self._unreadable)
        self._next: dict[TopicPartition, int] = {}
        self._held: set[TopicPartition] = set()
        self._refused: list[tuple[TopicPartition, Unreadable]] = []
        self.broken: dict[TopicPartition, str] = {}
        self.gone: set[TopicPartition] = set()

    @classmethod
    async def opened(cls, settings: Settings) -> Feed:
        """One that is connected. Raises KafkaUnreachable, and leaves nothing behind then."""
        feed = cls(settings)
        try:
            await kafka.start(feed._client, settings)
            await kafka.start(feed._asker, settings)
        except BaseException:
            await feed.stop()
            raise
        return feed

    async def stop(self) -> None:
        """Within some seconds; raises nothing."""
        for client in (self._client, self._asker):
            with contextlib.suppress(Exception):
                await asyncio.wait_for(client.stop(), 2)

    # -- questions

    async def counts(self, topics: Collection[str]) -> dict[str, int]:
        """Topic to number of partitions, 0 where there is none. Asks for all: to ask for one may make it."""
        async with asyncio.timeout(_ANSWER_S):
            found = await self._asker._client.fetch_all_metadata()
        return {topic: len(found.partitions_for_topic(topic) or ()) for topic in topics}

    async def begins(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset of each."""
        async with asyncio.timeout(_ANSWER_S):
            return dict(await self._asker.beginning_offsets(list(tps)))

    async def ends(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset behind the last record of each."""
        async with asyncio.timeout(_ANSWER_S):
            return dict(await self._asker.end_offsets(list(tps)))

    async def at(self, times_ms: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """The offset of the first record that is not older, of each; its end where there is none."""
        ends = await self.ends(times_ms)  # first: what comes between the two questions lies behind that
        async with asyncio.timeout(_ANSWER_S):
            found = await self._asker.offsets_for_times(dict(times_ms))
        return {tp: ends[tp] if found.get(tp) is None else int(found[tp].offset) for tp in times_ms}

    # -- what is read

    @property
    def assigned(self) -> Collection[TopicPartition]:
        """What is read, or held."""
        return self._next.keys()

    async def change(self, begin: Mapping[TopicPartition, int], end: Collection[TopicPartition] = ()) -> None:
        """Reads these from these offsets on, and those no more; all others go on where they stand."""
        for tp in end:
            self._forget(tp)
        for tp, offset in begin.items():
            self._forget(tp)
            self._next[tp] = offset
        await kafka.assign(self._client, self._next)
        self._fetcher = Fetcher(self._client, self._unreadable)
        for tp, offset in self._next.items():
            self._fetcher.begin(tp, offset)
        self._held &= set(self._next)
        self._client.pause(*self._held)

    def _forget(self, tp: TopicPartition) -> None:
        self._next.pop(tp, None)
        self._held.discard(tp)
        self.broken.pop(tp, None)
        self.gone.discard(tp)

    def end(self, tp: TopicPartition) -> int:
        """The offset behind its last record, as the last fetch told; 0 where there was none yet."""
        return int(self._client.highwater(tp) or 0) if tp in self._next else 0

    def move(self, tp: TopicPartition, offset: int) -> None:
        """Goes on there."""
        self._next[tp] = offset
        self._fetcher.begin(tp, offset)

    def hold(self, tp: TopicPartition, held: bool) -> None:
        """Stops to fetch it, or goes on."""
        held = held or tp in self.broken or tp in self.gone
        if held and tp not in self._held:
            self._held.add(tp)
            self._client.pause(tp)
        elif not held and tp in self._held:
            self._held.discard(tp)
            self._client.resume(tp)

    async def fetch(self, timeout_ms: int) -> list[tuple[TopicPartition, int, list[Any]]]:
        """What has come: topic-partition, the offset behind what was given out before, records or `Unreadable`."""
        self._refused.clear()
        try:
            fetched = await self._fetcher.many(timeout_ms, _MOST)
        except OffsetOutOfRangeError as error:
            where = error.args[0] if error.args and isinstance(error.args[0], Mapping) else {}
            for tp in where:
                self._stop(tp)
                self.gone.add(tp)
            return []
        for tp, refused in self._refused:
            fetched.setdefault(tp, []).append(refused)
        found = []
        for tp, records in fetched.items():
            if records and tp in self._next:
                found.append((tp, self._next[tp], records))
                self._next[tp] = records[-1].offset + 1
        return found

    def _stop(self, tp: TopicPartition) -> None:
        self._held.add(tp)
        self._client.pause(tp)

    def _unreadable(self, tp: TopicPartition, offset: int, times: int, error: Exception) -> None:
        malformed = isinstance(error, ValueError)  # a header's name that is not UTF-8
        if times < UNREADABLE_TIMES and not (malformed and self._fetcher.behind_left_out(tp, offset)):
            return
        words = f"{type(error).__name__}: {error}"
        if malformed:
            self._refused.append((tp, Unreadable(offset, f"the record cannot be taken apart: {words}")))
            self._fetcher.step_over(tp)
        elif damaged(error):
            self.broken[tp] = f"the record at offset {offset} cannot be read ({words})"
            self._stop(tp)
            self._fetcher.end(tp)
        elif times == UNREADABLE_TIMES:
            log.warning("%s partition %d: %s; tries again", *tp, words)
