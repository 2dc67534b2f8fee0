"""Which workers there are, what they serve and how many tasks they may be sent: read from the `workers` topic.

Every engine reads the whole compacted topic once, then its tail. A worker announces itself every second or so; one that
leaves puts a tombstone; one that dies is noticed because its announcements stop (`worker_timeout_s`, by this process's
monotonic clock: nobody else's clock is trusted).

What stands on the topic from before we started may be long dead. Such a worker is sent nothing until it announces
itself again, and counts as lost when it has not done so within the timeout.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

from indegree.events import kafka
from indegree.events.fetcher import Fetcher
from indegree.events.run_ids import is_name
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.stream.hearing import Absence
from indegree.v1.task_pb2 import Worker

log = logging.getLogger(__name__)

_ANSWERS_S = 2.0
_INSTANCE_CHARS = 200  # as the core allows in a result


@dataclass(slots=True)
class Known:
    """One worker instance."""

    worker: Worker
    heard_at: float  # monotonic seconds
    live: bool  # it has announced itself since we started

    @property
    def allowance(self) -> int:
        """Attempts not over that one owner may have at it: its share of twice the slots, at least one."""
        if self.worker.draining or not self.live:
            return 0
        slots = max(0, self.worker.slots - self.worker.abandoned)
        return max(1, slots * 2 // max(2, self.worker.senders)) if slots else 0


class Workers(Service):
    """The table. `changed`: something may be sent that could not be before. `lost(instance)`: it is gone for good."""

    mundane_level = "debug"

    def __init__(
        self,
        settings: Settings,
        *,
        changed: Callable[[], None],
        lost: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
        **service: Any,
    ) -> None:
        super().__init__(**service)
        self._settings, self._changed, self._lost, self._monotonic = settings, changed, lost, monotonic
        self._known: dict[str, Known] = {}
        self._by_queue: dict[str, list[tuple[Known, int]]] = {}
        self._topic = Topics(settings.cluster).workers
        self.started_at = monotonic()
        self._silent_until = float("-inf")  # until then the broker did not answer
        self._absence = Absence(settings.engine.worker_timeout_s, monotonic())
        self.arrivals = 0  # counts the instances that have come: each may have code that others lack
        self.complete = asyncio.Event()  # all that stood on the topic at our start has been read

    # -- reading the table

    def get(self, instance: str) -> Known | None:
        return self._known.get(instance)

    def serving(self, queue: str) -> Iterable[tuple[Known, int]]:
        """(worker, partition of the queue's topic that it reads) of every worker that serves the queue."""
        return self._by_queue.get(queue, ())

    def all(self) -> list[Known]:
        return list(self._known.values())

    @property
    def settled(self) -> bool:
        """A worker that lives must have been heard by now: one that is not in the table is gone."""
        return self.complete.is_set() and self._monotonic() - self.started_at > self._settings.engine.worker_timeout_s

    # -- keeping it

    @Service.task
    async def _read(self) -> None:
        tp = TopicPartition(self._topic, 0)
        while not self.should_stop:
            try:
                client = kafka.consumer(self._settings, fetch_max_wait_ms=200)
                await kafka.start(client, self._settings)
                try:
                    begin = (await client.beginning_offsets([tp]))[tp]
                    end = (await client.end_offsets([tp]))[tp]
                    await kafka.assign(client, {tp: begin})
                    fetcher = Fetcher(client, compacted=True)
                    fetcher.begin(tp, begin)
                    while not self.should_stop:
                        if not self.complete.is_set() and await client.position(tp) >= end:
                            self.complete.set()
                            self._changed()
                        for records in (await fetcher.many(200)).values():
                            for record in records:
                                self.heard(record.key, record.value, live=record.offset >= end)
                        self.notice(client.last_poll_timestamp(tp))
                        if self.overdue() and await self._all_read(client, tp):
                            self.expire()
                finally:
                    await client.stop()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - the table is advice; Kafka's absence is reported where it matters
                log.warning("reading %s: %s: %s; tries again", self._topic, type(error).__name__, error)
                await self.sleep(1.0)

    def notice(self, stamp: object) -> None:
        """`stamp` changes with every answer of the broker. After an absence of it the timeout of all begins anew."""
        now = self._monotonic()
        if self._absence.look(stamp, now) or self._absence.away(now):
            self._silent_until = now

    def answers(self, instance: str) -> bool:
        """Whether it has announced itself within three of its intervals. One that we do not know is none that we would
        wait for."""
        known = self._known.get(instance)
        if known is None:
            return True
        return self._monotonic() - known.heard_at < max(_ANSWERS_S, 3 * known.worker.interval_ms / 1000)

    async def _all_read(self, client: AIOKafkaConsumer, tp: TopicPartition) -> bool:
        """Whether the broker answers and we have read all that it has: only then is a silent worker a lost one."""
        try:
            async with asyncio.timeout(1.0):
                return bool((await client.end_offsets([tp]))[tp] <= await client.position(tp))
        except (TimeoutError, KafkaError, OSError):
            self._silent_until = self._monotonic()  # Kafka was away: the timeout of all begins anew
            return False

    def heard(self, key: bytes | None, value: bytes | None, *, live: bool) -> None:
        """One record of the topic."""
        instance = (key or b"").decode("utf-8", "replace")
        if value is None:
            if self._known.pop(instance, None) is not None:
                self._index()
                if live:
                    log.info("worker %s has left", instance)
                self._lost(instance)
            return
        try:
            worker = Worker.FromString(value)
        except Exception:  # noqa: BLE001 - somebody else's bytes: not a worker
            log.warning("a record of %s with key %r is no worker's announcement; left out", self._topic, instance)
            return
        if len(worker.instance) > _INSTANCE_CHARS:  # it would stand in every record that is sent to it
            log.warning("a record of %s has a worker's name of %d characters; left out", self._topic, len(instance))
            return
        before = self._known.get(worker.instance)
        known = Known(worker, self._monotonic(), live or (before is not None and before.live))
        self._known[worker.instance] = known
        if before is None or (live and not before.live):
            self.arrivals += 1
        if before is None and live:
            log.info("worker %s serves %s, %d slots", worker.instance, [q.name for q in worker.queues], worker.slots)
        self._index()
        if before is None or known.allowance > before.allowance:
            self._changed()

    def overdue(self) -> list[str]:
        """Instances that have not announced themselves within the timeout."""
        limit = self._monotonic() - self._settings.engine.worker_timeout_s
        if self._silent_until > limit:
            return []
        return [instance for instance, known in self._known.items() if known.heard_at < limit]

    def expire(self) -> None:
        """Drops those that are overdue."""
        gone = self.overdue()
        for instance in gone:
            known = self._known.pop(instance)
            if known.live:
                log.warning(
                    "worker %s is lost: no announcement for %.0f s", instance, self._settings.engine.worker_timeout_s
                )
        if gone:
            self._index()
        for instance in gone:
            self._lost(instance)

    def _index(self) -> None:
        by_queue: dict[str, list[tuple[Known, int]]] = {}
        for known in self._known.values():
            for queue in known.worker.queues:
                if not is_name(queue.name):
                    continue  # no topic can have that name
                by_queue.setdefault(queue.name, []).append((known, queue.partition))
        self._by_queue = by_queue
