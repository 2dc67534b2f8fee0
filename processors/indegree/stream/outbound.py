"""Everything that leaves the engine without a fence: task records, stops, messages, dead letters.

Why: aiokafka takes one batch at a time for a topic-partition, and several owned partitions send to the same one (a
worker's). Here each topic-partition has a lane: what arrives while a batch is under way goes out together in the next
one, in order. A caller is never blocked.

Each caller has a `Ticket`, which counts what of its own is not yet acknowledged and reports a failure to it: an attempt
whose record was not written would never run, so its partition has to start again from the log.

What it must never do: send anything of a ticket that has failed or was given up. A later message would overtake the one
that failed, and its receiver would then refuse that one, when the next owner sends it again, as a repeat.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from indegree.events.appender import Appender
from indegree.events.kafka import KafkaUnreachable, Record

log = logging.getLogger(__name__)

Done = Callable[[], None]
_ASK_AGAIN_S = 5.0


class Ticket:
    """What one ownership has under way. `failed` is called once, with the first error.

    `error`: why nothing of it is sent any more.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self.open = 0
        self.error: BaseException | None = None
        self._failed = failed
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, count: int) -> None:
        self.open += count
        self._idle.clear()

    def done(self, count: int) -> None:
        self.open -= count
        if not self.open:
            self._idle.set()

    def fail(self, error: BaseException, count: int) -> None:
        self.done(count)
        if self.error is None:
            self.error = error
            self._failed(error)

    def end(self, error: BaseException) -> None:
        """Its owner gives it up: what is not under way yet is dropped. Calls nobody."""
        self.error = self.error or error

    async def idle(self) -> None:
        """Waits until all is acknowledged (or has failed: see `error`)."""
        await self._idle.wait()


@dataclass(slots=True)
class _Lane:
    topic: str
    partition: int
    records: list[Record] = field(default_factory=list)
    # (how many of the records, whose, what to call when they are acknowledged), in the order of the records
    parts: list[tuple[int, Ticket, Done | None]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class Outbound:
    """See the module. `appender` gives the started appender; it may be a new one after a restart of the app."""

    def __init__(self, appender: Callable[[], Appender]) -> None:
        self._appender = appender
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self.learned: Callable[[], None] = lambda: None
        """Called when a topic that was asked for is known."""
        self.sent = 0
        self.backlog = 0

    def put(
        self, topic: str, partition: int, records: Sequence[Record], ticket: Ticket, done: Done | None = None
    ) -> None:
        """Sends these records behind what was put before for the same topic-partition. Never blocks.

        `done` is called when all of them are acknowledged.
        """
        if not records:
            return
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = _Lane(topic, partition)
        lane.records.extend(records)
        lane.parts.append((len(records), ticket, done))
        ticket.add(len(records))
        self.backlog += len(records)
        if lane.task is None:
            lane.task = asyncio.ensure_future(self._run(lane))

    def knows(self, topic: str, partition: int) -> bool:
        """Whether the topic has this partition, as far as is known; asks Kafka in the background where it is not.

        To wait for a topic that nobody made would hold up its lane, and then end the partitions that sent to it.
        """
        if self._appender().knows(topic, partition):
            return True
        if topic not in self._asking:
            self._asking[topic] = asyncio.ensure_future(self._ask(topic))
        return False

    async def _ask(self, topic: str) -> None:
        try:
            if await self._appender().learn(topic):
                self.learned()
            else:
                log.warning("a worker reads topic %s, which does not exist: nothing is sent there", topic)
            await asyncio.sleep(_ASK_AGAIN_S)
        except (KafkaError, KafkaUnreachable) as error:
            log.debug("asking for topic %s: %s", topic, error)
        finally:
            del self._asking[topic]

    async def _run(self, lane: _Lane) -> None:
        try:
            while lane.records:
                records, parts = lane.records, lane.parts
                lane.records, lane.parts = [], []
                if any(ticket.error is not None for _, ticket, _ in parts):
                    records, parts = self._living(records, parts)
                    if not records:
                        continue
                try:
                    futures = await self._appender().append(lane.topic, lane.partition, records)
                except Exception as error:  # noqa: BLE001 - whatever it is, it goes to the partitions that asked for it
                    self.backlog -= len(records)
                    for count, ticket, _ in parts:
                        ticket.fail(error, count)
                    continue
                self.sent += len(records)
                _Settled(self, futures, parts)
        finally:
            lane.task = None

    def _living(
        self, records: list[Record], parts: list[tuple[int, Ticket, Done | None]]
    ) -> tuple[list[Record], list[tuple[int, Ticket, Done | None]]]:
        """Without the parts of tickets that have failed or were given up."""
        kept: list[Record] = []
        left: list[tuple[int, Ticket, Done | None]] = []
        at = 0
        for part in parts:
            count, ticket, _ = part
            if ticket.error is None:
                kept += records[at : at + count]
                left.append(part)
            else:
                self.backlog -= count
                ticket.fail(ticket.error, count)
            at += count
        return kept, left


class _Settled:
    """Waits for the batches of one append and tells whose records they were."""

    __slots__ = ("_left", "_outbound", "_parts", "error")

    def __init__(
        self,
        outbound: Outbound,
        futures: Sequence[asyncio.Future[RecordMetadata]],
        parts: Sequence[tuple[int, Ticket, Done | None]],
    ) -> None:
        self._left, self._parts, self._outbound = len(futures), parts, outbound
        self.error: BaseException | None = None
        for future in futures:
            future.add_done_callback(self._one)

    def _one(self, future: asyncio.Future[RecordMetadata]) -> None:
        if future.cancelled():
            self.error = self.error or ConnectionAbortedError("the producer was stopped")
        else:
            self.error = self.error or future.exception()
        self._left -= 1
        if self._left:
            return
        for count, ticket, done in self._parts:
            self._outbound.backlog -= count
            if self.error is not None:
                ticket.fail(self.error, count)
            else:
                ticket.done(count)
                if done is not None and ticket.error is None:  # done: so is all that was put before it
                    done()
