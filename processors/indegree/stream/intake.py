"""The intake: users' topics are read, and handed record by record to the partitions that decide what they start.

Why: Kafka triggers work on any topic of the users', with any number of partitions, and a start must come exactly once.

How: partition k of a topic T belongs to the partition of the key (T, k) (`home`), and its position is in that one's log
(engine/intake.py), so whoever serves that partition reads (T, k), from there on. One engine reads all that its
partitions are to have with one consumer (feed.py). Before records are handed over the catalog is read to its end as of
when they had come, so that a workflow that was deployed before a record was produced gets it. The first position is the
record at the time of the activation, or the first one (`begin: earliest`). What waits for a partition is bounded.

A topic that does not exist yet, or grows, is seen within seconds. A position that Kafka does not have any more stops
that partition of the topic, or moves to its first record (triggers.on_lost); metric, log and page say so.

The positions also go to the consumer group CLUSTER.intake, for tools that show lag; nobody reads them here.

It must never hand over records that do not follow those before (offers.py checks), and never move a position itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from mode import Service

from indegree.events import kafka
from indegree.events.run_ids import partition_of_key
from indegree.events.settings import Settings
from indegree.events.topics import Topics
from indegree.stream.catalog import Catalog
from indegree.stream.decoders import Decoders, DecoderUnusable
from indegree.stream.feed import Feed
from indegree.stream.offers import Joined, Left, Lost, Offers, Records
from indegree.stream.routes import Reader, Routes
from indegree.stream.taken import Taker

log = logging.getLogger(__name__)

_IDLE_S = 0.1  # between two looks while no workflow has such a trigger
_RETRY_S = 1.0
_COUNTS_S = 2.0  # how old what is known of topics and their partitions may be
_FETCH_MS = 100
_SHORT_MS = 10  # while something is held back
_COMMIT_S = 5.0
QUIET = 500
"""Of the cluster's own progress: records that start nothing which are worth an event."""


@lru_cache(maxsize=65_536)
def home(topic: str, partition: int, count: int) -> int:
    """The partition, of `count`, that partition `partition` of a user's topic belongs to."""
    return partition_of_key("intake", topic, str(partition), count)


@dataclass(slots=True)
class _Reading:
    """One topic-partition, for one ownership. next: behind what was handed over; joined: who takes part, by then."""

    offers: Offers
    joined: set[str]
    next: int = -1


