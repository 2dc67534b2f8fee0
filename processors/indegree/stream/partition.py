"""One owned partition, from taking over to letting go: inputs to the core, frames to the log, effects to the world.

A stream's body makes one, calls `begin`, then `step` for each batch, then `drain`; whatever it raises ends the ownership,
and the next `begin` starts from the log. Only the body's task changes what the core decides; acknowledgements come in
callbacks (appends.py) and change only what is volatile: which attempts are released, who was sent what.

The rules, each of which costs work when it is broken:

- nothing of a frame is visible before it is acknowledged at the expected offset (`_settled` is the only way out);
- the lease is proven before every dispatch;
- until all inputs are read up to their end as of the takeover, no timer is decided and nothing is dispatched: a result
  that lies unread beats its own timeout, and an attempt whose `started` lies unread is not sent again;
- a failed output ends the ownership, so that recovery sends it again;
- only triggers may be paused for back-pressure.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP

from indegree.engine.core import Effects, PartitionCore
from indegree.events.kafka import KafkaUnreachable
from indegree.events.settings import Settings
from indegree.events.topics import COMMANDS, RESULTS, TRIGGERS, Topics
from indegree.ownership.grant import Grant
from indegree.stream.appends import Appends, AppendUnknown
from indegree.stream.catalog import Catalog, CatalogUnreachable
from indegree.stream.control import send_stops
from indegree.stream.dispatch import Dispatcher
from indegree.stream.inputs import Decoded, InputReader
from indegree.stream.log import YIELD_S, LogReader
from indegree.stream.metrics import Metrics
from indegree.stream.outbound import Outbound, Ticket
from indegree.stream.outbox import Outbox
from indegree.stream.progress import NOWHERE, ProgressLog
from indegree.stream.restarts import Restarts
from indegree.stream.spans import Spans
from indegree.stream.takeover import Fenced, Owned, take_over
from indegree.stream.transport import Batch, OwnedConsumer, PositionLost
from indegree.stream.workers import Workers
from indegree.v1.event_pb2 import Frame

log = logging.getLogger(__name__)

_CATCH_UP_S = 0.02  # how often it is asked whether the inputs of the takeover have been read
_DRAIN_S = 3.0  # of a graceful handover; the session gives 5
_CHECK_EVERY = 16  # records between two looks at the clock
_HOLD_AT, _GO_ON_AT = 50_000, 20_000  # records that wait for Kafka, at which triggers are paused and resumed
EXTERNAL = (KafkaError, KafkaUnreachable, CatalogUnreachable, AppendUnknown, OSError, TimeoutError)
"""Failures of the surroundings: nothing that we read or decided is to blame for them."""


@dataclass(slots=True)
class Services:
    """What all partitions of one engine share."""

    settings: Settings
    topics: Topics
    partitions: int
    owner: str
    valid: Callable[[], bool]
    consumer: Callable[[], OwnedConsumer]
    new_core: Callable[[int], PartitionCore]
    workers: Workers
    catalog: Catalog
    outbound: Outbound
    metrics: Metrics
    spans: Spans | None


class Partition:
    """One ownership of one partition. `crash(error)` ends the stream that runs it."""

    def __init__(
        self, number: int, services: Services, channel: Any, restarts: Restarts, crash: Callable[[BaseException], None]
    ) -> None:
        self.number, self.restarts = number, restarts
        self._services, self._channel, self._crash = services, channel, crash
        self._label = str(number)
        self._inputs = services.topics.inputs
        self._tps = [TP(topic, number) for topic in self._inputs]
        self._owned: Owned | None = None
        self._progress: ProgressLog | None = None
        self._appends: Appends
        self._core: PartitionCore
        self._dispatcher: Dispatcher
        self._outbox: Outbox
        self._reader: InputReader
        self._ticket = Ticket(self._failed)
        self._caught_up = False
        self._ends: list[int] = []
        self._suspect: tuple[int, int] | None = None
        self._lost_workers: list[str] = []
        self._woken = False  # a wake-up is in the stream and was not taken yet
        self._timer: asyncio.TimerHandle | None = None
        self._held = False
        self._error: BaseException | None = None
        self._since = time.monotonic()

    # -- taking over

    @property
    def serving(self) -> bool:
        """Owned, and all inputs of the takeover are read."""
        return self._caught_up and self._error is None

    @property
    def core(self) -> PartitionCore | None:
        """The partition's state while it is owned, for views; never to be changed by them."""
        return self._owned.recovery.core if self._owned is not None else None

    @property
    def epoch(self) -> int:
        return self._owned.epoch if self._owned is not None else 0

    async def begin(self, grant: Grant) -> None:
        """Takes the partition over and begins to read its inputs. See takeover.py for what it raises."""
        services, settings = self._services, self._services.settings
        owned = self._owned = await take_over(
            settings, services.topics.events, self.number, grant, services.valid,
            lambda: services.new_core(self.number), services.owner,
        )  # fmt: skip
        core = self._core = owned.recovery.core
        core.announced(owned.epoch, owned.clock.now_ms())
        self._ends = await self._check_positions()
        progress = self._progress = ProgressLog(settings, services.topics.progress, self.number, self._failed)
        after = await progress.begin(owned.epoch, owned.takeover_id, owned.recovery.acknowledged)
        again = owned.recovery.unsent_after(after)
        owned.recovery.unsent.clear()
        progress.put(again)
        self._appends = Appends(
            owned.log, owned.epoch, owned.tail, self._log_reader, self._settled, self._failed, settings.engine.append_timeout_s
        )
        self._dispatcher = Dispatcher(
            core, services.topics, services.workers, services.outbound, self._ticket, services.spans
        )
        self._outbox = Outbox(settings, services.topics, services.outbound, self._ticket, self.wake)
        self._reader = InputReader(services.topics, self.number, services.catalog)
        self._say_owned(len(again))
        services.consumer().open(dict(zip(self._tps, core.state.next, strict=True)), self._channel)
        self.wake()

    def _say_owned(self, progress_again: int) -> None:
        assert self._owned is not None
        owned, metrics = self._owned, self._services.metrics
        metrics.takeovers.inc()
        metrics.void.labels(self._label).inc(owned.recovery.rule.void)
        metrics.recovery_seconds.observe(time.monotonic() - self._since)
        log.info(
            "owns partition %d, epoch %d: replayed %d frames (%d void), %d runs, %d progress records to send again, "
            "%.0f ms since the grant%s",
            self.number, owned.epoch, owned.recovery.frames, owned.recovery.rule.void, len(self._core.state.runs),
            progress_again, owned.silent_ms, ", handed over whole" if owned.recovery.closed else "",
        )  # fmt: skip

    def _log_reader(self, at: int) -> LogReader:
        return LogReader(self._services.settings, self._services.topics.events, self.number, at)

    async def _check_positions(self) -> list[int]:
        """The inputs' ends as of now. Raises PositionLost where the log wants to go on at a place that Kafka lacks."""
        consumer = self._services.consumer()
        begins, ends = await consumer.earliest_offsets(*self._tps), await consumer.highwaters(*self._tps)
        for tp, at in zip(self._tps, self._core.state.next, strict=True):
            if not begins[tp] <= at <= ends[tp]:
                raise PositionLost(
                    f"{tp.topic} partition {tp.partition} has offsets {begins[tp]} to {ends[tp]}, but its events go on at "
                    f"{at}: records were deleted or the topic was made anew; restore it, or begin a new cluster"
                )
        return [ends[tp] for tp in self._tps]

    # -- one batch

    async def step(self, batch: Batch) -> None:
        """Decides what a batch holds, and what has fallen due. Raises what ended the ownership."""
        if self._error is not None:
            raise self._error
        if batch.topic and not batch.records:
            self._woken = False
        index = self._inputs.index(batch.topic)
        records = batch.take()
        core = self._core
        before = tuple(core.state.next)
        try:
            core.begin(self._now())
            await self._volatile()
            if self.restarts.careful:
                await self._carefully(index, records)
            else:
                await self._decide(index, records)
            await self._go_on()
        except (Fenced, asyncio.CancelledError, *EXTERNAL):
            raise
        except Exception as error:
            if error is not self._error:
                self.restarts.failed_at(self._suspect, before, f"{type(error).__name__}: {error}")
            raise
        if self.restarts.failures or self.restarts.culprits:
            self.restarts.passed(tuple(core.state.next))
            self.restarts.lived(time.monotonic())
        if not self._caught_up:
            await self._catch_up()
        self._set_timer()
        self._throttle()

    def _now(self) -> int:
        assert self._owned is not None
        return self._owned.clock.now_ms()

    async def _decide(self, index: int, records: list[Any]) -> None:
        core, at = self._core, self._core.state.next
        tombstones = refused = 0
        until = time.monotonic() + YIELD_S
        for place, record in enumerate(records):
            offset: int = record.offset
            if offset < at[index]:
                continue
            self._suspect = (index, offset)
            decoded = self._refuse(index, offset) or await self._reader.read(index, record)
            tombstones += decoded.tombstone
            refused += decoded.reason is not None
            self._input(index, offset, decoded)
            while core.proceed():
                await self._cut()
            self._suspect = None
            if core.full():
                await self._cut()
            if place % _CHECK_EVERY == _CHECK_EVERY - 1 and time.monotonic() > until:
                # long work gives way to the lease and the other partitions; what is decided goes on its way if it can
                if self._appends.room:
                    await self._cut()
                await asyncio.sleep(0)
                core.begin(self._now())
                until = time.monotonic() + YIELD_S
        if records:
            metrics = self._services.metrics
            metrics.inputs.labels(self._label, _WORDS[index]).inc(len(records))
            if tombstones:
                metrics.tombstones.labels(self._label).inc(tombstones)
            if refused:
                metrics.refused.labels(self._label).inc(refused)

    def _refuse(self, index: int, offset: int) -> Decoded | None:
        culprit = self.restarts.culprits.get((index, offset)) if self.restarts.culprits else None
        if culprit is None:
            return None
        log.error("%s partition %d offset %d is refused: %s", self._inputs[index], self.number, offset, culprit)
        return Decoded(reason=culprit)

    def _input(self, index: int, offset: int, decoded: Decoded) -> None:
        core = self._core
        if decoded.reason is not None:
            core.poison(index, offset, decoded.reason)
        elif decoded.tombstone:
            core.skip(index, offset)
        elif index == RESULTS:
            assert decoded.result is not None
            core.result(decoded.result, offset)
        elif index == TRIGGERS:
            assert decoded.start is not None
            core.trigger(decoded.start, decoded.origin, decoded.definition)
        else:
            assert index == COMMANDS and decoded.command is not None
            core.command(decoded.command, decoded.origin, decoded.definition)

    async def _carefully(self, index: int, records: list[Any]) -> None:
        """One input a frame, each acknowledged before the next: so that the one to blame is known."""
        for record in records:
            await self._decide(index, [record])
            self._suspect = (index, record.offset)
            await self._cut(force=True)
            await self._appends.join()
            self._suspect = None

    async def _volatile(self) -> None:
        """News that no input brings: lost workers, acknowledged outbox entries."""
        for target, number in self._outbox.take_sent().items():
            self._core.sent(target, number)
        if self._caught_up and self._lost_workers:
            lost, self._lost_workers = self._lost_workers, []
            for instance in lost:
                self._core.worker_lost(instance)

    async def _go_on(self) -> None:
        """Timers that are due, then what is decidable, then the last frame of this step."""
        core = self._core
        while True:
            if self._caught_up:
                due = core.next_due_ms()
                if due is not None and due <= self._now():
                    core.begin(self._now())
                    core.fire_timers()
            while core.proceed():
                await self._cut()
                await asyncio.sleep(0)
            if not core.full():
                break
            await self._cut()
        await self._cut()

    async def _cut(self, force: bool = False) -> None:
        cut = self._core.cut(force)
        if cut is None:
            return
        frame, effects = cut
        assert self._progress is not None and self._owned is not None
        if self._progress.position != NOWHERE:
            frame.progress.epoch, frame.progress.seq, frame.progress.index = self._progress.position
        frame.recover_from.CopyFrom(self._owned.recovery.begin)
        await self._appends.send(frame, effects)

    # -- after the acknowledgement

    def _settled(self, frame: Frame, effects: Effects, timestamp_ms: int, seconds: float) -> None:
        """A frame is in force: what it says may be done now, and not before."""
        assert self._owned is not None and self._progress is not None
        services, metrics = self._services, self._services.metrics
        self._owned.clock.acknowledged(timestamp_ms)
        if not services.valid():
            raise Fenced("the lease is not proven")
        self._progress.put(effects.progress)
        if self._caught_up:
            self._core.release(effects)
            self._dispatch()
            self._outbox.put(effects.outbox)
        if effects.stops:
            send_stops(services.outbound, services.topics.control, effects.stops, self._ticket)
        metrics.append_seconds.observe(seconds)
        metrics.frames.labels(self._label).inc()
        metrics.events.labels(self._label).inc(len(frame.events))

    def _dispatch(self) -> None:
        sent = self._dispatcher.sent
        self._dispatcher.run(self._now())
        if self._dispatcher.sent != sent:
            self._services.metrics.tasks.labels(self._label).inc(self._dispatcher.sent - sent)

    async def _catch_up(self) -> None:
        """Once the inputs of the takeover are read, and all of it is in the log, the partition begins to act."""
        consumer = self._services.consumer()
        for tp, end in zip(self._tps, self._ends, strict=True):
            if await consumer.read_up_to(tp) < end:
                asyncio.get_running_loop().call_later(_CATCH_UP_S, self.wake)
                return
        await self._cut(force=False)
        await self._appends.join()
        if not self._services.valid():
            raise Fenced("the lease is not proven")
        assert self._owned is not None
        self._caught_up = True
        outstanding = self._core.outstanding()
        self._core.release(outstanding)
        self._outbox.put(outstanding.outbox)
        sent = self._dispatcher.sent
        self._dispatch()
        log.info(
            "partition %d serves: %d attempts had no start, %d sent again, %d messages sent again",
            self.number, len(outstanding.ready), self._dispatcher.sent - sent, len(outstanding.outbox),
        )  # fmt: skip
        self.wake()

    # -- wake-ups

    def wake(self) -> None:
        """Has the stream take a step soon although no input came. Never blocks."""
        if self._owned is not None and not self._woken and self._error is None:
            self._woken = True
            self._services.consumer().wake(self._channel, self._tps[0])

    def worker_news(self) -> None:
        """There may be room at a worker that was not there before."""
        if not self.serving:
            return
        try:
            if not self._services.valid():
                raise Fenced("the lease is not proven")
            self._dispatch()
        except Exception as error:  # noqa: BLE001 - it ends this ownership, not the caller
            self._failed(error)

    def worker_lost(self, instance: str) -> None:
        """A worker is gone for good: its attempts end in the next step."""
        self._lost_workers.append(instance)
        self.wake()

    def _set_timer(self) -> None:
        assert self._owned is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._core.next_due_ms() if self._caught_up else None
        if due is not None:
            delay_s = min(max(0.001, self._owned.clock.seconds_until(due)), 3600.0)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self.wake)

    def _throttle(self) -> None:
        assert self._progress is not None
        backlog = self._progress.backlog + self._services.outbound.backlog
        if not self._held and backlog > _HOLD_AT:
            self._held = True
        elif self._held and backlog < _GO_ON_AT:
            self._held = False
        else:
            if self._held:
                asyncio.get_running_loop().call_later(0.1, self.wake)
            return
        self._services.consumer().hold(self._tps[TRIGGERS], self._held)
        if self._held:
            log.warning("partition %d: %d records wait for Kafka; triggers are paused", self.number, backlog)
            asyncio.get_running_loop().call_later(0.1, self.wake)

    def _failed(self, error: BaseException) -> None:
        """An output, an append or an acknowledgement failed: this ownership is over."""
        if self._error is None:
            self._error = error
            self._crash(error)

    # -- letting go

    async def drain(self, grant: Grant | None) -> None:
        """Ends this ownership. Gracious: what is under way is finished and a closing frame written; else it is dropped."""
        if self._owned is None:
            return
        try:
            if self._timer is not None:
                self._timer.cancel()
            if self._may_finish(grant):
                async with asyncio.timeout(_DRAIN_S):
                    await self._close()
        except (TimeoutError, Fenced, *EXTERNAL) as error:
            log.warning("partition %d was not handed over whole: %s: %s", self.number, type(error).__name__, error)
        finally:
            self._error = self._error or Fenced("given up")
            owned, self._owned = self._owned, None
            if self._progress is not None:
                await asyncio.shield(self._progress.abandon())
            if hasattr(self, "_appends"):
                self._appends.stop()
                self._outbox.stop()
            await asyncio.shield(owned.log.abandon())
            self._services.metrics.forget(self.number)

    def _may_finish(self, grant: Grant | None) -> bool:
        ending = grant.ending if grant is not None else None
        return (
            self._error is None and ending is not None and ending.gracious and self._services.valid() and self._caught_up
        )

    async def _close(self) -> None:
        """All frames settled, all outputs acknowledged, then the frame that says so."""
        assert self._progress is not None
        await self._appends.join()
        await self._ticket.idle()
        await self._progress.idle()
        self._core.begin(self._now())
        await self._volatile()
        cut = self._core.cut(True)
        if cut is None or self._ticket.error is not None or self._error is not None:
            return
        frame, effects = cut
        frame.closed = not (effects.ready or effects.progress or effects.outbox)
        if self._progress.position != NOWHERE:
            frame.progress.epoch, frame.progress.seq, frame.progress.index = self._progress.position
        assert self._owned is not None
        frame.recover_from.CopyFrom(self._owned.recovery.begin)
        await self._appends.send(frame, effects)
        await self._appends.join()


_WORDS = {TRIGGERS: "triggers", COMMANDS: "commands", RESULTS: "results"}