class Intake(Service):
    """`owned()`: the partitions that this engine serves, and where to put what is theirs. `stopped`: topic-partition to
    why it is read no further."""

    mundane_level = "debug"

    def __init__(
        self,
        settings: Settings,
        partitions: int,
        catalog: Catalog,
        owned: Callable[[], Mapping[int, Offers]],
        **service: Any,
    ) -> None:
        super().__init__(**service)
        self._settings, self._partitions, self._catalog, self._owned = settings, partitions, catalog, owned
        self._topics = Topics(settings.cluster)
        self._routes = Routes(catalog, self._topics)
        self._decoders = Decoders(settings.triggers.decoders)
        self._taker = Taker(self._decoders, self._topics.progress)
        self._feed: Feed | None = None
        self._readings: dict[TopicPartition, _Reading] = {}
        self._counts: dict[str, int] = {}
        self._absent: set[str] = set()  # topics of triggers that do not exist: said once each
        self._counted_at = float("-inf")
        # for what the readings were arranged: who owns what, routes, partitions of topics
        self._arranged: tuple[Mapping[int, Offers], object, dict[str, int]] | None = None
        self._sampled: dict[TopicPartition, tuple[Offers, int, int]] = {}  # ownership, its frame then, position
        self._committed: dict[TopicPartition, int] = {}
        self.stopped: dict[TopicPartition, str] = {}

    def lag(self) -> dict[TopicPartition, tuple[int, int]]:
        """Topic-partition to (position, records that are not decided yet), of what is read here."""
        found = {}
        for tp, reading in self._readings.items():
            known = reading.offers.core.state.intakes.get((tp.topic, tp.partition))
            end = self._feed.end(tp) if self._feed is not None else 0
            if known is not None:
                found[tp] = known.next, max(0, end - known.next)
        return found

    # -- the loop

    @Service.task
    async def _run(self) -> None:
        while not self.should_stop:
            try:
                await self._serve()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # Kafka away, for instance: said, and tried again
                known = isinstance(error, (DecoderUnusable, kafka.KafkaUnreachable, TimeoutError, OSError))
                log.warning("the intake pauses: %s: %s", type(error).__name__, error, exc_info=None if known else error)
            finally:
                await self._end()
            await self.sleep(_RETRY_S)
        self._decoders.close()

    async def _end(self) -> None:
        feed, self._feed = self._feed, None
        self._readings.clear()
        self.stopped.clear()
        self._arranged = None
        if feed is not None:
            await feed.stop()

    def _say_absent(self) -> None:
        absent = {topic for topic in self._routes.of if not self._counts.get(topic)}
        for topic in sorted(absent - self._absent):
            log.warning(
                "topic %s does not exist, and an active workflow has a trigger on it: make the topic, or correct its "
                "name in the workflow; it is looked for again every few seconds",
                topic,
            )
        self._absent = absent

    async def _serve(self) -> None:
        while not self.should_stop:
            await self._routes.learn()
            if not self._routes.of and not self._unwanted():
                await self._end()
                await self.sleep(_IDLE_S)
                continue
            if self._feed is None:
                self._feed = await Feed.opened(self._settings)
            await self._arrange(self._feed)
            if self._feed.assigned:
                await self._read(self._feed)
            else:
                await self.sleep(_IDLE_S)

    def _unwanted(self) -> bool:
        """Whether a partition has an intake of a topic that no active version reads."""
        of = self._routes.of
        return any(topic not in of for offers in self._owned().values() for topic, _ in offers.core.state.intakes)

    # -- who reads what

    async def _arrange(self, feed: Feed) -> None:
        """Begins and ends to read, as partitions come and go here, workflows change, and topics grow."""
        now = time.monotonic()
        if now > self._counted_at + _COUNTS_S or self._routes.of.keys() - self._counts.keys():
            self._counts, self._counted_at = await feed.counts(self._routes.of), now
            self._say_absent()
        owned, before = self._owned(), self._arranged
        same = before is not None and owned == before[0] and self._routes.of is before[1] and self._counts == before[2]
        if same and not feed.gone:
            return
        if before is None or owned != before[0]:
            await self._catalog.read_to_end(now)  # what its last owner had heard of, we have heard of too
            await self._routes.learn()
        wanted = {
            TopicPartition(topic, k): owned[at]
            for topic in self._routes.of
            for k in range(self._counts.get(topic, 0))
            if (at := home(topic, k, self._partitions)) in owned
        }
        ended = [tp for tp, reading in self._readings.items() if wanted.get(tp) is not reading.offers]
        for tp in ended:
            del self._readings[tp]
            self.stopped.pop(tp, None)
        fresh = [tp for tp, offers in wanted.items() if tp not in self._readings and not offers.pending(tp)]
        for tp in fresh:
            known = wanted[tp].core.state.intakes.get((tp.topic, tp.partition))
            self._readings[tp] = _Reading(wanted[tp], set(known.begins) if known is not None else set())
            if known is not None:
                self._readings[tp].next = known.next
        await self._join(feed)
        self._leave(owned)
        gone = [tp for tp in feed.gone if tp in self._readings]
        begin = await self._check(feed, {*fresh, *gone})
        if ended or begin or gone:
            await feed.change(begin, {*ended, *gone} - begin.keys())
        later = any(tp not in self._readings for tp in wanted)  # what its last offers leave is not decided yet
        self._arranged = None if later else (owned, self._routes.of, self._counts)

    async def _join(self, feed: Feed) -> None:
        """Workflows that take part from now on: from the first record, or from that of their activation."""
        joining: dict[TopicPartition, dict[str, Reader]] = {}
        for tp, reading in self._readings.items():
            new = {w: reader for w, reader in self._routes.of[tp.topic].items() if w not in reading.joined}
            if new:
                joining[tp] = new
        if not joining:
            return
        begins: dict[TopicPartition, dict[str, int]] = {tp: {} for tp in joining}
        first = await feed.begins(joining)
        times = {reader.since_ms for new in joining.values() for reader in new.values() if not reader.earliest}
        at = {
            since: await feed.at(
                {tp: since for tp, new in joining.items() if any(r.since_ms == since for r in new.values())}
            )
            for since in times
        }
        for tp, new in joining.items():
            for workflow, reader in new.items():
                begins[tp][workflow] = first[tp] if reader.earliest else at[reader.since_ms][tp]
            reading = self._readings[tp]
            reading.joined |= new.keys()
            if reading.next < 0:
                reading.next = min(begins[tp].values())
                log.info("the intake of %s partition %d begins at %d", *tp, reading.next)
            reading.offers.put(Joined(tp, begins[tp]))

    def _leave(self, owned: Mapping[int, Offers]) -> None:
        """Workflows whose active version does not read the topic any more; also of topics that nobody reads."""
        for tp, reading in self._readings.items():
            gone = reading.joined - self._routes.of[tp.topic].keys()
            if gone:
                reading.joined -= gone
                reading.offers.put(Left(tp, gone))
        for offers in owned.values():
            for (topic, k), known in list(offers.core.state.intakes.items()):
                tp = TopicPartition(topic, k)
                if topic not in self._routes.of and not offers.pending(tp):
                    offers.put(Left(tp, set(known.begins)))

    async def _check(self, feed: Feed, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Where to begin with these; those whose position Kafka does not have stop, or are moved."""
        if not tps:
            return {}
        begin: dict[TopicPartition, int] = {}
        first, ends = await feed.begins(tps), await feed.ends(tps)
        for tp in tps:
            reading = self._readings[tp]
            if first[tp] <= reading.next <= ends[tp]:
                self.stopped.pop(tp, None)
                begin[tp] = reading.next
                continue
            words = f"Kafka has offsets {first[tp]} to {ends[tp]}, and the intake stands at {reading.next}"
            if self._settings.triggers.on_lost == "earliest":
                log.error("%s partition %d: %s; it goes on at %d (triggers.on_lost)", *tp, words, first[tp])
                reading.next = begin[tp] = first[tp]
                reading.offers.put(Lost(tp, first[tp]))
                self.stopped.pop(tp, None)
            else:
                self._stop(
                    tp,
                    f"{words}: records were deleted before they were read, or the topic was made anew; set "
                    "triggers.on_lost = earliest to go on with what is there",
                )
        return begin

    def _stop(self, tp: TopicPartition, why: str) -> None:
        if self.stopped.get(tp) != why:
            self.stopped[tp] = why
            log.error("%s partition %d is read no further: %s", *tp, why)

    # -- records

    async def _read(self, feed: Feed) -> None:
        held = False
        for tp, reading in self._readings.items():
            full = not reading.offers.room(tp)
            held = held or full
            feed.hold(tp, full or tp in self.stopped)
        fetched = await feed.fetch(_SHORT_MS if held else _FETCH_MS)
        for tp, why in feed.broken.items():
            self._stop(tp, why)
        if not fetched:
            return
        await self._catalog.read_to_end(time.monotonic())
        if await self._routes.learn():
            await self._arrange(feed)
        for tp, begin, records in fetched:
            mine = self._readings.get(tp)
            if mine is None:
                continue
            if begin != mine.next:  # it was given away and taken back meanwhile
                feed.move(tp, mine.next)
                continue
            routes = self._routes.routes(tp.topic)
            try:
                taken = await self._taker.take(tp, records, routes)
            except DecoderUnusable as error:
                self._stop(tp, str(error))
                feed.move(tp, mine.next)
                continue
            mine.next = taken[-1].offset + 1
            at_least = QUIET if tp.topic == self._topics.progress else 1
            mine.offers.put(Records(tp, begin, taken, routes, at_least))

    # -- for tools that show lag

    @Service.task
    async def _tell_positions(self) -> None:
        while not self.should_stop:
            await self.sleep(_COMMIT_S)
            due = {
                tp: at
                for tp, (offers, seq, at) in self._sampled.items()
                if offers.settled >= seq and self._committed.get(tp) != at
            }
            if due:
                try:
                    await self._commit(due)
                    self._committed.update(due)
                except Exception as error:  # noqa: BLE001 - nobody here needs it
                    log.debug("positions of the intake were not committed: %s: %s", type(error).__name__, error)
            self._sampled = {}
            for tp, reading in self._readings.items():
                state = reading.offers.core.state
                if (known := state.intakes.get((tp.topic, tp.partition))) is not None and not reading.offers.closed:
                    self._sampled[tp] = reading.offers, reading.offers.core.last_seq, known.next

    async def _commit(self, positions: dict[TopicPartition, int]) -> None:
        client: AIOKafkaConsumer = kafka.consumer(self._settings, group_id=f"{self._settings.cluster}.intake")
        try:
            await kafka.start(client, self._settings)
            await kafka.assign(client, positions)
            client.pause(*positions)
            async with asyncio.timeout(10):
                await client.commit(positions)
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(client.stop(), 2)
